"""Which event loop runs, asked from places that may have none: the garbage collector runs in any thread."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

_T = TypeVar("_T")


def call_in_loop(loop: asyncio.AbstractEventLoop | None, function: Callable[[], object]) -> None:
    """Call it in the thread of `loop`, soon, or here and now where that is the same or does not run any more."""
    if loop is not None and loop.is_running() and loop is not _running():
        loop.call_soon_threadsafe(function)
    else:
        function()


def _running() -> asyncio.AbstractEventLoop | None:
    """The loop that runs in this thread."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def run_to_completion(awaitable: Awaitable[_T]) -> _T:
    """Await something that must not be left half-done; a cancellation is raised afterwards."""
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
