"""The pace of requests where nobody states a limit, as rejections (429) teach it.

Invariants: pure; times are parameters, in seconds. Requests go some milliseconds apart, so that one of them meets the
limit and not all; each success lets more go at once. The rate grows while it holds requests back. A rejection ends a
period: what was in flight in it is no other rejection. Must not: wait, or know pauses.
"""

from __future__ import annotations

from collections import deque

from openai_images.ratelimit.estimate import Estimate, Rejection, SentRequest, learn
from openai_images.ratelimit.token_bucket import TokenBucket

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
