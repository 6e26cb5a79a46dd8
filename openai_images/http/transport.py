"""`Transport.open`: one POST, and its response read chunk by chunk.

Invariants: no exception of aiohttp leaves this module: before the request is sent it is an `APIConnectionError` that
is safe to resend, afterwards an `OutcomeUnknownError`. Every wait has a timer of the package's own (aiohttp's
`sock_read` does not fire after a malformed chunk, seen in 3.14), which stops while the caller's code runs.
Must not: read lines (an image is one line, and aiohttp rejects long ones), or follow redirects with the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import aiohttp

from openai_images.errors import (
    APITimeoutError,
    ConfigurationError,
    StreamInterruptedError,
)
from openai_images.http.body_reader import BodyReader, OpenBodies
from openai_images.http.request_body import BytesBody, Deadlines, RequestProgress
from openai_images.http.retry import FAILURES, Translation, cause, describe, not_sent, timed_out, unanswered
from openai_images.http.sessions import SessionPool
from openai_images.http.small_pieces import Take
from openai_images.models.options import Timeouts, Timing
from openai_images.wire.requests import HTTPRequest
from openai_images.wire.response import chunk_end

_ERROR_BODY_BYTES = 128 * 1024
_ERROR_BODY_SECONDS = 10.0
"""Limits for reading an error body: bytes (parsing and redacting block the loop for about 0.2 microseconds a byte), and
seconds. The status is already known, the body only explains it."""

_YIELD_INTERVAL = 0.005
"""Seconds of decoding after which other tasks run."""

_GRACE = 0.05
"""Seconds for which received data is still decoded after a timeout."""

_SSL_TYPES = (ssl.SSLContext, bool, aiohttp.Fingerprint, type(None))


class Transport:
    """Sends requests and opens their responses."""

    def __init__(
        self, sessions: SessionPool, timing: Timing, *, ssl: ssl.SSLContext | bool | None, proxy: str | None
    ) -> None:
        """`ssl` and `proxy` are passed to aiohttp; downloads use them too. Raises `ConfigurationError`."""
        kind: Any = type(ssl)  # callers may be untyped
        if not issubclass(kind, _SSL_TYPES):
            raise ConfigurationError(
                f"ssl must be an ssl.SSLContext, or False for no check, not {kind.__name__}"
            )
        self.sessions = sessions
        self._timing = timing
        self.ssl = True if ssl is None else ssl
        self.proxy = proxy
        self._open_bodies = OpenBodies()

    async def open(
        self,
        request: HTTPRequest,
        timeouts: Timeouts,
        watch: Callable[[RequestProgress], object] = lambda _: None,
    ) -> Response:
        """Send the request and wait for the response headers; the caller must `close` the response.

        `watch` is called with its progress before it is sent. Raises `ConfigurationError`, `APIConnectionError` and
        `APITimeoutError`, the latter two also as `OutcomeUnknownError` once the request was sent.
        """
        connect = connect_timeout(timeouts.connect, waits_for_pool=self.sessions.external is not None)
        watch(progress := RequestProgress(request.body, timeouts, self._timing))
        try:
            try:
                with progress.wait.within(None):
                    response = await self.send(request.url, request.headers, connect, progress.body)
            except FAILURES:
                if not progress.is_stale:
                    raise
                # The reused connection was closed; by now the loop has also noticed all other closed ones.
                watch(progress := RequestProgress(request.body, timeouts, self._timing))
                with progress.wait.within(None):
                    response = await self.send(request.url, request.headers, connect, progress.body)
        except FAILURES as error:
            with Translation():
                timer = progress.timer if progress.wait.expired else ""
                body = progress.body
                if not isinstance(body, BytesBody) and body.cut:
                    raise body.cut_error(describe(error), timer, progress.seconds) from None
                if timer:
                    raise timed_out(timer, progress.seconds) from None
                if not progress.started:
                    raise not_sent(error, timeouts) from cause(error)
                raise unanswered(error) from cause(error)
        progress.answered = True
        reader = BodyReader(response, self._open_bodies)
        return Response(response, reader, timeouts, self._timing, progress)

    async def send(
        self, url: str, headers: Mapping[str, str], connect: aiohttp.ClientTimeout, body: Any = None
    ) -> aiohttp.ClientResponse:
        """Send a GET, or a POST with a body, and return its response. Raises aiohttp's exceptions."""
        session = await self.sessions.get()  # a new one if the client was closed
        send = session.get if body is None else session.post
        response = await send(
            url,
            data=body,
            headers=headers,
            allow_redirects=False,
            ssl=self.ssl,
            proxy=self.proxy or self.sessions.proxy_for(url),
            timeout=connect,
            raise_for_status=False,  # True in the caller's session would hide the error body
        )
        self.sessions.track(response)
        return response


@lru_cache(maxsize=64)  # bounded: each call may have its own
def connect_timeout(seconds: float | None, *, waits_for_pool: bool = False) -> aiohttp.ClientTimeout:
    """Return aiohttp's timers for connecting; waiting for the pool of the caller's session does not count."""
    connect = None if waits_for_pool else seconds
    return aiohttp.ClientTimeout(total=None, connect=connect, sock_connect=seconds, sock_read=None)


class Response:
    """A response whose body is unread: `status`, `headers`, and `read` until it returns b""."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        body: BodyReader,
        timeouts: Timeouts,
        timing: Timing,
        progress: RequestProgress,
    ) -> None:
        self.upload_incomplete = progress.body.cut
        """Whether the server responded before it had the complete request, which then cannot have been executed."""
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._body = body
        self._wait = progress.wait
        self._timeouts = timeouts
        self._monotonic = timing.monotonic
        self._deadlines = Deadlines(timeouts, timing, progress.elapsed)
        self._chunk, self._offset = b"", 0
        self._yielded_at = self._monotonic()
        self._timeout_error: APITimeoutError | None = None
        self._timed_out_at = 0.0

    async def read(self, take: Take | None = None) -> bytes:
        """Return the next bytes; b"" at the end. Raises `APITimeoutError` and `StreamInterruptedError`.

        A returned chunk takes only a few milliseconds to decode, and other tasks run between chunks. With `take`, in
        the middle of an image, bytes are read up to `Timeouts.read_delay` seconds later, and those that it takes when
        they arrive are not returned; the chunk is all that was received and may have to be `cut`. After a timeout, data
        that has already arrived is still returned for `_GRACE` seconds: it may complete a paid image.
        """
        self._deadlines.start()
        if self._monotonic() - self._yielded_at >= _YIELD_INTERVAL:
            await asyncio.sleep(0)  # other tasks could not run for a while
            self._yielded_at = self._monotonic()
        if not self._chunk and self._timeout_error is not None:
            self._chunk = self._body.buffered()
        elif not self._chunk:
            await self._receive(take)
            if not self._chunk and self._timeout_error is None:
                return b""
        if self._timeout_error is None:
            timer, seconds = self._deadlines.next()
            if seconds is not None and seconds <= 0:
                self._run_out(timer)
        if self._timeout_error is not None and (
            not self._chunk or self._monotonic() - self._timed_out_at > _GRACE
        ):
            raise self._timeout_error
        if take is None:
            return self._piece()
        chunk = self._chunk[self._offset :]  # without a copy of the part that was returned
        self._chunk, self._offset = b"", 0
        return chunk

    def cut(self, chunk: bytes) -> bytes:
        """Return the piece of the chunk that is decoded in a few milliseconds; the next reads return the rest."""
        self._chunk, self._offset = chunk, 0
        return self._piece()

    def _piece(self) -> bytes:
        end = chunk_end(self._chunk, self._offset)
        piece = self._chunk if end - self._offset == len(self._chunk) else self._chunk[self._offset : end]
        self._offset = end
        if end == len(self._chunk):
            self._chunk, self._offset = b"", 0
        return piece

    @property
    def at_end(self) -> bool:
        """Whether the next read is certain to return b""."""
        return not self._chunk and self._body.at_end

    def pause(self) -> None:
        """Stop the timers until the next `read`: the caller's code runs."""
        self._deadlines.stop()

    def hurry(self, seconds: float) -> None:
        """Limit all further reading to `seconds` from now; a later call cannot extend that."""
        self._deadlines.shorten(seconds)

    async def _receive(self, take: Take | None) -> None:
        """Wait for bytes; after a timeout or a broken connection, take the buffered ones."""
        if self._timeouts.comments_are_life:
            self._deadlines.active()
        _, seconds = self._deadlines.next()
        delay = None if take is None else self._timeouts.read_delay
        if seconds is not None and delay is not None and delay > seconds / 2:
            delay = seconds / 2  # the client's own wait must not let a timer run out
        try:
            with self._wait.within(seconds):
                self._chunk = await self._body.read(delay=delay, take=take and self._active(take))
            if self._body.waited:
                self._yielded_at = self._monotonic()
        except FAILURES as error:
            with Translation():
                self._chunk = self._body.buffered()
                if self._wait.expired:
                    self._run_out(self._deadlines.next()[0])
                elif not self._chunk:
                    msg = f"the connection broke in the middle of the response ({describe(error)})"
                    raise StreamInterruptedError(f"{msg}; it may have been billed") from cause(error)

    def _active(self, take: Take) -> Take:
        """Let what is taken restart the idle timer, if there is one."""
        if self._timeouts.idle is None:
            return take

        def taken(chunk: bytes) -> bool:
            if not take(chunk):
                return False
            self._deadlines.active()
            self._wait.move(self._deadlines.next()[1])
            return True

        return taken

    def _run_out(self, timer: str) -> None:
        limits = self._timeouts
        self._timeout_error = timed_out(timer, limits.idle if timer == "idle" else limits.total)
        self._timed_out_at = self._monotonic()

    def reset_idle(self) -> None:
        """Restart the idle timer, because more than comments arrived."""
        self._deadlines.active()

    async def read_error_body(self) -> bytes:
        """Return the part of an error response's body that arrives."""
        body = bytearray()
        self._deadlines.start()
        _, seconds = self._deadlines.next()
        seconds = _ERROR_BODY_SECONDS if seconds is None else min(_ERROR_BODY_SECONDS, seconds)
        with contextlib.suppress(*FAILURES), self._wait.within(seconds):
            while (capacity := _ERROR_BODY_BYTES - len(body)) > 0 and (
                chunk := await self._body.read(capacity)
            ):
                body += chunk
        return bytes(body)

    def close(self) -> None:
        """Close the connection immediately, unless the body was read to its end: then it can be reused."""
        self._wait.cancel()
        self._body.close()
