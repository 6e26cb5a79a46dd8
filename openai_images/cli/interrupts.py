"""Signals that end a command: `endings_interrupt`, and `InterruptHandler` for commands that wait for calls in flight.

Invariants: Ctrl-C, SIGTERM and a closed terminal are the same; a signal that the parent process ignores stays ignored.
Must not: call a step of an `InterruptHandler` in the signal handler itself.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@contextmanager
def endings_interrupt() -> Generator[None]:
    """Handle SIGTERM and a closed terminal as Ctrl-C, so that a command reports what it did and what may be billed."""
    previous = _install(_interrupt, _SIGNALS[1:])
    try:
        yield
    finally:
        _restore(previous)


def _interrupt(_: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)  # asyncio's while a loop runs
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)


def _install(handler: Callable[..., Any], names: tuple[str, ...]) -> dict[signal.Signals, Any]:
    """Install a handler, and return the previous ones."""
    previous: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
            # A signal that the parent process ignores (nohup) stays ignored; None: not a Python handler.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, handler)
    return previous


def _restore(previous: dict[signal.Signals, Any]) -> None:
    while previous:
        number, handler = previous.popitem()
        signal.signal(number, handler)


class InterruptHandler:
    """Calls `stop` in the event loop on the first signal and `abandon` on the second; Python handles the third."""

    def __init__(self, stop: Callable[[], object], abandon: Callable[[], object]) -> None:
        self._steps = (stop, abandon)
        self._loop = asyncio.get_running_loop()
        self._previous: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        self._previous = _install(self._on_signal, _SIGNALS)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._previous)

    def _on_signal(self, *_: object) -> None:
        self.count += 1
        if self.count == len(self._steps):
            _restore(self._previous)
        # A handler may run between any two instructions, so the loop calls the step.
        self._loop.call_soon_threadsafe(self._steps[self.count - 1])
