"""The settings of a client that people hold: timers, limits, retries, and the sources of time and chance.

Invariants: frozen values, checked when they are made (`ConfigurationError`). No other module of this package asks a
clock or `random`: tests replace `Timing`.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable

from attrs import evolve, field, frozen

from openai_images._util.attrs import is_count, is_number, must_be

_seconds = must_be(
    "a number of seconds above 0, or None for no limit",
    lambda value: value is None or (is_number(value) and value > 0),
)
_rate = must_be(
    "a number above 0, or None where it is not known",
    lambda value: value is None or (is_number(value) and 0 < value < math.inf),
)
_count = must_be("a whole number above 0", is_count)
_retries = must_be(
    "a whole number, 0 or more", lambda value: is_number(value) and isinstance(value, int) and value >= 0
)
_wait = must_be("a number of seconds, 0 or more", lambda value: is_number(value) and value >= 0)


@frozen(kw_only=True)
class Timeouts:
    """The client's timers, in seconds.

    `connect`: name look-up, TCP and TLS. `first_byte`: from the request sent to the answer's headers. `idle`: between
    two pieces of the answer. `total`: one attempt, from the moment its request is sent, without waits for the limiter
    or a Retry-After. They bound the client's own waiting and decoding, never the caller's code between two events.
    `comments_are_life=False` makes `idle` ignore the comment lines that gateways send to keep a stream open.
    """

    connect: float | None = field(default=10.0, validator=_seconds)
    first_byte: float | None = field(default=None, validator=_seconds)
    idle: float | None = field(default=None, validator=_seconds)
    total: float | None = field(default=600.0, validator=_seconds)
    comments_are_life: bool = True


@frozen(kw_only=True)
class Limits:
    """How much at once: `concurrency` requests under way, and `max_picture_bytes` for one decoded picture.

    `images_per_minute` (a request for n counts n), `requests_per_minute` and `tokens_per_minute` are the account's
    limits, kept evenly by all calls of the client; None leaves it to the server's own headers and refusals.
    The default of 64 MiB for a picture is twice what the largest one (8,294,400 pixels) takes uncompressed.
    """

    concurrency: int = field(default=100, validator=_count)
    images_per_minute: float | None = field(default=None, validator=_rate)
    requests_per_minute: float | None = field(default=None, validator=_rate)
    tokens_per_minute: float | None = field(default=None, validator=_rate)
    max_picture_bytes: int = field(default=64 * 1024 * 1024, validator=_count)


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

    max_retries: int = field(default=2, validator=_retries)
    retry_unknown: bool = False
    max_rate_limit_wait: float = field(default=120.0, validator=_wait)
    max_stall: float = field(default=900.0, validator=_wait)

    @property
    def patient(self) -> RetryPolicy:
        """The same policy for one of many calls: a rate limit is waited for as long as it takes."""
        return evolve(self, max_rate_limit_wait=math.inf)


def _chance() -> float:
    # `random.random` is a method: pickled, it would take its state along, and all workers would wait alike.
    return random.random()  # noqa: S311


@frozen(kw_only=True)
class Timing:
    """`monotonic` and `wall` give seconds, `sleep` waits, `random` gives 0.0 up to 1.0."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = _chance
