"""The answers that are served, made once: event streams and JSON documents with images of a known size.

Rules: the fields come in the real service's order, in compact JSON; an image has a PNG's head and random bytes behind
it, which is how compressed pixels look to a decoder. The same shape has the same bytes in every process.
"""

import base64
import functools
import hashlib
import json
import random
import struct
from collections.abc import Iterator
from enum import Enum, auto
from itertools import pairwise

from attrs import evolve, frozen

CHUNK_BYTES = 16 * 1024
"""One chunk of the chunked coding for each TLS record of the real service."""

_PIECE_CHUNK = CHUNK_BYTES - len(b"3ff8\r\n\r\n")
"""One that has 16 KB with its framing: a piece of a paced answer."""

HELD_BACK = 16
"""Bytes that come only after the rest was read."""

_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

LOOK: dict[str, object] = {"output_format": "png", "quality": "high", "size": "1024x1024"}
USAGE: dict[str, object] = {
    "input_tokens": 12,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 12},
    "output_tokens": 4160,
    "total_tokens": 4172,
}


class Gate(Enum):
    """What the server waits for between the first and the last part of an answer."""

    OPEN = auto()
    DRAINED = auto()
    """The client has read all but the last bytes."""
    CROWD = auto()
    """So many streams as the shape's `crowd` are open."""


@frozen(kw_only=True)
class Shape:
    """An answer: so many images of so many bytes, as an event stream or one JSON document, in chunks of a size.

    A stream's last image is the completed one, those before are partial. With `apart` each chunk is sent by itself.
    """

    nbytes: int
    images: int = 1
    stream: bool = False
    chunk: int = CHUNK_BYTES
    apart: bool = False
    gate: Gate = Gate.OPEN
    crowd: int = 0

    @property
    def decoded_bytes(self) -> int:
        return self.nbytes * self.images


_FULL = {
    "stream-1kb": Shape(nbytes=1_000, images=2, stream=True),
    "stream-2x2mb": Shape(nbytes=2_000_000, images=2, stream=True),
    "stream-2mb": Shape(nbytes=2_000_000, stream=True),
    "stream-8mb": Shape(nbytes=8_000_000, stream=True),
    "stream-32mb": Shape(nbytes=32_000_000, stream=True),
    "stream-2x8mb": Shape(nbytes=8_000_000, images=2, stream=True),
    "pieces-2mb": Shape(nbytes=2_000_000, stream=True, chunk=1024, apart=True),
    "pieces-8mb": Shape(nbytes=8_000_000, stream=True, chunk=1024, apart=True),
    "paced-2mb": Shape(nbytes=2_000_000, stream=True, chunk=_PIECE_CHUNK),
    "paced-8mb": Shape(nbytes=8_000_000, stream=True, chunk=_PIECE_CHUNK),
    "last-8mb": Shape(nbytes=8_000_000, stream=True, gate=Gate.DRAINED),
    "crowd": Shape(nbytes=4_000, images=2, stream=True, gate=Gate.CROWD, crowd=1_000),
    "json-1kb": Shape(nbytes=1_000),
    "json-8mb": Shape(nbytes=8_000_000),
    "json-10x8mb": Shape(nbytes=8_000_000, images=10),
}
SHAPES = _FULL | {
    f"{name}-small": evolve(shape, nbytes=min(shape.nbytes, 100_000), crowd=shape.crowd // 10)
    for name, shape in _FULL.items()
}


def digests(shape: Shape) -> list[str]:
    return [_digest(shape.nbytes, number) for number in range(shape.images)]


def body(shape: Shape) -> bytes:
    """The answer without HTTP around it."""
    if shape.stream:
        return b"".join(_events(shape))
    data = [{"b64_json": _base64(shape.nbytes, number)} for number in range(shape.images)]
    return _compact({"created": 1, "background": "opaque", "data": data, **LOOK, "usage": USAGE})


def response(shape: Shape) -> list[bytes]:
    """The HTTP answer, in the parts that are sent one after the other."""
    content = body(shape)
    if not shape.stream:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        return [head.encode() + content]
    last = {Gate.OPEN: 0, Gate.DRAINED: HELD_BACK, Gate.CROWD: len(content) // 2}[shape.gate]
    bounds = sorted({*range(0, len(content), shape.chunk), len(content), len(content) - last})
    chunks = [_chunk(content[start:end]) for start, end in pairwise(bounds)]
    if shape.apart:
        return [_STREAM_HEAD, *chunks[:-1], chunks[-1] + _chunk(b"")]
    until = len(chunks) if not last else bounds.index(len(content) - last)
    parts = [_STREAM_HEAD + b"".join(chunks[:until]), b"".join(chunks[until:]) + _chunk(b"")]
    return parts if last else [b"".join(parts)]


def _events(shape: Shape) -> Iterator[bytes]:
    for number in range(shape.images):
        if number == shape.images - 1:
            yield _event("completed", shape.nbytes, number, {"usage": USAGE})
        else:
            yield _event("partial_image", shape.nbytes, number, {"partial_image_index": number})


def _event(kind: str, nbytes: int, number: int, last: dict[str, object]) -> bytes:
    name = f"image_generation.{kind}"
    head = {"created_at": 1, "type": name, "b64_json": _base64(nbytes, number), "background": "opaque"}
    data = _compact({**head, **LOOK, "sequence_number": number, **last})
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


def _image(nbytes: int, number: int) -> bytes:
    """Noise with the beginning and the end of a PNG around it."""
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 1024, 1024, 8, 6, 0, 0, 0, 0)
    end = struct.pack(">II4sI", 0, 0, b"IEND", 0)
    length = nbytes - len(head) - 8 - len(end)
    noise = random.Random(number).randbytes(length)  # noqa: S311  repeatable, not secret
    return head + struct.pack(">I4s", length, b"IDAT") + noise + end


def _base64(nbytes: int, number: int) -> str:
    return base64.b64encode(_image(nbytes, number)).decode()


@functools.cache
def _digest(nbytes: int, number: int) -> str:
    return hashlib.sha256(_image(nbytes, number)).hexdigest()


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
