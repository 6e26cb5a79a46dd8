"""Which event loop runs, asked from places that may have none: the garbage collector runs in any thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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
