"""What a picture's first bytes say: which of the formats of the API it has, and how wide and high it is.

Rules: pure and bounded, whatever the bytes; a decoder sees only what was measured here. It refuses to decode.
"""

from typing import BinaryIO, Final, Literal, TypeAlias

import attrs

Kind: TypeAlias = Literal["PNG", "JPEG", "WEBP"]

MOST_SEGMENTS: Final = 1000
"""Segments before the size of a JPEG; a camera writes a dozen, a long colour profile some hundred more."""

_START_BYTES: Final = 32
_SIZED: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE: Final = {0x01, *range(0xD0, 0xD9)}
_LAST: Final = {0xD9, 0xDA}


@attrs.frozen
class Measure:
    """A format, and a size in pixels before any turn."""

    kind: Kind
    width: int
    height: int


def measure(file: BinaryIO) -> Measure | None:
    """The measure of the picture in `file`, or None if it is none of ours; leaves the file at its beginning."""
    file.seek(0)
    start = file.read(_START_BYTES)
    measured = None
    if start.startswith(b"\x89PNG\r\n\x1a\n") and start[12:16] == b"IHDR":
        measured = Measure("PNG", int.from_bytes(start[16:20]), int.from_bytes(start[20:24]))
    elif start.startswith(b"\xff\xd8\xff"):
        measured = _jpeg(file)
    elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        measured = _webp(start)
    file.seek(0)
    return measured if measured is not None and measured.width and measured.height else None


def _jpeg(file: BinaryIO) -> Measure | None:
    """Walks from segment to segment up to the one with the size."""
    at = 2
    for _ in range(MOST_SEGMENTS):
        file.seek(at)
        head = file.read(9)
        if len(head) < 4 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker in _SIZED:
            return Measure("JPEG", int.from_bytes(head[7:9]), int.from_bytes(head[5:7]))
        if marker in _LAST:
            return None
        if marker == 0xFF:  # a byte that fills
            at += 1
        else:
            at += 2 if marker in _BARE else 2 + int.from_bytes(head[2:4])
    return None


def _webp(start: bytes) -> Measure | None:
    """The canvas, or the size of the only frame."""
    match start[12:16]:
        case b"VP8X":
            return _webp_size(int.from_bytes(start[24:27], "little"), int.from_bytes(start[27:30], "little"))
        case b"VP8L":
            bits = int.from_bytes(start[21:25], "little")
            return _webp_size(bits & 0x3FFF, bits >> 14 & 0x3FFF)
        case b"VP8 ":
            width, height = (int.from_bytes(start[at : at + 2], "little") & 0x3FFF for at in (26, 28))
            return Measure("WEBP", width, height)
        case _:
            return None


def _webp_size(width: int, height: int) -> Measure:
    return Measure("WEBP", width + 1, height + 1)
