"""Combines configured, advertised and estimated limits, and the pauses that servers ask for, into one delay.

Invariants: pure; times are parameters, in seconds. Every limit must allow a request. A configured limit is used evenly,
with bursts of a few requests. An advertised one (`x-ratelimit-*`) never makes requests slower than `limit` a minute. A
rejection that it explains changes nothing, any other goes to the estimator, as servers enforce limits over shorter
spans than they advertise. Must not: wait, or decide who is next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from openai_images.models.options import Limits
from openai_images.ratelimit.estimator import RateEstimator, SentRequest
from openai_images.ratelimit.token_bucket import TokenBucket
from openai_images.wire.headers import AdvertisedLimit

_KINDS: tuple[str, ...] = ("images", "requests", "tokens")
_BURST = 4  # requests, of a configured limit: servers differ in how uneven a use they accept
Advertised: TypeAlias = Mapping[str, AdvertisedLimit]  # by kind
LIMIT_NAMES = {
    "told": "the configured {kind}_per_minute of {rate:.3g}",
    "advertised": "the server's limit of {rate:.3g} {kind} a minute",
    "estimated": "an estimated limit of {rate:.3g} images a minute",
    "spacing": "no limit is known yet",
}


class Permit:
    """A request that may be sent: what it was charged, and what each advertised bucket held after it."""

    def __init__(self, sent: SentRequest, charged: dict[str, float], held: dict[str, float]) -> None:
        self.sent = sent
        self.charged = charged
        self.held = held
        self.is_open = True


class Pacer:
    """All limits of a client: `delay` before a request, `acquire` when it is sent; then record its result."""

    def __init__(self, limits: Limits, now: float) -> None:
        self._configured = {
            kind: TokenBucket(limit / 60, limit / 15 if kind == "tokens" else min(limit, _BURST), now)
            for kind in _KINDS
            if (limit := getattr(limits, f"{kind}_per_minute")) is not None
        }
        self._advertised: dict[str, TokenBucket] = {}
        self._seen: dict[str, float] = {}  # the most that a server had left of each advertised limit
        self._estimator = RateEstimator(now)
        self._open = dict.fromkeys(_KINDS, 0.0)  # charged to requests in flight
        self._tokens_per_image = 0.0
        self.resume_at = now

    def pause_left(self, now: float) -> float:
        """Return the seconds until the end of the pause that a rejection requested."""
        return max(0.0, self.resume_at - now)

    def delay(self, images: int, now: float, *, only_configured: bool = False) -> float:
        """Return the seconds until a request for `images` may be sent, by pauses and limits, or configured limits."""
        pause, charge = 0.0 if only_configured else self.pause_left(now), self._charge(images)
        delays = (
            bucket.delay(charge[kind], now + pause)
            for source, kind, bucket in self._limits()
            if source == "told" or not only_configured
        )
        return pause + max(delays, default=0.0)

    def binding_limit(self, images: int, now: float) -> str:
        """Describe the limit with the longest delay for a request for `images`."""
        charge = self._charge(images)
        source, kind, bucket = max(self._limits(), key=lambda limit: limit[2].delay(charge[limit[1]], now))
        return LIMIT_NAMES[source].format(kind=kind, rate=bucket.rate * 60)

    def _limits(self) -> Iterator[tuple[str, str, TokenBucket]]:
        """Yield the source, the kind and the bucket of each limit."""
        yield "spacing", "requests", self._estimator.spacing
        yield "estimated", "images", self._estimator.bucket
        for source, buckets in (("told", self._configured), ("advertised", self._advertised)):
            for kind, bucket in buckets.items():
                yield source, kind, bucket

    def acquire(self, images: int, now: float) -> Permit:
        """Charge a request that is sent now."""
        charge = self._charge(images)
        for kind, bucket in self._configured.items():
            bucket.take(charge[kind], now)
        held = {kind: bucket.take(charge[kind], now) for kind, bucket in self._advertised.items()}
        for kind, charged in charge.items():
            self._open[kind] += charged
        return Permit(self._estimator.acquire(images, now), charge, held)

    def record_success(self, permit: Permit, advertised: Advertised, now: float) -> None:
        """Record that it was accepted, and the limits that the server advertised."""
        self._estimator.record_success(permit.sent, now)
        self.close(permit)
        self._apply_advertised(permit, advertised, now)

    def record_rejection(self, permit: Permit, advertised: Advertised, seconds: float, now: float) -> None:
        """Record that it was rejected (429): its charge is returned, and nothing is sent for `seconds`."""
        self.close(permit)
        self.resume_at = max(self.resume_at, now + seconds)
        for kind, bucket in self._advertised.items():
            bucket.take(-permit.charged[kind], now)
        self._apply_advertised(permit, advertised, now)
        if not any(limit.remaining < permit.charged[kind] for kind, limit in advertised.items()):
            self._estimator.record_rejection(permit.sent, seconds, self.resume_at)

    def record_usage(self, permit: Permit, tokens: int, now: float) -> None:
        """Record the tokens it took; the next requests are expected to take as many."""
        self._tokens_per_image = tokens / max(1, permit.charged["images"])
        for buckets in (self._configured, self._advertised):
            if "tokens" in buckets:
                buckets["tokens"].take(tokens - permit.charged["tokens"], now)

    def close(self, permit: Permit) -> None:
        """Record that it is no longer in flight. Idempotent."""
        if permit.is_open:
            permit.is_open = False
            for kind, charged in permit.charged.items():
                self._open[kind] -= charged

    def _charge(self, images: int) -> dict[str, float]:
        return {"images": images, "requests": 1, "tokens": self._tokens_per_image * images}

    def _apply_advertised(self, permit: Permit, advertised: Advertised, now: float) -> None:
        """Set the advertised buckets to what the server reports as left, less what is in flight."""
        for kind, limit in advertised.items():
            # Servers count a request on arrival or on responding: in both cases at least this is left.
            left = max(0.0, limit.remaining - self._open[kind])
            unused = limit.limit - self._open[kind] - permit.charged[kind]  # without use by other processes
            level = self._advertised[kind].level(now) if kind in self._advertised else unused
            # Only a value below the expected level at both times shows use by another process under the same limit.
            expected = min(permit.held.get(kind, limit.limit), level)
            level = max(left, min(level, level - expected + limit.remaining))
            rate = self._advertised_rate(permit, kind, limit)
            self._advertised[kind] = TokenBucket(rate, limit.limit, now, level)

    def _advertised_rate(self, permit: Permit, kind: str, limit: AdvertisedLimit) -> float:
        """Return `limit` a minute, or more if what was seen to be used is restored sooner.

        A reset is the end of a window or the time until a bucket is full, which may hold less than `limit`.
        """
        most = max(self._seen.get(kind, 0.0), limit.remaining + permit.charged[kind])
        self._seen[kind] = most = min(most, limit.limit)
        used = (most - limit.remaining) / max(1.0, limit.limit - limit.remaining)
        return max(limit.rate * used, limit.limit / 60)
