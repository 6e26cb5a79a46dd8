"""Images in memory: whole, exact, and in room that was learned."""

import random
import tracemalloc

import pytest

from openai_images.wire.base64_decoder import MemorySink, MemorySinkFactory

MB = 1_000_000


def written(sinks: MemorySinkFactory, picture: bytes, piece: int = 65_536) -> MemorySink:
    """A sink that was given the image in pieces."""
    sink = sinks()
    for at in range(0, len(picture), piece):
        sink.write(picture[at : at + piece])
    return sink


@pytest.mark.parametrize("expected", [0, 1, 262_144, 262_145, 300_000, 999_999, MB, MB + 1, 5 * MB])
def test_the_picture_is_what_was_written_whatever_was_expected(expected: int) -> None:
    """No guess changes a byte."""
    sinks = MemorySinkFactory()
    sinks.expected = expected
    for size in (1, 262_143, 262_144, 262_145, MB):
        picture = random.Random(size).randbytes(size)
        assert written(sinks, picture).finish().data == picture


def test_room_that_is_not_needed_is_given_back() -> None:
    """Twenty MB were expected, one came: one is kept."""
    sinks = MemorySinkFactory()
    sinks.expected = 20 * MB
    picture = random.Random(1).randbytes(MB)
    tracemalloc.start()
    try:
        image = written(sinks, picture).finish()
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert image.nbytes == MB
    assert held < 1.1 * MB


def test_a_picture_of_the_expected_size_never_moves() -> None:
    """The second image of a size is held once at every moment."""
    sinks = MemorySinkFactory()
    picture = random.Random(2).randbytes(8 * MB)
    written(sinks, picture).finish()
    tracemalloc.start()
    try:
        image = written(sinks, picture).finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert image.data == picture
    assert peak < 8.5 * MB


def test_what_is_expected_follows_the_largest_of_late() -> None:
    """It rises at once and sinks slowly."""
    sinks = MemorySinkFactory()
    sinks.record_size(8 * MB)
    assert sinks.expected == 8 * MB
    sinks.record_size(9 * MB)
    assert sinks.expected == 9 * MB
    for _ in range(40):
        sinks.record_size(MB)
    assert MB <= sinks.expected < 1.2 * MB


def test_a_small_picture_takes_no_room() -> None:
    """Whatever larger ones needed."""
    sinks = MemorySinkFactory()
    sinks.expected = 50 * MB
    tracemalloc.start()
    try:
        sink = written(sinks, bytes(200_000))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sink.finish().nbytes == 200_000
    assert peak < MB
