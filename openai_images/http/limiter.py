"""Who may send, and when: one limiter for all calls of a client.

Rules: a slot is waited for before any of a request's own timers starts, and first come is first served. Slots belong to
an event loop, the pace to the client: one refusal pauses every waiter, so a limit is not asked again by each of them.
`Limiter` and `Slot` are protocols, so that a limiter shared by several machines can take this one's place. It
refuses to decide what is sent again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from openai_images.http.pace import Pace, Ticket
from openai_images.wire.headers import stated_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.http.timing import Timing
    from openai_images.models.options import Limits

__all__ = ["Limiter", "LocalLimiter", "Slot"]


class Slot(Protocol):
    """One request that may be sent now. What is learned from it may be told at any time, also after `release`."""

    def answered(self, headers: Mapping[str, str]) -> None:
        """The server took the request; its headers may state limits."""

    def refused(self, headers: Mapping[str, str], seconds: float) -> None:
        """The server refused it for the rate (429): nobody starts for that many seconds."""

    def used(self, tokens: int) -> None:
        """It took so many tokens."""

    def release(self) -> None:
        """The request is over; harmless when called twice."""


class Limiter(Protocol):
    """Gives slots."""

    async def acquire(self, images: int) -> Slot:
        """Wait until a request for so many pictures may be sent; the caller must `release` what comes back."""
        ...


class LocalLimiter:
    """The limiter of one process."""

    def __init__(self, limits: Limits, timing: Timing) -> None:
        """Allow `limits.concurrency` requests at once in each event loop, and keep the limits per minute."""
        self._concurrency = limits.concurrency
        self._timing = timing
        self._pace = Pace(limits, timing.monotonic())
        self._loops: dict[asyncio.AbstractEventLoop, _Turnstile] = {}

    @property
    def learned_rate(self) -> float | None:
        """Pictures a second that the server's refusals have shown to be possible; None before the first."""
        return self._pace.learned_rate

    async def acquire(self, images: int = 1) -> LocalSlot:
        """Wait for a slot, then until every limit allows so many pictures."""
        turnstile = self._of_this_loop()
        await turnstile.slots.acquire()
        try:
            async with turnstile.turn:
                ticket = await self._take(images)
        except BaseException:
            turnstile.slots.release()
            raise
        return LocalSlot(self._pace, self._timing, ticket, images, turnstile.slots)

    async def _take(self, images: int) -> Ticket:
        now = self._timing.monotonic()
        while (
            seconds := self._pace.wait(images, now)
        ) > 0:  # again: a pause may be prolonged in the meantime
            await self._timing.sleep(seconds)
            now = max(self._timing.monotonic(), now + seconds)
        return self._pace.take(images, now)

    def _of_this_loop(self) -> _Turnstile:
        loop = asyncio.get_running_loop()
        turnstile = self._loops.get(loop)
        if turnstile is None:
            for other in list(self._loops):  # a copy: other threads' loops come and go meanwhile
                if other.is_closed():
                    self._loops.pop(other, None)
            turnstile = self._loops[loop] = _Turnstile(self._concurrency)
        return turnstile


class _Turnstile:
    """Of one event loop: the slots, and whose turn it is to wait for the limits."""

    def __init__(self, concurrency: int) -> None:
        self.slots = asyncio.Semaphore(concurrency)
        self.turn = asyncio.Lock()


class LocalSlot:
    """A slot of a `LocalLimiter`."""

    def __init__(
        self, pace: Pace, timing: Timing, ticket: Ticket, images: int, slots: asyncio.Semaphore
    ) -> None:
        """Made by `LocalLimiter.acquire`."""
        self._pace = pace
        self._monotonic = timing.monotonic
        self._ticket = ticket
        self._images = images
        self._slots: asyncio.Semaphore | None = slots

    def answered(self, headers: Mapping[str, str]) -> None:
        """The server took the request; its headers may state limits."""
        self._pace.answered(self._ticket, stated_limits(headers), self._monotonic())

    def refused(self, headers: Mapping[str, str], seconds: float) -> None:
        """The server refused it for the rate (429): nobody starts for that many seconds."""
        self._pace.refused(self._ticket, stated_limits(headers), seconds, self._monotonic())

    def used(self, tokens: int) -> None:
        """It took so many tokens."""
        self._pace.used(self._ticket, self._images, tokens, self._monotonic())

    def release(self) -> None:
        """The request is over; harmless when called twice."""
        slots, self._slots = self._slots, None
        if slots is not None:
            self._pace.abandoned(self._ticket)
            slots.release()
