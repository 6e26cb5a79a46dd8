"""How long one response may take: a clock that runs while the client waits and decodes, and the timer of its waits.

Invariants: the clock is stopped while the caller handles an event; timeouts are found by the clock, so decoding time
counts like waiting. The timer cancels a wait as `asyncio.timeout` does, and never anything else.
Must not: wait, or know what is read.
"""

from __future__ import annotations

import asyncio
import math
from types import TracebackType

from openai_images.models.options import Timeouts, Timing

_RESOLUTION = 0.001
"""Seconds by which a timer may be late, as those of most event loops."""


class WaitTimer:
    """One timer for all waits of a call: `with timer.within(seconds): await …` raises as `asyncio.timeout` does.

    Moving the deadline sets a number; the loop's timer is set anew only if it fires too early. A wait that raises
    cancels it; after the last one that does not, call `cancel`. `expired`: the last wait ran out.
    """

    __slots__ = ("_cancelling", "_handle", "_loop", "_task", "_when", "expired")

    def __init__(self) -> None:
        self.expired = False
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._when: float | None = None
        self._cancelling = 0

    def within(self, seconds: float | None) -> WaitTimer:
        """Limit the next wait to so many seconds; None for no limit."""
        self._when = None if seconds is None else self._loop.time() + seconds
        return self

    def move(self, seconds: float | None) -> None:
        """Limit the wait that has begun, if there is one, to so many seconds from now; None for no limit."""
        if self._task is not None:
            self._when = None if seconds is None else self._loop.time() + seconds
            self._arm()

    def cancel(self) -> None:
        """Cancel the loop's timer. Idempotent."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a wait with a timer needs a task")
        self.expired = False
        self._task = task
        self._cancelling = task.cancelling()
        self._arm()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if kind is not None:
            self.cancel()
        if self.expired and task is not None:
            # Like `asyncio.timeout`: a cancellation from outside wins over the timer.
            is_only_ours = task.uncancel() <= self._cancelling
            if is_only_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error

    def _arm(self) -> None:
        when, handle = self._when, self._handle
        if when is not None and (handle is None or handle.when() > when + _RESOLUTION):
            self.cancel()
            self._handle = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._handle = None
        if self._task is None or self._when is None:
            return
        if self._when > self._loop.time() + _RESOLUTION:
            self._arm()
        else:
            self.expired = True
            self._task.cancel()


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
