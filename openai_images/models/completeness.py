"""Whether bytes are one whole image by what they themselves say, judged while they pass by.

Rules: pure and linear; it holds the first bytes and the last ones, never the image. The chunks, segments, blocks and
boxes of a format are followed to the end that the format gives itself, so bytes behind that end do no harm; a JPEG's
scans and an SVG are not followed, their end has to be in the last `_TAIL` bytes. A format whose end nobody can see
(TIFF, ICO, JPEG XL) counts as whole, and so does a file of so many small parts that following them would take long.
It refuses to decode: damage in the middle is not its business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import TypeAlias

from openai_images.models import media

NO_IMAGE = "no image"
TRUNCATED = "truncated"

_SIGNATURE = 32
"""Bytes that are enough for every signature but that of an SVG behind a comment."""

_HEAD = 4096
_NEVER = 1 << 62
_TAIL = 64 * 1024

_STEPS, _BYTES_A_STEP = 1_000, 32
"""How many steps are followed at least, and how many bytes allow one more: a hostile file consists of the smallest."""

_Steps: TypeAlias = Generator[tuple[int, int], bytes, None]
"""Yields how many bytes to pass over and how many to be sent then; it returns behind the end."""


class ImageProbe:
    """Feed it the bytes of one image; then `flaw` says what they lack."""

    def __init__(self) -> None:
        """Nothing came."""
        self.nbytes = 0
        self.head = b""
        self._begun = False
        self._held = b""
        self._steps: _Steps | None = None
        self._skip, self._take = 0, 0
        self._count = 0
        self._tail: deque[bytes] | None = None  # where its end is sought there
        self._tail_bytes = 0

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""
        self.nbytes += len(data)
        if len(self.head) < _HEAD:
            self.head += data[: _HEAD - len(self.head)]
        if self._begun:
            self._look(data)
        else:
            self._held += data
            if len(self._held) >= _SIGNATURE:
                self._begin()

    @property
    def flaw(self) -> str | None:
        """`NO_IMAGE`, `TRUNCATED`, or None for an image that is whole."""
        kind = media.media_type(self.head)
        if kind == media.UNKNOWN:
            return NO_IMAGE
        if not self._begun:
            self._begin()
        tail = b"" if self._tail is None else b"".join(self._tail)[-_TAIL:]
        whole = self._steps is None
        if kind == "image/jpeg":
            whole = b"\xff\xd9" in tail
        elif kind == "image/svg+xml":
            whole = b"</svg" in tail or media.is_empty_svg(self.head)
        elif kind in _BOXED:
            whole = whole or not self._skip
        return None if whole else TRUNCATED

    def _begin(self) -> None:
        """Choose the steps for the format, and take those that are here."""
        self._begun = True
        kind = media.media_type(self.head)
        follow = _FORMATS.get(kind)
        if kind in ("image/jpeg", media.UNKNOWN, "image/svg+xml"):
            self._tail = deque()
        if follow is not None:
            self._steps = follow()
            self._skip, self._take = next(self._steps)
        held, self._held = self._held, b""
        self._look(held)

    def _look(self, data: bytes) -> None:
        at = 0 if self._steps is None else self._walk(data)
        if self._tail is not None and self._steps is None:
            self._tail.append(data[at:] if at else data)
            self._tail_bytes += len(data) - at
            while self._tail_bytes - len(self._tail[0]) >= _TAIL:
                self._tail_bytes -= len(self._tail.popleft())

    def _walk(self, data: bytes) -> int:
        """Follow the steps; where they end in here, the place."""
        at, end = 0, len(data)
        while self._steps is not None:
            if end - at < self._skip:
                self._skip -= end - at
                return end
            at, self._skip = at + self._skip, 0
            more = self._take - len(self._held)
            self._held += data[at : at + more]
            at = min(at + more, end)
            if len(self._held) < self._take:
                return end
            taken, self._held = self._held, b""
            self._count += 1
            if self._count > _STEPS + self.nbytes // _BYTES_A_STEP:
                self._steps = None
                break
            try:
                self._skip, self._take = self._steps.send(taken)
            except StopIteration:
                self._steps = None
        return at


def flaw_of(pieces: Iterable[bytes]) -> str | None:
    """What the bytes in these pieces lack of being one whole image; see `ImageProbe.flaw`."""
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
    """Up to the first scan: what stands before it, a small preview above all, has ends of its own."""
    marker = yield 2, 2
    while marker[0] == 0xFF and marker[1] != 0xDA:
        if marker[1] == 0xFF:  # any number of FF may stand before a marker
            marker = marker[1:] + (yield 0, 1)
            continue
        length = 2 if marker[1] in media.JPEG_ALONE else int.from_bytes((yield 0, 2))
        marker = yield max(length - 2, 0), 2


def _gif() -> _Steps:
    screen = yield 0, 13
    skip = _colors(screen[10])
    while (kind := (yield skip, 1)) in (b",", b"!"):
        # An image has its place and its colors before its data, an extension its label.
        skip = _colors((yield 8, 1)[0]) + 1 if kind == b"," else 1
        while size := (yield skip, 1)[0]:
            skip = size
        skip = 0
    if kind != b";":  # damaged: its end will not be found
        yield _NEVER, 0


def _colors(flags: int) -> int:
    """The bytes of a color table."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp() -> _Steps:
    yield int.from_bytes((yield 4, 4), "little"), 0


def _bmp() -> _Steps:
    yield max(int.from_bytes((yield 2, 4), "little") - 6, 0), 0


def _boxes() -> _Steps:
    """ISO media files say nowhere how long they are: a box that was begun has to end."""
    while True:
        size, kind = int.from_bytes((box := (yield 0, 8))[:4]), box[4:]
        if kind not in _BOXES or size == 0:
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
