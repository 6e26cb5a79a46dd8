"""Reads the body of a response off its connection, with no more wake-ups than its speed needs.

Invariants: a read returns what has arrived, in the middle of an image up to `delay` seconds later than it could; a
connection that is no longer this response's, or that somebody else paused, is not touched.
Must not: time out, or know what the bytes are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import aiohttp

READ_BYTES = 256 * 1024
"""Maximum bytes per read, as asyncio receives them. aiohttp may buffer three; joining them would double the memory."""

_ENOUGH = 64 * 1024
"""Bytes of a read after which the next one is not delayed: so many would soon fill the socket's buffer."""

_NO_FLOW_CONTROL = (AttributeError, NotImplementedError, RuntimeError)  # what transports without it raise


class BodyReader:
    """Reads one body: `read` until it returns b"", `buffered` after an error, and `close`."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self.waited = False
        """Whether the last read waited, so that other tasks could run."""
        self._nbytes = 0
        self._resume_timer: asyncio.TimerHandle | None = None

    async def read(self, nbytes: int = READ_BYTES, *, delay: float = 0.0) -> bytes:
        """Return the next bytes, at most `nbytes`; b"" at the end.

        If the last read was a small one, reading pauses for `delay` seconds while more arrives: to wake up for each
        packet costs many times as much as its bytes.
        """
        chunk = self._content.read_nowait(nbytes)
        self.waited = not chunk
        if not chunk:
            if delay > 0 and 0 < self._nbytes < _ENOUGH:
                self._pause(delay)
            chunk = await self._content.read(nbytes)
        self._nbytes = len(chunk)
        return chunk

    def buffered(self) -> bytes:
        """Return data received before the error: aiohttp keeps it when it raises, and it may complete a paid image."""
        # A private method of aiohttp, as there is no public one that does not raise; without it the data is lost.
        read_nowait: Callable[[int], bytes] | None = getattr(self._content, "_read_nowait", None)
        return b"" if read_nowait is None else read_nowait(READ_BYTES)

    def close(self) -> None:
        """Close the connection immediately, unless the body was read to its end: then it can be reused."""
        if self._resume_timer is not None:
            self._resume_timer.cancel()
        self._response.close()

    def _pause(self, delay: float) -> None:
        """Leave what arrives in the socket for a moment."""
        connection = self._response.connection
        transport = None if connection is None else connection.transport
        if transport is None:
            return
        # Below TLS if it can be reached: what the TLS layer has read is lost if the connection is reset meanwhile.
        transport = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None) or transport
        try:
            if transport.is_reading():
                transport.pause_reading()
                loop = asyncio.get_running_loop()
                self._resume_timer = loop.call_later(delay, _resume, transport)
        except _NO_FLOW_CONTROL:
            pass


def _resume(transport: asyncio.ReadTransport) -> None:
    if not transport.is_closing():
        transport.resume_reading()
