"""Reads bodies from their connections: `BodyReader` reads responses, `read_image` a download into a sink.

Invariants: a read returns what has arrived, in the middle of an image up to `delay` seconds later; a connection that no
longer belongs to this response, or that other code paused, is not touched. The bytes, not the headers, decide whether a
download is an image; its size and the seconds without a byte are limited.
Must not: hold more than a chunk; decompress a download, because a small body may expand without limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakSet, ref

import aiohttp

from openai_images._util import heap
from openai_images.http.retry import FAILURES, FetchError, TransientFetchError, Translation
from openai_images.http.small_pieces import Gathering, LightContent, Take, is_tls, lighten
from openai_images.models import media
from openai_images.models.completeness import ImageProbe
from openai_images.wire.base64_decoder import Sink

READ_BYTES = 256 * 1024
"""Maximum bytes per read, as asyncio receives them. aiohttp may buffer three; joining them would double the memory."""

_ENOUGH = 64 * 1024
"""Bytes of a read after which the next `recv` may be larger."""

_MANY = 4
"""With more open bodies than this each receives less at a time, so that one read does not delay all the others."""

_RECEIVED, _RECEIVED_SLOWLY = 256 * 1024, 120 * 1024
"""Bytes that the transport allocates for each `recv`. glibc maps new memory for 128 KB and more each time."""

_TLS_RECORD = 16 * 1024
"""The size of the largest TLS record; asyncio's TLS layer would allocate 256 KB for each."""

_MOST_BUFFERED = 64 * 1024 * 1024
"""Bytes of a body to buffer before reading pauses, where pausing may lose bytes; elsewhere aiohttp pauses at 512 KB."""

_LARGE = 256 * 1024
"""Bytes of a body from which its memory is kept for the next one."""

_QUIET = 10.0
"""Seconds without an open body after which kept memory is returned to the system."""


class OpenBodies:
    """The open bodies of a client; the memory of large ones is kept until none was open for `_QUIET` seconds."""

    def __init__(self) -> None:
        self._readers: WeakSet[BodyReader] = WeakSet()
        self._freed_large = False
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._readers)

    def add(self, reader: BodyReader) -> None:
        """Add a body that was opened."""
        heap.adapt_to_images()
        self._readers.add(reader)

    def discard(self, reader: BodyReader) -> None:
        """Remove a body that was closed. Idempotent."""
        self._readers.discard(reader)
        self._freed_large = self._freed_large or reader.is_large
        if self._freed_large and not self._readers:
            if self._timer is not None:
                self._timer.cancel()
            with suppress(RuntimeError):  # the loop has ended
                loop = asyncio.get_running_loop()
                self._timer = loop.call_later(_QUIET, self._give_back, loop)

    def _give_back(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._readers:
            self._freed_large = False
            loop.run_in_executor(None, heap.give_back)  # some milliseconds


class BodyReader:
    """Reads one body: `read` until it returns b"", `buffered` after an error, and `close`."""

    def __init__(self, response: aiohttp.ClientResponse, open_bodies: OpenBodies) -> None:
        """Add this body to `open_bodies` until it is closed."""
        self._response = response
        self._content = lighten(response.content)
        # A few compressed kilobytes may hold megabytes, and only what waits in the body's buffer pauses unpacking.
        self._is_compressed = "Content-Encoding" in response.headers
        self._open_bodies = open_bodies
        open_bodies.add(self)
        self.waited = False
        """Whether the last read waited, so that other tasks could run."""
        self._nbytes = 0
        self._gathering: Gathering | None = None
        connection = response.connection
        self._transport = None if connection is None else connection.transport
        self._max_size = 0
        # After a malformed chunk aiohttp (3.14) closes the connection, but lets the body wait forever.
        self._closed: asyncio.Future[None] | None = getattr(
            getattr(connection, "protocol", None), "closed", None
        )
        self._on_closed = partial(_end_wait, ref(self))
        if self._closed is not None:
            self._closed.add_done_callback(self._on_closed)
        elif connection is not None and self._transport is None:
            self.end_wait()
        tls = getattr(self._transport, "_ssl_protocol", None)
        if tls is not None:
            with suppress(AttributeError):
                tls.max_size = _TLS_RECORD
            # Below TLS if possible: data in the TLS layer would be lost if the connection is reset during the pause.
            self._transport = getattr(tls, "_transport", self._transport)
        elif is_tls(self._transport) and type(self._content) is LightContent and not self._is_compressed:
            self._content.pause_at(_MOST_BUFFERED)

    async def read(
        self, nbytes: int = READ_BYTES, *, delay: float | None = None, take: Take | None = None
    ) -> bytes:
        """Return the next bytes, at most `nbytes`; b"" at the end.

        `take` gets the pieces that arrive during the wait; the first one that it refuses is returned. After a small
        read, arriving data is gathered for up to `delay` seconds.
        """
        chunk = self._content.read_nowait(nbytes)
        self.waited = not chunk
        if not chunk:
            if self._response.connection is not None and self._transport is not None:
                self._before_wait(self._transport, delay)
            if self._closed is not None and self._closed.done():
                self.end_wait()
            content, gathering = self._content, self._gathering
            if take is None or gathering is None or self._is_compressed or type(content) is not LightContent:
                chunk = await content.read(nbytes)
            else:
                chunk = await content.read_rest(nbytes, take, gathering)
        self._nbytes = len(chunk)
        return chunk

    @property
    def is_large(self) -> bool:
        """Whether the body is so large that its memory is kept for the next one."""
        return self._content.total_bytes > _LARGE

    @property
    def at_end(self) -> bool:
        """Whether the whole body was read."""
        return self._content.at_eof() and self._content.exception() is None

    def buffered(self) -> bytes:
        """Return data received before the error, which aiohttp keeps: it may complete a paid image."""
        # A private method of aiohttp: the public ones raise, and the data would be lost.
        read_nowait: Callable[[int], bytes] | None = getattr(self._content, "_read_nowait", None)
        return b"" if read_nowait is None else read_nowait(READ_BYTES)

    def close(self) -> None:
        """Close the connection immediately, unless the body was read to its end: then it can be reused."""
        if self._gathering is not None:
            self._gathering.stop()
        if self._closed is not None and self._closed.remove_done_callback(self._on_closed):
            self._closed.remove_done_callback(_retrieve)
            self._closed.add_done_callback(_retrieve)  # asyncio logs an exception that was not retrieved
        self._open_bodies.discard(self)
        self._response.close()

    def end_wait(self) -> None:
        """Let a read raise that waits for a connection that is closed, if aiohttp has not done so."""
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError("the connection was closed"))

    def _before_wait(self, transport: Any, delay: float | None) -> None:
        """Adapt to how fast the last bytes came: how much is received at a time, and when."""
        is_slow = self._nbytes < _ENOUGH
        max_size = _RECEIVED_SLOWLY if is_slow or len(self._open_bodies) > _MANY else _RECEIVED
        if max_size != self._max_size:
            self._max_size = max_size
            with suppress(AttributeError):  # an attribute of asyncio's own socket transports
                transport.max_size = max_size
        if self._gathering is None and delay is not None:
            self._gathering = Gathering(transport)
        if self._gathering is not None:
            self._gathering.begin(self._nbytes, delay or 0.0)


def _retrieve(closed: asyncio.Future[None]) -> None:
    if not closed.cancelled():
        closed.exception()


def _end_wait(reader: ref[BodyReader], closed: asyncio.Future[None]) -> None:
    _retrieve(closed)
    if (waiting := reader()) is not None:
        waiting.end_wait()


SILENCE = 60.0
"""Seconds without a byte after which a download is retried, unless `Timeouts.idle` is set: a file already exists."""

_HEAD = 12  # bytes that identify most image formats
_UNTIL_CLEAR = 4096  # an SVG may begin with a long comment
_SKIPPED = b"\xef\xbb\xbf \t\r\n"


class Bounds(NamedTuple):
    """The maximum size of an image in bytes, and the maximum seconds without a byte."""

    nbytes: int
    silence: float


async def read_image(
    response: aiohttp.ClientResponse,
    open_bodies: OpenBodies,
    sink: Sink,
    bounds: Bounds,
    drain: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Write the image to the sink and close the response; `drain` is awaited after each chunk. Raises `FetchError`."""
    with closing(BodyReader(response, open_bodies)) as body:
        if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
            raise FetchError("it is compressed, which was not requested", status=response.status)
        if (response.content_length or 0) > bounds.nbytes:
            raise _too_large(bounds)
        start, is_image = b"", False
        probe = ImageProbe()
        while chunk := await _read_chunk(body, response.status, bounds.silence, probe.nbytes):
            probe.feed(chunk)
            if probe.nbytes > bounds.nbytes:
                raise _too_large(bounds)
            if not is_image:
                start += chunk
                if not _begins_image(start, response):
                    continue
                chunk, start, is_image = start, b"", True
            sink.write(chunk)
            if drain is not None:
                await drain()
    if len(start) >= _HEAD:
        raise _not_an_image(response)
    if probe.flaw is not None:
        raise TransientFetchError(f"it ended after {probe.nbytes:,} bytes", status=response.status)


async def _read_chunk(body: BodyReader, status: int, silence: float, nbytes: int) -> bytes:
    deadline = asyncio.timeout(silence)
    try:
        async with deadline:
            return await body.read()
    except FAILURES as error:
        with Translation():
            broken = f"the connection broke ({type(error).__name__})"
            reason = f"nothing came for {silence:g} s" if deadline.expired() else broken
            raise TransientFetchError(f"{reason} after {nbytes:,} bytes", status=status) from None


def _begins_image(start: bytes, response: aiohttp.ClientResponse) -> bool:
    """Whether these bytes begin an image; False also if there are too few to know. Raises `FetchError`."""
    if len(start) < _HEAD:
        return False
    if media.media_type(start) != media.UNKNOWN:
        return True
    may_be = start.lstrip(_SKIPPED)[:1] in (b"<", b"") or start[4:8] == b"ftyp"  # SVG, AVIF
    if may_be and len(start) < _UNTIL_CLEAR:
        return False
    raise _not_an_image(response)


def _not_an_image(response: aiohttp.ClientResponse) -> FetchError:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()[:60] or "no content type"
    return FetchError(f"the downloaded file is not an image ({kind})", status=response.status)


def _too_large(bounds: Bounds) -> FetchError:
    return FetchError(f"it is larger than {bounds.nbytes:,} bytes (Limits(max_picture_bytes=…))")
