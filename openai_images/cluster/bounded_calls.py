"""Ends the wait for calls to a folder that take long, such as one on a network file system whose server is down.

Invariants: a long call is logged once. A thread that blocks in a file system cannot be ended: after the timeout its
result is dropped, so what the call was to create may still appear.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable
from functools import wraps
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, TypeVar

TIMEOUT: Final = 300.0
"""Seconds until a call fails."""
PAGES: Final = 12
"""Times the timeout of other calls, for a listing."""
REPORT: Final = 1 / 30
"""The part of the timeout after which a call is logged."""
LONG_CALL: Final = "access to %s has taken %.0f s so far, and fails after %.0f s"

_T = TypeVar("_T")
_log = logging.getLogger("openai_images")


def call_within(seconds: float, place: str, call: Callable[[], _T]) -> _T:
    """Return what `call` returns, within so many seconds; `place` is for messages. Raises as it does, and OSError."""
    results = SimpleQueue[Callable[[], _T]]()
    Thread(target=lambda: results.put(_outcome(call)), daemon=True, name=f"access to {place}").start()
    report = seconds * REPORT
    try:
        result = results.get(timeout=report)
    except Empty:
        _log.warning(LONG_CALL, place, report, seconds)
        try:
            result = results.get(timeout=seconds - report)
        except Empty:
            raise OSError(errno.ETIMEDOUT, f"no response within {seconds:.0f} s", place) from None
    return result()


def bounded(**factors: int) -> Callable[[type[_T]], type[_T]]:
    """Limit these methods, whose first argument is a name, to so many times the `timeout` (seconds) of their object."""

    def decorate(cls: type[_T]) -> type[_T]:
        for name, factor in factors.items():
            setattr(cls, name, _bounded(getattr(cls, name), factor))
        return cls

    return decorate


def _bounded(method: Callable[..., Any], factor: int) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, name: str, *args: Any) -> Any:
        return call_within(self.timeout * factor, self.url(name), lambda: method(self, name, *args))

    return call


def _outcome(call: Callable[[], _T]) -> Callable[[], _T]:
    """Make the call; return a function that returns its result, or raises its error."""
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001  raised in the waiting thread
        failure = error

        def fail() -> _T:
            raise failure

        return fail
    return lambda: result
