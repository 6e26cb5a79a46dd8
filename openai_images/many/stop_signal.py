"""`StopSignal`: ends the waits of requests when nothing new is to be sent.

Invariants: a wait that was interrupted sends nothing, even if it had just ended; a cancellation from outside stays one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from openai_images._util.aio import WaitTimer
from openai_images.errors import StoppedBeforeSendError

_MESSAGE = "the run was stopped before this request was sent"


class StopSignal:
    """Interrupts the waits of one event loop: `with signal.waiting(): await …` raises after `set`."""

    def __init__(self) -> None:
        self.is_set = False
        self._waits: dict[WaitTimer, asyncio.Task[object] | None] = {}

    def set(self) -> None:
        """Interrupt all waits, now and later, except those of the calling task. Call it in the loop's thread."""
        self.is_set = True
        current = asyncio.current_task()
        for timer, task in tuple(self._waits.items()):
            if task is not current:
                timer.expire()

    def check(self) -> None:
        """Raise `StoppedBeforeSendError` if it is set."""
        if self.is_set:
            raise StoppedBeforeSendError(_MESSAGE)

    @contextmanager
    def waiting(self) -> Generator[None]:
        """Raise `StoppedBeforeSendError` if it is set before or during the block."""
        self.check()
        timer = WaitTimer()
        self._waits[timer] = asyncio.current_task()
        try:
            with timer.within(None):
                yield
            self.check()
        except TimeoutError:
            if timer.expired:
                raise StoppedBeforeSendError(_MESSAGE) from None
            raise
        finally:
            del self._waits[timer]
