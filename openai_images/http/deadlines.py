"""How long one response may take: a clock that runs while the client waits and decodes, and its timers.

Invariants: the clock is stopped while the caller handles an event; timeouts are found by the clock, so decoding time
counts like waiting. Must not: wait, or know what is read.
"""

from __future__ import annotations

import math

from openai_images.errors import TimeoutOutcomeUnknownError
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
        self._shortened = math.inf

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
        self._active = self.elapsed

    def shorten(self, seconds: float) -> None:
        """Allow at most `seconds` from now for the rest of the response; a later call cannot extend that."""
        self._shortened = min(self._shortened, self.elapsed + seconds)

    def next(self) -> tuple[str, float | None]:
        """Return which timer runs out first, and in how many seconds: 0 or less if it has run out, None for never."""
        limits, elapsed = self._timeouts, self.elapsed
        idle = None if limits.idle is None else limits.idle - (elapsed - self._active)
        end = min(self._shortened, math.inf if limits.total is None else limits.total)
        return earlier_timeout("idle", idle, "total", None if math.isinf(end) else end - elapsed)


def earlier_timeout(
    name: str, seconds: float | None, other: str, other_seconds: float | None
) -> tuple[str, float | None]:
    """Return the timer that runs out first, and its seconds; None is never."""
    if seconds is None or (other_seconds is not None and other_seconds < seconds):
        return other, other_seconds
    return name, seconds


def timed_out(timer: str, seconds: float | None) -> TimeoutOutcomeUnknownError:
    """Return the error of a timer that ran out after the request was sent."""
    event = {
        "first_byte": "the answer did not begin",
        "idle": "nothing came",
        "total": "the answer was not complete",
    }[timer]
    msg = (
        f"{event} within {seconds:g} s (Timeouts({timer}=…)); the request was sent and may have been billed, "
        "so it was not sent again"
    )
    return TimeoutOutcomeUnknownError(msg, timer=timer, seconds=seconds or 0.0)
