"""Base64 decoded while it arrives, in pieces cut anywhere.

Rules: linear, holding no more than a few kilobytes; what is written is right or `DecodeError` is raised, so a
picture is never silently broken. Beside the standard alphabet with padding it takes what compatible servers
send: a `data:…;base64,` prefix, the url-safe alphabet, missing padding, line ends and tabs. It refuses anything else,
padding inside the text, and more bytes than `max_bytes`.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING

import pybase64

from openai_images.errors import DecodeError, ResponseTooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_UNFINISHED = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LONGEST = len(rb"\u002")
_SIMPLE = {b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"f": b"\f"}
_BAD = "the answer holds a picture with an escape that is no base64"


class JSONUnescaper:
    """Feed it the text of a string; `held` is the beginning of an escape, at the end of what has come."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.held = b""

    def feed(self, text: bytes, *, last: bool) -> bytes:
        """The same without escapes; `last` says that the string ends here. Raises `DecodeError`."""
        text = self.held + text
        self.held = _unfinished(text)
        if self.held:
            if last:
                raise DecodeError(_BAD)
            text = text[: -len(self.held)]
        # PHP writes every slash as \/, which is the one escape that comes by the thousand.
        text = text.replace(b"\\/", b"/") if b"\\\\" not in text else text
        return _ESCAPE.sub(_plain, text) if b"\\" in text else text


def _unfinished(text: bytes) -> bytes:
    """The beginning of an escape at the end, unless its backslash is the second one of an escape."""
    found = _UNFINISHED.search(text, max(0, len(text) - _LONGEST))
    if found is None:
        return b""
    before = text[: found.start()]
    return b"" if (len(before) - len(before.rstrip(b"\\"))) % 2 else found[0]


def _plain(escape: re.Match[bytes]) -> bytes:
    """The character behind an escape; only ASCII can be base64."""
    code, simple = escape.groups()
    if code is not None and int(code, 16) < 0x80:
        return bytes((int(code, 16),))
    plain = _SIMPLE.get(simple or b"")
    if plain is None:
        raise DecodeError(_BAD)
    return plain


MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Twice what the largest picture of the API (8,294,400 pixels) takes uncompressed."""

_COALESCE = 4096
"""Smaller pieces are gathered to this size before they are decoded: a call costs as much as decoding that many."""

_MAX_PREFIX = 1024
"""A `data:` prefix names a media type; one longer than this is something else."""

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_LINE_ENDS = b"\t\r\n\f"  # no space: that is what a + becomes where a text is taken for a form's


class Base64Decoder:
    """Feed it characters, `write` gets the bytes; `close` says the text has ended. `nbytes` counts what was written."""

    def __init__(self, write: Callable[[bytes], object], max_bytes: int = MAX_IMAGE_BYTES) -> None:
        """Decode into `write`, up to `max_bytes`."""
        self.nbytes = 0
        self._write = write
        self._max_bytes = max_bytes
        self._start: bytes | None = b""  # what has come, until it is clear whether a prefix begins the text
        self._held = bytearray()
        self._lenient = False
        self._padded = False

    def feed(self, piece: bytes) -> None:
        """Decode the next characters. Raises `DecodeError` and `ResponseTooLargeError`."""
        if self._start is not None:
            piece = self._after_prefix(self._start + piece if self._start else piece)
        held = self._held
        if self._lenient or len(piece) < _COALESCE:
            held += piece.translate(_URL_SAFE, _LINE_ENDS) if self._lenient else piece
            if len(held) >= _COALESCE:
                self._flush()
            return
        # The common case, a large piece: complete the quad that was begun, then decode the rest where it lies.
        start = 0
        if held:
            start = -len(held) & 3
            held += piece[:start]
            self._flush()
        end = len(piece) - ((len(piece) - start) & 3)
        if not self._lenient and self._decode(memoryview(piece)[start:end]):
            held += piece[end:]
        else:
            self._lenient = True
            self.feed(piece[start:])

    def close(self) -> None:
        """The text has ended: decode what is held, padded or not. Raises `DecodeError`."""
        if self._start:
            start, self._start = self._start, None
            if start.startswith(b"data:"):
                raise _invalid()
            self._held += start
        self._flush()
        tail = bytes(self._held).translate(_URL_SAFE, _LINE_ENDS)
        core = tail.rstrip(b"=")
        if tail and (len(core) < 2 or not self._decode(core + b"=" * (-len(core) & 3))):
            raise _invalid()

    def _flush(self) -> None:
        """Decode the whole quads that are held; where they fail, once more as a lenient reader."""
        held = self._held
        whole = len(held) & ~3
        if self._decode(bytes(held[:whole])):
            del held[:whole]
        elif self._lenient:
            raise _invalid()
        else:
            self._lenient = True
            held[:] = bytes(held).translate(_URL_SAFE, _LINE_ENDS)
            self._flush()

    def _decode(self, quads: bytes | memoryview) -> bool:
        """Decode whole quads and write them, or do nothing and say so."""
        if not quads:
            return True
        try:
            data = pybase64.b64decode(quads, validate=True)
        except binascii.Error:
            return False
        if self._padded:
            raise _invalid()
        self._padded = len(data) * 4 != len(quads) * 3
        self.nbytes += len(data)
        if self.nbytes > self._max_bytes:
            raise image_too_large(self._max_bytes)
        self._write(data)
        return True

    def _after_prefix(self, text: bytes) -> bytes:
        """Drop a `data:` prefix; give nothing while it is not clear whether there is one."""
        if not text.startswith(b"data:"):
            self._start = text if b"data:".startswith(text) else None
            return b"" if self._start is not None else text
        prefix, comma, rest = text.partition(b",")
        if len(prefix) > _MAX_PREFIX:
            raise _invalid()
        if not comma:
            self._start = text
            return b""
        if not prefix.lower().endswith(b";base64"):
            raise _invalid()
        self._start = None
        return rest


def join_bytes(one: Callable[[bytes], object], other: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """A function that tells both."""

    def write(data: bytes) -> None:
        one(data)
        other(data)

    return write


def image_too_large(max_bytes: int) -> ResponseTooLargeError:
    """The error for a picture over the limit."""
    return ResponseTooLargeError(
        f"a picture in the answer is larger than {max_bytes:,} bytes and was abandoned; "
        "raise Limits(max_picture_bytes=…) if such pictures are expected"
    )


def _invalid() -> DecodeError:
    return DecodeError(
        "the answer holds a picture that is not valid base64; ask the server's operator what it sends"
    )
