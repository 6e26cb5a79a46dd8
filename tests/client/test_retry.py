"""The pure half of sending again: one decision, as a table; and the small parts it is made with."""

import asyncio
from typing import Any

import pytest

from openai_images import ImagesError, Limits, RetryPolicy, Timing, errors
from openai_images.http.retry import RetryDelay, RetryState, decide
from openai_images.ratelimit.limiter import Limiter

DEFAULT = RetryPolicy()
OPTED_IN = RetryPolicy(retry_unknown=True)
NEVER = RetryPolicy(max_retries=0)


def error(kind: type[ImagesError], *, safe: bool = False, after: float | None = None) -> ImagesError:
    """An error as the client meets it."""
    made: Any
    if issubclass(kind, errors.APIStatusError):
        made = kind("no", status_code=500)
        made.retry_after = after
    elif issubclass(kind, errors.APITimeoutError):
        made = kind("slow", timer="total", seconds=1.0)
    else:
        made = kind("broken")
    made.safe_to_resend = safe
    return made  # type: ignore[no-any-return]


def mine(seconds: float) -> RetryDelay:
    """A wait of this call alone."""
    return RetryDelay(seconds, everyone=False)


def everyone(seconds: float) -> RetryDelay:
    """A wait of all."""
    return RetryDelay(seconds, everyone=True)


CONNECT = error(errors.APIConnectionError, safe=True)
RATE = error(errors.RateLimitError, safe=True)
BUSY = error(errors.InternalServerError, safe=True, after=7.0)
UNKNOWN = [
    errors.ConnectionOutcomeUnknownError,
    errors.TimeoutOutcomeUnknownError,
    errors.StatusOutcomeUnknownError,
    errors.ServerOutcomeUnknownError,
    errors.StreamInterruptedError,
]
FINAL = [
    errors.ConfigurationError,
    errors.RequestInvalidError,
    errors.BadRequestError,
    errors.ModerationBlockedError,
    errors.AuthenticationError,
    errors.PermissionDeniedError,
    errors.NotFoundError,
    errors.QuotaExhaustedError,
    errors.APIStatusError,
    errors.DecodeError,
    errors.ResponseTooLargeError,
    errors.DownloadError,
]


@pytest.mark.parametrize(
    ("failure", "policy", "spent", "expected"),
    [
        (CONNECT, DEFAULT, RetryState(), mine(0.5)),
        (CONNECT, DEFAULT, RetryState(retries=1), mine(1.0)),
        (CONNECT, DEFAULT, RetryState(retries=2), None),
        (CONNECT, NEVER, RetryState(), None),
        (CONNECT, RetryPolicy(max_retries=99), RetryState(retries=4), mine(8.0)),
        (CONNECT, RetryPolicy(max_retries=9999), RetryState(retries=5000), mine(8.0)),
        (CONNECT, DEFAULT, RetryState(refusals=9, waited=119.0), mine(0.5)),
        (BUSY, DEFAULT, RetryState(), mine(7.0)),
        (BUSY, DEFAULT, RetryState(retries=1), mine(7.0)),
        (BUSY, DEFAULT, RetryState(retries=2), None),
        (BUSY, RetryPolicy(max_rate_limit_wait=6), RetryState(), None),
        (RATE, DEFAULT, RetryState(), everyone(0.5)),
        (RATE, NEVER, RetryState(), everyone(0.5)),
        (RATE, DEFAULT, RetryState(retries=2), everyone(0.5)),
        (RATE, DEFAULT, RetryState(refusals=3), everyone(4.0)),
        (RATE, RetryPolicy(max_rate_limit_wait=0), RetryState(), None),
        (error(errors.RateLimitError, safe=True, after=12), DEFAULT, RetryState(), everyone(12)),
        (error(errors.RateLimitError, safe=True, after=12), DEFAULT, RetryState(waited=108), everyone(12)),
        (error(errors.RateLimitError, safe=True, after=12), DEFAULT, RetryState(waited=108.1), None),
        (error(errors.RateLimitError, safe=True, after=121), DEFAULT, RetryState(), None),
        (
            error(errors.RateLimitError, safe=True, after=0.001),
            DEFAULT,
            RetryState(refusals=1),
            everyone(0.001),
        ),
        (
            error(errors.RateLimitError, safe=True, after=0.001),
            DEFAULT,
            RetryState(refusals=2),
            everyone(0.5),
        ),
        (
            error(errors.RateLimitError, safe=True, after=0.001),
            DEFAULT,
            RetryState(refusals=9),
            everyone(8.0),
        ),
        (error(errors.RateLimitError, safe=True, after=12), DEFAULT, RetryState(refusals=9), everyone(12)),
        (error(errors.RateLimitError), OPTED_IN, RetryState(), None),
        *((error(kind), DEFAULT, RetryState(), None) for kind in UNKNOWN),
        *((error(kind), OPTED_IN, RetryState(), mine(0.5)) for kind in UNKNOWN),
        *((error(kind), OPTED_IN, RetryState(retries=2), None) for kind in UNKNOWN),
        *((error(kind), OPTED_IN, RetryState(), None) for kind in FINAL),
        (error(errors.ServerOutcomeUnknownError, after=3), OPTED_IN, RetryState(), mine(3)),
        (error(errors.ServerOutcomeUnknownError, after=300), OPTED_IN, RetryState(), None),
    ],
)
def test_decide(
    failure: ImagesError, policy: RetryPolicy, spent: RetryState, expected: RetryDelay | None
) -> None:
    """When to send again, or not at all, by what happened and what was spent."""
    assert decide(failure, policy, spent, 0.0) == expected


@pytest.mark.parametrize("chance", [0.0, 0.5, 0.999])
def test_chance_spreads_our_waits_only(chance: float) -> None:
    """Chance takes up to a quarter off our own curve, and nothing off what the server asked for."""
    assert decide(CONNECT, DEFAULT, RetryState(), chance) == mine(0.5 * (1 - chance / 4))
    assert decide(BUSY, DEFAULT, RetryState(), chance) == mine(7.0)


BUSY_ERROR = errors.RateLimitError("slow down", status_code=429)


class Slept(list[float]):
    """A sleep that notes how long and lets no time pass."""

    async def __call__(self, seconds: float) -> None:
        """Note it."""
        self.append(seconds)


async def test_limiter_waits_for_a_pause_once() -> None:
    """A pause is slept through once, even by a sleep that moves no clock."""
    slept = Slept()
    limiter = Limiter(Limits(), Timing(monotonic=lambda: 100.0, sleep=slept))
    for seconds in (30, 5):
        slot = await limiter.acquire()
        slot.record_rejection({}, seconds, BUSY_ERROR)
        slot.release()
        if seconds == 30:
            assert slept == []
    (await limiter.acquire()).release()
    assert slept == [30.0, 30.0]


async def test_limiter_waits_on_when_the_pause_grows() -> None:
    """A pause that is prolonged while somebody waits is waited for to its new end."""
    now, slept = 100.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        if not slept:
            second.record_rejection({}, 7, BUSY_ERROR)
        slept.append(seconds)

    limiter = Limiter(Limits(concurrency=3), Timing(monotonic=lambda: now, sleep=sleep))
    first, second = await limiter.acquire(), await limiter.acquire()
    first.record_rejection({}, 30, BUSY_ERROR)
    await limiter.acquire()
    assert (slept, now) == ([30.0, 7.0], 137.0)


async def test_limiter_gives_back_the_slot_of_a_cancelled_wait() -> None:
    """Who is cancelled in a pause holds no slot."""
    now = 0.0
    limiter = Limiter(
        Limits(concurrency=1), Timing(monotonic=lambda: now, sleep=lambda seconds: asyncio.Event().wait())
    )
    slot = await limiter.acquire()
    slot.record_rejection({}, 30, BUSY_ERROR)
    slot.release()
    waiting = asyncio.create_task(limiter.acquire())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    now = 31.0
    (await asyncio.wait_for(limiter.acquire(), 30)).release()
