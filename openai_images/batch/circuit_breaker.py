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

    from openai_images.http.timing import Timing

_log = logging.getLogger("openai_images")

_FIRST_PAUSE, _MAX_PAUSE = 1.0, 60.0
_MAX_FIRST_OUTAGE = 30.0
"""Seconds a server is waited for that has never answered."""


class CircuitBreaker:
    """`acquire` before each try, then `record_success` or `record_failure`."""

    def __init__(self, max_outage: float, timing: Timing) -> None:
        """Wait `max_outage` seconds for a server that answered before."""
        self._max_outage = max_outage
        self._timing = timing
        self._has_responded = False
        self._open_since: float | None = None
        self._pause = _FIRST_PAUSE
        self._is_probing = False
        self._change = asyncio.Event()

    async def acquire(self, on_wait: Callable[[], None]) -> bool:
        """Wait until the server is there (False), or until it is this item's turn to knock (True).

        Whoever knocks must tell what came of it. `on_wait` is called before each wait, and may raise.
        """
        while self._open_since is not None:
            on_wait()
            if self._is_probing:
                await self._change.wait()
                continue
            self._is_probing = True
            try:
                await self._timing.sleep(self._pause)
            except BaseException:
                self.release_probe()
                raise
            return True
        return False

    def record_success(self) -> None:
        """The server said something: all may pass."""
        self._has_responded = True
        self._open_since = None
        self._pause = _FIRST_PAUSE
        self._wake_waiters()

    def record_failure(self, *, is_probe: bool, has_response: bool) -> bool:
        """The request did not run, whether or not it `has_response`; whether to go on waiting."""
        now = self._timing.monotonic()
        self._has_responded = self._has_responded or has_response
        max_outage = self._max_outage if self._has_responded else min(self._max_outage, _MAX_FIRST_OUTAGE)
        if self._open_since is None:
            self._open_since = now
            _log.warning(
                "the server is not there for us; nothing is lost, and it is asked again for %.0f s",
                max_outage,
            )
        if is_probe:
            self._pause = min(self._pause * 2, _MAX_PAUSE)
            self._wake_waiters()
        return now - self._open_since < max_outage

    def release_probe(self) -> None:
        """Whoever knocked went away without an answer."""
        self._wake_waiters()

    def _wake_waiters(self) -> None:
        """Another may knock, or all may pass."""
        self._is_probing = False
        change, self._change = self._change, asyncio.Event()
        change.set()
