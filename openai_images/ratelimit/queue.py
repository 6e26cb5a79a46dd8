"""The calls that wait in one event loop, in order of arrival.

Invariants: only the first waits for a timer, the others wait for the first: the cost of a step does not depend on how
many wait. Time that limits take from the first counts for all; waiting for a slot, or for a limit that the user
configured, uses up no patience. Must not: know limits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager

from attrs import define

from openai_images.models.options import Timing

_LOOK_INTERVAL = 1.0
"""Seconds between searches for calls whose patience has ended."""


@define(eq=False)
class Waiter:
    """A call that waits to send its request."""

    images: int
    max_wait: float
    held_before: float
    """The queue's `held` when it arrived."""
    now: float
    is_due: bool = False
    """Whether only configured limits still apply to it."""
    turn: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Make it check the limits again."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class LoopState:
    """The slots of an event loop, and the calls that wait for them and for limits."""

    def __init__(self, concurrency: int, timing: Timing) -> None:
        """Allow `concurrency` requests at a time."""
        self.slots = asyncio.Semaphore(concurrency)
        self.held = 0.0  # seconds that the first has waited for limits that are not configured
        self._timing = timing
        self._waiters = OrderedDict[int, Waiter]()
        self._checked_at = 0.0

    @property
    def first(self) -> Waiter | None:
        """The call that has waited longest."""
        return next(iter(self._waiters.values()), None)

    def left(self, waiter: Waiter) -> float:
        """Return the seconds it may still wait."""
        return max(0.0, waiter.max_wait - (self.held - waiter.held_before))

    @contextmanager
    def waiting(self, waiter: Waiter) -> Generator[None]:
        """Keep the waiter in the queue; wake the new first one at the end."""
        if len(self._waiters) == 1:
            self.wake_first()  # to check this one's patience, too
        self._waiters[id(waiter)] = waiter
        try:
            yield
        finally:
            del self._waiters[id(waiter)]
            self.wake_first()

    def wake_first(self) -> None:
        """Make the first one check the limits again."""
        if self.first is not None:
            self.first.wake()

    async def sleep(self, waiter: Waiter, seconds: float) -> None:
        """Sleep until woken, at most `seconds`; if others wait too, at most one second, to check their patience."""
        seconds = min(seconds, _LOOK_INTERVAL) if len(self._waiters) > 1 else seconds
        turn = waiter.turn = asyncio.get_running_loop().create_future()
        timer = asyncio.ensure_future(self._timing.sleep(seconds))
        try:
            await asyncio.wait((turn, timer), return_when=asyncio.FIRST_COMPLETED)
            if timer.done():
                await timer  # raises if the timer failed
                waiter.now += seconds  # the timer may be slightly early, and a clock may stand still
        finally:
            timer.cancel()

    def hold(self, seconds: float, pause: float) -> None:
        """Count seconds that the first waited; wake calls whose patience ends within the rest of the pause."""
        self.held += seconds
        if self.held - self._checked_at >= _LOOK_INTERVAL:
            self._checked_at = self.held
            for waiter in self._waiters.values():
                if self.left(waiter) <= pause:
                    waiter.wake()
