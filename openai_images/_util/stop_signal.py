"""`StopSignal`: ends the waits of a run when it is stopped.

Invariants: after `set`, a wait raises at its next step, and none begins; a wait that must end by itself is not
interrupted; a cancellation from outside stays one. One signal is for one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager

from openai_images._util.aio import WaitTimer


class StoppedError(Exception):
    """The run was stopped during a wait, or before it."""


class StopSignal:
    """Interrupts waits: `with signal.waiting(): await …` raises `error()` after `set`, by default `StoppedError`."""

    def __init__(self, error: Callable[[], Exception] = StoppedError) -> None:
        self.is_set = False
        self._error = error
        self._waits: dict[WaitTimer, tuple[asyncio.Task[object] | None, Callable[[], bool]]] = {}

    def set(self) -> None:
        """Interrupt all waits, now and later, except those of the calling task. Call it in the loop's thread."""
        self.is_set = True
        current = asyncio.current_task() if self._waits else None
        for timer, (task, must_continue) in tuple(self._waits.items()):
            if task is not current and not must_continue():
                timer.expire()

    def check(self) -> None:
        """Raise the error if it is set."""
        if self.is_set:
            raise self._error()

    @contextmanager
    def waiting(self, unless: Callable[[], bool] = lambda: False) -> Generator[None]:
        """Raise the error if it is set before or during the block, unless that function returns true then."""
        self.check()
        timer = WaitTimer()
        self._waits[timer] = asyncio.current_task(), unless
        try:
            with timer.within(None):
                yield
            if not unless():
                self.check()
        except TimeoutError:
            if timer.expired:
                raise self._error() from None
            raise
        finally:
            del self._waits[timer]
