"""Rate limits as the API applies them: one bucket for images and one for requests per minute.

Rules: a bucket refills evenly and starts full; a request is charged only when every bucket can pay for it; the clock
is a parameter. It refuses to wait: whoever is over the limit gets the 429 that says how long.
"""

import math
from collections.abc import Callable, Mapping

import attrs

from openai_images.server.catalogue import Model
from openai_images.server.replies import RefusalError, Reply, error_reply

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


def images_message(model: str, limit: int, used: int, requested: int, wait: float) -> str:
    """The sentence of a 429 about images per minute."""
    return (
        f"Rate limit reached for {model} (for limit gpt-image) in organization org-local on input-images per min: "
        f"Limit {limit}, Used {used}, Requested {requested}. Please try again in {go_duration(wait)}. {_VISIT}"
    )


def requests_message(model: str, limit: int, used: int, wait: float) -> str:
    """The sentence of a 429 about requests per minute."""
    return (
        f"Rate limit reached for {model} in organization org-local on requests per min (RPM): "
        f"Limit {limit}, Used {used}, Requested 1. Please try again in {go_duration(wait)}. {_VISIT}"
    )


@attrs.define
class Bucket:
    """A token bucket of `limit` per minute."""

    limit: int
    clock: Callable[[], float]
    _level: float = attrs.field(init=False)
    _at: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._level = float(self.limit)
        self._at = self.clock()

    def wait_for(self, amount: int) -> float:
        """Seconds until `amount` could be taken; 0 if now."""
        self._refill()
        lacking = amount - self._level
        return 0.0 if lacking <= 1e-9 else lacking * 60 / self.limit

    def take(self, amount: int) -> None:
        """Takes `amount`, which `wait_for` said is there."""
        self._level = max(0.0, self._level - amount)

    @property
    def remaining(self) -> int:
        """Whole units left."""
        return math.floor(self._level + 1e-9)

    def headers(self, name: str) -> dict[str, str]:
        """The three x-ratelimit headers of this bucket."""
        full_in = (self.limit - self._level) * 60 / self.limit
        return {
            f"x-ratelimit-limit-{name}": str(self.limit),
            f"x-ratelimit-remaining-{name}": str(self.remaining),
            f"x-ratelimit-reset-{name}": go_duration(full_in),
        }

    def _refill(self) -> None:
        now = self.clock()
        self._level = min(float(self.limit), self._level + (now - self._at) * self.limit / 60)
        self._at = now


@attrs.define
class RateLimits:
    """The limits of one server; a missing bucket is no limit."""

    images: Bucket | None = None
    requests: Bucket | None = None

    def charge(self, model: Model, n: int) -> None:
        """Pays for a request of `n` pictures or raises the 429."""
        image_wait = self.images.wait_for(n) if self.images else 0.0
        request_wait = self.requests.wait_for(1) if self.requests else 0.0
        if self.images and n > self.images.limit:
            raise RefusalError(self._too_many(model, n, self.images))
        if self.images and image_wait:
            used = self.images.limit - self.images.remaining
            message = images_message(model.name, self.images.limit, used, n, image_wait)
            raise RefusalError(self._reply("input-images", message, image_wait))
        if self.requests and request_wait:
            used = self.requests.limit - self.requests.remaining
            message = requests_message(model.name, self.requests.limit, used, request_wait)
            raise RefusalError(self._reply("requests", message, request_wait))
        if self.images:
            self.images.take(n)
        if self.requests:
            self.requests.take(1)

    def headers(self) -> dict[str, str]:
        """The x-ratelimit headers of the limits that are on."""
        headers = self.images.headers("input-images") if self.images else {}
        return headers | (self.requests.headers("requests") if self.requests else {})

    def _reply(self, kind: str, message: str, wait: float) -> Reply:
        return rate_limit_reply(kind, message, {**self.headers(), **retry_headers(wait)})

    def _too_many(self, model: Model, n: int, bucket: Bucket) -> Reply:
        message = (
            f"Request too large for {model.name} (for limit gpt-image) in organization org-local on input-images "
            f"per min: Limit {bucket.limit}, Requested {n}. {_VISIT}"
        )
        return rate_limit_reply("input-images", message, self.headers())


def rate_limit_reply(kind: str, message: str, headers: Mapping[str, str]) -> Reply:
    """A 429 about the rate."""
    return error_reply(429, message, kind, code="rate_limit_exceeded", headers=headers)


def make_limits(images: int | None, requests: int | None, clock: Callable[[], float]) -> RateLimits:
    """The limits of a server from its two numbers."""
    for name, value in (("images_per_minute", images), ("requests_per_minute", requests)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    return RateLimits(
        images=None if images is None else Bucket(images, clock),
        requests=None if requests is None else Bucket(requests, clock),
    )
