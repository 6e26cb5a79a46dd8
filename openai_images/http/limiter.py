"""How many requests are under way, and the pause everyone keeps after a 429.

Rules: a slot is waited for before any of a request's own timers starts; slots belong to an event loop, the pause to
the client. One refusal pauses every waiter, so a limit is not asked again by each of them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from openai_images.http.timing import Timing

__all__ = ["Limiter"]


class Limiter:
    """`acquire` gives a slot to `release`; `pause` holds everyone back."""

    def __init__(self, concurrency: int, timing: Timing) -> None:
        """Allow `concurrency` at once in each event loop."""
        self._concurrency = concurrency
        self._timing = timing
        self._resume_at = float("-inf")
        self._slots: dict[asyncio.AbstractEventLoop, asyncio.Semaphore] = {}

    async def acquire(self) -> asyncio.Semaphore:
        """Wait for a slot, and for a pause to end; the caller must `release` what comes back, once."""
        slots = self._of_this_loop()
        await slots.acquire()
        try:
            waited_for = float("-inf")
            while (until := self._resume_at) > waited_for and (left := until - self._timing.monotonic()) > 0:
                await self._timing.sleep(left)  # the pause may have been prolonged in the meantime
                waited_for = until
        except BaseException:
            slots.release()
            raise
        return slots

    def pause(self, seconds: float) -> None:
        """Let nobody start for that long."""
        self._resume_at = max(self._resume_at, self._timing.monotonic() + seconds)

    def _of_this_loop(self) -> asyncio.Semaphore:
        loop = asyncio.get_running_loop()
        slots = self._slots.get(loop)
        if slots is None:
            for other in list(self._slots):  # a copy: other threads' loops come and go meanwhile
                if other.is_closed():
                    self._slots.pop(other, None)
            slots = self._slots[loop] = asyncio.Semaphore(self._concurrency)
        return slots
