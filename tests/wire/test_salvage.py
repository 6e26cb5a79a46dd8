"""Images that stand anywhere but where they belong: delivered by what they are, or kept with the error."""

import base64
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from openai_images import errors
from openai_images.models.image import Image
from openai_images.wire import codec, salvage
from openai_images.wire.error_mapping import MAX_DAMAGED, MAX_ERRORS, ResponseContext, error_from_document
from openai_images.wire.json_decoder import MAX_IMAGES
from tests.helpers.decoding import fed
from tests.helpers.reading import EVENT_STREAM, JSON, Read, reading
from tests.helpers.tiny_images import gif, png, text

URL = "https://pictures.example/a?sig=1"
DATA = "data:image/gif;base64," + text("A")
SVG = '<svg xmlns="http://www.w3.org/2000/svg" width="3" height="2"><path d="M0 0"/></svg>'
SVG_DATA = "data:image/svg+xml;utf8,<svg xmlns='x'/>"


def read(doc: Any, stated: str = JSON) -> Read:
    """What comes of a document, however it is cut."""
    return fed(reading(stated, secrets=("a sentinel prompt",)), json.dumps(doc).encode())


IMAGES: dict[str, Any] = {
    "a list under another name": {"images": [text("A"), text("B")], "seed": 7},
    "data URLs": {"images": [DATA, "data:image/gif;base64," + text("B")], "status": "succeeded"},
    "objects under another name": {
        "artifacts": [{"base64": text("A"), "finishReason": "SUCCESS"}, {"base64": text("B")}]
    },
    "texts in data": {"data": [text("A"), text("B")]},
    "another key in data": {"data": [{"image": text("A")}, {"image_base64": text("B")}]},
    "wrapped": {"code": 0, "message": "success", "data": {"data": [{"b64_json": text(n)} for n in "AB"]}},
    "wrapped deep": {"response": {"body": {"data": [{"b64_json": text(n)} for n in "AB"]}}},
    "beside an error": {"error": {"message": "one of three failed"}, "images": [text("A"), text("B")]},
    "a list": [{"b64_json": text("A")}, {"b64_json": text("B")}],
    "a list of texts": [text("A"), text("B")],
    "a chat": {"choices": [{"message": {"content": [{"image_url": {"url": DATA}}, {"text": text("B")}]}}]},
    "behind what the request held": {"input": {"image": text("C")}, "output": [text("A"), text("B")]},
}


@pytest.mark.parametrize("kind", IMAGES)
def test_an_image_is_delivered_wherever_it_stands(kind: str) -> None:
    """Its own bytes say that it is one; what the request itself held is none of the result."""
    came = read(IMAGES[kind])
    assert [image.data for image in came.result.images] == [gif("A"), gif("B")]
    assert text("A") not in repr(came.result)


@pytest.mark.parametrize(
    "spelled", [lambda value: value.replace("/", "\\/"), lambda value: f"{value[:40]}\\n{value[40:]}"]
)
@pytest.mark.parametrize(
    "start", [b"\xff\xd8\xff\xe0\0\x10JFIF\0", b"II*\0", b"BM" + bytes(12) + b"\x28\0\0\0"]
)
def test_every_spelling_of_a_start_is_seen(start: bytes, spelled: Callable[[str], str]) -> None:
    """Slashes and line ends as PHP and mail programs write them, and formats that are rare."""
    data = start + bytes(range(256)) + b"\xff\xd9"
    value = spelled(base64.b64encode(data).decode())
    came = fed(reading(JSON), f'{{"a prompt":"/9j/ is how it starts","x":"{value}"}}'.encode())
    assert came.result.image.data == data
    assert came.result.extra == {"a prompt": "/9j/ is how it starts"}


def test_what_only_begins_like_an_image_stays_a_text() -> None:
    """Words, a signature alone, another format, and base64 that is none."""
    doc = {
        "data": [{"b64_json": text("A")}],
        "prompt": "iVBORw0KGgo",
        "note": "iVBORw0K is the start of every PNG in base64",
        "zeros": "AAAA" * 20,
        "file": "/9j/is/a/folder/with/a/name",
        "url": URL,
        "pdf": base64.b64encode(b"%PDF-1.7" + bytes(40)).decode(),
    }
    assert read(doc).result.extra == {key: value for key, value in doc.items() if key != "data"}


def test_an_svg_in_plain_text_is_one() -> None:
    """It needs no base64; half of one is none."""
    assert read({"svg": SVG}).result.image.data == SVG.encode()
    assert type(read({"svg": SVG[:-6]}).error) is errors.DecodeError
    assert read({"image": SVG_DATA}).result.image.url == SVG_DATA


URLS: dict[str, Any] = {
    "a list under another name": {"images": [{"url": URL}], "timings": {"inference": 1.2}},
    "a list of URLs": {"data": [URL]},
    "url is a list": {"data": [{"url": [URL]}]},
    "image_url": {"data": [{"image_url": URL}]},
    "output": {"id": "x", "status": "succeeded", "output": [URL], "urls": {"get": "https://api.example/p/x"}},
    "sample": {"result": {"sample": URL, "prompt": "https://example.com/not-this.png"}},
    "a chat": {"output": {"choices": [{"message": {"content": [{"image": URL}]}}]}},
    "wrapped": {"code": 0, "data": {"data": [{"url": URL}]}},
    "empty data": {"data": [], "images": [URL]},
}


@pytest.mark.parametrize("kind", URLS)
def test_a_url_counts_where_an_image_could_stand(kind: str) -> None:
    """When nothing else came; those of tasks, of help and of the request do not."""
    assert [image.url for image in read(URLS[kind]).result.images] == [URL]


@pytest.mark.parametrize(
    "doc",
    [
        {"message": "Not Found", "documentation_url": "https://docs.example/images"},
        {"status": "IN_QUEUE", "request_id": "r", "response_url": URL, "status_url": URL, "cancel_url": URL},
        {"id": "t", "status": "processing", "urls": {"get": URL, "cancel": URL}},
        {"input": {"image_url": URL}, "prompt": URL},
        {"note": f"see {URL}"},
    ],
)
def test_other_urls_are_none(doc: Any) -> None:
    """They lead to documentation, to a task or to the user's own images."""
    came = read(doc)
    assert came.error is not None
    assert came.images == []


def test_urls_beside_an_error_are_kept_with_it() -> None:
    """The error is what the server says; where the image may be is not lost."""
    came = read({"code": 1017, "message": "image saved, reply failed", "images": [{"url": URL}]})
    assert isinstance(came.error, errors.APIStatusError)
    assert came.images == [URL]


def test_the_small_document_is_kept() -> None:
    """Without secrets and base64, and no more of it than an error should hold."""
    doc = {
        "answer": ["a sentinel prompt", {"token": "Q" * 200}],
        "rows": list(range(5000)),
        "text": "x " * 4000,
    }
    came = read(doc)
    assert isinstance(came.error, errors.DecodeError)
    body: Any = came.error.body
    assert body["answer"] == ["<hidden>", {"token": "<base64>"}]
    assert 100 < len(body["rows"]) < 1500
    assert len(json.dumps(body)) < 10_000
    beside: Any = read(
        {"error": {"message": "no"}, "data": [{"b64_json": "QUJD"}], "rows": list(range(5000))}
    ).error
    assert beside.body["data"] == [
        {"b64_json": "<no image: application/octet-stream 3 bytes sha256:b5d4045c…>"}
    ]
    assert len(beside.body["rows"]) < 1500


BAD = {
    "a page": b"<html><body>quota exceeded</body></html>",
    "words": b"service unavailable, try later",
    "base64 once more": base64.b64encode(png(b"x")),
    "half a PNG": png(bytes(50))[:60],
    "half a GIF": gif("A")[:-1],
    "half a WebP": b"RIFF\x64\0\0\0WEBPVP8 " + bytes(50),
    "half a JPEG": b"\xff\xd8\xff\xe0\0\x04ab\xff\xda" + bytes(50),
}


@pytest.mark.parametrize("form", ["json", "events", "other name", "bare"])
@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_image_is_never_delivered_as_one(kind: str, form: str) -> None:
    """In every form of an answer; what came is kept with the error, or was decoded once more."""
    value = base64.b64encode(BAD[kind]).decode()
    body, stated = {
        "json": (json.dumps({"data": [{"b64_json": value}]}).encode(), JSON),
        "events": (
            b"event: image_edit.completed\ndata: " + json.dumps({"b64_json": value}).encode() + b"\n\n",
            EVENT_STREAM,
        ),
        "other name": (json.dumps({"images": [f"data:image/png;base64,{value}"]}).encode(), JSON),
        "bare": (BAD[kind], "image/png"),
    }[form]
    came = fed(reading(stated), body)
    if form == "bare" and kind == "base64 once more":
        assert came.result.image.data == png(b"x")
        return
    assert came.result is None
    assert isinstance(came.error, errors.OutcomeUnknownError)
    if not (form == "bare" and kind == "a page"):  # no content type makes an image of it
        assert [image.data for image in came.damaged] == [BAD[kind]]
        assert {image.flaw for image in came.damaged} <= {"no image", "truncated"}


def test_an_echo_beside_the_result_is_dropped() -> None:
    """An image that is not part of the result stays nowhere: with files it would be one that nobody names."""
    came = read({"data": [{"b64_json": text("A")}], "echo": [text("B")], "seed": 7})
    assert [image.data for image in came.result.images] == [gif("A")]
    assert came.result.extra == {"echo": [], "seed": 7}


def test_bytes_behind_an_image_do_no_harm() -> None:
    """An end is where the format says that it is."""
    for data in (png(b"x") + bytes(100_000), gif("A") + b"\r\n-- trailer"):
        assert read({"data": [{"b64_json": base64.b64encode(data).decode()}]}).result.image.data == data


def test_one_that_is_damaged_costs_no_other() -> None:
    """The whole ones are the result, the reasons say what befell the rest, and a partial that is half is no partial."""
    half = base64.b64encode(png(bytes(50))[:60]).decode()
    items = [{"b64_json": text("A")}, {"b64_json": half}, {"error": {"code": "moderation_blocked"}}]
    came = read({"data": items})
    assert [image.data for image in came.result.images] == [gif("A")]
    assert [type(error) for error in came.reasons] == [errors.ModerationBlockedError, errors.DecodeError]
    assert "a truncated image (image/png" in str(came.reasons[1])
    wrapped = read({"code": 0, "data": {"data": items}})
    assert [str(error) for error in wrapped.reasons] == [str(error) for error in came.reasons]
    events = [{"type": "image_generation.partial_image", "b64_json": half}]
    events += [{"type": "image_generation.completed", "b64_json": value} for value in (half, text("B"))]
    came = fed(reading(EVENT_STREAM), b"".join(b"data: %s\n\n" % json.dumps(one).encode() for one in events))
    assert (came.kinds, len(came.reasons), len(came.damaged)) == ("UUC", 1, 1)


@pytest.mark.parametrize(
    "behind",
    ['event: error\ndata: {"error":{"message":"broken pipe"}}\n\n', "Internal Server Error", '"', "NaN"],
)
def test_an_answer_with_something_behind_it_is_delivered(behind: str) -> None:
    """What a gateway appends to an answer that is whole costs no image, whatever it is."""
    body = json.dumps({"created": 5, "data": [{"b64_json": text("A")}]}) + behind
    came = fed(reading(JSON), body.encode())
    assert (came.result.image.data, came.result.created) == (gif("A"), 5)


def test_documents_in_a_row_are_all_read() -> None:
    """The images of each, and those that stand behind a document without any."""
    documents = [
        {"status": "working"},
        {"created": 5, "data": [{"b64_json": text("A")}]},
        {"data": [{"b64_json": text("B")}]},
    ]
    came = fed(reading(JSON), "\n".join(map(json.dumps, documents)).encode())
    assert ([image.data for image in came.result.images], came.result.created) == ([gif("A"), gif("B")], 5)


def test_more_urls_than_an_answer_can_have() -> None:
    """As with images: it is abandoned, and as many as are read are kept."""
    came = reading(JSON)([json.dumps({"data": [{"url": "x"}] * (MAX_IMAGES + 1)}).encode()])
    assert type(came.error) is errors.ResponseTooLargeError
    assert len(came.images) == MAX_IMAGES
    found = reading(JSON)([json.dumps({"images": [f"{URL}{n}" for n in range(3000)]}).encode()])
    assert len(found.result.images) == salvage.MAX_FOUND
    stream = b'data: {"type":"image_generation.completed","url":"x"}\n\n' * (MAX_IMAGES + 1)
    assert type(reading(EVENT_STREAM)([stream]).error) is errors.ResponseTooLargeError


def test_reasons_and_damaged_pictures_are_bounded() -> None:
    """A server may send a hundred thousand."""
    items = [{"error": {"message": "no"}}] * 5000 + [{"b64_json": "QUJD"}] * 50 + [{"b64_json": text("A")}]
    came = reading(JSON)([json.dumps({"data": items}).encode()])
    assert len(came.reasons) == MAX_ERRORS + 1
    assert len(came.damaged) == MAX_DAMAGED
    failed = b'event: image_generation.partial_failed\ndata: {"error":{"message":"no"}}\n\n' * 500
    good = b'data: {"type":"image_generation.completed","b64_json":"%s"}\n\n' % text("A").encode()
    assert len(reading(EVENT_STREAM)([failed + good]).reasons) == MAX_ERRORS


def test_many_long_errors_beside_an_image_take_little_time() -> None:
    """To classify one takes milliseconds: a hundred held up the loop for a second."""

    def seconds(count: int) -> float:
        error = {"error": {"message": "the balance of account " * 1000}}
        body = json.dumps({"data": [{"b64_json": text("A")}, *[error] * count]}).encode()
        begun = time.process_time()
        assert reading(JSON)([body]).reasons
        return time.process_time() - begun

    assert min(seconds(100) for _ in range(3)) < 3 * min(seconds(10) for _ in range(3))


@pytest.mark.parametrize(("before", "reason"), [(30_000, "inner"), (33_000, "x " * 149 + "x…")])
def test_json_among_other_words_is_searched_near_their_start(before: int, reason: str) -> None:
    """It may begin at several places, each of which is tried."""
    doc = {"error": {"message": "x " * (before // 2) + '{"error":{"message":"inner"}}'}}
    found = error_from_document(ResponseContext(200, {}), doc).reason
    assert found == reason


def calls(work: Callable[[], object]) -> int:
    """How many functions of Python are called for it."""
    count = 0

    def see(_: object, kind: str, __: object) -> None:
        nonlocal count
        count += kind == "call"

    sys.setprofile(see)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


SCALED: dict[str, Callable[[int], Any]] = {
    "URLs": lambda n: {"data": [{"url": "x"}] * n},
    "items without an image": lambda n: {"data": [{"id": 1}] * n},
    "errors": lambda n: {"data": [{"error": {"message": "no"}}] * n + [{"b64_json": text("A")}]},
    "URLs elsewhere": lambda n: {"images": [f"{URL}{k}" for k in range(n)]},
    "nothing": lambda n: {"rows": [[{}]] * n},
    "svg": lambda n: {"images": [SVG] * n},
}


@pytest.mark.parametrize("kind", SCALED)
def test_the_work_is_linear(kind: str) -> None:
    """Four times as many of anything take at most six times as many calls."""
    few, many = ([json.dumps(SCALED[kind](number)).encode()] for number in (200, 800))
    assert calls(lambda: reading(JSON)(many)) <= 6 * calls(lambda: reading(JSON)(few))


def test_many_documents_take_bounded_work() -> None:
    """Two million empty objects are no more work than a hundred."""
    few, many = ([b'{"data":[]}' + b"{}" * number] for number in (200, 20_000))
    assert calls(lambda: reading(JSON)(many)) <= 2 * calls(lambda: reading(JSON)(few))


def images_of(doc: object) -> list[Image]:
    """The images that are found."""
    return salvage.find_images(salvage.find_leaves(doc))


def urls_of(doc: object) -> list[Image]:
    """The URLs."""
    return salvage.find_urls(salvage.find_leaves(doc))


@pytest.mark.parametrize(
    "rows",
    [
        lambda count: [[{}] for _ in range(count)],
        lambda count: {f"error {number}": 1 for number in range(count)},
    ],
)
def test_only_so_many_values_are_looked_at(rows: Callable[[int], object]) -> None:
    """Four megabytes of nothing hold two million."""
    few, more = ({"rows": rows(number)} for number in (salvage.MAX_VALUES, 120_000))
    for look in (salvage.nested_answer, images_of, urls_of):
        assert calls(lambda: look(more)) <= 1.2 * calls(lambda: look(few))  # noqa: B023  called at once


def test_an_item_is_read_once() -> None:
    """The codec makes no image twice."""
    assert calls(lambda: list(codec.structure_images({"data": [{"url": "x"}] * 400}))) <= 6 * calls(
        lambda: list(codec.structure_images({"data": [{"url": "x"}] * 100}))
    )


def test_long_keys_cost_no_time() -> None:
    """A key is judged by its beginning, however much a server writes into it."""
    key = "a" * 1_000_000
    doc = {key: {key: [{"x": "y"}]}}
    assert (images_of(doc), urls_of(doc)) == ([], [])
    assert urls_of({key + "error": {"url": "https://host/a.png"}})


def test_only_so_many_texts_are_read_as_svg(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes far longer than to look at another value; images in base64 after them are found."""
    read: list[object] = []
    monkeypatch.setattr(salvage, "_svg", read.append)
    image = Image.from_bytes(gif("A"))
    assert images_of([*["<svg>"] * 1500, image]) == [image]
    assert len(read) == 100


def test_keys_of_any_length_cost_little_more_than_short_ones() -> None:
    """A server may send thousands of them: searching for a pattern in each took 13 times as long."""

    def seconds(length: int) -> float:
        doc = {f"{number:0{length}}": "https://host/" for number in range(3000)}
        begun = time.process_time()
        assert salvage.nested_answer(doc) is None
        assert images_of(doc) == urls_of(doc) == []
        return time.process_time() - begun

    assert min(seconds(200) for _ in range(5)) < 4 * min(seconds(8) for _ in range(5))
