"""Whether to send again, and when: a frozen policy and one pure decision.

Rules: a request is sent again by itself only where it provably did not run (`error.safe_to_resend`); where nobody
knows, only when the user opted in. A 429 about the rate uses up no attempt but is bounded by time. Moderation,
quota and invalid requests are never sent again.
"""

from __future__ import annotations

import math
from typing import Any

from attrs import Attribute, evolve, field, frozen

from openai_images.errors import (
    APIStatusError,
    ConfigurationError,
    ConnectionOutcomeUnknownError,
    ImagesError,
    RateLimitError,
    ServerOutcomeUnknownError,
    StatusOutcomeUnknownError,
    StreamInterruptedError,
    TimeoutOutcomeUnknownError,
)

__all__ = ["RetryPolicy", "Spent", "Wait", "backoff", "decide"]

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 8.0  # seconds; what the official SDKs wait

_UNKNOWN = (
    ConnectionOutcomeUnknownError,
    ServerOutcomeUnknownError,
    StatusOutcomeUnknownError,
    StreamInterruptedError,
    TimeoutOutcomeUnknownError,
)


def _not_negative(_: object, attribute: Attribute[Any], value: Any) -> None:
    kinds = (int,) if attribute.name == "max_retries" else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0:
        what = "a whole number" if kinds == (int,) else "a number of seconds"
        msg = f"RetryPolicy({attribute.name}={value!r}): must be {what}, 0 or more"
        raise ConfigurationError(msg)


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how long.

    `max_retries` more attempts where the request provably did not run; `retry_unknown=True` also where nobody knows,
    which may pay twice. `max_rate_limit_wait` is how many seconds one call may wait for rate limits in all, whether a
    429, an `x-ratelimit-*` header or an estimate asks for it (`Limits` are kept however long that takes); after that
    it is sent, or raises `RateLimitError` where the server asked for a longer pause. Many calls wait as long as some
    succeed: they end after `max_stall` seconds of 429s without a success, in addition to a wait of up to an hour that
    the server announced.
    """

    max_retries: int = field(default=2, validator=_not_negative)
    retry_unknown: bool = False
    max_rate_limit_wait: float = field(default=120.0, validator=_not_negative)
    max_stall: float = field(default=900.0, validator=_not_negative)

    @property
    def patient(self) -> RetryPolicy:
        """The same policy for one of many calls: a rate limit is waited for as long as it takes."""
        return evolve(self, max_rate_limit_wait=math.inf)


@frozen
class Spent:
    """What a call has used up: retries, rate-limit answers, and the seconds waited for those."""

    retries: int = 0
    refusals: int = 0
    waited: float = 0.0


@frozen
class Wait:
    """Send again after `seconds`; `everyone` says that it is the limit all requests share."""

    seconds: float
    everyone: bool


def decide(error: ImagesError, policy: RetryPolicy, spent: Spent, chance: float) -> Wait | None:
    """When to send again after this error, None for never. `chance` (0 to 1) spreads the waits of many clients."""
    stated = error.retry_after if isinstance(error, APIStatusError) else None
    if isinstance(error, RateLimitError) and error.safe_to_resend:
        # What the server says is believed twice; then it is the least, as "1ms" said for a minute is 60,000 requests.
        least = backoff(spent.refusals - 2, chance) if spent.refusals >= 2 else 0.0
        seconds = max(stated, least) if stated else backoff(spent.refusals, chance)
        return Wait(seconds, everyone=True) if spent.waited + seconds <= policy.max_rate_limit_wait else None
    opted_in = policy.retry_unknown and isinstance(error, _UNKNOWN)
    if not (error.safe_to_resend or opted_in) or spent.retries >= policy.max_retries:
        return None
    seconds = stated or backoff(spent.retries, chance)
    return Wait(seconds, everyone=False) if seconds <= policy.max_rate_limit_wait else None


def backoff(times: int, chance: float) -> float:
    """Seconds to wait after so many waits: doubling from half a second, up to a quarter less by `chance`."""
    return min(_FIRST_DELAY * 2.0 ** min(times, 10), _LONGEST_DELAY) * (1 - chance / 4)
