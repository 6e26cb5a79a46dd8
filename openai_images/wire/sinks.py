"""Pictures in memory: each held once, in room that was taken at once.

Rules: a picture's bytes are given away without a copy. A buffer that grows by steps is moved again and again, which
costs more than decoding what it holds, so each picture begins with the room that the last ones needed; room that is
not needed is given back. It refuses nothing: how large a picture may be is its decoder's to say.
"""

from __future__ import annotations

import io
from typing import Protocol

from openai_images.models.image import Image

_SMALL = 256 * 1024
"""Pictures up to this size, in bytes, are not worth any room: the allocator has it ready."""


class Sink(Protocol):
    """Where a picture's bytes go while they arrive."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes; must not block."""

    def finish(self) -> Image:
        """All bytes were written: give the picture."""
        ...

    def discard(self) -> None:
        """The picture will not be finished: leave nothing behind."""


class MemorySink:
    """The default sink: the picture's bytes in memory, once."""

    def __init__(self, room: MemorySinkFactory | None = None) -> None:
        """Start empty; take the room that `room` has come to expect, and tell it what was needed."""
        self._buffer = io.BytesIO()
        self._nbytes = 0
        self._room = room

    def write(self, data: bytes, /) -> None:
        """Take the next bytes."""
        before = self._nbytes
        self._nbytes += len(data)
        if before <= _SMALL < self._nbytes and self._room is not None and self._nbytes < self._room.expected:
            # Zeroed memory that nothing touches before the picture does; BytesIO takes it over as it is.
            begun, self._buffer = self._buffer.getvalue(), io.BytesIO(bytes(self._room.expected))
            self._buffer.write(begun)
        self._buffer.write(data)

    def finish(self) -> Image:
        """The picture; `getvalue` hands the buffer over without a copy."""
        self._buffer.truncate(self._nbytes)
        if self._room is not None:
            self._room.record_size(self._nbytes)
        return Image.from_bytes(self._buffer.getvalue())

    def discard(self) -> None:
        """Free the bytes now."""
        self._buffer.close()


class MemorySinkFactory:
    """Makes sinks for a client's pictures; `expected` bytes is what the next one will probably take."""

    def __init__(self) -> None:
        """Expect nothing yet."""
        self.expected = 0

    def __call__(self) -> MemorySink:
        """A sink for one more picture."""
        return MemorySink(self)

    def record_size(self, nbytes: int) -> None:
        """A picture took so many bytes: expect the largest of late, and forget it slowly."""
        self.expected = max(nbytes, self.expected - self.expected // 8)
