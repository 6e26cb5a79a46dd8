"""Leaves the small pieces of an image in the socket for a moment: waking up for each costs far more than its bytes.

Invariants: bytes that have arrived wait `delay` seconds at most; a transport that is closing, or that somebody else
paused, is not touched; after `stop` the connection reads as before. A `LightContent` has the bytes of aiohttp's own
body; a body of another class, or without a private attribute that is needed here, is not changed.
Must not: gather what is no image (the caller's `delay` is 0 there), or hold the sender back; be used for `readchunk`,
because the ends of HTTP chunks are not kept.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from operator import attrgetter
from typing import Any

import aiohttp

_UNKNOWN = 64 * 1024
"""Bytes to wait for while the pace is not known."""

_MOST = 96 * 1024
"""Bytes to wait for at most, which one read takes with what comes until then."""

_SHARE = 0.8
"""Of the bytes that `delay` should bring, how many end the wait: rarely too many, as a timer that fires costs more."""

_MEMORY = 0.75
"""What is left of earlier reads with each new one, when the pace is taken."""

_BURST = 0.0005
"""Seconds within which pieces were received together."""

_NO_FLOW_CONTROL = (AttributeError, NotImplementedError, RuntimeError)  # what transports without it raise
_release = re.match(r"(\d+)\.(\d+)", os.uname().release) if sys.platform == "linux" else None
_COUNTS_BYTES = _release is not None and (int(_release[1]), int(_release[2])) >= (4, 18)
"""Since then `SO_RCVLOWAT` holds back wake-ups, and reducing it wakes up for what has arrived."""

_LARGE_PIECE = 64 * 1024
"""Bytes of a piece that is always decoded as it arrives; smaller ones that come together are better joined first."""

_is_paused = attrgetter("_protocol._reading_paused")
_private = attrgetter(
    *("_buffer", "_buffer_offset", "_cursor", "_eof", "_exception", "_high_water", "_loop", "_low_water"),
    *("_size", "_timer", "_waiter", "_protocol._reading_paused", "_protocol.connected"),
)

Take = Callable[[bytes], bool]
"""Takes bytes when they arrive, or returns False."""


class Gathering:
    """Holds the reading of one response back: `begin` before each wait, `stop` at the end."""

    def __init__(self, transport: Any) -> None:
        """`transport` is the lowest one, below TLS."""
        self._loop = asyncio.get_running_loop()
        self._hold = _hold(transport)
        self.is_slow = False
        """Whether small pieces come, so that it is worth waiting for more of them."""
        self._since: float | None = None
        self._nbytes = self._seconds = self._delay = 0.0
        self._burst = 0

    def begin(self, nbytes: int, delay: float) -> None:
        """Gather for up to `delay` seconds, unless the last read was a large one: so many are its `nbytes`."""
        self._delay = delay
        if delay > 0 and nbytes:
            self._begin(nbytes)
        else:
            self.stop()

    def took(self, nbytes: int) -> None:
        """So many bytes came in the wait that has begun; what comes a moment later was gathered anew."""
        if self._since is not None and self._loop.time() - self._since < _BURST:
            self._burst += nbytes
            if self._burst >= self._hold.slow:
                self.stop()
        else:
            self._begin(self._burst)
            self._burst = nbytes

    def stop(self) -> None:
        """Read what arrives, as it arrives. Idempotent."""
        self.is_slow, self._since = False, None
        self._hold.stop()

    def _begin(self, nbytes: int) -> None:
        """Hold reading back, if the last bytes, which came since the last time, were few."""
        since, self._since = self._since, self._loop.time()
        if since is not None:
            self._nbytes = self._nbytes * _MEMORY + nbytes
            self._seconds = self._seconds * _MEMORY + self._since - since
        self.is_slow = nbytes < self._hold.slow
        if not self.is_slow:
            self._hold.stop()
            return
        expected = self._nbytes / self._seconds * self._delay * _SHARE if self._seconds else _UNKNOWN
        self._hold.until(min(int(expected), _MOST), self._delay)


class _LowMark:
    """Lets the kernel wake the event loop only once so many bytes are there, or the connection ends.

    After a read of `slow` bytes the next one is not held back.
    """

    slow = 120 * 1024  # what one read takes at most; the kernel knows when its buffer is full

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._mark = 1
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def until(self, nbytes: int, delay: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not nbytes <= self._mark <= 1.25 * nbytes:
            self._set(max(1, nbytes))
        self._timer = self._loop.call_later(delay, self.stop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._mark != 1:
            self._set(1)

    def _set(self, mark: int) -> None:
        self._mark = mark
        with suppress(OSError):  # the connection is closed
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, mark)


class _Pause:
    """Pauses the transport until the delay is over, where the kernel cannot count bytes."""

    slow = 64 * 1024  # so many may soon fill the socket's buffer, and the sender would wait

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._timer: asyncio.TimerHandle | None = None
        with suppress(AttributeError, OSError, TypeError):
            sock = transport.get_extra_info("socket")
            self.slow = min(self.slow, sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // 4)

    def until(self, nbytes: int, delay: float) -> None:  # noqa: ARG002
        with suppress(*_NO_FLOW_CONTROL):
            if self._transport.is_reading():
                self._transport.pause_reading()
                self._timer = asyncio.get_running_loop().call_later(delay, self.stop)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            if not self._transport.is_closing():
                self._transport.resume_reading()


def is_tls(transport: Any) -> bool:
    """Whether this is a layer of TLS, which may lose what it holds if the connection ends while reading pauses.

    uvloop's does (0.23); that of asyncio has an accessible transport below it, which is used instead.
    """
    with suppress(AttributeError):
        return transport.get_extra_info("ssl_object") is not None
    return False


def _hold(transport: Any) -> _LowMark | _Pause:
    sock: socket.socket | None = None
    if _COUNTS_BYTES:
        with suppress(AttributeError):
            sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return _Pause(None if is_tls(transport) else transport)
    return _LowMark(sock)


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
