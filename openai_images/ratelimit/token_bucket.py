"""A rate limit as a bucket of tokens that refills evenly.

Invariants: pure; times are parameters, in seconds, and may stand still or run backwards. More may be taken than the
bucket holds: the debt is paid off before the next request. Must not: wait; it returns how long.
"""

from __future__ import annotations

import math


class TokenBucket:
    """A bucket that gains `rate` tokens per second up to `capacity`; its level may be negative."""

    def __init__(self, rate: float, capacity: float, now: float, level: float = math.inf) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = min(capacity, level)
        self._updated_at = now

    def level(self, now: float) -> float:
        """Return what it holds at `now`."""
        passed = now - self._updated_at
        level = self._level + self.rate * passed if passed > 0 else self._level
        return min(self.capacity, level)

    def delay(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` may be taken: when the bucket holds it, or is full."""
        missing = min(amount, self.capacity) - self.level(now)
        # Rounding of the clock must not wake a waiter a nanosecond early, again and again.
        return 0.0 if missing <= 1e-6 else missing / self.rate if self.rate > 0 else math.inf

    def take(self, amount: float, now: float) -> float:
        """Take `amount`, even if the bucket holds less; return the new level."""
        self._level = min(self.capacity, self.level(now) - amount)
        self._updated_at = max(self._updated_at, now)
        return self._level
