"""Images of tens of megabytes, in pieces of any size: the right bytes, in linear time, held once."""

import hashlib
import time
import tracemalloc
from collections.abc import Iterable

import pybase64
import pytest

from openai_images.models.results import CompletedImage
from openai_images.wire.error_mapping import ResponseContext
from openai_images.wire.response import ResponseDecoder
from tests.helpers.decoding import pieces
from tests.helpers.reading import Nowhere

pytestmark = pytest.mark.slow

MB = 1 << 20
BLOCK = b"II*\0" + bytes(range(4, 256)) + bytes(range(256)) * (3 * MB // 256 - 1)  # by its first bytes a TIFF
TEXT = pybase64.b64encode(BLOCK)  # whole quads, so that it can be repeated


def body(blocks: int, form: str) -> Iterable[bytes]:
    """The parts of an answer with an image of three megabytes a block."""
    start = {
        "events": b'event: image_generation.completed\ndata: {"created_at":1,"b64_json":"',
        "json": b'{"created":1,"data":[{"b64_json":"',
    }[form]
    yield start
    for _ in range(blocks):
        yield TEXT
    end = {"events": b'","type":"image_generation.completed"}\n\n', "json": b'"}]}'}[form]
    yield end


def picture(parts: Iterable[bytes], size: int) -> bytes:
    """The image, fed in pieces of this size."""
    reader = ResponseDecoder(ResponseContext(200, {}))
    events = [event for part in parts for piece in pieces(part, size) for event in reader.feed(piece)]
    events += reader.finish()
    [event] = events
    assert isinstance(event, CompletedImage)
    return event.image.data


@pytest.mark.parametrize("form", ["events", "json"])
@pytest.mark.parametrize(
    ("blocks", "size"),
    [(14, 64 * 1024), (14, 10**9), (4, 1023), (2, 7)],
    ids=["64 KB", "3 MB", "1 KB", "7 bytes"],
)
def test_a_large_picture(form: str, blocks: int, size: int) -> None:
    """An image of up to 42 MB comes through whole."""
    data = picture(body(blocks, form), size)
    assert len(data) == blocks * len(BLOCK)
    assert hashlib.sha256(data).digest() == hashlib.sha256(BLOCK * blocks).digest()


def test_a_large_picture_byte_by_byte() -> None:
    """Half a megabyte in pieces of one byte comes through whole."""
    short = BLOCK[: len(BLOCK) // 6]
    parts = [b'data: {"b64_json":"', pybase64.b64encode(short), b'","type":"image_generation.completed"}\n\n']
    assert picture(parts, 1) == short


def test_a_picture_is_held_once() -> None:
    """The most that is in use at any time is one image and a little."""
    tracemalloc.start()
    try:
        data = picture(body(6, "events"), 64 * 1024)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.3 * len(data)


def seconds(blocks: int, size: int) -> float:
    """The processor time of one run, without the memory for the image."""
    reader = ResponseDecoder(ResponseContext(200, {}), Nowhere)
    begun = time.process_time()
    for part in body(blocks, "events"):
        for piece in pieces(part, size):
            list(reader.feed(piece))
    return time.process_time() - begun


@pytest.mark.parametrize(("blocks", "size"), [(2, 64 * 1024), (2, 1000)])
def test_the_time_is_linear(blocks: int, size: int) -> None:
    """Four times the image costs at most six times as much, in the best of five tries on a busy machine."""
    assert any(seconds(4 * blocks, size) <= 6 * seconds(blocks, size) for _ in range(5))
