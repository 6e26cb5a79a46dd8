"""The clock of one response: which of its timers runs out first.

Invariants: it runs while the client waits or decodes, never while the caller's code does. Must not: wait.
"""

from __future__ import annotations

import math

from openai_images.models.options import Timeouts, Timing


class Deadlines:
    """A clock with timers: `start` and `stop` it; `next` returns the timer that runs out first."""

    def __init__(self, timeouts: Timeouts, timing: Timing, elapsed: float) -> None:
        """The clock is stopped at `elapsed` seconds after the first byte was sent."""
        self._timeouts = timeouts
        self._monotonic = timing.monotonic
        self._elapsed = elapsed
        self._started: float | None = None
        self._active = elapsed
        self._end = math.inf if timeouts.total is None else timeouts.total

    @property
    def elapsed(self) -> float:
        """Seconds of the clock since the first byte was sent."""
        return self._elapsed + (0.0 if self._started is None else self._monotonic() - self._started)

    def start(self) -> None:
        """Start the clock. Idempotent."""
        if self._started is None:
            self._started = self._monotonic()

    def stop(self) -> None:
        """Stop the clock while the caller's code runs. Idempotent."""
        self._elapsed, self._started = self.elapsed, None

    def active(self) -> None:
        """Restart the idle timer, as the server is active."""
        if self._timeouts.idle is not None:
            self._active = self.elapsed

    def shorten(self, seconds: float) -> None:
        """Allow at most `seconds` from now for the rest of the response; a later call cannot extend that."""
        self._end = min(self._end, self.elapsed + seconds)

    def next(self) -> tuple[str, float | None]:
        """Return which timer runs out first, and in how many seconds: 0 or less if it has run out, None for never."""
        elapsed, idle = self.elapsed, self._timeouts.idle
        seconds = self._end - elapsed
        if idle is not None and idle - (elapsed - self._active) <= seconds:
            return "idle", idle - (elapsed - self._active)
        return "total", None if seconds == math.inf else seconds
