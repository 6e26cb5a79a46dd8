"""Damaged answers: whatever is changed in a good one, what comes of it is a result or an error of ours.

A million of them are a matter of half an hour (`python -m benchmarks fuzz`); here are the first of them, and others by
chance. What earlier runs found stands in the tests of its part, and here where it takes several parts.
"""

import sys
from types import FrameType
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from benchmarks import fuzz, fuzz_cases
from benchmarks.fuzz_decoder import Sinks, broken, outcome
from openai_images.errors import ImagesError
from openai_images.wire.error_mapping import ResponseContext
from tests.helpers.reading import corpus, reading

pytestmark = pytest.mark.slow

CORPUS = list(corpus().values())
TYPES = ["", "text/event-stream", "application/json", "image/png", "text/html"]


def test_the_first_of_a_million() -> None:
    """None of them breaks a promise: see `benchmarks/fuzz_decoder.py` for what those are."""
    found = fuzz.run(fuzz.Job(seed=1, first=0, count=2_500), CORPUS)
    assert found.firsts == {}
    assert found.cases == 2_500


@settings(max_examples=200)
@given(st.integers(2, 2**64), st.integers(0, 2**32))
def test_others_by_chance(seed: int, number: int) -> None:
    """Nor does any other, whole or in pieces."""
    with fuzz.watched(fuzz.SECONDS):
        assert broken(fuzz_cases.case(CORPUS, seed, number), seed, thorough=True) == []


@given(st.binary(max_size=200), st.sampled_from(TYPES))
def test_noise(body: bytes, stated: str) -> None:
    """Any bytes at all give a result or an error of ours."""
    read = reading(stated)([body])
    assert (read.result is None) == isinstance(read.error, ImagesError)


def test_work_is_in_proportion() -> None:
    """The calls of functions that an answer takes are bounded by its bytes and its pieces."""
    calls = 0

    def count(_: FrameType, event: str, __: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    for number in range(0, 2_500, 10):
        damaged = fuzz_cases.case(CORPUS, 1, number)
        pieces = fuzz_cases.pieces(damaged, 1)
        answered = ResponseContext(damaged.status, damaged.headers)
        calls = 0
        sys.setprofile(count)
        try:
            outcome(answered, pieces, Sinks())
        finally:
            sys.setprofile(None)
        assert calls < 5_000 + 20 * len(damaged.body) + 50 * len(pieces), (number, damaged.made)


@pytest.mark.parametrize(
    "opening", ["safety_violations=[", "<title", '{"error"', "try again in 1", "{ ", "data:"]
)
def test_what_begins_again_and_again_is_read_in_proportion(opening: str) -> None:
    """A body made to send a search back to its start tens of thousands of times takes no time to speak of."""
    for start in ("", "<html>", '{"error":{"message":"'):
        with fuzz.watched(5.0):
            body = (start + opening * (300_000 // len(opening))).encode()
            for text in (body, body + b'"}}'):
                damaged = fuzz_cases.Case(0, opening, 500, {}, text)
                assert broken(damaged, 1, thorough=False) == []
