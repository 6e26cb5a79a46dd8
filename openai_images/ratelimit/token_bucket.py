"""A limit per minute as a bucket of tokens that refills evenly.

Invariants: pure; times are parameters, in seconds, and may stand still or run backwards. What is taken may exceed what
the bucket holds: the debt is paid off before anyone else starts. Must not: wait; it says how long.
"""

from __future__ import annotations

import math


class TokenBucket:
    """`rate` tokens a second, `capacity` at most; `level` is what it holds, and may be negative."""

    def __init__(self, rate: float, capacity: float, now: float, level: float | None = None) -> None:
        self.rate = rate
        self.capacity = capacity
        self._level = capacity if level is None else min(capacity, level)
        self._at = now

    def level(self, now: float) -> float:
        """What it holds at `now`."""
        return min(self.capacity, self._level + self.rate * max(0.0, now - self._at))

    def delay(self, amount: float, now: float) -> float:
        """Seconds until `amount` may be taken: all of it is there, or the bucket is full."""
        lacking = min(amount, self.capacity) - self.level(now)
        # A clock's rounding must not make a waiter wake a nanosecond early, over and over.
        return 0.0 if lacking <= 1e-6 else lacking / self.rate if self.rate > 0 else math.inf

    def take(self, amount: float, now: float) -> float:
        """Take it, whether it is there or not; return what is left."""
        self.set_level(self.level(now) - amount, now)
        return self._level

    def set_level(self, level: float, now: float) -> None:
        """Correct what it holds."""
        self._level = min(self.capacity, level)
        self._at = max(self._at, now)

    def set_rate(self, rate: float, now: float) -> None:
        """Refill at this rate from now on."""
        self.set_level(self.level(now), now)
        self.rate = rate
