"""The one table of foreign exceptions: whatever aiohttp raises becomes one of ours, and says whether it was sent."""

import asyncio
import socket
import ssl
from typing import Any

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from openai_images import (
    APIConnectionError,
    APITimeoutError,
    ConfigurationError,
    ImagesError,
    OutcomeUnknownError,
    Timeouts,
    Timing,
)
from openai_images.errors import ConnectionOutcomeUnknownError
from openai_images.http.transport import Transport
from openai_images.wire.requests import HTTPRequest

KEY = ConnectionKey("images.example", 443, True, True, None, None, None)
REFUSED = OSError(111, "refused")


class Session:
    """A session that only raises, before or after the body is written."""

    closed = False

    def __init__(self, error: BaseException, *, sent: bool) -> None:
        """Raise this."""
        self.error = error
        self.sent = sent

    async def post(self, url: str, *, data: Any, **options: Any) -> None:
        """Fail."""
        if self.sent:
            data.progress.mark_started()
            data.progress.mark_sent()
        raise self.error


class Sessions:
    """Gives that session."""

    external = None

    def __init__(self, session: Session) -> None:
        """Give this."""
        self.session = session

    async def get(self) -> Session:
        """The session."""
        return self.session

    def proxy_for(self, url: str) -> None:
        """None."""


async def translated(error: BaseException, *, sent: bool) -> ImagesError:
    """What becomes of an exception."""
    sessions: Any = Sessions(Session(error, sent=sent))
    transport = Transport(sessions, Timing(), ssl=None, proxy=None)
    with pytest.raises(ImagesError) as caught:
        await transport.open(HTTPRequest("https://images.example/v1", {}, b"{}"), Timeouts())
    return caught.value


NOT_SENT = [
    (aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "unknown")), "could not be resolved"),
    (aiohttp.ClientConnectorError(KEY, REFUSED), "no connection could be made"),
    (aiohttp.ClientProxyConnectionError(KEY, REFUSED), "proxy could not be reached"),
    (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "alert")), "TLS handshake failed"),
    (
        aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError(1, "self-signed")),
        "TLS handshake failed",
    ),
    (
        aiohttp.ServerFingerprintMismatch(b"1" * 32, b"2" * 32, "images.example", 443),
        "certificate is not the one",
    ),
    (aiohttp.ClientOSError(32, "pipe"), "nothing was sent"),
    (aiohttp.ServerDisconnectedError(), "nothing was sent"),
    (OSError(24, "too many open files"), "nothing was sent"),
]


@pytest.mark.parametrize(("error", "text"), NOT_SENT)
async def test_before_it_was_sent(error: Exception, text: str) -> None:
    """Before the body goes out every failure is safe to resend."""
    ours = await translated(error, sent=False)
    assert type(ours) is APIConnectionError
    assert (ours.safe_to_resend, ours.maybe_billed) == (True, False)
    assert text in str(ours)
    assert isinstance(ours.__cause__, (aiohttp.ClientOSError, type(error)))
    assert type(error).__name__ in repr(ours.__cause__)
    assert ours.__context__ is ours.__cause__ is not error


@pytest.mark.parametrize(
    "error", [aiohttp.ConnectionTimeoutError("slow"), TimeoutError(), aiohttp.SocketTimeoutError()]
)
async def test_no_time_to_connect(error: Exception) -> None:
    """A time-out before it was sent is the connect timer's."""
    ours = await translated(error, sent=False)
    assert isinstance(ours, APITimeoutError)
    assert not isinstance(ours, OutcomeUnknownError)
    assert (ours.timer, ours.seconds, ours.safe_to_resend) == ("connect", 10.0, True)


@pytest.mark.parametrize(
    "error",
    [
        *(error for error, _ in NOT_SENT),
        aiohttp.ClientPayloadError("cut"),
        aiohttp.ClientConnectionResetError("closing"),
        aiohttp.SocketTimeoutError("slow"),
        ConnectionResetError(104, "reset"),
        ValueError("odd"),
    ],
)
async def test_once_it_was_sent(error: Exception) -> None:
    """Once the body goes out nobody knows."""
    ours = await translated(error, sent=True)
    assert type(ours) is ConnectionOutcomeUnknownError
    assert (ours.safe_to_resend, ours.maybe_billed) == (False, True)
    assert "may have been billed" in str(ours)


@pytest.mark.parametrize("error", [aiohttp.InvalidURL("sentinel"), ValueError("header 'sentinel'")])
async def test_what_cannot_be_sent(error: Exception) -> None:
    """A request that cannot be put together is the set-up's fault, and shows none of it."""
    ours = await translated(error, sent=False)
    assert type(ours) is ConfigurationError
    assert "sentinel" not in str(ours)
    assert ours.__cause__ is None
    assert ours.__suppress_context__


@pytest.mark.parametrize("sent", [True, False])
async def test_what_is_not_ours_passes(*, sent: bool) -> None:
    """A cancellation, and a mistake in a program, stay what they are."""
    for error in (asyncio.CancelledError(), KeyError("x")):
        transport = Transport(Sessions(Session(error, sent=sent)), Timing(), ssl=None, proxy=None)  # type: ignore[arg-type]
        with pytest.raises(type(error)):
            await transport.open(HTTPRequest("https://images.example/v1", {}, b"{}"), Timeouts())
