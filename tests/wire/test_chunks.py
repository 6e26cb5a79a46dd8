"""Received bytes are decoded in pieces that are small, or cheap."""

import time

from hypothesis import given, strategies as st

from openai_images.wire.response import SLOW_BYTES, chunk_end

MARKS = b'\n\r"\\'


def pieces(data: bytes) -> list[bytes]:
    """All of them."""
    found, start = [], 0
    while start < len(data):
        end = chunk_end(data, start)
        found.append(data[start:end])
        start = end
    return found


RUNS = st.lists(
    st.tuples(
        st.sampled_from([b"A", b"\n", b'"', b"\\n", b"data: {}\n\n", b"[", b"\0"]), st.integers(1, 9000)
    ),
    max_size=8,
)


@given(RUNS)
def test_pieces(runs: list[tuple[bytes, int]]) -> None:
    """They are the bytes, none is empty, and a large one holds nothing that costs more than its bytes."""
    data = b"".join(text * count for text, count in runs)
    found = pieces(data)
    assert b"".join(found) == data
    for piece in found:
        assert piece
        assert len(piece) <= SLOW_BYTES or not set(piece) & set(MARKS)


def test_base64_stays_in_one_piece() -> None:
    """The megabytes of an image cost no more calls than before."""
    assert [len(piece) for piece in pieces(b'{"b64_json":"' + b"A" * 250_000)] == [
        SLOW_BYTES,
        250_013 - SLOW_BYTES,
    ]


def seconds(size: int) -> float:
    """CPU time of cutting as many bytes that hold one kind of mark only, so that the others are sought in vain."""
    begun = time.process_time()
    pieces(b"data:\r" * (size // 6))
    return time.process_time() - begun


def test_the_time_is_linear() -> None:
    """Eight times as many take at most twelve times as long, in the best of five tries on a busy machine."""
    assert any(seconds(16_000_000) <= 12 * seconds(2_000_000) for _ in range(5))
