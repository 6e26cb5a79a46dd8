"""The progress of many calls: counts, money and speed.

Invariants: pure; times are parameters, in seconds. Speed is that of the last five minutes, or of the whole run where
little ended in them; what is not known is None, never 0.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from attrs import define

from openai_images.errors import ModerationBlockedError
from openai_images.models.outcomes import Outcome, Succeeded

_WINDOW = 300.0
"""Seconds that the speed looks back: several times what the slowest pictures take."""

_ENOUGH = 10
"""Requests that must have ended within the window for it to say something."""


@define
class _Second:
    """What ended in one second of the clock, or in all of the window."""

    second: int = 0
    requests: int = 0
    images: int = 0


class ProgressMeter:
    """`add` each outcome; read the rest."""

    def __init__(self) -> None:
        """All is zero, and no cost is known."""
        self.done = self.failed = self.blocked = self.unknown = self.images = self.unpriced = 0
        self.spent: Decimal | None = None
        self._began: float | None = None
        self._ended: float | None = None
        self._recent: deque[_Second] = deque()
        self._late = _Second()

    @property
    def finished(self) -> int:
        """How many have ended."""
        return self.done + self.failed

    def begin(self, now: float) -> None:
        """The time counts from here."""
        self._began = now

    def end(self, now: float) -> None:
        """The time stands still."""
        self._ended = now

    def add(self, outcome: Outcome, now: float, cost: Decimal | None) -> None:
        """Count one more, and what it cost."""
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
        for slot in (self._recent[-1], self._late):
            slot.requests += 1
            slot.images += images

    def elapsed(self, now: float) -> float:
        """Seconds since it began, up to its end; 0 before."""
        return 0.0 if self._began is None else max(0.0, self._until(now) - self._began)

    def images_per_minute(self, now: float) -> float:
        """Pictures a minute, of late."""
        return self._speed(now)[1] * 60

    def eta(self, left: int | None, now: float) -> float | None:
        """Seconds that so many more requests will probably take; None where nobody knows."""
        if not left:
            return left if left is None else 0.0
        requests = self._speed(now)[0]
        return left / requests if requests else None

    def _until(self, now: float) -> float:
        return now if self._ended is None else self._ended

    def _speed(self, now: float) -> tuple[float, float]:
        """Requests and pictures a second."""
        elapsed = self.elapsed(now)
        if not elapsed:
            return 0.0, 0.0
        self._forget(self._until(now))
        if elapsed <= _WINDOW or self._late.requests < _ENOUGH:
            return self.finished / elapsed, self.images / elapsed
        return self._late.requests / _WINDOW, self._late.images / _WINDOW

    def _forget(self, now: float) -> None:
        """Let go of what ended before the window, so that reading the speed costs the same at any time."""
        while self._recent and self._recent[0].second <= now - _WINDOW:
            old = self._recent.popleft()
            self._late.requests -= old.requests
            self._late.images -= old.images
