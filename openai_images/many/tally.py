"""The progress of many calls: counts, money and speed.

Invariants: pure; times are parameters, in seconds. Speed is that of the last five minutes, or of the whole run if
little ended in them; an unknown value is None, never 0.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from attrs import define

from openai_images.errors import ModerationBlockedError
from openai_images.models.outcomes import Outcome, Succeeded

_WINDOW = 300.0
"""Seconds over which the speed is measured: several times what the slowest images take."""

_MIN_REQUESTS = 10
"""Requests that must have ended in the window for its speed to be used."""


@define
class _Second:
    """What ended in one second of the clock, or in the whole window."""

    second: int = 0
    requests: int = 0
    images: int = 0


class ProgressMeter:
    """Counts, money and speed of the outcomes that were added."""

    def __init__(self) -> None:
        self.done = self.failed = self.blocked = self.unknown = self.images = self.unpriced = 0
        self.spent: Decimal | None = None
        self._started_at: float | None = None
        self._ended_at: float | None = None
        self._recent: deque[_Second] = deque()
        self._window = _Second()

    @property
    def finished(self) -> int:
        """How many calls have ended."""
        return self.done + self.failed

    def begin(self, now: float) -> None:
        """Start the clock."""
        self._started_at = now

    def end(self, now: float) -> None:
        """Stop the clock."""
        self._ended_at = now

    def add(self, outcome: Outcome, now: float, cost: Decimal | None) -> None:
        """Count an outcome and its cost."""
        images = 0
        if isinstance(outcome, Succeeded):
            images = len(outcome.result.images)
            self.done += 1
            self.unpriced += cost is None
        else:
            self.failed += 1
            self.blocked += isinstance(outcome.error, ModerationBlockedError)
            self.unknown += bool(getattr(outcome.error, "maybe_billed", False))
        self.images += images
        if cost is not None:
            self.spent = (self.spent or Decimal(0)) + cost
        if not self._recent or self._recent[-1].second != int(now):
            self._forget(now)
            self._recent.append(_Second(int(now)))
        for span in (self._recent[-1], self._window):
            span.requests += 1
            span.images += images

    def elapsed(self, now: float) -> float:
        """Return the seconds since the start, up to the end; 0 before."""
        return 0.0 if self._started_at is None else max(0.0, self._clock(now) - self._started_at)

    def images_per_minute(self, now: float) -> float:
        """Return the recent images per minute."""
        return self._speed(now)[1] * 60

    def eta(self, left: int | None, now: float) -> float | None:
        """Return the seconds that `left` more requests will probably take; None if that is unknown."""
        if not left:
            return left if left is None else 0.0
        requests = self._speed(now)[0]
        return left / requests if requests else None

    def _clock(self, now: float) -> float:
        return now if self._ended_at is None else self._ended_at

    def _speed(self, now: float) -> tuple[float, float]:
        """Return requests and images per second."""
        elapsed = self.elapsed(now)
        if not elapsed:
            return 0.0, 0.0
        self._forget(self._clock(now))
        if elapsed <= _WINDOW or self._window.requests < _MIN_REQUESTS:
            return self.finished / elapsed, self.images / elapsed
        return self._window.requests / _WINDOW, self._window.images / _WINDOW

    def _forget(self, now: float) -> None:
        """Remove what ended before the window, so that reading the speed always costs the same."""
        while self._recent and self._recent[0].second <= now - _WINDOW:
            oldest = self._recent.popleft()
            self._window.requests -= oldest.requests
            self._window.images -= oldest.images
