"""Who waits in one event loop, in the order in which they came.

Invariants: only the first waits for time, the others wait for the first: what a step costs does not depend on how many
wait. What limits take from the first, they take from all; what a slot takes, or a limit that the user configured, uses
up nobody's patience. Must not: know limits.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager

from attrs import define

LOOK_INTERVAL = 1.0
"""Seconds; how often those are looked for whose patience has come to its end."""


@define(eq=False)
class Waiter:
    """A call that waits to send its request."""

    images: int
    max_wait: float
    since: float
    """What its loop's `held` was when it came."""
    now: float
    waited: float = 0.0
    is_due: bool = False
    """Whether it waits no longer for limits that nobody configured."""
    turn: asyncio.Future[None] | None = None

    def left(self, held: float) -> float:
        """Seconds it may still wait."""
        return self.max_wait - (held - self.since)

    def wake(self) -> None:
        """Let it look again."""
        if self.turn is not None and not self.turn.done():
            self.turn.set_result(None)


class LoopState:
    """The slots of an event loop, and who waits for them and for the limits."""

    def __init__(self, concurrency: int) -> None:
        """Allow so many requests at once."""
        self.slots = asyncio.Semaphore(concurrency)
        self.queue = OrderedDict[int, Waiter]()
        self.held = 0.0  # seconds that limits which nobody configured have taken from the first
        self.impatient = 0
        self._looked_at = 0.0

    @property
    def first(self) -> Waiter | None:
        """Who came before all others."""
        return next(iter(self.queue.values()), None)

    @contextmanager
    def waiting(self, waiter: Waiter) -> Generator[None]:
        """In the queue; whoever is first then has its turn."""
        is_impatient = waiter.max_wait < math.inf
        self.impatient += is_impatient
        if is_impatient:
            self.wake_first()  # to look after this one
        self.queue[id(waiter)] = waiter
        try:
            yield
        finally:
            waiter.waited = self.held - waiter.since
            self.impatient -= is_impatient
            del self.queue[id(waiter)]
            self.wake_first()

    def wake_first(self) -> None:
        """Let the first look again."""
        if self.first is not None:
            self.first.wake()

    def hold(self, seconds: float, pause: float) -> None:
        """The first was held so long; wake who may not wait on, once a second."""
        self.held += seconds
        if self.impatient and self.held - self._looked_at >= LOOK_INTERVAL:
            self._looked_at = self.held
            for waiter in self.queue.values():
                if waiter.left(self.held) <= pause:
                    waiter.wake()
