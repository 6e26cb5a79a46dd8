"""Whether many calls go on: while identical failures speak against it, what is in flight may still prove the contrary.

Rules: while it is open nothing new starts and nothing that waits is sent, so that being sure costs no money; it is
settled by the first success, or when nothing is in flight any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from openai_images.many.failure_streaks import FailureStreak

if TYPE_CHECKING:
    from openai_images.errors import ImagesError
    from openai_images.many.scheduler import Scheduler


class Doubt:
    """`judge` after each end of a call; `passed` before each is sent."""

    def __init__(self, limit: int | None, scheduler: Scheduler) -> None:
        """There is none before `limit` identical failures."""
        self.streak = FailureStreak(limit)
        self._scheduler = scheduler
        self._settled = asyncio.Event()
        self._settled.set()

    @property
    def is_open(self) -> bool:
        """Whether nothing new is to be started."""
        return self.streak.verdict is not None

    def judge(self) -> ImagesError | OSError | None:
        """What ends all of it, None while nothing does."""
        verdict = self.streak.verdict
        if verdict is not None and self._scheduler.has_sent:
            self._settled.clear()
            return None
        if verdict is not None and self._scheduler.has_more:
            return verdict
        self.streak.verdict = None
        self._settled.set()
        return None

    async def passed(self, ticket: int) -> None:
        """Wait while it is open whether this is to be sent."""
        while not self._settled.is_set():
            self._scheduler.wait(ticket)
            await self._settled.wait()
