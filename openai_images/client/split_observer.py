"""The watcher of a call that is several requests: what each of them tells, told as if they were one.

Rules: "sending" is told before the first byte of any request goes out, and again only where it was taken back or where
a request that may have run is sent again; "refused" only when no request of the call is under way or has been: as long
as one may have run, the call has not provably not run. It refuses to tell anything twice at once: whoever writes
"sent" to a disk is waited for by all.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from openai_images.models.outcomes import Watcher

if TYPE_CHECKING:
    from openai_images.errors import ImagesError


class SharedWatch:
    """Stands between the watcher of the call and `of` each request."""

    def __init__(self, watcher: Watcher) -> None:
        """Tell `watcher`."""
        self._watcher = watcher
        self._one_at_a_time = asyncio.Lock()
        self._may_have_run: set[int] = set()

    def of(self, number: int) -> Watcher:
        """The watcher of one of the requests."""
        return _PartWatcher(self, number)

    def waiting(self) -> None:
        """One waits; the call does where none is under way or over."""
        if not self._may_have_run:
            self._watcher.waiting()

    async def sending(self, number: int, attempt: int) -> None:
        """One is about to be sent."""
        async with self._one_at_a_time:
            if not self._may_have_run or number in self._may_have_run:
                await self._watcher.sending(attempt)
            self._may_have_run.add(number)

    async def refused(self, number: int, error: ImagesError) -> None:
        """One provably did not run; the call did not where none did."""
        async with self._one_at_a_time:
            self._may_have_run.discard(number)
            if not self._may_have_run:
                await self._watcher.refused(error)


class _PartWatcher(Watcher):
    """One request's side of it."""

    def __init__(self, shared: SharedWatch, number: int) -> None:
        self._shared = shared
        self._number = number

    def waiting(self) -> None:
        """It waits."""
        self._shared.waiting()

    async def sending(self, attempt: int) -> None:
        """It is about to be sent."""
        await self._shared.sending(self._number, attempt)

    async def refused(self, error: ImagesError) -> None:
        """It provably did not run."""
        await self._shared.refused(self._number, error)
