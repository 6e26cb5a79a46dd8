"""Rate limits as the API applies them: one token bucket for images and one for requests per minute.

Invariants: a bucket refills evenly and starts full; a request takes tokens only if all buckets have enough.
Must not: wait; a request over the limit gets a 429.
"""

import math
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import attrs

from openai_images.server.protocol.catalog import ServedModel
from openai_images.server.protocol.error_replies import Reply, RequestRejectedError, error_reply

RetryAfter: TypeAlias = Literal["exact", "seconds", "none"]
"""The wait in a 429: in milliseconds, in whole seconds rounded up, or none."""

_VISIT = "Visit https://platform.openai.com/account/rate-limits to learn more."


def go_duration(seconds: float) -> str:
    """Return seconds as the API writes them in messages and reset headers: `15ms`, `12s`, `58.891s`, `6m0s`."""
    if seconds < 1:
        milliseconds = math.ceil(seconds * 1000)
        return "1s" if milliseconds == 1000 else f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(round(seconds, 3), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".")
    return f"{int(minutes)}m{text}s" if minutes else f"{text}s"


def retry_headers(seconds: float) -> dict[str, str]:
    """Return `retry-after` in whole seconds, rounded up, and `retry-after-ms`."""
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(math.ceil(seconds * 1000))}


def limit_message(subject: str, limit: int, used: int, requested: int, wait: float | None) -> str:
    """Return the message of a 429 about `subject`, without the wait if `wait` is None."""
    again = "" if wait is None else f"Please try again in {go_duration(wait)}. "
    return f"Rate limit reached for {subject}: Limit {limit}, Used {used}, Requested {requested}. {again}{_VISIT}"


def images_subject(model: str) -> str:
    """Return the subject of a 429 about images per minute."""
    return f"{model} (for limit gpt-image) in organization org-local on input-images per min"


@attrs.define
class MinuteBucket:
    """A token bucket that refills by `limit` per minute; its capacity is `burst`, or `limit` if that is None."""

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
        """Tokens of a full bucket."""
        return self.limit if self.burst is None else self.burst

    def wait_for(self, amount: int) -> float:
        """Refill the bucket; return the seconds until it has `amount` tokens, 0 if it has them now."""
        now = self.clock()
        self._level = min(float(self.capacity), self._level + (now - self._at) * self.limit / 60)
        self._at = now
        lacking = amount - self._level
        return 0.0 if lacking <= 1e-9 else lacking * 60 / self.limit

    def take(self, amount: int) -> None:
        """Take `amount` tokens, for which `wait_for` returned 0."""
        self._level = max(0.0, self._level - amount)

    @property
    def remaining(self) -> int:
        """Whole tokens that are left."""
        return math.floor(self._level + 1e-9)

    @property
    def used(self) -> int:
        """The used part of the limit, for the message of a 429."""
        return max(0, self.limit - self.remaining)

    def headers(self, name: str) -> dict[str, str]:
        """Return the three x-ratelimit headers of this bucket."""
        full_in = (self.capacity - self._level) * 60 / self.limit
        return {
            f"x-ratelimit-limit-{name}": str(self.limit),
            f"x-ratelimit-remaining-{name}": str(self.remaining),
            f"x-ratelimit-reset-{name}": go_duration(full_in),
        }


@attrs.define(kw_only=True)
class RateLimits:
    """The limits of one server; None means no limit. Hidden limits send no x-ratelimit headers."""

    images: MinuteBucket | None = None
    requests: MinuteBucket | None = None
    are_visible: bool = True
    retry_after: RetryAfter = "exact"

    def charge(self, model: ServedModel, n: int) -> None:
        """Take the tokens for a request of `n` images, or raise the 429."""
        subject = images_subject(model.name)
        by_requests = f"{model.name} in organization org-local on requests per min (RPM)"
        charges = [(self.images, n, "input-images", subject), (self.requests, 1, "requests", by_requests)]
        # Both are refilled here, because a 429 has the headers of both.
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
        """Return the x-ratelimit headers of the visible limits."""
        if not self.are_visible:
            return {}
        headers = self.images.headers("input-images") if self.images else {}
        return headers | (self.requests.headers("requests") if self.requests else {})

    def visible(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return these headers, without x-ratelimit headers if the limits are hidden."""
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
    """Return a 429 about the rate."""
    return error_reply(429, message, limit_name, code="rate_limit_exceeded", headers=headers)
