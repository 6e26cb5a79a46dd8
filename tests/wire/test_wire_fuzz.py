"""Damaged answers: whatever is changed in a good one, what comes of it is a result or an error of ours."""

import tracemalloc
from pathlib import Path
from random import Random

from hypothesis import given, settings, strategies as st

from openai_images.errors import ImagesError
from openai_images.wire.refusals import Answered, refusal_from_body
from tests.feeding import cut
from tests.wire.reading import ANSWERS, reading

BODIES = [path.read_bytes() for path in sorted(ANSWERS.iterdir())]
PARTS = [
    b"\0", b"\xff", b'"', b"\\", b"{", b"}", b"[", b"]", b":", b",", b"\n", b"\n\n", b"\r", b"data:", b"event: error\n",
    b"null", b"NaN", b'"b64_json":', b'"type":"error"', b"1e999", b"\\u", b"<", b"\xef\xbb\xbf",
]  # fmt: skip
TYPES = ["", "text/event-stream", "application/json", "image/png", "text/html"]


def damaged(body: bytes, chance: Random) -> bytes:
    """The body with some pieces replaced, taken out, doubled or exchanged."""
    for _ in range(chance.randint(1, 6)):
        start = chance.randrange(len(body) + 1)
        end = min(len(body), start + chance.choice([0, 1, 3, 40]))
        put = chance.choice([b"", chance.choice(PARTS), body[start:end] * 2, chance.choice(BODIES)[:200]])
        body = body[:start] + put + body[end:]
    return body


@settings(max_examples=300)
@given(
    st.sampled_from(BODIES),
    st.sampled_from(TYPES),
    st.integers(0, 2**32),
    st.lists(st.integers(0, 3000), max_size=5),
)
def test_damaged_answers(body: bytes, stated: str, seed: int, places: list[int]) -> None:
    """A damaged answer gives the same events and the same end for any cuts, and raises nothing foreign."""
    body = damaged(body, Random(seed))
    read = reading(stated, secrets=("sk-sentinel",))([body])
    again = reading(stated, secrets=("sk-sentinel",))(cut(body, places))
    assert (again.events, again.result, again.said) == (read.events, read.result, read.said)
    assert (read.result is None) == isinstance(read.error, ImagesError)
    assert read.result is None or len(read.result.images) >= 1


@given(st.sampled_from(BODIES), st.integers(0, 2**32), st.sampled_from([400, 429, 500, 503]))
def test_damaged_refusals(body: bytes, seed: int, status: int) -> None:
    """The same bodies as refusals give typed errors."""
    error = refusal_from_body(Answered(status, {}), damaged(body, Random(seed)))
    assert error.status_code == status
    assert str(error)


@given(st.binary(max_size=200), st.sampled_from(TYPES))
def test_noise(body: bytes, stated: str) -> None:
    """Any bytes at all give a result or an error of ours."""
    read = reading(stated)([body])
    assert (read.result is None) == isinstance(read.error, ImagesError)


def test_small_bodies_take_little_memory() -> None:
    """The corpus is small, and reading it takes no more than some hundred kilobytes at a time."""
    tracemalloc.start()
    try:
        for body in BODIES:
            reading("")([body])
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()
    assert sum(path.stat().st_size for path in Path(ANSWERS).iterdir()) < 20_000
