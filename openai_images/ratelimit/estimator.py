"""Estimates an unadvertised rate limit from rejections (429).

Invariants: pure; times are parameters, in seconds. When the wait of a 429 is over, the server's bucket holds just what
was requested: what was accepted between the ends of two waits, over that time, is the rate. It grows while it delays
requests: less after each rejection that growth explains, and faster with the time since. A wait longer than such a
bucket needs is a pause, not a rate. A rejection ends a period; others of that period count as the same one.
Must not: wait.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from openai_images.ratelimit.token_bucket import TokenBucket

_MAX_WAIT, _MIN_SPAN = 60.0, 0.005  # seconds between requests: more is a pause, less is noise
_MIN_PROOF, RECENT_REQUESTS = 0.25, 64  # seconds, as requests differ in their time to the server
_KEPT = 0.5  # factor of earlier counts at each rejection
_ROUNDED = 0.5  # seconds that a wait of whole seconds is too long on average
_FIRST_ROUNDED = 0.7  # the same for the first wait, as a rate that is too low costs more
_FIRST_DOUBLING, _DOUBLINGS_PER_WAIT = 0.2, 8  # seconds of the fastest growth, and its share of a wait
_SLOWER = 16.0  # factor of a rejection that growth explains
_LONGEST, _LONGEST_REQUESTS = 45.0, 30  # seconds or requests, the longer: then a rate that held doubles
_DOUBLINGS_PER_REQUEST, _MAX_DOUBLINGS = 1.5, 60.0
_SLACK = 0.25  # images after a wait: growth must exceed the estimate by this before it explains a rejection
_MEMORY = 420.0  # seconds without a rejection after which the estimate is dropped
_FIRST_BURST, _BURST_PER_SUCCESS, _MAX_BURST = 4, 2, 1000.0  # requests: one of them meets the limit, not all
# The first `_CAREFUL` requests are `_SPACING` seconds apart: most bursts end among them, and then few are rejected.
# Then their number grows by a factor of e in `_SPREAD` seconds.
_SPACING, _CAREFUL, _SPREAD = 0.01, 100, 0.4


class SentRequest(NamedTuple):
    """A sent request, and how many images its period had sent before it; a rejection ends a period."""

    sent_at: float
    images: float
    period: int
    before: float


class Estimate(NamedTuple):
    """A rate in images per second, the seconds in which it doubles, and the server's bucket when the wait ends.

    `Estimate()`: no limit is known.
    """

    rate: float = math.inf
    doubling: float = math.inf
    capacity: float = math.inf
    level: float = math.inf
    since: float = 0.0  # the end of the wait
    accepted: float = 0.0  # images, older ones weighted less
    seconds: float = 0.0  # in which they were accepted


class Rejection(NamedTuple):
    """A rejected request, the wait that the server requested, and the period's requests, rate and estimate so far."""

    sent: SentRequest
    seconds: float
    recent: Sequence[SentRequest]
    pace: float
    last: Estimate


def learn(rejection: Rejection, accepted: float) -> Estimate:
    """Return the estimate after a rejection; `accepted` images were accepted since the end of the previous wait."""
    sent, wait, recent, pace, last = rejection
    images = sent.images
    rounded = 1.0 if wait == int(wait) else 0.0  # servers round up to whole seconds
    shortest, end = max(_MIN_SPAN, wait - rounded), sent.sent_at + wait
    fastest = max(_FIRST_DOUBLING, min(wait, _MAX_WAIT) / _DOUBLINGS_PER_WAIT)
    if last.rate == math.inf:
        span = sent.sent_at - recent[0].sent_at
        measured = max(accepted, images) / max(span + wait - _FIRST_ROUNDED * rounded, _MIN_SPAN)
        rate = max(min(measured, images / shortest), images / _MAX_WAIT)
        capacity = max(1.0, images, accepted - rate * span)
        level = capacity if shortest * measured > 1.05 * images else images
        return Estimate(rate, fastest, capacity, level, end)
    if accepted <= 0:
        return last._replace(level=images, since=end)
    span, level = sent.sent_at - last.since, images
    total = last.accepted * _KEPT + accepted
    seconds = max(_MIN_SPAN, last.seconds * _KEPT + span + max(0.0, wait - _ROUNDED * rounded))
    rate, doubling = total / seconds, max(fastest, last.doubling / _SLOWER)
    if shortest * rate > 1.05 * images:  # a pause, in which the bucket was filled
        rate, level = max(rate, last.rate), last.capacity
    elif accepted > last.rate * span:  # growth explains it, beyond what recent requests prove
        proofs = (
            (sent.before - other.before - last.capacity) / (sent.sent_at - other.sent_at)
            for other in recent
            if sent.sent_at - other.sent_at > _MIN_PROOF
        )
        rate = max(rate, min(max(proofs, default=0.0), pace))
        doubling = last.doubling * _SLOWER
    return Estimate(max(rate, images / _MAX_WAIT), doubling, last.capacity, level, end, total, seconds)


class RateEstimator:
    """Two buckets that a request needs: `bucket`, the estimated limit, and `spacing`, which spreads the requests."""

    def __init__(self, now: float) -> None:
        self._period = 0
        self._forget(now)

    def _forget(self, now: float) -> None:
        self.bucket = TokenBucket(math.inf, math.inf, now)
        self._estimate = Estimate()
        self._late = 0.0  # images sent after the rejected one in its period, and not rejected so far
        self._start(now, _FIRST_BURST)

    def _start(self, now: float, burst: int = 1) -> None:
        self._period += 1
        self.spacing = TokenBucket(1 / _SPACING, burst, now)
        self._images, self._requests, self._delayed = 0.0, 0, 0.0
        self._started_at = self._looked_at = now
        self._recent = deque[SentRequest](maxlen=RECENT_REQUESTS)

    def acquire(self, images: float, now: float) -> SentRequest:
        """Record that a request is sent now."""
        if self._requests and self._estimate.rate < math.inf and now - self._started_at > _MEMORY:
            self._forget(now)
        self._grow(self._estimate, images, now)
        self.bucket.take(images if self._requests else images + _SLACK, now)
        self.spacing.take(1, now)
        sent = SentRequest(now, images, self._period, self._images)
        self._recent.append(sent)
        self._images, self._requests = self._images + images, self._requests + 1
        self.spacing.rate = max(1 / _SPACING, (self._requests - _CAREFUL) / _SPREAD)
        return sent

    def _grow(self, estimate: Estimate, images: float, now: float) -> None:
        """Increase the rate if the bucket is what delays requests."""
        if self.bucket.level(now) - images < min(1.0, estimate.capacity / 2) and now > self._looked_at:
            self._delayed += now - self._looked_at
            again = self._delayed / max(_LONGEST, _LONGEST_REQUESTS * images / estimate.rate)
            doublings = self._delayed / estimate.doubling + again**3
            doublings = min(doublings, _DOUBLINGS_PER_REQUEST * self._requests, _MAX_DOUBLINGS)
            self.bucket.take(0, now)
            self.bucket.rate = estimate.rate * 2**doublings
        self._looked_at = max(self._looked_at, now)

    def record_success(self, sent: SentRequest, now: float) -> None:
        """Record an accepted request: until a rejection, larger bursts are allowed."""
        if sent.period == self._period:
            self.spacing.capacity = min(_MAX_BURST, self.spacing.capacity + _BURST_PER_SUCCESS)
            self.spacing.take(-_BURST_PER_SUCCESS, now)

    def record_rejection(self, sent: SentRequest, seconds: float, resume_at: float) -> None:
        """Record a rejected request with its wait in seconds; nothing is sent before `resume_at`."""
        if sent.period == self._period:
            self._rejection = Rejection(sent, seconds, self._recent, self.bucket.rate, self._estimate)
            # Requests of one moment arrive in any order: the others of it count as sent before this one.
            self._moment = sent.sent_at + _MIN_SPAN
            others = (other for other in self._recent if other.before > sent.before)
            before = sent.before + sum(other.images for other in others if other.sent_at <= self._moment)
            self._accepted = self._late + before
            self._late = self._images - before - sent.images
            self._start(resume_at)
        elif sent.period == self._period - 1 and sent.sent_at > self._moment:
            self._late -= sent.images
            return
        elif sent.period == self._period - 1 and not self._requests:
            self._accepted -= sent.images  # it was sent earlier, and was not accepted either
        else:
            return
        estimate = self._estimate = learn(self._rejection, max(0.0, self._accepted))
        self.bucket = TokenBucket(estimate.rate, estimate.capacity, resume_at, estimate.level)
        self._started_at = resume_at
