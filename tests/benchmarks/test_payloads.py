"""The answers that the benchmarks serve are what they claim to be."""

import base64
import hashlib
import json
import re

import pytest
from attrs import evolve

from benchmarks.contenders import FLOOR, OURS
from benchmarks.measures import case_of
from benchmarks.payloads import SHAPES, Gate, Shape, body, digests, response
from benchmarks.running import Effort, compare

SMALL = Shape(nbytes=10_000, images=3, stream=True)


def dechunked(data: bytes) -> bytes:
    """The body of a chunked answer."""
    content, rest = b"", data.partition(b"\r\n\r\n")[2]
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not int(size, 16):
            assert rest == b"\r\n"
            return content
        content, rest = content + rest[: int(size, 16)], rest[int(size, 16) + 2 :]


@pytest.mark.parametrize(
    ("shape", "parts"),
    [
        (SMALL, 1),
        (evolve(SMALL, gate=Gate.DRAINED), 2),
        (evolve(SMALL, gate=Gate.CROWD), 2),
        (evolve(SMALL, chunk=1024, apart=True), 41),
        (evolve(SMALL, stream=False), 1),
    ],
)
def test_the_parts_are_the_answer(shape: Shape, parts: int) -> None:
    """However it is sent, it is the same body."""
    sent = response(shape)
    assert len(sent) == parts
    whole = b"".join(sent)
    if shape.stream:
        assert dechunked(whole) == body(shape)
    else:
        head, _, content = whole.partition(b"\r\n\r\n")
        assert content == body(shape)
        assert f"Content-Length: {len(content)}".encode() in head


def test_the_last_bytes_are_held_back() -> None:
    """Sixteen of them, and nothing else but their chunk and the end."""
    assert re.fullmatch(
        rb"10\r\n.{16}\r\n0\r\n\r\n", response(evolve(SMALL, gate=Gate.DRAINED))[1], re.DOTALL
    )


@pytest.mark.parametrize("stream", [True, False])
def test_the_images_are_those_of_the_digests(stream: bool) -> None:
    """Of their size, each another, and the same whenever they are made."""
    shape = evolve(SMALL, stream=stream)
    if stream:
        docs = [json.loads(data) for data in re.findall(rb"^data: (.*)$", body(shape), re.MULTILINE)]
    else:
        docs = json.loads(body(shape))["data"]
    images = [base64.b64decode(doc["b64_json"]) for doc in docs]
    assert [len(image) for image in images] == [10_000] * 3
    assert [hashlib.sha256(image).hexdigest() for image in images] == digests(shape)
    assert len(set(digests(shape))) == 3


def test_every_shape_has_a_small_one() -> None:
    """For runs that only show that everything works."""
    full = [name for name in SHAPES if not name.endswith("-small")]
    assert {f"{name}-small" for name in full} == set(SHAPES) - set(full)
    assert max(SHAPES[f"{name}-small"].nbytes for name in full) <= 100_000


def test_a_case_is_measured_for_real() -> None:
    """A server, two contenders in processes of their own, one round."""
    case = evolve(case_of("json"), contenders=(OURS, FLOOR))
    outcome = compare(case, Effort(rounds=1, small=True, at_once=2))
    assert (outcome.broken, outcome.missing, outcome.failures) == ({}, {}, {OURS: 0, FLOOR: 0})
    assert outcome.rounds[OURS][0] > 0
    assert outcome.rounds[FLOOR][0] > 0
