"""A rate limit as a bucket of tokens that refills evenly.

Invariants: pure; times are parameters, in seconds, and may stand still or run backwards. More may be taken than the
bucket holds: the debt is paid off before the next request. Must not: wait; it returns how long.
"""

from __future__ import annotations

import math


class TokenBucket:
    """A bucket that gains `rate` tokens per second up to `capacity`; its `level` may be negative."""

    def __init__(self, rate: float, capacity: float, now: float, level: float | None = None) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity if level is None else min(capacity, level)
        self._updated_at = now

    def level(self, now: float) -> float:
        """Return what it holds at `now`."""
        return min(self.capacity, self._level + self.rate * max(0.0, now - self._updated_at))

    def delay(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` may be taken: when the bucket holds it, or is full."""
        missing = min(amount, self.capacity) - self.level(now)
        # Rounding of the clock must not wake a waiter a nanosecond early, again and again.
        return 0.0 if missing <= 1e-6 else missing / self.rate if self.rate > 0 else math.inf

    def take(self, amount: float, now: float) -> float:
        """Take `amount`, even if the bucket holds less; return the new level."""
        self.set_level(self.level(now) - amount, now)
        return self._level

    def set_level(self, level: float, now: float) -> None:
        """Set what it holds, at most its capacity."""
        self._level = min(self.capacity, level)
        self._updated_at = max(self._updated_at, now)

    def set_rate(self, rate: float, now: float) -> None:
        """Change the rate from now on."""
        self.set_level(self.level(now), now)
        self.rate = rate
