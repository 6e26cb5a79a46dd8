"""`Watch`: polls conditions that have no event, such as a lost connection, and sets an event for each.

Invariants: all conditions of one app share one timer, which runs only while there are any.
Must not: import a web framework.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from openai_images.web.relay import Relay

__all__ = ["POLL_SECONDS", "Watch", "close_when"]

POLL_SECONDS: Final = 0.04
"""Seconds between two looks at the connections of open relays: aiohttp has no public signal for a lost one."""

_LAST_WRITE_SECONDS: Final = 1.0
"""For a browser to take what was written before its relay was closed; one that does not read is cut off then."""


class Watch:
    """Events, each with the condition under which it is set; for one event loop."""

    def __init__(self) -> None:
        self._conditions: dict[asyncio.Event, Callable[[], bool]] = {}
        self._poll: asyncio.Task[None] | None = None

    def add(self, condition: Callable[[], bool]) -> asyncio.Event:
        """Return an event that is set soon after `condition` holds."""
        event = asyncio.Event()
        self._conditions[event] = condition
        if self._poll is None:
            self._poll = asyncio.create_task(self._look())
        return event

    def discard(self, event: asyncio.Event) -> None:
        """Look no more."""
        self._conditions.pop(event, None)

    def set_all(self) -> None:
        """Set all events now."""
        for event in self._conditions:
            event.set()

    async def _look(self) -> None:
        try:
            while self._conditions:
                for event, condition in self._conditions.items():
                    if condition():
                        event.set()
                await asyncio.sleep(POLL_SECONDS)
        finally:
            self._poll = None


async def close_when(gone: asyncio.Event, source: Relay, cut: Callable[[], object]) -> None:
    """Close a relay when its event is set, and `cut` its response if that has not ended a second later."""
    await gone.wait()
    await source.aclose()
    await asyncio.sleep(_LAST_WRITE_SECONDS)
    cut()
