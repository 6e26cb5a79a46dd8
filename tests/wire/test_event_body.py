"""Event streams: what is sent today, what was sent before, what gateways make of it, and where they break off."""

import json
from random import Random
from typing import Any

import pytest

from openai_images import errors
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage, PartialImage, UnknownEvent
from openai_images.models.usage import TokenDetails, Usage
from openai_images.wire.error_mapping import ResponseContext
from openai_images.wire.response import ResponseDecoder
from tests.helpers.decoding import fed, pieces
from tests.helpers.reading import EVENT_STREAM, answer, reading
from tests.helpers.tiny_images import gif, text

PICTURE = text("A")


def event(**fields: Any) -> bytes:
    """One event without a name of its own."""
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


def completed(**fields: Any) -> bytes:
    """A completed event."""
    return event(type="image_generation.completed", b64_json=PICTURE, **fields)


def test_a_stream_of_today() -> None:
    """Partials and the completed image come out with all their fields, and the result holds the last."""
    read = fed(reading(EVENT_STREAM), answer("openai-stream"))
    first, second, last = read.events
    assert read.kinds == "PPC"
    assert (first.partial_image_index, second.partial_image_index) == (0, 1)
    assert (first.sequence_number, first.created_at, first.size) == (0, 1774268492, "3x2")
    assert (first.image.width, first.image.height, first.image.media_type) == (3, 2, "image/png")
    assert isinstance(first, PartialImage)
    assert isinstance(last, CompletedImage)
    assert last.usage == Usage(
        input_tokens=430,
        output_tokens=4360,
        total_tokens=4790,
        input_tokens_details=TokenDetails(image_tokens=388, text_tokens=42),
    )
    result = read.result
    assert (result.images, result.image, result.usage) == ((last.image,), last.image, last.usage)
    assert (result.created, result.size, result.quality, result.output_format) == (
        1774268530,
        "3x2",
        "high",
        "png",
    )
    assert first.extra == last.extra == result.extra == {}


def test_what_gateways_add() -> None:
    """Comments, pings, unknown events, plain text, several data lines, escapes and [DONE] cost nothing."""
    read = fed(reading(EVENT_STREAM), answer("gateway-odd-stream"), trailing=[b": bye\n", b"\n\n", b"data:"])
    assert read.kinds == "UPUUUC"
    assert read.events[0] == UnknownEvent("ping", {})
    assert read.events[2] == UnknownEvent(
        "image_generation.queued", {"type": "image_generation.queued", "position": 3}
    )
    assert read.events[3] == UnknownEvent("note", "painting, please wait")
    assert read.events[4] == UnknownEvent("message", [1, 2])
    assert read.events[1].partial_image_index is None
    assert read.result.image.width == 3


@pytest.mark.parametrize("end", [b"\r\n", b"\r", b"\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n\n", b" \r\n\t"])
def test_line_ends_and_what_comes_first(end: bytes, start: bytes) -> None:
    """Any line end, a BOM and white space before the first event change nothing."""
    body = answer("openai-stream")
    plain = reading(EVENT_STREAM)([body])
    assert fed(reading(EVENT_STREAM), start + body.replace(b"\n", end)) == plain
    assert fed(reading(""), start + body) == plain
    assert fed(reading("application/json"), start + body) == plain


@pytest.mark.parametrize(
    "name",
    [
        "openai-stream-error-nested",
        "openai-stream-error-no-event-line",
        "openai-stream-error-bare",
        "openai-stream-error-flat",
        "openai-stream-error-by-name",
    ],
)
def test_an_error_in_mid_stream(name: str) -> None:
    """Each shape of error event raises what its code means, after the partial that had arrived."""
    body = answer(name)
    read = fed(reading(EVENT_STREAM), body, trailing=[b"data: [DONE]\n\n", completed()])
    assert read.kinds == "P"
    assert isinstance(read.error, errors.ModerationBlockedError)
    assert (read.error.status_code, read.error.code, read.error.safe_to_resend) == (
        200,
        "moderation_blocked",
        False,
    )
    assert "answered 200 with an error (moderation_blocked): Your request was rejected" in str(read.error)
    assert fed(reading(EVENT_STREAM), body.rstrip()).said == read.said


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b'{"type":"error","error":{"code":"image_generation_failed"}}', errors.ServerOutcomeUnknownError),
        (b'{"type":"error","error":{"code":"rate_limit_exceeded"}}', errors.RateLimitError),
        (b'{"type":"error","error":{"code":"insufficient_quota"}}', errors.QuotaExhaustedError),
        (b'{"type":"error","error":{"type":"image_generation_user_error"}}', errors.BadRequestError),
        (b'{"type":"error","error":null}', errors.StatusOutcomeUnknownError),
        (b'{"type":"error","error":{"code":503}}', errors.ServerOutcomeUnknownError),
        (b'{"error":"the model is gone"}', errors.StatusOutcomeUnknownError),
        (b'"the model is gone"', errors.StatusOutcomeUnknownError),
        (b"the model is gone", errors.StatusOutcomeUnknownError),
        (b"{}", errors.StatusOutcomeUnknownError),
        (b"null", errors.StatusOutcomeUnknownError),
    ],
)
def test_an_event_named_error_is_one(data: bytes, kind: type[errors.ImagesError]) -> None:
    """Whatever its data, an event named error raises; nothing in mid-stream is safe to send again."""
    read = fed(reading(EVENT_STREAM), b"event: error\ndata: " + data + b"\n\n")
    assert type(read.error) is kind
    assert read.error is not None
    assert not read.error.safe_to_resend


def test_fields_of_strange_types_and_unknown_ones() -> None:
    """A completed event with nothing right but its image is delivered; the rest is kept in extra."""
    strange = {
        "created_at": "soon",
        "size": 3,
        "usage": [1],
        "quality": None,
        "sequence_number": True,
        "background": {},
    }
    read = fed(reading(EVENT_STREAM), completed(**strange, trace="t-1", image_index=1.5))
    [event] = read.events
    assert event.image.data == gif("A")
    assert (event.created_at, event.size, event.usage, event.quality, event.image_index) == (
        None,
        None,
        None,
        None,
        0,
    )
    del strange["quality"]
    assert event.extra == {**strange, "trace": "t-1", "image_index": 1.5}
    assert read.result.extra == event.extra


def test_several_completed_pictures() -> None:
    """Compatible servers number their images: the result has them in order, and one usage for all."""
    details = {"output_tokens_details": {"image_tokens": 3}}
    body = completed(image_index=1, size="b", usage={"input_tokens": 1, "total_tokens": 5, **details})
    body += completed(image_index="0", size="a", usage={"input_tokens": 2, "output_tokens": 3, **details})
    read = fed(reading(EVENT_STREAM), body + completed(image_index=2, usage={"input_tokens": 4, **details}))
    assert [event.image_index for event in read.events] == [1, 0, 2]
    assert [event.size for event in read.events] == ["b", "a", None]
    assert read.result.size == "a"
    assert read.result.usage == Usage(input_tokens=7, output_tokens_details=TokenDetails(image_tokens=9))
    assert fed(reading(EVENT_STREAM), body + completed(image_index=2)).result.usage is None
    assert read.result.images == (read.events[1].image, read.events[0].image, read.events[2].image)


def test_the_name_may_be_in_either_place() -> None:
    """The `type` decides; the event's own line counts where there is none."""
    named = b"event: image_generation.partial_image\n"
    fields = f'"b64_json":"{PICTURE}"'.encode()
    body = (
        named
        + b"data: {"
        + fields
        + b"}\n\n"
        + named
        + b'data: {"type":"image_generation.completed",'
        + fields
    )
    assert fed(reading(EVENT_STREAM), body + b"}\n\n").kinds == "PC"


def test_a_picture_behind_a_url() -> None:
    """Relays send a url instead of the bytes: that is an image, too."""
    url = "https://example.com/a.png"
    body = event(
        type="image_generation.completed", url=url, b64_json=None, revised_prompt="an otter", generation_id=5
    )
    read = fed(reading(EVENT_STREAM), body)
    assert (read.result.image.url, read.result.image.revised_prompt) == (url, "an otter")
    assert read.result.extra == {"generation_id": 5}
    with pytest.raises(errors.DownloadError):
        _ = read.result.image.data


def test_events_without_their_picture() -> None:
    """A partial without one is unknown, and so is an event whose completion is none of ours; a completed one raises."""
    body = (
        event(type="image_generation.partial_image", b64_json="")
        + event(type="upload.completed", id=7)
        + completed()
    )
    read = fed(reading(EVENT_STREAM), body)
    assert read.kinds == "UUC"
    assert read.events[0].raw == {"type": "image_generation.partial_image", "b64_json": None}
    for name in ("image_generation.completed", "image_edit.completed"):
        read = fed(reading(EVENT_STREAM), event(type=name, b64_json=""), trailing=[completed()])
        assert read.said == (errors.DecodeError, read.said[1])
        assert "without its image" in read.said[1]


def test_a_finished_picture_in_another_place() -> None:
    """In a list as answers have it, or anywhere else: its own bytes say that it is one."""
    name = "image_generation.completed"
    read = fed(reading(EVENT_STREAM), event(type=name, data=[{"b64_json": PICTURE}], size="3x2"))
    assert (read.kinds, read.result.image.nbytes, read.result.size) == ("C", 14, "3x2")
    for fields in ({"item": {"b64_json": PICTURE}}, {"images": [PICTURE]}, {"image": {"bytes": PICTURE}}):
        read = fed(reading(EVENT_STREAM), event(type=name, **fields, size="3x2"))
        assert (read.kinds, read.result.image.data, read.result.size) == ("C", gif("A"), "3x2")


def test_an_unknown_event_keeps_its_picture() -> None:
    """An image in an event of unknown type is decoded all the same."""
    read = fed(reading(EVENT_STREAM), event(type="image.chunk", data=[{"b64_json": PICTURE}]) + completed())
    assert read.events[0].raw["data"][0]["b64_json"] == Image.from_bytes(gif("A"))
    assert PICTURE not in repr(read.events[0])


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"image_generation.completed","b64_json":"*"}',
        b'{"b64_json":"R0lGODlhQQABAAAAADs=","a":}',
        b'{"b64_json":"R0lGODlhQQABAAAAADs=',
        b"{",
    ],
)
def test_a_broken_event_is_an_error(data: bytes) -> None:
    """An event that ended and cannot be understood raises; it is not taken for one that is unknown."""
    read = fed(reading(EVENT_STREAM), b"data: " + data + b"\n\n", trailing=[completed()])
    assert read.kinds == ""
    assert type(read.error) is errors.DecodeError


def test_a_broken_event_by_name_is_an_error() -> None:
    """What calls itself an image and is no JSON at all raises."""
    read = fed(reading(EVENT_STREAM), b"event: image_generation.completed\ndata: sorry\n\n")
    assert type(read.error) is errors.DecodeError


def test_cut_after_every_byte() -> None:
    """A stream cut anywhere is interrupted with the partials that had arrived, unless its last JSON had closed."""
    body = answer("openai-stream")
    ends = [at + 2 for at in range(len(body)) if body.startswith(b"\n\n", at)]
    for end in range(len(body)):
        read = reading(EVENT_STREAM)(pieces(body[:end], 50))
        partials = sum(end >= at - 2 for at in ends[:2])
        if end >= ends[2] - 2:
            assert read.kinds == "PPC"
            assert read.result.image == read.events[2].image
        else:
            assert read.kinds == "P" * partials
            assert type(read.error) is errors.StreamInterruptedError
            assert read.error.maybe_billed


def test_a_cut_is_described() -> None:
    """The error says how much had come, and whether it broke off in the middle of an event."""
    body = answer("openai-stream")
    first = body.index(b"\n\n") + 2
    texts = [reading(EVENT_STREAM)([body[:end]]).said[1] for end in (20, 60, first, first + 60)]
    assert "after 0 events and without" in texts[0]
    assert "after 0 events in the middle of an event" in texts[1]
    assert "after 1 event and without" in texts[2]
    assert "after 1 event in the middle of an event" in texts[3]


@pytest.mark.parametrize("rest", [b"", b": hello\n\n", b"data: [DONE]\n\n", b"event: x\n\n", b"data: {}\n\n"])
def test_an_end_without_a_picture(rest: bytes) -> None:
    """A stream that ends well but has no completed image is interrupted, with or without [DONE]."""
    read = fed(reading(EVENT_STREAM), rest)
    assert type(read.error) is errors.StreamInterruptedError
    assert "may have been billed" in str(read.error)


def test_a_finished_picture_in_a_cut_event_is_kept() -> None:
    """Where the event's own line says completed and the image is whole, it is not lost with its event."""
    body = b"event: image_generation.completed\ndata: {" + f'"b64_json":"{PICTURE}","usage":'.encode()
    read = fed(reading(EVENT_STREAM), body)
    assert type(read.error) is errors.StreamInterruptedError
    assert read.images == [gif("A")]
    assert fed(reading(EVENT_STREAM), body.replace(b"completed", b"partial_image")).images == []


def test_comments_are_no_life() -> None:
    """`life` grows with data and stands still while only comments come, in pieces of any size."""
    for size in (1, 7, 2000):
        reader = ResponseDecoder(ResponseContext(200, {}))
        lives = []
        for part in (
            b"event: x\ndata: {",
            b'"a":"' + b"x" * 50,
            b'"}\n\n',
            b": keepalive\n\n" * 5,
            b"data: {}\n\n",
        ):
            for piece in pieces(part, size):
                list(reader.feed(piece))
            lives.append(reader.activity)
        assert 0 < lives[0] < lives[1] < lives[2] == lives[3] < lives[4]


def test_random_streams_in_random_pieces() -> None:
    """Long random runs of events give the same events for any size of piece."""
    chance = Random(5)
    parts = [
        answer("openai-stream").partition(b"\n\n")[0] + b"\n\n",
        b": c\n",
        b"data: {}\n\n",
        completed(),
        b"\r\n",
    ]
    for _ in range(20):
        body = b"".join(chance.choices(parts, k=12))
        whole = reading(EVENT_STREAM)([body])
        for size in (1, 3, 64, 1023, 1024, 5000):
            assert reading(EVENT_STREAM)(pieces(body, size)) == whole


COMPLETED = b'data: {"type":"image_generation.completed","b64_json":"R0lGODlhQQABAAAAADs="}\n\n'

BROKEN = [
    b'data: {"b64_json":"***","type":"image_generation.partial_image"}',
    b'data: {"b64_json":"QQ=',
    b'data: {"b64_json":"R0lGODlhQQABAAAAADs=",}',
    b"data: sorry",
    b'data: {"b64_json":"***"\ndata: ,"a":[',
]


@pytest.mark.parametrize("data", BROKEN)
def test_a_broken_partial_does_not_cost_the_finished_picture(data: bytes) -> None:
    """Where the event's own line says that it is one: it is passed over, and the one that was paid for comes."""
    body = b"event: image_generation.partial_image\n" + data + b"\n\n"
    read = fed(reading(EVENT_STREAM), body + COMPLETED)
    assert read.kinds == "UC"
    assert read.events[0].type == "image_generation.partial_image"
    assert type(fed(reading(EVENT_STREAM), body).error) is errors.StreamInterruptedError
    for name in (b"image_generation.completed", b""):
        read = fed(reading(EVENT_STREAM), body.replace(b"image_generation.partial_image", name, 1))
        assert (type(read.error) is errors.DecodeError) == (name != b"" or data != b"data: sorry")


def test_a_broken_event_without_its_blank_line() -> None:
    """It is no cut one: what is wrong with it is said."""
    body = b'event: image_generation.completed\ndata: {"b64_json":"***"'
    assert type(fed(reading(EVENT_STREAM), body).error) is errors.DecodeError
    body = body.replace(b"completed", b"partial_image")
    assert type(fed(reading(EVENT_STREAM), body).error) is errors.StreamInterruptedError


@pytest.mark.parametrize(
    "data",
    [
        b'{"b64_json":"R0lGODlhQQABAAAAADs=",}',
        b'{"b64_json":"R0lGODlhQQABAAAAADs=","type":"image_generation.partial_image"}',
    ],
)
def test_a_partial_is_not_kept_as_a_picture(data: bytes) -> None:
    """Neither a broken one nor a whole one is what was paid for."""
    body = b"event: image_generation.partial_image\ndata: " + data + b"\n\n"
    read = fed(reading(EVENT_STREAM), body)
    assert (type(read.error), read.images) == (errors.StreamInterruptedError, [])


def test_a_whole_picture_in_a_broken_event_is_kept() -> None:
    """With the error that says what is wrong with it."""
    read = fed(
        reading(EVENT_STREAM),
        b'event: image_generation.completed\ndata: {"b64_json":"R0lGODlhQQABAAAAADs=",}\n\n',
    )
    assert (type(read.error), read.images) == (errors.DecodeError, [gif("A")])
