"""JSON answers: the API's own, those of compatible servers, those that hold no image, and those that break off."""

import json
from typing import Any

import pytest

from openai_images import errors
from openai_images.models.usage import SvgUsage, TokenDetails, Usage
from tests.helpers.decoding import fed, pieces
from tests.helpers.reading import EVENT_STREAM, JSON, answer, reading
from tests.helpers.tiny_images import gif, text

BYTES, PICTURE = gif("A"), text("A")


def document(doc: Any) -> bytes:
    """A JSON body."""
    return json.dumps(doc).encode()


@pytest.mark.parametrize("stated", [JSON, EVENT_STREAM, "text/plain", "text/html", ""])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b" \n\r\n"])
def test_the_answer_of_the_api(stated: str, start: bytes) -> None:
    """One image with its fields, whatever the content type says; each image is yielded as a completed event."""
    read = fed(reading(stated), start + answer("openai-generation"), trailing=[b" ", b"\n\n"])
    assert read.kinds == "C"
    image, result = read.result.image, read.result
    assert (image.width, image.height, image.generation_id, image.extra) == (3, 2, "7f1c", {})
    assert (result.created, result.quality, result.size, result.extra) == (1791443261, "low", "3x2", {})
    assert result.usage.output_tokens_details == TokenDetails(image_tokens=196, text_tokens=0)
    [event] = read.events
    assert (event.image, event.usage, event.created_at) == (image, result.usage, result.created)


def test_pictures_are_numbered_and_the_usage_comes_once() -> None:
    """The events count what is there, whatever holes there are; the usage of all is with the last."""
    read = fed(reading(JSON), answer("mixed-items"))
    assert [event.image_index for event in read.events] == [0, 1, 2]
    assert [event.usage for event in read.events] == [None, None, read.result.usage]
    assert [event.extra for event in read.events] == [read.result.extra, {}, {}]


@pytest.mark.parametrize(
    "doc",
    [
        {"data": [{"b64_json": PICTURE}]},
        {"data": [{"b64_json": PICTURE}], "created": None, "usage": None, "size": None, "svg_usage": None},
        {"b64_json": PICTURE},
        {"data": [{"b64_json": PICTURE}], "error": {"message": "one of two failed"}},
        {"data": [{"b64_json": ""}, {"b64_json": PICTURE}]},
        {"data": None, "b64_json": PICTURE},
    ],
)
def test_everything_but_the_picture_may_be_missing(doc: Any) -> None:
    """An image is delivered, whatever else is or is not there."""
    read = fed(reading(JSON), document(doc))
    assert read.result.image.data == BYTES
    assert read.result.usage is None
    assert "b64_json" not in read.result.extra


def test_usage_of_an_svg_and_both_spellings_of_a_count() -> None:
    """The usage of an SVG's author is read; a count given twice is kept as it came."""
    usage = {"input_tokens": 1, "prompt_tokens": 2}
    svg = {"model": "m", "reasoning_tokens": 3, "more": 4}
    doc = {"data": [{"b64_json": PICTURE}], "usage": usage, "svg_usage": svg, "safety_identifier": "me"}
    result = fed(reading(JSON), document(doc)).result
    assert result.usage == Usage(input_tokens=1, extra={"prompt_tokens": 2})
    assert result.svg_usage == SvgUsage(model="m", reasoning_tokens=3, extra={"more": 4})
    assert result.safety_identifier == "me"


@pytest.mark.parametrize(
    ("doc", "kind"),
    [
        ({"error": {"code": "moderation_blocked", "message": None}}, errors.ModerationBlockedError),
        ({"created": 1, "data": []}, errors.ModerationBlockedError),
        ({"data": [{}]}, errors.ModerationBlockedError),
        ({"data": [{"b64_json": None, "url": ""}, None]}, errors.ModerationBlockedError),
        ({"data": [{"content_filter_results": {"hate": {"filtered": True}}}]}, errors.ModerationBlockedError),
        (
            {"data": None, "prompt_filter_results": {"hate": {"filtered": True}}},
            errors.ModerationBlockedError,
        ),
        ({"data": None, "content_filter_results": {"hate": {"filtered": False}}}, errors.DecodeError),
        ({"data": [{"image": "QQ=="}]}, errors.DecodeError),
        ({"data": {}}, errors.DecodeError),
        ({"data": ["QQ=="]}, errors.DecodeError),
        ({"data": "QQ=="}, errors.DecodeError),
        ({"created": 1}, errors.DecodeError),
        ({"task_id": "t"}, errors.DecodeError),
        ({}, errors.DecodeError),
        ([], errors.ModerationBlockedError),
        ([1], errors.DecodeError),
        ("not an image", errors.DecodeError),
        ({"error": "overloaded"}, errors.StatusOutcomeUnknownError),
        ({"error": {"code": "rate_limit_exceeded"}, "data": []}, errors.RateLimitError),
        ({"detail": "Not Found"}, errors.StatusOutcomeUnknownError),
        ({"success": False, "errors": [{"code": 500, "message": "m"}]}, errors.ServerOutcomeUnknownError),
        ({"type": "error", "code": "invalid_api_key"}, errors.AuthenticationError),
    ],
)
def test_a_success_without_a_picture(doc: Any, kind: type[errors.ImagesError]) -> None:
    """A 200 without an image raises what it says, or what its silence means; it is never safe to send again."""
    read = fed(reading(JSON), document(doc))
    assert read.kinds == ""
    assert type(read.error) is kind
    assert read.error is not None
    assert not read.error.safe_to_resend


def test_filtered_categories_are_named() -> None:
    """Azure's filter results in a success tell which categories struck."""
    doc = {
        "data": [{"content_filter_results": {"hate": {"filtered": False}, "violence": {"filtered": True}}}]
    }
    error = fed(reading(JSON), document(doc)).error
    assert isinstance(error, errors.ModerationBlockedError)
    assert (error.categories, error.stage, error.status_code) == (("violence",), "unknown", 200)


def test_cut_after_every_byte() -> None:
    """An answer cut anywhere is interrupted, keeping the images that were whole."""
    body = answer("mixed-items").rstrip()
    first, third = (body.index(b'"', body.index(start)) for start in (b"iVBOR", b"data:image"))
    for end in range(1, len(body)):
        read = reading(JSON)(pieces(body[:end], 100))
        assert type(read.error) is errors.StreamInterruptedError, body[:end]
        assert "in the middle of its JSON" in str(read.error)
        assert len(read.images) == (end > first) + (end > third)
        assert read.kinds == ""


@pytest.mark.parametrize(
    ("word", "kind"), [("tru", errors.StreamInterruptedError), ("64_json" * 500_000, errors.DecodeError)]
)
def test_a_word_that_is_cut(word: str, kind: type) -> None:
    """More could come behind the start of a word, but no word of JSON has megabytes."""
    assert type(reading(JSON)([b'{"created":1,"data":[{"b64_json":', word.encode()]).error) is kind


@pytest.mark.parametrize("size", [1, 100, 5000, 100_000])
def test_a_broken_picture_that_is_cut_is_cut(size: int) -> None:
    """Whether the decoder had come to what is no base64 in it depends on the pieces; that more was due does not."""
    for wrong in ("A" * 2000 + "*" + "A" * 2000, "A" * 9000 + "*", "*", '\\"'):
        body = f'{{"data":[{{"b64_json":"R0lGODlhQQABAAAAADs="}},{{"b64_json":"{wrong}'.encode()
        read = reading(JSON)(pieces(body, size))
        assert (type(read.error), read.images) == (errors.StreamInterruptedError, [gif("A")])
        whole = reading(JSON)(pieces(body + b'"},{"b64_json":"R0lGODlhQgABAAAAADs=', size))
        assert (type(whole.error), whole.images) == (errors.DecodeError, [gif("A")])


@pytest.mark.parametrize("rest", [b"{}", b"x", b"}", b"data: {}\n\n", b"\0"])
def test_something_behind_the_document(rest: bytes) -> None:
    """A document with more behind it is whole: what a gateway adds costs no image."""
    read = fed(reading(JSON), answer("openai-generation") + rest)
    assert read == fed(reading(JSON), answer("openai-generation"))
    assert read.kinds == "C"


@pytest.mark.parametrize(
    "wrong",
    [
        "*",
        "QQ==QQ",
        "=",
        "QQ\\",
        '\\"',
        'QQ==\\"\\\\',
        "\\u0022",
        "\\u00e9",
        "data:,",
        "A" * 5000 + "*",
        "*" * 5000,
    ],
)
@pytest.mark.parametrize("key", ["b64_json", "url"])
def test_a_broken_picture_does_not_cost_the_others(key: str, wrong: str) -> None:
    """Those before it and those behind it are delivered, whatever it is that is no base64, quotes in it or not."""
    wrong = f"data:image/png;base64,{wrong}" if key == "url" else wrong
    broken = f'{{"{key}":"{wrong}"}}'.replace('QQ\\"', 'QQ\\\\"')
    one, two, three = (f'{{"b64_json":"{text(name)}"}}' for name in "ABC")
    body = f'{{"data":[{one},{broken},{two},{broken},{three}]}}'
    read = fed(reading(JSON), body.encode())
    assert [image.data for image in read.result.images] == [gif("A"), gif("B"), gif("C")]
    assert [(type(error), "base64" in str(error)) for error in read.reasons] == [(errors.DecodeError, True)]
    alone = fed(reading(JSON), f'{{"data":[{broken}]}}'.encode())
    assert type(alone.error) is errors.DecodeError
    assert "base64" in str(alone.error)


@pytest.mark.parametrize(("limit", "kind"), [(13, errors.ResponseTooLargeError), (14, type(None))])
@pytest.mark.parametrize("form", ["json", "events", "bytes"])
def test_the_largest_picture(form: str, limit: int, kind: type) -> None:
    """The limit on an image holds in every form of answer."""
    body = {
        "json": document({"data": [{"b64_json": PICTURE}]}),
        "events": b'data: {"type":"image_generation.completed","b64_json":"' + PICTURE.encode() + b'"}\n\n',
        "bytes": BYTES,
    }[form]
    read = fed(reading("", max_picture_bytes=limit), body)
    assert type(read.error) is kind


@pytest.mark.parametrize("name", ["size", "quality", "background", "output_format"])
@pytest.mark.parametrize("text", ["1x1\n", "\x1b[2J", "a\u202eb", "\u200b"])
def test_a_name_that_cannot_be_printed_is_none(name: str, text: str) -> None:
    """It would break the line of a journal or a display; the image counts, and the text is in `extra`."""
    result = fed(reading(JSON), document({"data": [{"b64_json": PICTURE}], name: text})).result
    assert getattr(result, name) is None
    assert result.extra == {name: text}
