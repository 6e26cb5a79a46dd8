"""Every answer of the corpus comes to what its file says: images, or an error with a name and a text."""

import base64
import io
import pickle
from collections import Counter
from pathlib import Path
from random import Random

import pytest
from PIL import Image as Pillow

from benchmarks import corpus
from benchmarks.corpus import KEY, PROMPT, Answer
from openai_images.errors import ImagesError
from openai_images.models.cost import cost_of
from tests.helpers import reading
from tests.helpers.decode_outcomes import decoded, outcome
from tests.helpers.decoding import cut, fed, pieces

ANSWERS = reading.corpus()


@pytest.fixture(params=ANSWERS)
def answer(request: pytest.FixtureRequest) -> Answer:
    """Each of them."""
    return ANSWERS[request.param]


def test_an_answer_comes_to_what_its_file_says(answer: Answer) -> None:
    """Whole, byte by byte, and cut anywhere."""
    read = fed(lambda chunks: decoded(answer, chunks), answer.body)
    assert outcome(answer, read) == answer.expected
    for chunks in ([answer.body], pieces(answer.body, 1), cut(answer.body, [Random(7).randrange(9000)])):
        assert outcome(answer, decoded(answer, chunks)) == answer.expected


def test_an_answer_is_what_it_is_whatever_its_content_type_says(answer: Answer) -> None:
    """The bytes decide: an image or an event is one under any name (words that are none of ours name their type)."""
    if answer.status >= 300 or answer.name in {"relay-page", "empty-body"}:
        return
    for stated in (
        "",
        "text/html",
        "TEXT/EVENT-STREAM",
        "image/tiff",
        "text/json;charset=utf-16",
        "text/zip",
    ):
        other = Answer("", "", (), answer.status, {**answer.headers, "content-type": stated}, answer.body)
        assert outcome(other, decoded(other, [answer.body])) == answer.expected


def test_what_is_behind_an_answer_costs_no_picture(answer: Answer) -> None:
    """Blank lines, comments and [DONE] behind a stream, white space behind JSON."""
    read = decoded(answer, [answer.body])
    if read.result is None:
        return
    stream = answer.headers["content-type"].startswith("text/event-stream") and answer.body[:1] != b"{"
    more = b": bye\n\ndata: [DONE]\n\ndata:" if stream else b" \r\n\t"
    if answer.body[:1] in b"{:de":
        assert decoded(answer, [answer.body, more]) == read


def test_nothing_that_was_sent_comes_out(answer: Answer) -> None:
    """Neither key nor prompt nor base64 in the text, the `repr` and the state of an error, nor in a result's `repr`."""
    read = decoded(answer, [answer.body])
    shown = [repr(read.result)]
    if isinstance(read.error, ImagesError):
        again = pickle.loads(pickle.dumps(read.error))
        assert str(again) == str(read.error)
        shown = [str(read.error), repr(read.error), str(vars(read.error)), str(vars(again))]
    for text in shown:
        text.encode()  # halves of surrogate pairs could not be printed
        assert KEY not in text
        assert PROMPT.split(",")[0] not in text
        assert "a sentinel otter, rewritten" not in text
        assert base64.b64decode(corpus.images()["png"]).hex() not in text
        assert corpus.images()["png"][:60] not in text


@pytest.mark.parametrize(
    "name", ["litellm-filled", "localai-url", "no-created", "xai-data-url", "sglang-url"]
)
def test_zeros_and_nothing_are_no_price(name: str) -> None:
    """What a server did not count costs an unknown sum, never nothing."""
    result = decoded(ANSWERS[name], [ANSWERS[name].body]).result
    assert cost_of(result, "gpt-image-2" if name != "sglang-url" else "another") is None


def test_the_pictures_are_real() -> None:
    """Pillow opens each but the SVG; the base64 of the first has all that servers spell in ways of their own."""
    found = {name: base64.b64decode(text) for name, text in corpus.images().items()}
    assert found.pop("svg").startswith(b"<svg ")
    for name, data in found.items():
        with Pillow.open(io.BytesIO(data)) as picture:
            picture.load()
            assert picture.format == {"partial": "PNG"}.get(name, name.upper())
    png = corpus.images()["png"]
    assert "+" in png
    assert "/" in png
    assert png.endswith("==")


def test_the_corpus_holds_what_it_should() -> None:
    """Each server's answers, every spelling, both outcomes; and no file twice."""
    servers = Counter(name.partition("-")[0] for name in ANSWERS)
    assert servers.keys() >= {
        *("aimock", "ark", "azure", "cdn", "cloudflare", "gateway", "litellm", "localai", "openai"),
        *("openrouter", "relay", "sglang", "spelling", "vllm", "xai"),
    }
    assert len({(answer.status, *answer.headers.items(), answer.body) for answer in ANSWERS.values()}) == len(
        ANSWERS
    )
    assert sum(answer.expected[0].startswith(("events", "picture")) for answer in ANSWERS.values()) > 40
    text = "".join(path.read_text() for path in (Path(__file__).parent / "answers").iterdir())
    for spelling in corpus._SPELLINGS:
        assert not spelling or f":{spelling}}}" in text


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("HTTP/1.1 200 OK\n\n{}", "it must say what it is"),
        ("# one\nHTTP/1.1 200 OK\n\n{}", "what comes of it"),
        ("# one\n= two\nGET / HTTP/1.1\n\n{}", "its status"),
        ("# one\n= two\nHTTP/1.1 200 OK\n\n{nothing}", "{nothing} stands for nothing"),
        ("# one\n= two\nHTTP/1.1 200 OK\n\n{png:backwards}", "stands for nothing"),
    ],
)
def test_a_file_that_is_not_as_it_should_be(tmp_path: Path, text: str, wrong: str) -> None:
    """It is refused by name, not half read."""
    path = tmp_path / "odd.http"
    path.write_text(text)
    with pytest.raises(ValueError, match=wrong):
        corpus._read(path, corpus.images())
