"""`StopSignal`: ends the waits of a run when it is stopped.

Invariants: after `set`, a block ends with `StoppedError` at its next step, and none begins; a block that must end by
itself is not interrupted. One signal is for one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager


class StoppedError(Exception):
    """The run was stopped during a wait, or before it."""


class StopSignal:
    """Blocks of `async with signal.ends():` end when it is `set`."""

    def __init__(self) -> None:
        self.is_set = False
        self._blocks: dict[asyncio.Timeout, Callable[[], bool]] = {}

    def set(self) -> None:
        """End the blocks. Idempotent."""
        self.is_set = True
        blocks, self._blocks = self._blocks, {}
        for block, must_continue in blocks.items():
            if not must_continue():
                block.reschedule(asyncio.get_running_loop().time())

    def check(self) -> None:
        """Raise `StoppedError` if it is set."""
        if self.is_set:
            raise StoppedError

    @asynccontextmanager
    async def ends(self, unless: Callable[[], bool] = lambda: False) -> AsyncGenerator[None]:
        """Interrupt the block when the signal is set, unless that returns true then. Raises `StoppedError`."""
        self.check()
        block = asyncio.timeout(None)
        try:
            async with block:
                self._blocks[block] = unless
                yield
        except TimeoutError:
            if block.expired():
                raise StoppedError from None
            raise
        finally:
            self._blocks.pop(block, None)
