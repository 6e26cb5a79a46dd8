"""A clock whose sleeps last as long as a test wants."""

import asyncio
from collections.abc import Awaitable, Callable

from openai_images import Timing
from tests.helpers.clients import FakeTime


class Waits:
    """A clock that stands still, and a sleep that lasts until `over` is set."""

    def __init__(self) -> None:
        """Nobody sleeps."""
        self.asleep, self.over = asyncio.Event(), asyncio.Event()
        self.timing = Timing(monotonic=lambda: 1000.0, wall=lambda: FakeTime.WALL, sleep=self.sleep)

    async def sleep(self, _: float) -> None:
        """As long as the test wants."""
        self.asleep.set()
        await self.over.wait()

    async def during(self, call: Awaitable[object], look: Callable[[], None]) -> None:
        """Look while the call sleeps."""
        task = asyncio.ensure_future(call)
        await asyncio.wait_for(self.asleep.wait(), 60)
        look()
        self.over.set()
        await task
