"""Helpers for event loops: calls from any thread, as of the garbage collector, and awaiting despite cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


def call_in_loop(loop: asyncio.AbstractEventLoop | None, function: Callable[[], object]) -> None:
    """Call `function` in the thread of `loop`; immediately if that is this thread, or the loop no longer runs."""
    if loop is not None and loop.is_running() and loop is not _running_loop():
        loop.call_soon_threadsafe(function)
    else:
        function()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """Return the loop that runs in this thread, if any."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


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
