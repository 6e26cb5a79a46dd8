"""Decodes base64 into sinks while it arrives in pieces cut anywhere; the sinks that collect images in memory.

Invariants: linear; holds a few kilobytes at most; the bytes written are correct, or `DecodeError` is raised. Also
accepted is base64 of compatible servers: with a `data:…;base64,` prefix, url-safe, without padding, with line ends and
tabs. A sink starts with the size of recent images, because growing copies the buffer, and returns it without a copy.
Must not: accept anything else, padding inside the text, or more than `max_bytes`.
"""

from __future__ import annotations

import binascii
import io
from collections.abc import Callable
from typing import Protocol
from urllib.parse import unquote_to_bytes

import pybase64
from attrs import evolve

from openai_images.errors import DecodeError, ResponseTooLargeError
from openai_images.models.completeness import ImageProbe
from openai_images.models.image import Image

MAX_IMAGE_BYTES = 64 * 1024 * 1024
"""Twice the size of the API's largest image (8,294,400 pixels) uncompressed."""

_COALESCE = 4096
"""Smaller pieces are joined to this size before decoding: one call costs as much as decoding 4 kB."""

_PLAIN_PIECE = 512
"""Bytes from which on a piece of an image is decoded as it is: to refuse it costs more than not to join it first."""

_MAX_PREFIX = 1024
"""Longest `data:` prefix: it only names a media type."""

_SMALL_IMAGE = 256 * 1024
"""Bytes; smaller images need no preallocation, the allocator has them ready."""

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_LINE_ENDS = b"\t\r\n\f"  # no space: form decoding turns + into a space, so a space means lost data


class Sink(Protocol):
    """Receives an image's bytes while they arrive."""

    def write(self, data: bytes, /) -> object:
        """Write the next bytes; must not block."""

    def finish(self) -> Image:
        """Return the image: all bytes were written."""
        ...

    def discard(self) -> None:
        """Drop the incomplete image, and its file if there is one."""


class MemorySink:
    """The default sink: the image's bytes in memory, once."""

    def __init__(self, factory: MemorySinkFactory | None = None) -> None:
        """Start empty; `factory` knows the expected size and records the real one."""
        self._buffer = io.BytesIO()
        self._nbytes = 0
        self._factory = factory

    def write(self, data: bytes, /) -> None:
        """Write the next bytes."""
        before = self._nbytes
        self._nbytes += len(data)
        if (
            before <= _SMALL_IMAGE < self._nbytes
            and self._factory is not None
            and self._nbytes < self._factory.expected
        ):
            # Zeroed memory costs nothing until the image is written to it; BytesIO uses it without a copy.
            start, self._buffer = self._buffer.getvalue(), io.BytesIO(bytes(self._factory.expected))
            self._buffer.write(start)
        self._buffer.write(data)

    def finish(self) -> Image:
        """Return the image; `getvalue` returns the buffer without a copy."""
        self._buffer.truncate(self._nbytes)
        if self._factory is not None:
            self._factory.record_size(self._nbytes)
        return Image.from_bytes(self._buffer.getvalue())

    def discard(self) -> None:
        """Free the bytes."""
        self._buffer.close()


class MemorySinkFactory:
    """Creates a client's sinks; `expected` is the probable size of the next image in bytes."""

    def __init__(self) -> None:
        self.expected = 0

    def __call__(self) -> MemorySink:
        """Return a sink for one image."""
        return MemorySink(self)

    def record_size(self, nbytes: int) -> None:
        """Record an image's size: expect the largest recent one, and reduce that slowly."""
        self.expected = max(nbytes, self.expected - self.expected // 8)


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
        """Decode a piece of nothing but the standard alphabet; do nothing and return False for any other.

        The decoder rejects everything that is not base64, also the end of the text, so no search is needed first.
        """
        if self._start is not None or self._lenient or self._padded or len(piece) < _PLAIN_PIECE:
            return False
        buffer = self._buffer
        start = -len(buffer) & 3
        end = len(piece) - ((len(piece) - start) & 3)
        first, tail = bytes(buffer) + piece[:start], piece[end:]
        try:
            inner = pybase64.b64decode(memoryview(piece)[start:end], validate=True)
            # The rest of the last piece and the end of this one together; the last quad is padded with zeros.
            ends = first + tail + b"AAA"[: -len(tail) & 3]
            outer = pybase64.b64decode(ends, validate=True)[: len(first) // 4 * 3] if ends else b""
        except binascii.Error:
            return False
        nbytes = len(outer) + len(inner)
        is_padded = nbytes * 4 != (len(first) + end - start) * 3
        if is_padded or self.nbytes + nbytes > self._max_bytes:
            return False
        self.nbytes += nbytes
        if outer:
            self._write(outer)
        self._write(inner)
        if ends:
            buffer[:] = tail
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


def is_data_url(url: str) -> bool:
    """Whether the URL contains the image itself."""
    return url[:5].lower() == "data:"


def decode_data_url(url: str, sink: Sink, max_bytes: int) -> Image:
    """Decode the image of a `data:` URL into the sink; it may have a `flaw`.

    Raises `DecodeError` and `ResponseTooLargeError`.
    """
    head, comma, body = url.partition(",")
    if not comma:
        raise DecodeError("its data: URL has no data")
    probe = ImageProbe()
    data = unquote_to_bytes(body) if "%" in body else body.encode()
    if head.lower().endswith(";base64"):
        decoder = Base64Decoder(join_bytes(probe.feed, sink.write), max_bytes)
        decoder.feed(data)
        decoder.close()
    elif len(data) > max_bytes:
        raise image_too_large(max_bytes)
    else:
        join_bytes(probe.feed, sink.write)(data)
    return evolve(sink.finish(), flaw=probe.flaw)


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
        f"an image in the response is larger than {max_bytes:,} bytes and was not read further; "
        "raise Limits(max_picture_bytes=…) if such images are expected"
    )


def _invalid() -> DecodeError:
    return DecodeError(
        "the response has an image that is not valid base64; ask the server's operator what it sends"
    )
