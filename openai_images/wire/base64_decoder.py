"""Decodes base64, and the JSON escapes in it, while it arrives in pieces cut anywhere.

Invariants: linear; holds a few kilobytes at most; the bytes written are correct, or `DecodeError` is raised. In
addition to the standard alphabet with padding it accepts what compatible servers send: a `data:…;base64,` prefix, the
url-safe alphabet, missing padding, line ends and tabs.
Must not: accept anything else, padding inside the text, or more than `max_bytes`.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable

import pybase64

from openai_images.errors import DecodeError, ResponseTooLargeError

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_UNFINISHED = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LONGEST_ESCAPE = len(rb"\u002")
_SHORT_ESCAPES = {b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"f": b"\f"}
_INVALID_ESCAPE = "the answer holds a picture with an escape that is no base64"


class JSONUnescaper:
    """Removes JSON escapes from a string that arrives in pieces.

    `pending` is the incomplete escape at the end of the text fed so far.
    """

    def __init__(self) -> None:
        self.pending = b""

    def feed(self, text: bytes, *, last: bool) -> bytes:
        """Return `text` without escapes; `last`: the string ends here. Raises `DecodeError`."""
        text = self.pending + text
        self.pending = _incomplete_escape(text)
        if self.pending:
            if last:
                raise DecodeError(_INVALID_ESCAPE)
            text = text[: -len(self.pending)]
        # PHP writes every slash as \/, the only escape that comes thousands of times in an image.
        text = text.replace(b"\\/", b"/") if b"\\\\" not in text else text
        return _ESCAPE.sub(_unescape, text) if b"\\" in text else text


def _incomplete_escape(text: bytes) -> bytes:
    """Return the incomplete escape at the end of `text`; a backslash that is itself escaped begins none."""
    found = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_ESCAPE))
    if found is None:
        return b""
    before = text[: found.start()]
    return b"" if (len(before) - len(before.rstrip(b"\\"))) % 2 else found[0]


def _unescape(escape: re.Match[bytes]) -> bytes:
    """Return the character that an escape stands for; only ASCII can be base64."""
    code, simple = escape.groups()
    if code is not None and int(code, 16) < 0x80:
        return bytes((int(code, 16),))
    character = _SHORT_ESCAPES.get(simple or b"")
    if character is None:
        raise DecodeError(_INVALID_ESCAPE)
    return character


MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Twice the size of the API's largest image (8,294,400 pixels) uncompressed."""

_COALESCE = 4096
"""Smaller pieces are joined to this size before decoding: one call costs as much as decoding 4 kB."""

_MAX_PREFIX = 1024
"""Longest `data:` prefix: it only names a media type."""

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_LINE_ENDS = b"\t\r\n\f"  # no space: form decoding turns + into a space, so a space means lost data


class Base64Decoder:
    """Decodes the characters fed to it and passes the bytes to `write`.

    Call `close` at the end of the text. `nbytes` counts the bytes written.
    """

    def __init__(self, write: Callable[[bytes], object], max_bytes: int = MAX_IMAGE_BYTES) -> None:
        self.nbytes = 0
        self._write = write
        self._max_bytes = max_bytes
        self._start: bytes | None = b""  # buffered until it is clear whether the text begins with a prefix
        self._buffer = bytearray()
        self._lenient = False
        self._padded = False

    def feed(self, piece: bytes) -> None:
        """Decode the next characters. Raises `DecodeError` and `ResponseTooLargeError`."""
        if self._start is not None:
            piece = self._after_prefix(self._start + piece if self._start else piece)
        buffer = self._buffer
        if self._lenient or len(piece) < _COALESCE:
            buffer += piece.translate(_URL_SAFE, _LINE_ENDS) if self._lenient else piece
            if len(buffer) >= _COALESCE:
                self._flush()
            return
        # The common case, a large piece: complete the open quad, then decode the rest without copying it.
        start = 0
        if buffer:
            start = -len(buffer) & 3
            buffer += piece[:start]
            self._flush()
        end = len(piece) - ((len(piece) - start) & 3)
        if not self._lenient and self._decode(memoryview(piece)[start:end]):
            buffer += piece[end:]
        else:
            self._lenient = True
            self.feed(piece[start:])

    def feed_plain(self, piece: bytes) -> bool:
        """Decode a large piece of nothing but the standard alphabet; do nothing and return False for any other.

        Fast because decoding finds whatever is not base64, the end of the text included, so nothing else searches.
        """
        if self._start is not None or self._lenient or self._padded or len(piece) < _COALESCE:
            return False
        start = -len(self._buffer) & 3
        end = len(piece) - ((len(piece) - start) & 3)
        tail = piece[end:]
        first = bytes(self._buffer) + piece[:start]
        try:
            inner = pybase64.b64decode(memoryview(piece)[start:end], validate=True)
            # Both ends together; the last quad is completed with zeros.
            outer = pybase64.b64decode(first + tail + b"AAA"[: -len(tail) & 3], validate=True)
        except binascii.Error:
            return False
        outer = outer[: len(first) // 4 * 3]
        nbytes = len(outer) + len(inner)
        is_padded = nbytes * 4 != (len(first) + end - start) * 3
        if is_padded or self.nbytes + nbytes > self._max_bytes:
            return False
        self.nbytes += nbytes
        if outer:
            self._write(outer)
        self._write(inner)
        self._buffer[:] = tail
        return True

    def close(self) -> None:
        """Decode the buffered rest, padded or not: the text has ended. Raises `DecodeError`."""
        if self._start:
            start, self._start = self._start, None
            if start.startswith(b"data:"):
                raise _invalid()
            self._buffer += start
        self._flush()
        tail = bytes(self._buffer).translate(_URL_SAFE, _LINE_ENDS)
        core = tail.rstrip(b"=")
        if tail and (len(core) < 2 or not self._decode(core + b"=" * (-len(core) & 3))):
            raise _invalid()

    def _flush(self) -> None:
        """Decode the complete buffered quads; leniently once they are not standard base64."""
        buffer = self._buffer
        complete = len(buffer) & ~3
        if self._decode(bytes(buffer[:complete])):
            del buffer[:complete]
        elif self._lenient:
            raise _invalid()
        else:
            self._lenient = True
            buffer[:] = bytes(buffer).translate(_URL_SAFE, _LINE_ENDS)
            self._flush()

    def _decode(self, quads: bytes | memoryview) -> bool:
        """Decode complete quads and write the bytes; False, and nothing written, if they are not base64."""
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
        """Return `text` without its `data:` prefix; nothing while it is unclear whether there is one."""
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


def join_bytes(
    first: Callable[[bytes], object], second: Callable[[bytes], object]
) -> Callable[[bytes], object]:
    """Return a function that calls both."""

    def write(data: bytes) -> None:
        first(data)
        second(data)

    return write


def image_too_large(max_bytes: int) -> ResponseTooLargeError:
    """Return the error for an image over the limit."""
    return ResponseTooLargeError(
        f"a picture in the answer is larger than {max_bytes:,} bytes and was abandoned; "
        "raise Limits(max_picture_bytes=…) if such pictures are expected"
    )


def _invalid() -> DecodeError:
    return DecodeError(
        "the answer holds a picture that is not valid base64; ask the server's operator what it sends"
    )
