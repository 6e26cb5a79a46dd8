"""Sinks that collect images in memory, each held once.

Invariants: an image's bytes are returned without a copy. A buffer that grows in steps is copied each time, which costs
more than decoding, so each buffer starts with the size that recent images had, and is shrunk at the end.
Must not: limit the size of an image (its decoder does).
"""

from __future__ import annotations

import io
from typing import Protocol

from openai_images.models.image import Image

_SMALL = 256 * 1024
"""Bytes; smaller images need no preallocation, the allocator has them ready."""


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
            before <= _SMALL < self._nbytes
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
