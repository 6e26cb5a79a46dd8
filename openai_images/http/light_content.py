"""A body of aiohttp that is cheaper to read, and that can be decoded while it arrives.

Invariants: the bytes are those of aiohttp's own body; a body of another class, or without a private attribute that
is needed here, is not changed.
Must not: be used for `readchunk`, because the ends of HTTP chunks are not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter

import aiohttp

from openai_images.http.gathering import Gathering

_LARGE_PIECE = 64 * 1024
"""Bytes of a piece that is always decoded as it arrives; smaller ones that come together are better joined first."""

_is_paused = attrgetter("_protocol._reading_paused")
_private = attrgetter(
    *("_buffer", "_buffer_offset", "_cursor", "_eof", "_exception", "_high_water", "_loop", "_low_water"),
    *("_size", "_timer", "_waiter", "_protocol._reading_paused", "_protocol.connected"),
)

Take = Callable[[bytes], bool]
"""Takes bytes when they arrive, or returns False."""


class _TakingWaiter(asyncio.Future[None]):
    """The future of a body that is waited for, with what takes the bytes that come, and counts them."""

    take: Take
    gathering: Gathering


class LightContent(aiohttp.StreamReader):
    """A body without the ends of its HTTP chunks, which only `readchunk` needs.

    aiohttp (3.14) records each end, and resumes the parser after each chunk that is read although nothing was paused:
    for chunks of 16 KB that costs more than reading them.
    """

    __slots__ = ()

    def begin_http_chunk_receiving(self) -> None:
        """Do nothing."""

    def end_http_chunk_receiving(self) -> None:
        """Do nothing."""

    def pause_at(self, nbytes: int) -> None:
        """Let the connection pause only when so many bytes are buffered."""
        self._low_water, self._high_water = nbytes // 2, nbytes

    async def read_rest(self, nbytes: int, take: Take, gathering: Gathering) -> bytes:
        """Read as `read` does, but give each piece that comes meanwhile to `take`, and only return what it refuses."""
        while not self._buffer and not self._eof:
            if self._exception is not None:
                raise self._exception
            if not self._protocol.connected:
                raise RuntimeError("the connection is closed")
            waiter = self._waiter = _TakingWaiter(loop=self._loop)
            waiter.take, waiter.gathering = take, gathering
            try:
                with self._timer:
                    await waiter
            finally:
                self._waiter = None
        return self.read_nowait(nbytes)

    def feed_data(self, data: bytes, size: int = 0) -> bool:
        """Take the next bytes of the parser."""
        waiter = self._waiter
        if type(waiter) is _TakingWaiter and not self._buffer:
            nbytes = len(data)
            # Many pieces of one read are better joined first.
            if (waiter.gathering.is_slow or nbytes >= _LARGE_PIECE) and waiter.take(data):
                self.total_bytes += nbytes
                waiter.gathering.took(nbytes)
                return False
        super().feed_data(data, size)
        return False

    def _read_nowait(self, n: int) -> bytes:
        buffer, size = self._buffer, self._size
        if not size:
            return b""
        if not 0 < size <= n or self._buffer_offset:
            return super()._read_nowait(n)
        self._timer.assert_timeout()
        data = buffer[0] if len(buffer) == 1 else b"".join(buffer)
        buffer.clear()
        self._size = 0
        self._cursor += size
        if _is_paused(self):
            self._protocol.resume_reading()
        return data


def lighten(content: aiohttp.StreamReader) -> aiohttp.StreamReader:
    """Return the body, made cheaper to read if it is aiohttp's own and has the expected attributes."""
    if type(content) is aiohttp.StreamReader:
        with suppress(AttributeError, TypeError):
            _private(content)
            content.__class__ = LightContent
    return content
