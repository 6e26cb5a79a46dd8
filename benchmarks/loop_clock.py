"""What an event loop did with its time, as its selector sees it.

Invariants: what other processes take of the machine is not counted: a turn of the loop counts by the processor time
of this process, a wait by no more than the loop asked for. Must not: change what the loop waits for.
"""

import asyncio
import selectors
import time


class LoopClock(selectors.DefaultSelector):
    """The selector of one loop; `longest` is its longest turn so far, in seconds of processor time."""

    def __init__(self) -> None:
        """For a loop of its own: `new_loop` makes it."""
        super().__init__()
        self.longest = 0.0
        self._passed = 0.0
        self._turn = time.process_time()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        """The loop that is watched."""
        return asyncio.SelectorEventLoop(self)

    def time(self) -> float:
        """Seconds that have passed for the loop: of processor time in its turns, and of waits that it asked for."""
        return self._passed + time.process_time() - self._turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, as any selector; between two of these calls is a turn."""
        used = time.process_time() - self._turn
        self.longest = max(self.longest, used)
        before = time.monotonic()
        ready = super().select(timeout)
        waited = time.monotonic() - before
        self._passed += used + (waited if timeout is None else min(waited, max(timeout, 0.0)))
        self._turn = time.process_time()
        return ready
