"""The only table of aiohttp's exceptions, and `decide`: whether and when to send a request again.

Invariants: pure; no text has a header, a password or bytes of the response. A request is sent again only if it provably
was not executed (`error.safe_to_resend`), or if the outcome is unknown and the user opted in. A 429 for the rate uses
no attempt but is limited in time. Moderation, quota and invalid requests are never sent again.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import NamedTuple

import aiohttp

from openai_images.errors import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    ConnectionOutcomeUnknownError,
    ImagesError,
    RateLimitError,
    ServerOutcomeUnknownError,
    StatusOutcomeUnknownError,
    StreamInterruptedError,
    TimeoutOutcomeUnknownError,
)
from openai_images.models.options import RetryPolicy, Timeouts
from openai_images.wire.redaction import redact

_NOT_SENT: tuple[tuple[type[Exception], str], ...] = (  # the first match counts
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

FAILURES = (aiohttp.ClientError, OSError, ValueError)  # TimeoutError is an OSError

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0  # seconds, as in the official SDKs

_UNKNOWN = (
    ConnectionOutcomeUnknownError,
    ServerOutcomeUnknownError,
    StatusOutcomeUnknownError,
    StreamInterruptedError,
    TimeoutOutcomeUnknownError,
)


class RetryDelay(NamedTuple):
    """Send again after `seconds`; with `everyone` all requests wait, because they share the limit."""

    seconds: float
    everyone: bool


class RetryState(NamedTuple):
    """The retries and 429 responses of a call, and the seconds that it waited for 429s."""

    retries: int = 0
    refusals: int = 0
    waited: float = 0.0

    def after(self, delay: RetryDelay) -> RetryState:
        """Return the state with one more retry, or one more 429 response."""
        if delay.everyone:
            return self._replace(refusals=self.refusals + 1)
        return self._replace(retries=self.retries + 1)


def decide(error: ImagesError, policy: RetryPolicy, state: RetryState, jitter: float) -> RetryDelay | None:
    """Return when to send again after this error; None for never. `jitter` (0 to 1) spreads the waits of clients."""
    retry_after = error.retry_after if isinstance(error, APIStatusError) else None
    if isinstance(error, RateLimitError) and error.safe_to_resend:
        # The server's value is used twice, then only as a minimum: repeating "1ms" for a minute would be 60,000
        # requests.
        minimum = backoff(state.refusals - 2, jitter) if state.refusals >= 2 else 0.0
        seconds = max(retry_after, minimum) if retry_after else backoff(state.refusals, jitter)
        return (
            RetryDelay(seconds, everyone=True)
            if state.waited + seconds <= policy.max_rate_limit_wait
            else None
        )
    opted_in = policy.retry_unknown and isinstance(error, _UNKNOWN)
    if not (error.safe_to_resend or opted_in) or state.retries >= policy.max_retries:
        return None
    seconds = retry_after or backoff(state.retries, jitter)
    return RetryDelay(seconds, everyone=False) if seconds <= policy.max_rate_limit_wait else None


def backoff(previous_waits: int, jitter: float) -> float:
    """Return the seconds of the next wait: doubling from half a second, reduced by up to a quarter by `jitter`."""
    return min(_FIRST_DELAY * 2.0 ** min(previous_waits, 10), _LONGEST_DELAY) * (1 - jitter / 4)


def describe_failure(error: Exception) -> str:
    """Describe why a request was not executed, by the status and the server's words, or by the class alone."""
    status, reason = getattr(error, "status_code", None), getattr(error, "reason", "")
    return ": ".join([f"status {status}" if status else type(error).__name__, *([reason] if reason else [])])


_BYTES = r"(?s)(?: when reading)?:?\s*(?:b['\"]|bytearray\().*"  # aiohttp quotes the response


def head_flaw(error: BaseException) -> str | None:
    """Describe the malformed response head that aiohttp rejected; None for any other error."""
    if not isinstance(error, aiohttp.ClientResponseError) or isinstance(error, aiohttp.ClientHttpProxyError):
        return None
    return " ".join(re.sub(_BYTES, "", error.message).split()) or "aiohttp cannot parse it"


def timed_out(timer: str, seconds: float | None) -> TimeoutOutcomeUnknownError:
    """Return the error of a timer that ran out after the request was sent."""
    event = {
        "first_byte": "the response did not begin",
        "idle": "nothing came",
        "total": "the response was not complete",
    }[timer]
    msg = (
        f"{event} within {seconds:g} s (Timeouts({timer}=…)); the request was sent and may have been billed, "
        "so it was not sent again"
    )
    return TimeoutOutcomeUnknownError(msg, timer=timer, seconds=seconds or 0.0)


def not_sent(error: Exception, timeouts: Timeouts) -> ImagesError:
    """Return the error for a request that was not sent."""
    if isinstance(error, aiohttp.InvalidURL):
        return ConfigurationError(
            "base_url is not a URL that can be sent to; it should look like https://host/v1"
        )
    # aiohttp's exception for a bad certificate is a ValueError too.
    if isinstance(error, ValueError) and not isinstance(error, aiohttp.ClientError):
        return ConfigurationError(
            "the request cannot be sent with these settings; check headers= for line breaks, proxy=, and that the "
            "session has no credentials of its own"
        )
    failure: APIConnectionError
    if isinstance(error, TimeoutError):
        msg = f"no connection within {timeouts.connect or 0:g} s (Timeouts(connect=…)); check base_url and the network"
        failure = APITimeoutError(msg, timer="connect", seconds=timeouts.connect or 0.0)
    else:
        reason = next(
            (text for kind, text in _NOT_SENT if isinstance(error, kind)),
            "the connection failed; nothing was sent",
        )
        failure = APIConnectionError(f"{reason} ({describe(error)})")
    failure.safe_to_resend = True
    return failure


def unanswered(error: Exception) -> ConnectionOutcomeUnknownError:
    """Return the error of a request that was sent, and whose response did not begin."""
    flaw = head_flaw(error)
    broken = f"the connection broke before the response came ({describe(error)})"
    msg = broken if flaw is None else f"the response's headers are malformed: {flaw}"
    return ConnectionOutcomeUnknownError(f"{msg}; it may have been billed")


def describe(error: BaseException) -> str:
    """Return an exception's name and text, without secrets."""
    if (flaw := head_flaw(error)) is not None:
        return f"malformed head: {flaw}"
    if isinstance(error, aiohttp.ClientResponseError):  # its text contains the proxy's password
        return f"{type(error).__name__}: status {error.status}"
    return redact(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__, ())


def cause(error: Exception) -> Exception | None:
    """Return a copy to show as `__cause__`; None if its text may contain a header, a password or bytes of the response.

    The copy has no traceback: aiohttp's frames hold the request's headers, and error reporters show the locals of
    frames. Nor has it what aiohttp keeps in its exceptions, which would be pickled with them, or cannot be.
    """
    unsafe = (ValueError, aiohttp.ClientResponseError, aiohttp.ClientPayloadError)
    if isinstance(error, unsafe) and not isinstance(error, aiohttp.ClientSSLError):
        return None
    if isinstance(error, aiohttp.ClientConnectorError):  # it knows the proxy's password
        return aiohttp.ClientOSError(error.errno, describe(error))
    if all(isinstance(value, str | bytes | int | None) for value in error.args):
        with suppress(TypeError):  # a class whose constructor has other arguments
            return type(error)(*error.args)
    return aiohttp.ClientConnectionError(type(error).__name__)


class Translation:
    """`with Translation():` around code that raises an `ImagesError` for a caught foreign exception.

    Python keeps the foreign exception as the `__context__`, even if it is not shown; this keeps only the `cause`.
    """

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """Drop the foreign exception."""
        if isinstance(error, ImagesError | FetchError):
            error.__context__ = error.__cause__


class FetchError(Exception):
    """An image could not be fetched, after `attempts`; `status` is that of the last response, if there was one."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        """`reason` must contain no secret."""
        super().__init__(reason)
        self.status = status
        self.attempts = 0


class TransientFetchError(FetchError):
    """A failure that may not happen again; `seconds` is the wait that the server requested."""

    def __init__(self, reason: str, *, status: int | None = None, seconds: float | None = None) -> None:
        super().__init__(reason, status=status)
        self.seconds = seconds
