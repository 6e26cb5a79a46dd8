"""Checks, while an image's bytes arrive, whether their structure is that of one complete image.

Invariants: pure; linear time; holds the first and last bytes only. Chunks, segments or boxes are followed to the end of
the image, so trailing bytes are allowed; the end of a JPEG or SVG is searched in the last `_TAIL` bytes. Formats
without an end marker (TIFF, ICO, JPEG XL) and files of too many small parts count as complete.
Must not: decode pixels (damage in the middle is not found).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias

from openai_images.models import media

NO_IMAGE = "no image"
TRUNCATED = "truncated"

_SIGNATURE = 32
"""Bytes in which every signature fits, except that of an SVG after a comment."""

_HEAD = 4096
_NEVER = 1 << 62
_TAIL = 64 * 1024

_STEPS, _BYTES_A_STEP = 1_000, 32
"""The number of steps to follow, plus one for so many bytes: a hostile file may consist of the smallest parts only."""

_Steps: TypeAlias = Generator[tuple[int, int], bytes, None]
"""Yields (bytes to skip, bytes to receive after that); returns at the end of the image."""


class ImageProbe:
    """Checks the bytes of one image: `feed` them in order, then read `flaw`."""

    def __init__(self) -> None:
        self.nbytes = 0
        self.head = b""
        self._has_begun = False
        self._buffer = b""
        self._steps: _Steps | None = None
        self._skip, self._take = 0, 0
        self._count = 0
        self._tail: deque[bytes] | None = None  # the last bytes, of formats whose end is searched in them
        self._tail_bytes = 0

    def feed(self, data: bytes) -> None:
        """Check the next bytes."""
        self.nbytes += len(data)
        if len(data) < self._skip and len(self.head) == _HEAD and self._steps is not None:
            self._skip -= len(data)  # nearly all of an image
            return
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        if self._has_begun:
            self._scan(data)
        else:
            self._buffer += data
            if len(self._buffer) >= _SIGNATURE:
                self._begin()

    @property
    def flaw(self) -> str | None:
        """`NO_IMAGE`, `TRUNCATED`, or None for a complete image."""
        mime = media.media_type(self.head)
        if mime == media.UNKNOWN:
            return NO_IMAGE
        if not self._has_begun:
            self._begin()
        tail = b"" if self._tail is None else b"".join(self._tail)[-_TAIL:]
        is_complete = self._steps is None
        if mime == "image/jpeg":
            is_complete = b"\xff\xd9" in tail
        elif mime == "image/svg+xml":
            is_complete = b"</svg" in tail or media.is_empty_svg(self.head)
        elif mime in _BOXED:
            is_complete = is_complete or not self._skip
        return None if is_complete else TRUNCATED

    def _begin(self) -> None:
        """Detect the format, and check the buffered bytes."""
        self._has_begun = True
        mime = media.media_type(self.head)
        follow = _FORMATS.get(mime)
        if mime in ("image/jpeg", media.UNKNOWN, "image/svg+xml"):
            self._tail = deque()
        if follow is not None:
            self._steps = follow()
            self._skip, self._take = next(self._steps)
        buffered, self._buffer = self._buffer, b""
        self._scan(buffered)

    def _scan(self, data: bytes) -> None:
        offset = 0 if self._steps is None else self._walk(data)
        if self._tail is not None and self._steps is None:
            self._tail.append(data[offset:] if offset else data)
            self._tail_bytes += len(data) - offset
            while self._tail_bytes - len(self._tail[0]) >= _TAIL:
                self._tail_bytes -= len(self._tail.popleft())

    def _walk(self, data: bytes) -> int:
        """Follow the steps; return the offset at which they end, or the length of `data`."""
        offset, end = 0, len(data)
        while self._steps is not None:
            if end - offset < self._skip:
                self._skip -= end - offset
                return end
            offset, self._skip = offset + self._skip, 0
            missing = self._take - len(self._buffer)
            self._buffer += data[offset : offset + missing]
            offset = min(offset + missing, end)
            if len(self._buffer) < self._take:
                return end
            received, self._buffer = self._buffer, b""
            self._count += 1
            if self._count > _STEPS + self.nbytes // _BYTES_A_STEP:
                self._steps = None
                break
            try:
                self._skip, self._take = self._steps.send(received)
            except StopIteration:
                self._steps = None
        return offset


def flaw_of(pieces: Iterable[bytes]) -> str | None:
    """Return the flaw of an image in pieces; see `ImageProbe.flaw`."""
    probe = ImageProbe()
    for piece in pieces:
        probe.feed(piece)
    return probe.flaw


def _png() -> _Steps:
    skip = 8
    while (chunk := (yield skip, 8))[4:] != b"IEND":
        skip = int.from_bytes(chunk[:4]) + 4
    yield 4, 0


def _jpeg() -> _Steps:
    """Follow segments to the first scan: a thumbnail before it contains end markers, too."""
    marker = yield 2, 2
    while marker[0] == 0xFF and marker[1] != 0xDA:
        if marker[1] == 0xFF:  # any number of FF may precede a marker
            marker = marker[1:] + (yield 0, 1)
            continue
        length = 2 if marker[1] in media.JPEG_ALONE else int.from_bytes((yield 0, 2))
        marker = yield max(length - 2, 0), 2


def _gif() -> _Steps:
    screen = yield 0, 13
    skip = _color_table_bytes(screen[10])
    while (block := (yield skip, 1)) in (b",", b"!"):
        # An image has a position and a color table before its data, an extension a label.
        skip = _color_table_bytes((yield 8, 1)[0]) + 1 if block == b"," else 1
        while size := (yield skip, 1)[0]:
            skip = size
        skip = 0
    if block != b";":  # damaged: skip to the end of the bytes
        yield _NEVER, 0


def _color_table_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp() -> _Steps:
    yield int.from_bytes((yield 4, 4), "little"), 0


def _bmp() -> _Steps:
    yield max(int.from_bytes((yield 2, 4), "little") - 6, 0), 0


def _boxes() -> _Steps:
    """Follow boxes: ISO media files do not state their length, so only an incomplete box shows a truncation."""
    while True:
        size, name = int.from_bytes((box := (yield 0, 8))[:4]), box[4:]
        if name not in _BOXES or size == 0:
            return
        skip = int.from_bytes((yield 0, 8)) - 16 if size == 1 else size - 8
        yield max(skip, 0), 0


_BOXES = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"idat"})
_BOXED = ("image/avif", "image/heic")
_FORMATS: dict[str, Callable[[], _Steps]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/gif": _gif,
    "image/webp": _webp,
    "image/bmp": _bmp,
    "image/avif": _boxes,
    "image/heic": _boxes,
}
