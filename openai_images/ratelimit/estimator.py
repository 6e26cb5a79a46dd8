"""A rate limit that nobody states, estimated from rejections (429).

Invariants: pure; times are parameters, in seconds. Before the first rejection requests go a few milliseconds apart, so
that one of them meets the limit and not all. Then the limit is taken for a token bucket: from the end of one stated
wait to the next it refills by what it accepted. The rate grows while it holds requests back, more slowly after each
rejection that it explains; a longer wait than such a bucket needs explains nothing. Must not: wait, or know pauses.
"""

from __future__ import annotations

import math
from collections import deque

from attrs import evolve, frozen

from openai_images.ratelimit.token_bucket import TokenBucket

_SPACING, _FIRST_BURST, _BURST_PER_SUCCESS, _MAX_BURST = 0.005, 4, 2, 1000.0
_MIN_SPAN, _RECENT_REQUESTS, _MIN_PROOF = 0.005, 64, 0.1  # seconds, requests, seconds
_SLACK = 0.3  # of an image: what growth must exceed the estimate by, before a rejection is explained
_FIRST_DOUBLING, _DOUBLINGS_PER_WAIT = 0.2, 8
_MAX_WAIT = 60.0  # seconds between two requests: what is slower is a pause, and no rate
_SLOWER, _PROBE_SECONDS, _PROBE_REQUESTS = 16.0, 60.0, 24  # growth slows until it meets the limit that rarely
_DOUBLINGS_PER_REQUEST, _MAX_DOUBLINGS = 1.5, 60.0
_TOWARDS_HIGH, _DECREASE, _TOLERANCE = 0.6, 0.85, 0.1
_MEMORY = 420.0  # seconds without a rejection after which the estimate is dropped


@frozen(eq=False)
class SentRequest:
    """A request that went, and how many images its period had sent before; a rejection ends a period."""

    at: float
    images: float
    period: int
    before: float


@frozen
class _Estimate:
    rate: float
    capacity: float
    doubling: float
    mark: float  # when the last wait was over: the bucket held just what was asked of it
    anchor: float  # the first of the marks that agree with each other
    total: float  # images accepted since then


@frozen
class _Rejection:
    sent: SentRequest
    seconds: float
    accepted: float
    pace: float
    unused: float  # what the bucket was thought to hold, after it had been full
    recent: tuple[tuple[float, float], ...]
    before: _Estimate | None


class RateEstimator:
    """`delay` before a request, `acquire` when it goes; then `record_success` or `record_rejection`."""

    def __init__(self, now: float) -> None:
        self._period = 0
        self._resumed_at = -math.inf
        self._forget(now)

    def _forget(self, now: float) -> None:
        self._free = TokenBucket(1 / _SPACING, _FIRST_BURST, now)
        self._bucket: TokenBucket | None = None
        self._estimate: _Estimate | None = None
        self._rejection: _Rejection | None = None
        self._late = 0.0  # images sent after the one rejected, in its period, and not rejected so far
        self._start(now)

    def _start(self, now: float) -> None:
        self._period += 1
        self._images, self._requests, self._doublings, self._grown_at = 0.0, 0, 0.0, now
        self._was_full = False
        self._recent = deque[tuple[float, float]](maxlen=_RECENT_REQUESTS)

    @property
    def rate(self) -> float | None:
        """Images a second; None before the first rejection."""
        return None if self._estimate is None else self._estimate.rate

    def delay(self, images: float, now: float) -> float:
        """Seconds until a request for so many images should go."""
        return self._free.delay(1, now) if self._bucket is None else self._bucket.delay(images, now)

    def acquire(self, images: float, now: float) -> SentRequest:
        """A request goes now."""
        if self._estimate and now - self._resumed_at > _MEMORY and self._requests:
            self._forget(now)
        if self._bucket is None or self._estimate is None:
            self._free.take(1, now)
        else:
            self._grow(self._bucket, self._estimate, images, now)
            self._bucket.take(images if self._requests else images + _SLACK, now)
        sent = SentRequest(now, images, self._period, self._images)
        self._recent.append((now, self._images))
        self._images, self._requests = self._images + images, self._requests + 1
        return sent

    def record_success(self, now: float) -> None:
        """A request was accepted: until a rejection, more may go at once."""
        if self._bucket is None:
            self._free.capacity = min(_MAX_BURST, self._free.capacity + _BURST_PER_SUCCESS)
            self._free.take(-_BURST_PER_SUCCESS, now)

    def record_rejection(self, sent: SentRequest, seconds: float, now: float, resume_at: float) -> None:
        """It was rejected, with a wait of so many seconds; nothing goes before `resume_at`."""
        last = self._rejection
        if sent.period == self._period:
            level = self._bucket.level(now) if self._bucket and self._was_full else 0.0
            pace = self._bucket.rate if self._bucket else 0.0
            accepted = sent.before + self._late
            last = _Rejection(sent, seconds, accepted, pace, level, tuple(self._recent), self._estimate)
            self._late = self._images - sent.before - sent.images
        elif last is None or sent.period != last.sent.period:
            return
        elif sent.before >= last.sent.before:
            self._late -= sent.images
            return
        elif self._requests:  # too late to correct what it taught
            return
        else:  # it went earlier and was overtaken: it was not accepted either
            last = evolve(last, accepted=last.accepted - sent.images)
        self._rejection = last
        estimate = _first_estimate(last) if last.before is None else _next_estimate(last, last.before)
        self._estimate = evolve(estimate, rate=max(estimate.rate, sent.images / _MAX_WAIT))
        self._bucket = TokenBucket(self._estimate.rate, self._estimate.capacity, resume_at, sent.images)
        self._resumed_at = resume_at
        self._start(resume_at)

    def _grow(self, bucket: TokenBucket, estimate: _Estimate, images: float, now: float) -> None:
        """Speed up where the bucket is what holds requests back."""
        level = bucket.level(now)
        self._was_full = self._was_full or images < bucket.capacity <= level
        if level - images < min(1.0, bucket.capacity / 2) and now > self._grown_at:
            grown = self._doublings + (now - self._grown_at) / estimate.doubling
            self._doublings = min(grown, _DOUBLINGS_PER_REQUEST * self._requests, _MAX_DOUBLINGS)
            bucket.set_rate(estimate.rate * 2**self._doublings, now)
        self._grown_at = max(self._grown_at, now)


def _first_estimate(rejection: _Rejection) -> _Estimate:
    sent, end = rejection.sent, rejection.sent.at + rejection.seconds
    started = rejection.recent[0][0]
    rate = max(rejection.accepted, sent.images) / max(end - started, _MIN_SPAN)
    rate = min(rate, sent.images / max(_shortest(rejection.seconds), _MIN_SPAN))
    capacity = max(1.0, sent.images, rejection.accepted - rate * (sent.at - started))
    return _Estimate(rate, capacity, _first_doubling(rejection.seconds), end, end, 0.0)


def _next_estimate(rejection: _Rejection, last: _Estimate) -> _Estimate:
    sent, accepted, pace = rejection.sent, rejection.accepted, rejection.pace
    end, first = sent.at + rejection.seconds, _first_doubling(rejection.seconds)
    capacity = max(1.0, sent.images, last.capacity - max(0.0, rejection.unused))
    estimate = evolve(last, capacity=capacity, mark=end, total=last.total + accepted)
    if accepted <= 0:
        return estimate
    low, high = _bounds(rejection, accepted, last.mark)
    if _shortest(rejection.seconds) * low > 1.05 * sent.images:  # no such bucket would ask for so long a wait
        return evolve(estimate, rate=max(last.rate, low), doubling=first, anchor=end, total=0.0)
    long_low, long_high = _bounds(rejection, estimate.total, last.anchor)
    if long_high < low * (1 - _TOLERANCE) or long_low > high * (1 + _TOLERANCE):  # the limit has changed
        estimate = evolve(estimate, anchor=last.mark, total=accepted)
    else:
        low, high = long_low, long_high
    if accepted <= last.rate * (sent.at - last.mark):  # no faster than the estimate: it was too high
        rate = max(low, min(high, pace, _DECREASE * last.rate))
        return evolve(estimate, rate=rate, doubling=max(first, last.doubling / _SLOWER))
    rate = max(low + _TOWARDS_HIGH * (min(high, max(pace, low)) - low), _proved_rate(rejection, capacity))
    rate = min(rate, max(pace, low))
    probe = max(_PROBE_SECONDS, _PROBE_REQUESTS * sent.images / rate)
    slowest = max(first, probe**2 * rate * math.log(2) / (2 * sent.images))
    return evolve(estimate, rate=rate, doubling=min(last.doubling * _SLOWER, slowest))


def _proved_rate(rejection: _Rejection, capacity: float) -> float:
    """What the last requests show, beyond what a full bucket may have given."""
    sent = rejection.sent
    proofs = (
        (sent.before - before - capacity) / (sent.at - at)
        for at, before in rejection.recent
        if sent.at - at > _MIN_PROOF
    )
    return max(proofs, default=0.0)


def _bounds(rejection: _Rejection, accepted: float, since: float) -> tuple[float, float]:
    """The lowest and the highest rate: a wait in whole seconds may be up to one too long."""
    end = rejection.sent.at + rejection.seconds - since
    shortest = end - rejection.seconds + _shortest(rejection.seconds)
    return accepted / max(end, _MIN_SPAN), accepted / max(shortest, _MIN_SPAN)


def _shortest(seconds: float) -> float:
    return max(0.0, seconds - 1) if seconds == int(seconds) else seconds


def _first_doubling(seconds: float) -> float:
    return max(_FIRST_DOUBLING, min(seconds, _MAX_WAIT) / _DOUBLINGS_PER_WAIT)
