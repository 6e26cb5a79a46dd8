"""`decide`: whether to send again, and when.

Invariants: pure; a request is sent again only where it provably did not run (`error.safe_to_resend`), or where the
user opted in and the outcome is unknown. A 429 for the rate uses up no attempt but is bounded in time. Moderation,
quota and invalid requests are never sent again.
"""

from __future__ import annotations

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

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0  # seconds; what the official SDKs wait

_UNKNOWN = (
    ConnectionOutcomeUnknownError,
    ServerOutcomeUnknownError,
    StatusOutcomeUnknownError,
    StreamInterruptedError,
    TimeoutOutcomeUnknownError,
)


@frozen
class RetryState:
    """What a call has used up: retries, rate-limit answers, and the seconds waited for those."""

    retries: int = 0
    refusals: int = 0
    waited: float = 0.0


@frozen
class RetryDelay:
    """Send again after `seconds`; `everyone` says that it is the limit all requests share."""

    seconds: float
    everyone: bool


def decide(error: ImagesError, policy: RetryPolicy, spent: RetryState, chance: float) -> RetryDelay | None:
    """When to send again after this error, None for never. `chance` (0 to 1) spreads the waits of many clients."""
    stated = error.retry_after if isinstance(error, APIStatusError) else None
    if isinstance(error, RateLimitError) and error.safe_to_resend:
        # What the server says is believed twice; then it is the least, as "1ms" said for a minute is 60,000 requests.
        least = backoff(spent.refusals - 2, chance) if spent.refusals >= 2 else 0.0
        seconds = max(stated, least) if stated else backoff(spent.refusals, chance)
        return (
            RetryDelay(seconds, everyone=True)
            if spent.waited + seconds <= policy.max_rate_limit_wait
            else None
        )
    opted_in = policy.retry_unknown and isinstance(error, _UNKNOWN)
    if not (error.safe_to_resend or opted_in) or spent.retries >= policy.max_retries:
        return None
    seconds = stated or backoff(spent.retries, chance)
    return RetryDelay(seconds, everyone=False) if seconds <= policy.max_rate_limit_wait else None


def backoff(times: int, chance: float) -> float:
    """Seconds to wait after so many waits: doubling from half a second, up to a quarter less by `chance`."""
    return min(_FIRST_DELAY * 2.0 ** min(times, 10), _LONGEST_DELAY) * (1 - chance / 4)
