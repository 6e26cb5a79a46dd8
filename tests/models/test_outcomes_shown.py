"""What `print` and a notebook show of outcomes, and of the plan and the summary of a batch."""

import base64
import io
import pickle
import re
import sys
from decimal import Decimal
from typing import Any

import attrs
import pytest
from PIL import Image as Pillow

from openai_images import (
    BatchItem,
    BatchPlan,
    BatchSummary,
    Failed,
    GenerateRequest,
    Image,
    ImageResult,
    PartialResultError,
    Progress,
    RateLimitError,
    StreamInterruptedError,
    Succeeded,
    Usage,
)
from openai_images.models.notebook import MAX_EMBEDDED_BYTES, MAX_EMBEDDED_IMAGES
from tests.helpers.tiny_images import gif, png

GIF = Image.from_bytes(gif("a"))
PROMPT = "a lighthouse at dawn,\noil on <b>canvas</b>, with a secret nobody may read"
BEGINNING = "a lighthouse at dawn,\\noil on <b>canvas</…"
REQUEST = GenerateRequest(PROMPT, size="1024x1024")
USAGE = Usage(input_tokens=10, output_tokens=200, total_tokens=210)
RESULT = ImageResult(
    (GIF,), size="1024x1024", usage=USAGE, request_id="req_1", elapsed=1.25, model="gpt-image-2"
)
SUCCEEDED = Succeeded(0, "00000", REQUEST, RESULT)
FAILED = Failed(3, "00003", REQUEST, StreamInterruptedError("it broke <off>"))


def test_an_outcome_is_what_is_set_and_whose_it_is() -> None:
    """The beginning of the prompt, in one line, and no field that is not set."""
    assert str(SUCCEEDED) == (
        f"Succeeded(index=0, key='00000', request=GenerateRequest(prompt='{BEGINNING}', size='1024x1024'), "
        f"result=ImageResult(images=({GIF!r},), size='1024x1024', usage=Usage(input_tokens=10, output_tokens=200, "
        "total_tokens=210), request_id='req_1', elapsed=1.25, model='gpt-image-2'))"
    )
    assert str(FAILED) == (
        f"Failed(index=3, key='00003', request=GenerateRequest(prompt='{BEGINNING}', size='1024x1024'), "
        "error=StreamInterruptedError('it broke <off>'))"
    )
    assert repr(Failed(1, "k", None, RateLimitError("slow", status_code=429))).startswith(
        "Failed(index=1, key='k', request=None, error=RateLimitError("
    )


@pytest.mark.parametrize(
    ("prompt", "shown"),
    [
        ("an otter", "an otter"),
        ("x" * 40, "x" * 40),
        ("x" * 41, "x" * 40 + "…"),
        ("x" * 39 + " y", "x" * 39 + "…"),
        ("a\tb\x1b[31m\u202e\ud800é", "a\\tb\\x1b[31m\\u202e\\ud800é"),
        ("", ""),
    ],
)
def test_the_beginning_of_a_prompt(prompt: str, shown: str) -> None:
    """It is one line without control characters, and so is the whole text."""
    outcome = attrs.evolve(FAILED, request=GenerateRequest(prompt))
    assert outcome.prompt_beginning == shown
    assert shown in str(outcome)
    assert str(outcome).isprintable()


@pytest.mark.parametrize("outcome", [SUCCEEDED, FAILED], ids=["succeeded", "failed"])
def test_a_prompt_can_be_hidden(outcome: Any) -> None:
    """Then no text has any of it, and the outcome is the same otherwise, in another process, too."""
    hidden = attrs.evolve(outcome, show_prompt=False)
    assert hidden == outcome
    for each in (hidden, pickle.loads(pickle.dumps(hidden)) if outcome is FAILED else hidden):
        assert each.prompt_beginning == ""
        assert "lighthouse" not in repr(each) + str(each) + each._repr_html_()
    assert f"prompt=<{len(PROMPT)} characters>, size='1024x1024'" in repr(hidden)


def test_requests_and_items_hide_their_prompts() -> None:
    """Tracebacks and reports of errors show them; only an outcome says which prompt it was."""
    assert repr(REQUEST) == f"GenerateRequest(prompt=<{len(PROMPT)} characters>, size='1024x1024')"
    assert repr(BatchItem("k", REQUEST, 3)) == f"BatchItem(key='k', request={REQUEST!r}, line=3)"


def test_counts_are_those_that_are_set() -> None:
    """Of many keys, the first."""
    plan = BatchPlan(total=9_000, done=("a",), pending=tuple(f"k{number}" for number in range(8_999)))
    assert repr(plan) == (
        "BatchPlan(total=9000, done=('a',), pending=<'k0', 'k1', 'k2', 'k3', 'k4' and 8,994 more>)"
    )
    summary = BatchSummary(total=3, done=2, failed=1, spent=Decimal("0.01"))
    assert repr(summary) == "BatchSummary(total=3, done=2, failed=1, spent=Decimal('0.01'))"
    assert repr(Progress(done=2, images=2)) == "Progress(done=2, images=2)"


def text_of(html: str) -> str:
    """What is read, with a blank between elements."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html)).strip()


def test_a_notebook_shows_an_outcome() -> None:
    """Key, prompt, what is known of the call, and the image; every text is escaped."""
    html = SUCCEEDED._repr_html_()
    assert "<strong>00000</strong>" in html
    assert text_of(html) == (
        "00000 a lighthouse at dawn,\\noil on &lt;b&gt;canvas&lt;/… gpt-image-2 · 1024x1024 · $0.0060 · 1.2 s"
    )
    assert embedded(html) == [("image/gif", GIF.data)]


def test_a_notebook_shows_a_failure() -> None:
    """What it was, that it may have cost money, and the images that came all the same."""
    assert text_of(FAILED._repr_html_()) == (
        "00003 a lighthouse at dawn,\\noil on &lt;b&gt;canvas&lt;/… StreamInterruptedError (may have been billed): "
        "it broke &lt;off&gt;"
    )
    error = PartialResultError("1 of 2", result=RESULT, errors=[])
    error.images = RESULT.images
    assert embedded(Failed(0, "k", REQUEST, error)._repr_html_()) == [("image/gif", GIF.data)]


def test_a_notebook_shows_counts() -> None:
    """Only those that are set, with money as money, and few of many keys."""
    summary = BatchSummary(total=1_200, done=1_100, not_started=100, spent=Decimal("5.5"), elapsed=61.26)
    assert (
        text_of(summary._repr_html_())
        == "Batch total 1,200 done 1,100 not started 100 spent $5.5000 elapsed 61.3 s"
    )
    plan = BatchPlan(total=7, to_send=("<a>", *"bcdefg"), same={"h": "a"}, notes=("one",))
    assert text_of(plan._repr_html_()) == (
        "Plan of a batch total 7 to send 7: &lt;a&gt;, b, c, d, e, … same 1: h notes 1: one"
    )
    assert text_of(Progress(in_flight=2)._repr_html_()) == "Progress in flight 2"


def embedded(html: str) -> list[tuple[str, bytes]]:
    """The images in HTML."""
    found = re.findall(r'src="data:([^;]+);base64,([^"]+)"', html)
    return [(kind, base64.b64decode(text, validate=True)) for kind, text in found]


def large_png() -> Image:
    """An image of noise, which is not small in any lossless format."""
    out = io.BytesIO()
    Pillow.effect_noise((512, 256), 90).save(out, "PNG", compress_level=0)
    return Image.from_bytes(out.getvalue())


def test_a_large_image_is_a_thumbnail_among_others() -> None:
    """It is small, has the shape of the image, and the image stays as it is; alone it is shown unchanged."""
    large = large_png()
    assert large.nbytes > MAX_EMBEDDED_BYTES
    outcome = attrs.evolve(SUCCEEDED, result=ImageResult((large,)))
    ((kind, data),) = embedded(outcome._repr_html_())
    assert (kind, len(data) < MAX_EMBEDDED_BYTES) == ("image/webp", True)
    with Pillow.open(io.BytesIO(data)) as thumbnail:
        assert thumbnail.size == (384, 192)
    assert 'width="512" height="256"' in outcome._repr_html_()
    bundle, _ = ImageResult((large, GIF))._repr_mimebundle_()
    assert embedded(bundle["text/html"]) == [(kind, data), ("image/gif", GIF.data)]
    alone, _ = ImageResult((large,))._repr_mimebundle_()
    assert base64.b64decode(alone["image/png"]) == large.data


@pytest.mark.parametrize("lacks", ["an image in it", "Pillow", "pixels"])
def test_a_large_image_that_cannot_be_made_small(lacks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named: a damaged one, any without Pillow, and an SVG."""
    image = large_png()
    if lacks == "an image in it":
        image = Image.from_bytes(png(bytes(MAX_EMBEDDED_BYTES)))
    elif lacks == "pixels":
        image = Image.from_bytes(b"<svg>" + b" " * MAX_EMBEDDED_BYTES + b"</svg>")
    else:
        monkeypatch.setitem(sys.modules, "PIL", None)
    html = attrs.evolve(SUCCEEDED, result=ImageResult((image,)))._repr_html_()
    assert embedded(html) == []
    assert f"{image.nbytes:,} bytes" in html


def test_very_many_images_are_counted() -> None:
    """The rest is said."""
    html = attrs.evolve(SUCCEEDED, result=ImageResult((GIF,) * (MAX_EMBEDDED_IMAGES + 3)))._repr_html_()
    assert len(embedded(html)) == MAX_EMBEDDED_IMAGES
    assert "and 3 more" in html
