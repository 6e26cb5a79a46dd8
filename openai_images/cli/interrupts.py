"""Ctrl-C in two steps: the first asks for an end, the second forces it.

Rules: a closed terminal and a polite kill count as Ctrl-C does; a third one is Python's own, for an end that hangs;
what the signals did before is put back. Outside the main thread nothing is changed, since Python allows no more. It
refuses to decide what stopping means: it calls what it is given, in the event loop.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = ["Interrupts"]

_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Interrupts:
    """While entered, the first signal calls `stop` and the second `abandon`; `count` says how many there were."""

    def __init__(self, stop: Callable[[], object], abandon: Callable[[], object]) -> None:
        """Call these, in the running event loop."""
        self._steps = (stop, abandon)
        self._loop = asyncio.get_running_loop()
        self._before: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        """From now on."""
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
                # Whoever started this with a signal ignored, as nohup does, is obeyed; None is none of Python's.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """As it was before."""
        self._put_back()

    def _on_signal(self, *_: object) -> None:
        self.count += 1
        if self.count == len(self._steps):
            self._put_back()
        # A handler runs between any two instructions of Python: what it calls had better wait for its turn.
        self._loop.call_soon_threadsafe(self._steps[self.count - 1])

    def _put_back(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
