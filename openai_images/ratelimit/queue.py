"""Who waits in one event loop, in the order in which they came.

Invariants: only the first waits for time, the others wait for the first: what a step costs does not depend on how many
wait. What limits take from the first, they take from all; what a slot takes, or a limit that the user configured, uses
up nobody's patience. Must not: know limits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager

from attrs import define

from openai_images.models.options import Timing

_LOOK_INTERVAL = 1.0
"""Seconds; how often those are looked for whose patience has come to its end."""


@define(eq=False)
class Waiter:
    """A call that waits to send its request."""

    images: int
    max_wait: float
    held_before: float
    """How long its queue had been held when it came."""
    now: float
    is_due: bool = False
    """Whether it waits no longer for limits that nobody configured."""
    turn: asyncio.Future[None] | None = None

    def wake(self) -> None:
        """Let it look again."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class LoopState:
    """The slots of an event loop, and who waits for them and for the limits."""

    def __init__(self, concurrency: int, timing: Timing) -> None:
        """Allow so many requests at once."""
        self.slots = asyncio.Semaphore(concurrency)
        self.held = 0.0  # seconds that limits which nobody configured have taken from the first
        self._timing = timing
        self._waiters = OrderedDict[int, Waiter]()
        self._looked_at = 0.0

    @property
    def first(self) -> Waiter | None:
        """Who came before all others."""
        return next(iter(self._waiters.values()), None)

    def left(self, waiter: Waiter) -> float:
        """Seconds it may still wait."""
        return max(0.0, waiter.max_wait - (self.held - waiter.held_before))

    @contextmanager
    def waiting(self, waiter: Waiter) -> Generator[None]:
        """In the queue; whoever is first then has its turn."""
        if len(self._waiters) == 1:
            self.wake_first()  # to look after this one
        self._waiters[id(waiter)] = waiter
        try:
            yield
        finally:
            del self._waiters[id(waiter)]
            self.wake_first()

    def wake_first(self) -> None:
        """Let the first look again."""
        if self.first is not None:
            self.first.wake()

    async def sleep(self, waiter: Waiter, seconds: float) -> None:
        """So long, or until somebody wakes it; who is not alone looks after the others once a second."""
        seconds = min(seconds, _LOOK_INTERVAL) if len(self._waiters) > 1 else seconds
        turn = waiter.turn = asyncio.get_running_loop().create_future()
        timer = asyncio.ensure_future(self._timing.sleep(seconds))
        try:
            await asyncio.wait((turn, timer), return_when=asyncio.FIRST_COMPLETED)
            if timer.done():
                await timer  # which may have failed
                waiter.now += seconds  # a timer may be a little early, and a clock may stand still
        finally:
            timer.cancel()

    def hold(self, seconds: float, pause: float) -> None:
        """The first was held so long; wake who may not wait on for the rest of the pause."""
        self.held += seconds
        if self.held - self._looked_at >= _LOOK_INTERVAL:
            self._looked_at = self.held
            for waiter in self._waiters.values():
                if self.left(waiter) <= pause:
                    waiter.wake()
