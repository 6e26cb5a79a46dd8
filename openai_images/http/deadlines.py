"""How long one answer may take: a clock that runs while we wait and decode, and the timers on it.

Invariants: the clock stands still while the caller holds an event; what runs out is found by the clock, so decoding
counts as waiting does. Must not: wait, or know what is read.
"""

from __future__ import annotations

import math

from openai_images.errors import TimeoutOutcomeUnknownError
from openai_images.models.options import Timeouts, Timing


class Deadlines:
    """`start` and `stop` the clock; `next` says which timer runs out first."""

    def __init__(self, timeouts: Timeouts, timing: Timing, elapsed: float) -> None:
        """Begin with the clock stopped at `elapsed` seconds since the first byte was sent."""
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
        """The clock runs; idempotent."""
        if self._started is None:
            self._started = self._monotonic()

    def stop(self) -> None:
        """The caller has the word; idempotent."""
        self._elapsed, self._started = self.elapsed, None

    def active(self) -> None:
        """The server showed that it is at work: the idle timer starts anew."""
        self._active = self.elapsed

    def shorten(self, seconds: float) -> None:
        """From the first call on, so many seconds are left for all that is still to come."""
        self._shortened = min(self._shortened, self.elapsed + seconds)

    def next(self) -> tuple[str, float | None]:
        """Which timer runs out first, and in how many seconds; none or less where it has run out."""
        limits, elapsed = self._timeouts, self.elapsed
        idle = None if limits.idle is None else limits.idle - (elapsed - self._active)
        end = min(self._shortened, math.inf if limits.total is None else limits.total)
        return earlier_timeout("idle", idle, "total", None if math.isinf(end) else end - elapsed)


def earlier_timeout(
    one: str, first: float | None, other: str, second: float | None
) -> tuple[str, float | None]:
    """The timer that runs out first."""
    if first is None or (second is not None and second < first):
        return other, second
    return one, first


def timed_out(timer: str, seconds: float | None) -> TimeoutOutcomeUnknownError:
    """The error for a timer that ran out once the request was sent."""
    what = {
        "first_byte": "the answer did not begin",
        "idle": "nothing came",
        "total": "the answer was not complete",
    }[timer]
    msg = (
        f"{what} within {seconds:g} s (Timeouts({timer}=…)); the request was sent and may have been billed, "
        "so it was not sent again"
    )
    return TimeoutOutcomeUnknownError(msg, timer=timer, seconds=seconds or 0.0)
