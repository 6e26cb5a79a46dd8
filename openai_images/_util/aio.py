"""Helpers for event loops: a timer for many waits, calls in threads and from them, awaiting despite cancellation."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from types import TracebackType
from typing import TypeVar

_T = TypeVar("_T")


def call_in_loop(loop: asyncio.AbstractEventLoop | None, function: Callable[[], object]) -> None:
    """Call `function` in the thread of `loop`; immediately if that is this thread, or if the loop has ended."""
    try:
        current = asyncio.get_running_loop()
    except RuntimeError:
        current = None
    if loop is not None and loop.is_running() and loop is not current:
        loop.call_soon_threadsafe(function)
    else:
        function()


def free_gradually(items: deque[_T]) -> None:
    """Drop the items, one in each iteration of the running loop: freeing an image of some megabytes takes 1 ms."""
    if items:
        items.pop()
        asyncio.get_running_loop().call_soon(free_gradually, items)


def mark_cancelled(error: asyncio.CancelledError, note: str | None, **info: object) -> None:
    """Set `maybe_billed` of the exception (True if there is a `note`, the reason) and the `info` that is not set yet.

    An exception may pass through nested calls: once True, `maybe_billed` stays True.
    """
    known = error.__dict__
    known["maybe_billed"] = note is not None or known.get("maybe_billed", False)
    for name, value in info.items():
        known.setdefault(name, value)
    if note is not None:
        error.add_note(note)


async def run_to_completion(awaitable: Awaitable[_T]) -> _T:
    """Await something that must not be interrupted; a cancellation is raised afterwards."""
    task = asyncio.ensure_future(awaitable)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # retrieved, so that asyncio does not log it
        raise cancelled
    return task.result()


_UNDO_SECONDS = 1.0
"""How long a cancelled `call_abandonable` waits for its thread."""


async def call_abandonable(function: Callable[[], _T], undo: Callable[[_T], object]) -> _T:
    """Call `function` in a thread of its own, which neither the event loop nor the interpreter waits for.

    A cancellation calls `undo` with the result in a thread, as soon as there is one, and is raised after that, or
    after a second: the function may never return.
    """
    loop, result, returned, undone = (
        asyncio.get_running_loop(),
        Future[_T](),
        asyncio.Event(),
        asyncio.Event(),
    )

    def notify(event: asyncio.Event) -> None:
        with suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(event.set)

    def call() -> None:
        try:
            result.set_result(function())
        except BaseException as error:  # noqa: BLE001  raised where it is awaited
            result.set_exception(error)
        notify(returned)

    def take_back() -> None:
        if result.exception() is None:
            undo(result.result())
        notify(undone)

    _start_daemon(call)
    try:
        await returned.wait()
    except asyncio.CancelledError:
        _start_daemon(take_back)
        with suppress(TimeoutError):
            await run_to_completion(asyncio.wait_for(undone.wait(), _UNDO_SECONDS))
        raise
    return result.result()


def _start_daemon(function: Callable[[], object]) -> None:
    threading.Thread(target=copy_context().run, args=(function,), daemon=True, name="openai_images").start()


_RESOLUTION = 0.001
"""Seconds by which a timer may be late; the resolution of most event loops."""


class WaitTimer:
    """One timer for all waits of a call: `with timer.within(seconds): await …` raises as `asyncio.timeout` does.

    Moving the deadline only sets a number; the loop's timer is set again when it fires too early. A wait that raises
    cancels the timer; after other waits, call `cancel`. `expired`: the last wait reached its limit.
    """

    __slots__ = ("_cancelling", "_handle", "_loop", "_task", "_when", "expired")

    def __init__(self) -> None:
        self.expired = False
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._when: float | None = None
        self._cancelling = 0

    def within(self, seconds: float | None) -> WaitTimer:
        """Limit the next wait to so many seconds; None for no limit."""
        self._when = None if seconds is None else self._loop.time() + seconds
        return self

    def move(self, seconds: float | None) -> None:
        """Limit the wait that has begun, if there is one, to so many seconds from now; None for no limit."""
        if self._task is not None:
            self._when = None if seconds is None else self._loop.time() + seconds
            self._arm()

    def expire(self) -> None:
        """End the wait that has begun, if there is one, in another task than the running one."""
        if self._task is not None and not self.expired:
            self.expired = True
            self._task.cancel()

    def cancel(self) -> None:
        """Cancel the loop's timer. Idempotent."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def __enter__(self) -> None:
        task = asyncio.current_task(self._loop)
        if task is None:
            raise RuntimeError("a wait with a timer needs a task")
        self.expired = False
        self._task = task
        self._cancelling = task.cancelling()
        self._arm()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if kind is not None:
            self.cancel()
        if self.expired and task is not None:
            # Like `asyncio.timeout`: a cancellation from outside wins over the timer.
            is_only_ours = task.uncancel() <= self._cancelling
            if is_only_ours and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error

    def _arm(self) -> None:
        when, handle = self._when, self._handle
        if when is not None and (handle is None or handle.when() > when + _RESOLUTION):
            self.cancel()
            self._handle = self._loop.call_at(when, self._fire)

    def _fire(self) -> None:
        self._handle = None
        if self._task is None or self._when is None:
            return
        if self._when > self._loop.time() + _RESOLUTION:
            self._arm()
        else:
            self.expire()
