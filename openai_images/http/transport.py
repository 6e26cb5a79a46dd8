"""`Transport.open`: one POST, its response read chunk by chunk; and the one table of aiohttp's exceptions.

Invariants: no exception of aiohttp leaves this module: before the request is sent it is an `APIConnectionError` that
is safe to resend, afterwards an `OutcomeUnknownError`. Every wait has a timer of the package's own (aiohttp's
`sock_read` does not fire after a malformed chunk, seen in 3.14), which runs while the client waits and not while the
caller's code does.
Must not: read lines (an image is one line, and aiohttp rejects long ones), or follow redirects with the key.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping

import aiohttp

from openai_images.errors import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ConnectionOutcomeUnknownError,
    ImagesError,
    StreamInterruptedError,
)
from openai_images.http.deadlines import Deadlines, timed_out
from openai_images.http.request_body import BytesBody, RequestProgress
from openai_images.http.sessions import Session, SessionPool, head_flaw
from openai_images.models.options import Timeouts, Timing
from openai_images.wire.chunks import chunk_end
from openai_images.wire.redaction import redact
from openai_images.wire.requests import HTTPRequest

_NOT_SENT: tuple[tuple[type[Exception], str], ...] = (  # the first that fits
    (aiohttp.ClientConnectorDNSError, "the host name could not be resolved; check base_url and the network"),
    (
        aiohttp.ClientProxyConnectionError,
        "the proxy could not be reached; check proxy= or the environment's proxies",
    ),
    (aiohttp.ClientHttpProxyError, "the proxy refused to connect; check its address and credentials"),
    (aiohttp.ClientSSLError, "the TLS handshake failed; check base_url, the server's certificate, or ssl="),
    (aiohttp.ServerFingerprintMismatch, "the server's certificate is not the one that ssl= expects"),
    (aiohttp.ClientConnectorError, "no connection could be made; check base_url and that the server is up"),
)

_FAILURES = (aiohttp.ClientError, OSError, ValueError)  # TimeoutError is an OSError

_PIECE = 256 * 1024
"""What asyncio receives at once. aiohttp may hold three of them, and joined they would cost memory twice."""

_REFUSAL_BYTES = 128 * 1024
_REFUSAL_SECONDS = 10.0
"""How much of a refusal is read (looking for its reason and redacting it costs the loop about 0.2 microseconds a byte),
and how long it may take: the status is known, the rest is explanation."""

_TURN = 0.005
"""Seconds of decoding after which the loop has its turn."""

_GRACE = 0.05
"""Seconds for which what has come is still decoded when a timer has run out."""


class Transport:
    """Opens exchanges."""

    def __init__(
        self, sessions: SessionPool, timing: Timing, *, ssl: ssl.SSLContext | bool | None, proxy: str | None
    ) -> None:
        """Send over these sessions, with these settings of aiohttp; downloads go the same way."""
        self.sessions = sessions
        self._timing = timing
        self.ssl = True if ssl is None else ssl
        self.proxy = proxy

    async def open(self, request: HTTPRequest, timeouts: Timeouts) -> Response:
        """Send the request and wait for the answer's headers; the caller must `close` what comes back.

        Raises `ConfigurationError`, `APIConnectionError` and `APITimeoutError`, the latter two also as
        `OutcomeUnknownError` once the request was sent.
        """
        session = await self.sessions.get()
        sending = RequestProgress(request.body, timeouts, self._timing)
        try:
            try:
                response = await self._post(session, request, sending, timeouts)
            except _FAILURES:
                if not sending.is_stale:
                    raise
                # A kept connection had ended, and the loop has since read the end of all others that had.
                sending = RequestProgress(request.body, timeouts, self._timing)
                response = await self._post(session, request, sending, timeouts)
        except _FAILURES as error:
            timer = sending.timer if sending.deadline.expired() else ""
            body = sending.body
            if not isinstance(body, BytesBody) and body.cut:
                raise body.failed(_name(error), timer, sending.seconds) from None
            if timer:
                raise timed_out(timer, sending.seconds) from None
            if not sending.started:
                raise _not_sent(error, timeouts) from _cause(error)
            flaw = head_flaw(error)
            broke = f"the connection broke before the answer came ({_name(error)})"
            msg = broke if flaw is None else f"the answer's head is malformed: {flaw}"
            raise ConnectionOutcomeUnknownError(f"{msg}; it may have been billed") from _cause(error)
        self.sessions.track(response)
        return Response(response, timeouts, self._timing, sending)

    async def _post(
        self, session: Session, request: HTTPRequest, sending: RequestProgress, timeouts: Timeouts
    ) -> aiohttp.ClientResponse:
        async with sending.deadline:
            return await session.post(
                request.url,
                data=sending.body,
                headers=request.headers,
                allow_redirects=False,
                ssl=self.ssl,
                proxy=self.proxy or self.sessions.proxy_for(request.url),
                timeout=self._connect_timeout(timeouts),
                raise_for_status=False,  # a session handed in may have it on, and would hide what the server said
            )

    def _connect_timeout(self, timeouts: Timeouts) -> aiohttp.ClientTimeout:
        """Aiohttp's own timers, for connecting only; in a session handed in, waiting for its pool is not connecting."""
        whole = None if self.sessions.given else timeouts.connect
        return aiohttp.ClientTimeout(total=None, connect=whole, sock_connect=timeouts.connect, sock_read=None)


class Response:
    """An answer whose body is still to be read: `status`, `headers`, and `read` until it gives nothing."""

    def __init__(
        self, response: aiohttp.ClientResponse, timeouts: Timeouts, timing: Timing, sending: RequestProgress
    ) -> None:
        """Go on with the timers where `sending` left them."""
        self.unsent = sending.body.cut
        """Whether the server answered before it had the whole request, which then cannot have run."""
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._response = response
        self._timeouts = timeouts
        self._monotonic = timing.monotonic
        self._deadlines = Deadlines(timeouts, timing, sending.elapsed)
        self._chunk, self._at = b"", 0
        self._turned = self._monotonic()
        self._late: APITimeoutError | None = None
        self._late_since = 0.0

    async def read(self) -> bytes:
        """The next bytes, nothing at the end. Raises `APITimeoutError` or `StreamInterruptedError`.

        A piece takes about `SLOW_BYTES` to decode, and between two of them the loop has its turn. When a timer has run
        out, what is here already is still given for a moment: it may end a paid image.
        """
        self._deadlines.start()
        await self._give_way()
        if not self._chunk and self._late is not None:
            self._chunk = self._unread()
        elif not self._chunk:
            await self._receive()
            if not self._chunk and self._late is None:
                return b""
        if self._late is None:
            self._look_at_the_clock()
        if self._late is not None and (not self._chunk or self._monotonic() - self._late_since > _GRACE):
            raise self._late
        end = chunk_end(self._chunk, self._at)
        piece = self._chunk if end - self._at == len(self._chunk) else self._chunk[self._at : end]
        self._at = end
        if end == len(self._chunk):
            self._chunk, self._at = b"", 0
        return piece

    def pause(self) -> None:
        """The caller has the word: no timer runs until the next `read`."""
        self._deadlines.stop()

    def hurry(self, seconds: float) -> None:
        """From the first call on, `read` waits for all that is still to come no longer than this."""
        self._deadlines.shorten(seconds)

    async def _receive(self) -> None:
        """Wait for bytes; where a timer runs out, or the connection breaks, take what came before."""
        if self._timeouts.comments_are_life:
            self._deadlines.active()
        timer, seconds = self._deadlines.next()
        deadline = asyncio.timeout(seconds)
        try:
            async with deadline:
                self._chunk = await self._response.content.read(_PIECE)
        except _FAILURES as error:
            self._chunk = self._unread()
            if deadline.expired():
                self._run_out(timer)
            elif not self._chunk:
                raise StreamInterruptedError(
                    f"the connection broke in the middle of the answer ({_name(error)}); it may have been billed"
                ) from _cause(error)

    async def _give_way(self) -> None:
        """Give the loop its turn, if it had none for a while."""
        if self._monotonic() - self._turned >= _TURN:
            await asyncio.sleep(0)
            self._turned = self._monotonic()

    def _look_at_the_clock(self) -> None:
        timer, seconds = self._deadlines.next()
        if seconds is not None and seconds <= 0:
            self._run_out(timer)

    def _run_out(self, timer: str) -> None:
        limits = self._timeouts
        self._late = timed_out(timer, limits.idle if timer == "idle" else limits.total)
        self._late_since = self._monotonic()

    def _unread(self) -> bytes:
        """What came before the connection broke: aiohttp raises at once and keeps it, and it may end a paid picture."""
        # There is no public way to it; without this one the answer is as lost as aiohttp has it.
        unread: Callable[[int], bytes] | None = getattr(self._response.content, "_read_nowait", None)
        return b"" if unread is None else unread(_PIECE)

    def reset_idle(self) -> None:
        """More than comments came: the idle timer starts anew."""
        self._deadlines.active()

    async def read_error_body(self) -> bytes:
        """The body of an answer that is no success, as far as it comes."""
        body = bytearray()
        self._deadlines.start()
        _, seconds = self._deadlines.next()
        with contextlib.suppress(*_FAILURES):
            async with asyncio.timeout(
                _REFUSAL_SECONDS if seconds is None else min(_REFUSAL_SECONDS, seconds)
            ):
                while (room := _REFUSAL_BYTES - len(body)) > 0 and (
                    chunk := await self._response.content.read(room)
                ):
                    body += chunk
        return bytes(body)

    def close(self) -> None:
        """Close the connection at once, unless the body was read to its end: then it is free for the next request."""
        self._response.close()


def _not_sent(error: Exception, timeouts: Timeouts) -> ImagesError:
    """What went wrong while nothing was sent yet."""
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError(
            "base_url is not a URL that can be sent to; it should look like https://host/v1"
        )
    # aiohttp's exception for a bad certificate is a ValueError too.
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return ConfigurationError(
            "the request cannot be sent as it is set up; check headers= for line breaks, proxy=, and that the session "
            "brings no credentials of its own"
        )
    failure: APIConnectionError
    if isinstance(error, TimeoutError):
        msg = f"no connection within {timeouts.connect or 0:g} s (Timeouts(connect=…)); check base_url and the network"
        failure = APITimeoutError(msg, timer="connect", seconds=timeouts.connect or 0.0)
    else:
        why = next(
            (text for kind, text in _NOT_SENT if isinstance(error, kind)),
            "the connection failed; nothing was sent",
        )
        failure = APIConnectionError(f"{why} ({_name(error)})")
    failure.safe_to_resend = True
    return failure


def _name(error: BaseException) -> str:
    """An exception's name and text, as far as it holds hosts and reasons only."""
    if (flaw := head_flaw(error)) is not None:
        return f"malformed head: {flaw}"
    if isinstance(error, aiohttp.ClientResponseError):  # tells a proxy's password
        return f"{type(error).__name__}: status {error.status}"
    return redact(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, ())


def _cause(error: Exception) -> Exception | None:
    """The exception to show behind ours; none where its text may repeat a header, a password or the answer's bytes."""
    tells = (ValueError, aiohttp.ClientResponseError, aiohttp.ClientPayloadError)
    if isinstance(error, tells) and not isinstance(error, aiohttp.ClientSSLError):
        return None
    # The frames of aiohttp hold the request's headers, and error reporters show what frames hold.
    return error.with_traceback(None)
