"""`decide`: whether to send a request again, and when.

Invariants: pure; a request is sent again only if it provably was not executed (`error.safe_to_resend`), or if the
user opted in and the outcome is unknown. A 429 for the rate uses up no attempt but is limited in time. Moderation,
quota and invalid requests are never sent again.
"""

from __future__ import annotations

from typing import NamedTuple

from attrs import frozen

from openai_images.errors import (
    APIStatusError,
    ConnectionOutcomeUnknownError,
    ImagesError,
    RateLimitError,
    ServerOutcomeUnknownError,
    StatusOutcomeUnknownError,
    StreamInterruptedError,
    TimeoutOutcomeUnknownError,
)
from openai_images.models.options import RetryPolicy

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0  # seconds, as in the official SDKs

_UNKNOWN = (
    ConnectionOutcomeUnknownError,
    ServerOutcomeUnknownError,
    StatusOutcomeUnknownError,
    StreamInterruptedError,
    TimeoutOutcomeUnknownError,
)


@frozen
class RetryState:
    """What a call has used up: retries, 429 responses, and the seconds waited for those."""

    retries: int = 0
    refusals: int = 0
    waited: float = 0.0


class RetryDelay(NamedTuple):
    """Send again after `seconds`; with `everyone` the wait is for all requests, as they share the limit."""

    seconds: float
    everyone: bool


def decide(error: ImagesError, policy: RetryPolicy, state: RetryState, jitter: float) -> RetryDelay | None:
    """Return when to send again after this error; None for never. `jitter` (0 to 1) spreads the waits of clients."""
    retry_after = error.retry_after if isinstance(error, APIStatusError) else None
    if isinstance(error, RateLimitError) and error.safe_to_resend:
        # The server's value is used twice, then it is a minimum: repeating "1ms" for a minute is 60,000 requests.
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
    """Return the seconds of the next wait: doubling from half a second, up to a quarter less by `jitter`."""
    return min(_FIRST_DELAY * 2.0 ** min(previous_waits, 10), _LONGEST_DELAY) * (1 - jitter / 4)
