"""The gate all items pass while the server can be reached; when it cannot, one of them knocks and the others wait.

Rules: a request that provably did not run closes the gate, any answer opens it. While it is closed one item at a time
tries again, after pauses that double from one second to a minute. A server that stays away for longer than the
patience, counted from the first failure, ends the batch instead of failing its items one by one; one that has never
answered gets half a minute, for then its address is more likely to be wrong. It refuses to know requests.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_images.models.options import Timing

__all__ = ["Gate"]

_log = logging.getLogger("openai_images")

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 60.0
_UNTRIED = 30.0
"""Seconds a server is waited for that has never answered."""


class Gate:
    """`passed` before each try, then `answered` or `failed`."""

    def __init__(self, patience: float, timing: Timing) -> None:
        """Wait `patience` seconds for a server that answered before."""
        self._patience = patience
        self._timing = timing
        self._has_answered = False
        self._away_since: float | None = None
        self._pause = _FIRST_PAUSE
        self._knocking = False
        self._changed = asyncio.Event()

    async def passed(self, waiting: Callable[[], None]) -> bool:
        """Wait until the server is there (False), or until it is this item's turn to knock (True).

        Whoever knocks must tell what came of it. `waiting` is called before each wait, and may raise.
        """
        while self._away_since is not None:
            waiting()
            if self._knocking:
                await self._changed.wait()
                continue
            self._knocking = True
            try:
                await self._timing.sleep(self._pause)
            except BaseException:
                self.left()
                raise
            return True
        return False

    def answered(self) -> None:
        """The server said something: all may pass."""
        self._has_answered = True
        self._away_since = None
        self._pause = _FIRST_PAUSE
        self._let_go()

    def failed(self, *, knocked: bool, answered: bool) -> bool:
        """The request did not run, whether or not it was `answered`; whether to go on waiting."""
        now = self._timing.monotonic()
        self._has_answered = self._has_answered or answered
        patience = self._patience if self._has_answered else min(self._patience, _UNTRIED)
        if self._away_since is None:
            self._away_since = now
            _log.warning(
                "the server is not there for us; nothing is lost, and it is asked again for %.0f s", patience
            )
        if knocked:
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)
            self._let_go()
        return now - self._away_since < patience

    def left(self) -> None:
        """Whoever knocked went away without an answer."""
        self._let_go()

    def _let_go(self) -> None:
        """Another may knock, or all may pass."""
        self._knocking = False
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
