"""The settings of a client: timers, limits, retries, and its sources of time and randomness.

Invariants: frozen values, validated at creation (`ConfigurationError`); all time and randomness of this package comes
from `Timing`, which tests replace.
Must not: wait, or decide about retries.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from attrs import Attribute, evolve, field, frozen

from openai_images._util.attrs import is_count, is_number, keyword_hints, must_be
from openai_images.errors import ConfigurationError

_seconds = must_be(
    "a number of seconds above 0, or None for no limit",
    lambda value: value is None or (is_number(value) and value > 0),
)
LOWEST_RATE = 1e-6
"""Per minute: about one in two years. With lower rates, times become too large for a Redis server."""

_rate = must_be(
    f"a number from {LOWEST_RATE:.6f} up, or None where it is not known",
    lambda value: value is None or (is_number(value) and LOWEST_RATE <= value < math.inf),
)
_count = must_be("a whole number above 0", is_count)
_retries = must_be(
    "a whole number, 0 or more", lambda value: is_number(value) and isinstance(value, int) and value >= 0
)
_wait = must_be("a number of seconds, 0 or more", lambda value: is_number(value) and value >= 0)
_name = must_be(
    "a text of 1 to 200 characters", lambda value: isinstance(value, str) and 0 < len(value) <= 200
)

_REDIS_URL = (
    "a URL such as redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/to/socket; "
    "a password goes before the host, percent-encoded: redis://:password@host"
)


def _check_shared(_limits: Limits, _: Attribute[Any], url: Any) -> None:
    if url is not None and not _is_redis_url(url):  # not shown: it may contain a password
        raise ConfigurationError(f"Limits(shared={display_redis_url(url)}): must be {_REDIS_URL}")


def _is_redis_url(url: Any) -> bool:
    """Whether this is the URL of a server: a host and port, or the path of a socket."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0  # `port` raises ValueError
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    database = parts.path.strip("/")
    return parts.scheme in {"redis", "rediss"} and has_host and (not database or database.isdecimal())


def display_redis_url(url: Any) -> str:
    """Return the URL without user, password and query, which may contain one; for other values their type or length."""
    if not isinstance(url, str):
        return f"<{type(url).__name__}>"
    if not _is_redis_url(url):
        return f"<{len(url)} characters>"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _show_shared(url: Any) -> str:
    return "None" if url is None else repr(display_redis_url(url))


@keyword_hints
@frozen(kw_only=True)
class Timeouts:
    """The client's timers, in seconds.

    `connect`: name look-up, TCP and TLS. `first_byte`: from the end of the request to the response's headers. `idle`:
    between two chunks of the response. `total`: one attempt, from the start of its request; waits for rate limits and
    for a Retry-After do not count. The caller's code between two events never counts. With `comments_are_life=False`,
    `idle` ignores the comment lines that gateways send to keep a stream open. `read_delay` is not a limit: when an
    image arrives in small chunks, the client waits for this time before it reads more, which saves most of its CPU
    time; 0 reads each chunk immediately. This delays the last bytes of an image by that time at most, and never delays
    events, headers, or data after an image.
    """

    connect: float | None = field(default=10.0, validator=_seconds)
    first_byte: float | None = field(default=None, validator=_seconds)
    idle: float | None = field(default=None, validator=_seconds)
    total: float | None = field(default=600.0, validator=_seconds)
    comments_are_life: bool = True
    read_delay: float = field(default=0.005, validator=_wait)


@keyword_hints
@frozen(kw_only=True)
class Limits:
    """Concurrency and rate limits: `concurrency` requests in flight; `max_picture_bytes` bytes of one decoded image.

    `images_per_minute` (a request for n counts n), `requests_per_minute` and `tokens_per_minute` are the account's
    limits (0.000001 or more) for all calls of the client together; requests are spread evenly. None takes the limits
    from the server's headers and 429s. The default of `max_picture_bytes`, 64 MiB, is twice the uncompressed size of
    the largest image (8,294,400 pixels).

    `shared` is the URL of a Redis server such as "redis://host:6379/0". All clients with the same `shared` and `name`,
    on any machine, share the rate limits, the estimates of them, and the pauses after a 429; `concurrency` is not
    shared. Give all these clients the same limits. Needs `openai-images[redis]`.
    """

    concurrency: int = field(default=100, validator=_count)
    images_per_minute: float | None = field(default=None, validator=_rate)
    requests_per_minute: float | None = field(default=None, validator=_rate)
    tokens_per_minute: float | None = field(default=None, validator=_rate)
    max_picture_bytes: int = field(default=64 * 1024 * 1024, validator=_count)
    shared: str | None = field(default=None, validator=_check_shared, repr=_show_shared)
    name: str = field(default="default", validator=_name)


@keyword_hints
@frozen(kw_only=True)
class RetryPolicy:
    """How often and how long to retry.

    A request that was certainly not executed is sent up to `max_retries` more times; with `retry_unknown=True` also one
    whose outcome is unknown, which may cost twice. `max_rate_limit_wait` is the total time in seconds that one call may
    wait because of 429s, `x-ratelimit-*` headers or estimated limits (waits for the configured `Limits` do not count).
    After that time the call is sent, or raises `RateLimitError` if the server requested a longer wait; with 0 it never
    waits before it is sent. Many calls (`generate_many`, batches) wait as long as some of them succeed: they end after
    `max_stall` seconds of 429s without a success, plus a wait of up to one hour that the server requested.
    """

    max_retries: int = field(default=2, validator=_retries)
    retry_unknown: bool = False
    max_rate_limit_wait: float = field(default=120.0, validator=_wait)
    max_stall: float = field(default=900.0, validator=_wait)

    @property
    def patient(self) -> RetryPolicy:
        """The same policy without a limit on `max_rate_limit_wait`, for one of many calls."""
        return evolve(self, max_rate_limit_wait=math.inf)


def _random() -> float:
    # `random.random` is a method: pickling it would copy its state, and all workers would wait for the same time.
    return random.random()  # noqa: S311


@frozen(kw_only=True)
class Timing:
    """Time and randomness: `monotonic` and `wall` return seconds, `sleep` waits, `random` returns 0.0 to 1.0."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Callable[[], float] = _random
