"""Events that are wrong, not cut: what they cost, and what they do not."""

import pytest

from openai_images import errors
from tests.helpers.decoding import fed
from tests.helpers.reading import EVENT_STREAM, reading
from tests.helpers.tiny_images import gif

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
