"""An unstated rate limit, estimated from rejections (429).

Invariants: pure; times are parameters, in seconds. Requests go some milliseconds apart, so that one of them meets the
limit and not all; each success lets more go at once. The rate grows while it holds requests back. A rejection ends a
period: what was in flight in it is no other rejection. A wait longer than such a bucket needs is a pause, no rate.
Must not: wait, or know pauses.
"""

from __future__ import annotations

from collections import deque

from attrs import evolve, frozen

from openai_images.ratelimit.token_bucket import TokenBucket

_MAX_WAIT = 60.0  # seconds between two requests: what is slower is a pause, and no rate
_MIN_SPAN, _MIN_PROOF = 0.005, 0.1  # seconds
_KEPT, _TOWARDS_HIGH = 0.55, 0.3  # of what was known before; of the way from the lowest rate to the highest
_FIRST_DOUBLING, _DOUBLINGS_PER_WAIT = 0.2, 8
_SLOWER, _SLOWEST = 16.0, 2000.0  # times, seconds: growth slows with each rejection that it explains


@frozen(eq=False)
class SentRequest:
    """A request that went, and how many images its period had sent before; a rejection ends a period."""

    at: float
    images: float
    period: int
    before: float


@frozen
class Estimate:
    """A rate in images a second, and in how many seconds it doubles while it holds requests back."""

    rate: float
    doubling: float
    capacity: float
    level: float  # what the bucket holds when the wait is over
    since: float  # when that is
    accepted: float = 0.0  # images, those of long ago counting less
    longest: float = 0.0  # seconds that this took
    shortest: float = 0.0


@frozen
class Rejection:
    """A rejected request, the wait that it asked for, the rate at which it went, and those that went before it."""

    sent: SentRequest
    seconds: float
    pace: float
    recent: tuple[SentRequest, ...]

    @property
    def shortest(self) -> float:
        """Seconds that the wait lasts at least."""
        return max(0.0, self.seconds - 1) if self.seconds == int(self.seconds) else self.seconds

    @property
    def doubling(self) -> float:
        """Seconds in which the rate doubles where nothing is known."""
        return max(_FIRST_DOUBLING, min(self.seconds, _MAX_WAIT) / _DOUBLINGS_PER_WAIT)

    def is_pause(self, rate: float) -> bool:
        """Whether no bucket of this rate asks for so long a wait."""
        return self.shortest * rate > 1.05 * self.sent.images


def learn(rejection: Rejection, accepted: float, last: Estimate | None) -> Estimate:
    """The estimate after it, where so many images were accepted since the wait before."""
    estimate = _first(rejection, accepted) if last is None else _next(rejection, accepted, last)
    return evolve(estimate, rate=max(estimate.rate, rejection.sent.images / _MAX_WAIT))


def _first(rejection: Rejection, accepted: float) -> Estimate:
    sent, started = rejection.sent, rejection.recent[0].at
    end = sent.at + rejection.seconds
    measured = max(accepted, sent.images) / max(end - started, _MIN_SPAN)
    rate = min(measured, sent.images / max(rejection.shortest, _MIN_SPAN))
    capacity = max(1.0, sent.images, accepted - rate * (sent.at - started))
    level = capacity if rejection.is_pause(measured) else sent.images
    return Estimate(rate, rejection.doubling, capacity, level, end)


def _next(rejection: Rejection, accepted: float, last: Estimate) -> Estimate:
    sent, wait = rejection.sent, rejection.seconds
    estimate = evolve(last, level=sent.images, since=sent.at + wait)
    if accepted <= 0:
        return estimate
    total, span = last.accepted * _KEPT + accepted, sent.at - last.since
    longest = max(_MIN_SPAN, last.longest * _KEPT + span + wait)
    shortest = max(_MIN_SPAN, last.shortest * _KEPT + span + rejection.shortest)
    low, high = total / longest, total / shortest
    estimate = evolve(estimate, accepted=total, longest=longest, shortest=shortest)
    if rejection.is_pause(low):
        rate, doubling = max(last.rate, low), rejection.doubling
        return evolve(estimate, rate=rate, doubling=doubling, level=last.capacity)
    if accepted <= last.rate * span:  # no faster than the estimate: it was too high
        rate, doubling = max(low, min(high, last.rate)), max(rejection.doubling, last.doubling / _SLOWER)
        return evolve(estimate, rate=rate, doubling=doubling)
    high = min(high, max(low, rejection.pace))
    rate = max(low + _TOWARDS_HIGH * (high - low), _proved_rate(rejection, last.capacity))
    rate, doubling = min(rate, max(low, rejection.pace)), min(last.doubling * _SLOWER, _SLOWEST)
    return evolve(estimate, rate=rate, doubling=doubling)


def _proved_rate(rejection: Rejection, capacity: float) -> float:
    """What the last requests show, beyond what a full bucket may have given."""
    sent = rejection.sent
    proofs = (
        (sent.before - other.before - capacity) / (sent.at - other.at)
        for other in rejection.recent
        if sent.at - other.at > _MIN_PROOF
    )
    return max(proofs, default=0.0)


_SPACING, _FIRST_BURST, _BURST_PER_SUCCESS, _MAX_BURST = 0.01, 4, 2, 1000.0
_RECENT_REQUESTS = 64
_SLACK = 0.3  # of an image: what growth must exceed the estimate by, before a rejection is explained
_DOUBLINGS_PER_REQUEST, _MAX_DOUBLINGS = 1.5, 60.0
_MEMORY = 420.0  # seconds without a rejection after which the estimate is dropped


class RateEstimator:
    """`delay` before a request, `acquire` when it goes; then `record_success` or `record_rejection`."""

    def __init__(self, now: float) -> None:
        self._period = 0
        self._forget(now)

    def _forget(self, now: float) -> None:
        self._bucket: TokenBucket | None = None
        self._estimate: Estimate | None = None
        self._late = 0.0  # images sent after the one rejected, in its period, and not rejected so far
        self._start(now, _FIRST_BURST)

    def _start(self, now: float, burst: int = 1) -> None:
        self._period += 1
        self._spacing = TokenBucket(1 / _SPACING, burst, now)
        self._images, self._requests, self._doublings = 0.0, 0, 0.0
        self._started_at = self._grown_at = now
        self._recent = deque[SentRequest](maxlen=_RECENT_REQUESTS)

    @property
    def rate(self) -> float | None:
        """Images a second; None before the first rejection."""
        return None if self._estimate is None else self._estimate.rate

    def delay(self, images: float, now: float) -> float:
        """Seconds until a request for so many images should go."""
        limit = 0.0 if self._bucket is None else self._bucket.delay(images, now)
        return max(limit, self._spacing.delay(1, now))

    def acquire(self, images: float, now: float) -> SentRequest:
        """A request goes now."""
        if self._estimate is not None and self._requests and now - self._started_at > _MEMORY:
            self._forget(now)
        if self._bucket is not None and self._estimate is not None:
            self._grow(self._bucket, self._estimate, images, now)
            self._bucket.take(images if self._requests else images + _SLACK, now)
        self._spacing.take(1, now)
        sent = SentRequest(now, images, self._period, self._images)
        self._recent.append(sent)
        self._images, self._requests = self._images + images, self._requests + 1
        return sent

    def record_success(self, sent: SentRequest, now: float) -> None:
        """It was accepted: until a rejection, more may go at once."""
        if sent.period == self._period:
            self._spacing.capacity = min(_MAX_BURST, self._spacing.capacity + _BURST_PER_SUCCESS)
            self._spacing.take(-_BURST_PER_SUCCESS, now)

    def record_rejection(self, sent: SentRequest, seconds: float, resume_at: float) -> None:
        """It was rejected, with a wait of so many seconds; nothing goes before `resume_at`."""
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
            self._accepted -= sent.images  # it was overtaken, and was not accepted either
        else:
            return
        estimate = self._estimate = learn(self._rejection, max(0.0, self._accepted), self._before)
        self._bucket = TokenBucket(estimate.rate, estimate.capacity, resume_at, estimate.level)
        self._started_at = resume_at

    def _grow(self, bucket: TokenBucket, estimate: Estimate, images: float, now: float) -> None:
        """Speed up where the bucket is what holds requests back."""
        if bucket.level(now) - images < min(1.0, bucket.capacity / 2) and now > self._grown_at:
            grown = self._doublings + (now - self._grown_at) / estimate.doubling
            self._doublings = min(grown, _DOUBLINGS_PER_REQUEST * self._requests, _MAX_DOUBLINGS)
            bucket.set_rate(estimate.rate * 2**self._doublings, now)
        self._grown_at = max(self._grown_at, now)
