"""`InterruptHandler`: the first signal stops a command, the second abandons what it has in flight.

Invariants: Ctrl-C, SIGTERM and a closed terminal are the same; a signal that the parent process ignores stays ignored.
Must not: call a step in the signal handler itself.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from typing import Any, Self

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class InterruptHandler:
    """Calls `stop` in the event loop on the first signal and `abandon` on the second; Python handles the third."""

    def __init__(self, stop: Callable[[], object], abandon: Callable[[], object]) -> None:
        self._steps = (stop, abandon)
        self._loop = asyncio.get_running_loop()
        self._previous: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
                # A signal that the parent process ignores (nohup) stays ignored; None: not a Python handler.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _on_signal(self, *_: object) -> None:
        self.count += 1
        if self.count == len(self._steps):
            self._restore()
        # A handler may run between any two instructions, so the loop calls the step.
        self._loop.call_soon_threadsafe(self._steps[self.count - 1])

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
