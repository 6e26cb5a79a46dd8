"""Rate limits as the API applies them: one bucket for images and one for requests per minute.

Invariants: a bucket refills evenly and starts full; a request is charged only when every bucket can pay for it.
Must not: wait; a request over the limit gets a 429.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import attrs

from openai_images.server.catalog import ServedModel
from openai_images.server.error_replies import Reply, RequestRejectedError, error_reply

RetryAfter: TypeAlias = Literal["exact", "seconds", "none"]
"""How a 429 says when to come back: to the millisecond, in whole seconds rounded up, or not at all."""

_VISIT = "Visit https://platform.openai.com/account/rate-limits to learn more."


def go_duration(seconds: float) -> str:
    """Seconds as the API writes them in messages and reset headers: `15ms`, `12s`, `58.891s`, `6m0s`."""
    if seconds < 1:
        milliseconds = math.ceil(seconds * 1000)
        return "1s" if milliseconds == 1000 else f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(round(seconds, 3), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{text}s" if minutes else f"{text}s"


def retry_headers(seconds: float) -> dict[str, str]:
    """`retry-after` in whole seconds, rounded up, and `retry-after-ms`."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(math.ceil(seconds * 1000))}


def limit_message(subject: str, limit: int, used: int, requested: int, wait: float | None) -> str:
    """The sentence of a 429 about `subject`; a `wait` of None is left out."""
    again = "" if wait is None else f"Please try again in {go_duration(wait)}. "
    return f"Rate limit reached for {subject}: Limit {limit}, Used {used}, Requested {requested}. {again}{_VISIT}"


def images_subject(model: str) -> str:
    """What a 429 about images per minute is about."""
    return f"{model} (for limit gpt-image) in organization org-local on input-images per min"


@attrs.define
class MinuteBucket:
    """A token bucket that refills by `limit` per minute and holds `burst`, or `limit` where that is None."""

    limit: int
    clock: Callable[[], float]
    burst: int | None = None
    _level: float = attrs.field(init=False)
    _at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._level = float(self.capacity)
        self._at = self.clock()

    @property
    def capacity(self) -> int:
        """What it holds when it is full."""
        return self.limit if self.burst is None else self.burst

    def wait_for(self, amount: int) -> float:
        """Refills, and gives the seconds until `amount` could be taken; 0 if now."""
        now = self.clock()
        self._level = min(float(self.capacity), self._level + (now - self._at) * self.limit / 60)
        self._at = now
        lacking = amount - self._level
        return 0.0 if lacking <= 1e-9 else lacking * 60 / self.limit

    def take(self, amount: int) -> None:
        """Takes `amount`, for which `wait_for` returned 0."""
        self._level = max(0.0, self._level - amount)

    @property
    def remaining(self) -> int:
        """Whole units left."""
        return math.floor(self._level + 1e-9)

    @property
    def used(self) -> int:
        """How much of the limit is used, for the message of a 429."""
        return max(0, self.limit - self.remaining)

    def headers(self, name: str) -> dict[str, str]:
        """The three x-ratelimit headers of this bucket."""
        full_in = (self.capacity - self._level) * 60 / self.limit
        return {
            f"x-ratelimit-limit-{name}": str(self.limit),
            f"x-ratelimit-remaining-{name}": str(self.remaining),
            f"x-ratelimit-reset-{name}": go_duration(full_in),
        }


@attrs.define(kw_only=True)
class RateLimits:
    """The limits of one server; a missing bucket is no limit, and hidden ones show no x-ratelimit headers."""

    images: MinuteBucket | None = None
    requests: MinuteBucket | None = None
    are_visible: bool = True
    retry_after: RetryAfter = "exact"

    def charge(self, model: ServedModel, n: int) -> None:
        """Pays for a request of `n` images or raises the 429."""
        subject = images_subject(model.name)
        by_requests = f"{model.name} in organization org-local on requests per min (RPM)"
        charges = [(self.images, n, "input-images", subject), (self.requests, 1, "requests", by_requests)]
        # Both refill here, as the headers of either 429 show both.
        waits = [bucket.wait_for(amount) if bucket else 0.0 for bucket, amount, *_ in charges]
        if self.images and n > self.images.capacity:
            message = (
                f"Request too large for {subject}: Limit {self.images.capacity}, Requested {n}. {_VISIT}"
            )
            raise RequestRejectedError(rate_limit_reply("input-images", message, self.headers()))
        for (bucket, amount, limit_name, about), wait in zip(charges, waits, strict=True):
            if bucket and wait:
                raise RequestRejectedError(self._reply(limit_name, about, bucket, amount, wait))
        for bucket, amount, *_ in charges:
            if bucket:
                bucket.take(amount)

    def headers(self) -> dict[str, str]:
        """The x-ratelimit headers of the limits that are on and shown."""
        if not self.are_visible:
            return {}
        headers = self.images.headers("input-images") if self.images else {}
        return headers | (self.requests.headers("requests") if self.requests else {})

    def visible(self, headers: Mapping[str, str]) -> dict[str, str]:
        """These headers without x-ratelimit ones, if those are hidden."""
        names = (name for name in headers if self.are_visible or not name.lower().startswith("x-ratelimit-"))
        return {name: headers[name] for name in names}

    def _reply(self, limit_name: str, subject: str, bucket: MinuteBucket, amount: int, wait: float) -> Reply:
        stated = None if self.retry_after == "none" else wait
        if self.retry_after == "seconds":
            stated = float(math.ceil(wait))
        message = limit_message(subject, bucket.limit, bucket.used, amount, stated)
        retry = {} if stated is None else retry_headers(stated)
        if self.retry_after == "seconds":
            del retry["retry-after-ms"]
        return rate_limit_reply(limit_name, message, {**self.headers(), **retry})


def rate_limit_reply(limit_name: str, message: str, headers: Mapping[str, str]) -> Reply:
    """A 429 about the rate."""
    return error_reply(429, message, limit_name, code="rate_limit_exceeded", headers=headers)
