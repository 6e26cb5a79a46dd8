"""Estimates an unadvertised rate limit from rejections (429).

Invariants: pure; times are parameters, in seconds. Requests go some milliseconds apart, so that one of them meets the
limit and not all; each success allows a larger burst. The rate grows while it delays requests. A rejection ends a
period: other rejections of that period count as the same one. A wait longer than a bucket needs is a pause, not a rate.
Must not: wait, or know pauses.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from openai_images.ratelimit.token_bucket import TokenBucket

_MAX_WAIT = 60.0  # seconds between two requests: anything slower is a pause, not a rate
_MIN_SPAN, _MIN_PROOF = 0.005, 0.1  # seconds
_DECAY, _TOWARDS_HIGH = (
    0.55,
    0.3,
)  # factor of earlier counts; fraction of the way from the lowest rate to the highest
_FIRST_DOUBLING, _DOUBLINGS_PER_WAIT = 0.2, 8
_SLOWER, _SLOWEST = 16.0, 2000.0  # factor, seconds: growth slows with each rejection that it explains


class SentRequest(NamedTuple):
    """A sent request, and how many images its period had sent before it; a rejection ends a period."""

    sent_at: float
    images: float
    period: int
    before: float


class Estimate(NamedTuple):
    """A rate in images per second, and in how many seconds it doubles while it delays requests."""

    rate: float
    doubling: float
    capacity: float
    level: float  # of the bucket when the wait is over
    since: float  # when the wait is over
    accepted: float = 0.0  # images, older ones weighted less
    longest: float = 0.0  # seconds in which they were accepted, at most
    shortest: float = 0.0  # and at least


class Rejection(NamedTuple):
    """A rejected request, the wait that the server requested, the bucket's rate then, and the requests before it."""

    sent: SentRequest
    seconds: float
    pace: float
    recent: tuple[SentRequest, ...]

    @property
    def shortest(self) -> float:
        """The minimum seconds of the wait: servers round up to whole seconds."""
        return max(0.0, self.seconds - 1) if self.seconds == int(self.seconds) else self.seconds

    @property
    def doubling(self) -> float:
        """Seconds in which the rate doubles, as a first value."""
        return max(_FIRST_DOUBLING, min(self.seconds, _MAX_WAIT) / _DOUBLINGS_PER_WAIT)

    def is_pause(self, rate: float) -> bool:
        """Whether the wait is longer than any bucket of this rate needs."""
        return self.shortest * rate > 1.05 * self.sent.images


def learn(rejection: Rejection, accepted: float, last: Estimate | None) -> Estimate:
    """Return the estimate after a rejection; `accepted` images were accepted since the previous one."""
    estimate = _first(rejection, accepted) if last is None else _next(rejection, accepted, last)
    return estimate._replace(rate=max(estimate.rate, rejection.sent.images / _MAX_WAIT))


def _first(rejection: Rejection, accepted: float) -> Estimate:
    sent, started = rejection.sent, rejection.recent[0].sent_at
    end = sent.sent_at + rejection.seconds
    measured = max(accepted, sent.images) / max(end - started, _MIN_SPAN)
    rate = min(measured, sent.images / max(rejection.shortest, _MIN_SPAN))
    capacity = max(1.0, sent.images, accepted - rate * (sent.sent_at - started))
    level = capacity if rejection.is_pause(measured) else sent.images
    return Estimate(rate, rejection.doubling, capacity, level, end)


def _next(rejection: Rejection, accepted: float, last: Estimate) -> Estimate:
    sent, wait = rejection.sent, rejection.seconds
    estimate = last._replace(level=sent.images, since=sent.sent_at + wait)
    if accepted <= 0:
        return estimate
    total, span = last.accepted * _DECAY + accepted, sent.sent_at - last.since
    longest = max(_MIN_SPAN, last.longest * _DECAY + span + wait)
    shortest = max(_MIN_SPAN, last.shortest * _DECAY + span + rejection.shortest)
    low, high = total / longest, total / shortest
    estimate = estimate._replace(accepted=total, longest=longest, shortest=shortest)
    if rejection.is_pause(low):
        rate, doubling = max(last.rate, low), rejection.doubling
        return estimate._replace(rate=rate, doubling=doubling, level=last.capacity)
    if accepted <= last.rate * span:  # not faster than the estimate, so it was too high
        rate, doubling = max(low, min(high, last.rate)), max(rejection.doubling, last.doubling / _SLOWER)
        return estimate._replace(rate=rate, doubling=doubling)
    high = min(high, max(low, rejection.pace))
    rate = max(low + _TOWARDS_HIGH * (high - low), _proved_rate(rejection, last.capacity))
    rate, doubling = min(rate, max(low, rejection.pace)), min(last.doubling * _SLOWER, _SLOWEST)
    return estimate._replace(rate=rate, doubling=doubling)


def _proved_rate(rejection: Rejection, capacity: float) -> float:
    """Return the rate that recent requests prove, beyond the capacity of a full bucket."""
    sent = rejection.sent
    proofs = (
        (sent.before - other.before - capacity) / (sent.sent_at - other.sent_at)
        for other in rejection.recent
        if sent.sent_at - other.sent_at > _MIN_PROOF
    )
    return max(proofs, default=0.0)


_FIRST_BURST, _BURST_PER_SUCCESS, _MAX_BURST = 4, 2, 1000.0
# The first `_CAREFUL` requests are `_SPACING` seconds apart; then their number grows by e in `_SPREAD` seconds.
_SPACING, _CAREFUL, _SPREAD = 0.01, 100, 0.4
_RECENT_REQUESTS = 64
_SLACK = 0.3  # images: growth must exceed the estimate by this before it explains a rejection
_DOUBLINGS_PER_REQUEST, _MAX_DOUBLINGS = 1.5, 60.0
_MEMORY = 420.0  # seconds without a rejection after which the estimate is dropped


class RateEstimator:
    """Estimates: `delay` before a request, `acquire` when it is sent; then `record_success` or `record_rejection`."""

    def __init__(self, now: float) -> None:
        self._period = 0
        self._forget(now)

    def _forget(self, now: float) -> None:
        self._bucket: TokenBucket | None = None
        self._estimate: Estimate | None = None
        self._late = 0.0  # images sent after the rejected one in its period, and not rejected so far
        self._start(now, _FIRST_BURST)

    def _start(self, now: float, burst: int = 1) -> None:
        self._period += 1
        self._spacing = TokenBucket(1 / _SPACING, burst, now)
        self._images, self._requests, self._doublings = 0.0, 0, 0.0
        self._started_at = self._last_growth = now
        self._recent = deque[SentRequest](maxlen=_RECENT_REQUESTS)

    @property
    def rate(self) -> float | None:
        """Images per second; None before the first rejection."""
        return None if self._estimate is None else self._estimate.rate

    def delay(self, images: float, now: float) -> float:
        """Return the seconds until a request for `images` should be sent."""
        limit = 0.0 if self._bucket is None else self._bucket.delay(images, now)
        return max(limit, self._spacing.delay(1, now))

    def acquire(self, images: float, now: float) -> SentRequest:
        """Record that a request is sent now."""
        if self._estimate is not None and self._requests and now - self._started_at > _MEMORY:
            self._forget(now)
        if self._bucket is not None and self._estimate is not None:
            self._grow(self._bucket, self._estimate, images, now)
            self._bucket.take(images if self._requests else images + _SLACK, now)
        self._spacing.take(1, now)
        sent = SentRequest(now, images, self._period, self._images)
        self._recent.append(sent)
        self._images, self._requests = self._images + images, self._requests + 1
        self._spacing.rate = max(1 / _SPACING, (self._requests - _CAREFUL) / _SPREAD)
        return sent

    def record_success(self, sent: SentRequest, now: float) -> None:
        """Record an accepted request: until a rejection, larger bursts are allowed."""
        if sent.period == self._period:
            self._spacing.capacity = min(_MAX_BURST, self._spacing.capacity + _BURST_PER_SUCCESS)
            self._spacing.take(-_BURST_PER_SUCCESS, now)

    def record_rejection(self, sent: SentRequest, seconds: float, resume_at: float) -> None:
        """Record a rejected request with its wait in seconds; nothing is sent before `resume_at`."""
        if sent.period == self._period:
            pace = 0.0 if self._bucket is None else self._bucket.rate
            self._rejection = Rejection(sent, seconds, pace, tuple(self._recent))
            self._accepted, self._before = self._late + sent.before, self._estimate
            self._late = self._images - sent.before - sent.images
            self._start(resume_at)
        elif sent.period == self._period - 1 and sent.before >= self._rejection.sent.before:
            self._late -= sent.images
            return
        elif sent.period == self._period - 1 and not self._requests:
            self._accepted -= sent.images  # it was sent earlier, and was not accepted either
        else:
            return
        estimate = self._estimate = learn(self._rejection, max(0.0, self._accepted), self._before)
        self._bucket = TokenBucket(estimate.rate, estimate.capacity, resume_at, estimate.level)
        self._started_at = resume_at

    def _grow(self, bucket: TokenBucket, estimate: Estimate, images: float, now: float) -> None:
        """Increase the rate if the bucket is what delays requests."""
        if bucket.level(now) - images < min(1.0, bucket.capacity / 2) and now > self._last_growth:
            grown = self._doublings + (now - self._last_growth) / estimate.doubling
            self._doublings = min(grown, _DOUBLINGS_PER_REQUEST * self._requests, _MAX_DOUBLINGS)
            bucket.take(0, now)
            bucket.rate = estimate.rate * 2**self._doublings
        self._last_growth = max(self._last_growth, now)
