"""Configured, advertised and estimated limits, and the pauses that servers ask for, as one wait.

Invariants: pure; times are parameters, in seconds. Every limit must allow a request. A configured limit is kept evenly,
with a few requests at once. An advertised one (`x-ratelimit-*`) never makes requests slower than `limit` a minute. A
rejection that it explains teaches nothing, any other goes to the estimator, as servers enforce limits over shorter
spans than they advertise. Must not: wait, or decide who is next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from openai_images.ratelimit.estimator import RateEstimator, SentRequest
from openai_images.ratelimit.token_bucket import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.options import Limits
    from openai_images.wire.headers import AdvertisedLimit

_BURST = 4
"""Requests of a configured limit that may go at once: servers differ in how unevenly they let it be used."""

_KINDS = ("images", "requests", "tokens")


@define(eq=False)
class Permit:
    """A request that may go: what it was charged, and what each advertised bucket held after it."""

    sent: SentRequest
    charged: dict[str, float]
    held: dict[str, float] = field(factory=dict[str, float])
    is_open: bool = True


class Pacer:
    """`delay` before a request, `acquire` when it goes; then what became of it."""

    def __init__(self, limits: Limits, now: float) -> None:
        configured = {
            "images": limits.images_per_minute,
            "requests": limits.requests_per_minute,
            "tokens": limits.tokens_per_minute,
        }
        self._configured = {
            kind: TokenBucket(limit / 60, limit / 15 if kind == "tokens" else min(limit, _BURST), now)
            for kind, limit in configured.items()
            if limit is not None
        }
        self._advertised: dict[str, TokenBucket] = {}
        self._estimator = RateEstimator(now)
        self._resume_at = now
        self._open: dict[str, float] = dict.fromkeys(_KINDS, 0.0)
        self._tokens_per_image = 0.0

    @property
    def estimated_rate(self) -> float | None:
        """Images a second that rejections have shown to be possible; None before the first."""
        return self._estimator.rate

    def pause_left(self, now: float) -> float:
        """Seconds until the pause that a rejection asked for is over."""
        return max(0.0, self._resume_at - now)

    def delay(self, images: int, now: float, *, only_configured: bool = False) -> float:
        """Seconds until a request for so many images may go, by the configured limits and pauses or by all limits."""
        pause = self.pause_left(now)
        at, charge = now + pause, self._charge(images)
        limits = (self._configured,) if only_configured else (self._configured, self._advertised)
        delays = [bucket.delay(charge[kind], at) for buckets in limits for kind, bucket in buckets.items()]
        if not only_configured and (self._estimator.rate is not None or not delays):
            delays.append(self._estimator.delay(images, at))
        return pause + max(delays, default=0.0)

    def binding_limit(self, now: float) -> str:
        """Which limit takes longest for one image."""
        charge = self._charge(1)
        limits = {
            f"the configured {kind}_per_minute of {bucket.rate * 60:.3g}": bucket.delay(charge[kind], now)
            for kind, bucket in self._configured.items()
        } | {
            f"the server's limit of {bucket.rate * 60:.3g} {kind} a minute": bucket.delay(charge[kind], now)
            for kind, bucket in self._advertised.items()
        }
        if self._estimator.rate is not None:
            estimated = f"an estimated limit of {self._estimator.rate * 60:.3g} images a minute"
            limits[estimated] = self._estimator.delay(1, now)
        return max(limits, key=limits.__getitem__, default="no limit")

    def acquire(self, images: int, now: float) -> Permit:
        """A request goes now."""
        charge = self._charge(images)
        for kind, bucket in self._configured.items():
            bucket.take(charge[kind], now)
        held = {kind: bucket.take(charge[kind], now) for kind, bucket in self._advertised.items()}
        for kind in _KINDS:
            self._open[kind] += charge[kind]
        return Permit(self._estimator.acquire(images, now), charge, held)

    def record_success(self, permit: Permit, advertised: Mapping[str, AdvertisedLimit], now: float) -> None:
        """It was accepted; the server said this of its limits."""
        self._estimator.record_success(now)
        self.close(permit)
        self._follow(permit, advertised, now)

    def record_rejection(
        self, permit: Permit, advertised: Mapping[str, AdvertisedLimit], seconds: float, now: float
    ) -> None:
        """It was rejected (429): nothing was charged, and nothing goes for `seconds`."""
        self.close(permit)
        self._resume_at = max(self._resume_at, now + seconds)
        for kind, bucket in self._advertised.items():
            bucket.take(-permit.charged[kind], now)
        self._follow(permit, advertised, now)
        if not any(limit.remaining < permit.charged[kind] for kind, limit in advertised.items()):
            self._estimator.record_rejection(permit.sent, seconds, now, self._resume_at)

    def record_usage(self, permit: Permit, images: int, tokens: int, now: float) -> None:
        """It took so many tokens; the next requests are expected to take as many."""
        self._tokens_per_image = tokens / max(1, images)
        for buckets in (self._configured, self._advertised):
            if "tokens" in buckets:
                buckets["tokens"].take(tokens - permit.charged["tokens"], now)

    def close(self, permit: Permit) -> None:
        """It is no longer in flight. Idempotent."""
        if permit.is_open:
            permit.is_open = False
            for kind in _KINDS:
                self._open[kind] -= permit.charged[kind]

    def _charge(self, images: int) -> dict[str, float]:
        return {"images": images, "requests": 1, "tokens": self._tokens_per_image * images}

    def _follow(self, permit: Permit, advertised: Mapping[str, AdvertisedLimit], now: float) -> None:
        """Believe what the server says is left, less what is in flight."""
        for kind, limit in advertised.items():
            # Servers count on arrival or on answering: either way so much is left at least.
            left = max(0.0, limit.remaining - self._open[kind])
            # A reset may be the end of a window or the time until all is there: the faster reading is tried.
            rate = max(limit.rate, limit.limit / 60)
            bucket = self._advertised.get(kind)
            if bucket is None:
                self._advertised[kind] = TokenBucket(rate, limit.limit, now, left)
                continue
            bucket.capacity = limit.limit
            bucket.set_rate(rate, now)
            # Only what is less than we thought at both moments is news: another process under the same limit.
            thought = min(permit.held.get(kind, limit.limit), bucket.level(now))
            if left > bucket.level(now):
                bucket.set_level(left, now)
            elif limit.remaining < thought:
                bucket.take(thought - limit.remaining, now)
