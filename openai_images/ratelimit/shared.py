"""The limiter of clients that share their limits through Redis: the place of each request is reserved there.

Invariants: nothing is sent without a place, so while the server is unreachable nothing is; that is logged, and after a
minute an error. Each event loop has one place at a time, that of its first waiting call: a killed process loses no
more. One script per request: results travel with the next reservation, or soon after; a pause is reported immediately,
and a place that was waited for is checked against pauses before it is used. A script that was sent runs to its end
although its call is cancelled, as it has reports. Slots and order are those of `Limiter`.
Must not: hold a slot while waiting, or keep a limit itself.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import Any, cast

from openai_images.errors import ConfigurationError
from openai_images.models.options import Limits, Timing
from openai_images.ratelimit.limiter import Limiter, Patience, Queue, Slot
from openai_images.ratelimit.outage import Outages
from openai_images.ratelimit.pacer import Permit
from openai_images.ratelimit.redis_script import RedisScript, UnreachableError
from openai_images.ratelimit.shared_pacer import Sent, SharedPacer, SharedPermit

_log = logging.getLogger("openai_images")

_SILENCE = (
    2.0  # seconds without a response after which a wait for the server is logged; its timer takes longer
)
_CHECKED = 0.1  # seconds after which a place is checked before it is used; reserve.lua has it too
_REPORT_DELAY = 1.0  # seconds that reports wait for the next reservation
_CLOSING = 2.0  # seconds for the last reports when a client is closed


class Desk(Queue):
    """What an event loop also has of the shared limits: its place, and what is in flight to the server."""

    def __init__(self, free: int) -> None:
        super().__init__(free)
        self.is_closed = False
        self.place: SharedPermit | None = None
        self.reserving: asyncio.Task[None] | None = None
        self.reporting: asyncio.Task[None] | None = None
        self.exchange: asyncio.Task[SharedPermit | None] | None = None
        self.lock = asyncio.Lock()
        self.is_urgent = asyncio.Event()


class SharedLimiter(Limiter):
    """Grants slots in accordance with limits that other clients, also on other machines, use too."""

    _queue_type = Desk

    def __init__(self, limits: Limits, timing: Timing) -> None:
        """Raises `ConfigurationError` if the package redis is missing."""
        super().__init__(limits, timing)
        self.pacer = self._shared = SharedPacer(limits, timing.monotonic(), self._start_reporting)
        self._script = RedisScript(limits)
        self._outages = Outages(self._script.description, timing)
        self._is_difference_told = False

    @property
    def wait_reason(self) -> str | None:
        """Why the next request waits and until when; None if it is sent within a few seconds."""
        return self._outages.wait_reason or super().wait_reason

    async def acquire(self, images: int = 1, patience: Patience = Patience()) -> Slot:  # noqa: B008  immutable
        """Wait until a request for `images` may be sent; the caller must `release` the slot.

        Raises `RateLimitError` if that takes longer than the patience allows, `SharedLimitError` if the server stays
        unreachable, and `ConfigurationError` if it cannot be used.
        """
        desk = self._desk()
        desk.is_closed = False
        try:
            return await super().acquire(images, patience)
        finally:
            if not desk.waiters:
                self._return_place(desk)

    async def aclose(self) -> None:
        """Send the last reports of the running loop, and close its connection. Idempotent."""
        desk = self._known_desk()
        if desk is None:
            return
        desk.is_closed = True
        if desk.reporting is not None:
            desk.reporting.cancel()
        with suppress(UnreachableError, ConfigurationError, TimeoutError):
            async with asyncio.timeout(_CLOSING):
                if desk.exchange is not None:
                    await asyncio.wait([desk.exchange])
                if self._shared.has_reports:
                    await self._run(desk)
        await self._script.aclose()

    async def _grant(self, images: int, left: float, now: float) -> Permit | tuple[float, float] | None:
        desk = self._desk()
        place = desk.place
        if place is None or place.images != images or self._is_void(place, now):
            self._return_place(desk)
            await self._reserve(desk, images)
            return None
        delay, told = place.ready_at - now, place.told_at - now
        delay = told if left < delay else delay
        if delay > 0:
            return delay, told
        if now - place.checked_at > _CHECKED:
            await self._check(desk, place)
            return None
        desk.place = None
        with self.lock:
            self._shared.send(place)
        return place

    def _desk(self) -> Desk:
        return cast("Desk", self.queue())

    def _known_desk(self) -> Desk | None:
        return cast("Desk | None", self._queues.get(asyncio.get_running_loop()))

    # Places.

    async def _reserve(self, desk: Desk, images: int) -> None:
        """Have a place; a call that is cancelled meanwhile leaves it to the next one."""
        if desk.reserving is None or desk.reserving.done():
            desk.reserving = asyncio.create_task(self._fetch_place(desk, images))
            desk.reserving.add_done_callback(_retrieve)
        await asyncio.shield(desk.reserving)

    async def _fetch_place(self, desk: Desk, images: int) -> None:
        while desk.waiters:
            self._outages.raise_if_refusing()
            asked_at = self.timing.monotonic()
            timer = asyncio.get_running_loop().call_later(_SILENCE, self._outages.record_silence, asked_at)
            try:
                desk.place = await self._run(desk, images)
            except UnreachableError as error:
                delay = self._outages.record_failure(str(error), asked_at)
            else:
                if not desk.waiters:
                    self._return_place(desk)
                return
            finally:
                timer.cancel()
            if delay is None:
                raise self._outages.error()
            await self.timing.sleep(delay)

    async def _check(self, desk: Desk, place: SharedPermit) -> None:
        """Check whether a request was rejected meanwhile; a place is also valid while the server is unreachable."""
        with suppress(UnreachableError):
            await self._run(desk)
        place.checked_at = self.timing.monotonic()

    def _is_void(self, place: SharedPermit, now: float) -> bool:
        with self.lock:
            return self._shared.is_void(place, now)

    def _return_place(self, desk: Desk) -> None:
        place, desk.place = desk.place, None
        if place is not None:
            with self.lock:
                self._shared.return_place(place)

    # The server.

    async def _run(self, desk: Desk, images: int | None = None) -> SharedPermit | None:
        """Send what there is to report; reserve a place for `images`. Raises `UnreachableError`."""
        async with desk.lock:
            if desk.exchange is not None:  # of a call that was cancelled
                await asyncio.wait([desk.exchange])
            if desk.place is not None and self._is_void(desk.place, self.timing.monotonic()):
                self._return_place(desk)
                desk.wake_first()
            with self.lock:
                sent = self._shared.take_reports(self.timing.monotonic())
            desk.exchange = asyncio.create_task(self._exchange(sent, images))
            desk.exchange.add_done_callback(_retrieve)
            return await asyncio.shield(desk.exchange)

    async def _exchange(self, sent: Sent, images: int | None) -> SharedPermit | None:
        ask = {"told": self._shared.told, "reports": sent.facts}
        try:
            answer = await self._script.run(ask if images is None else {**ask, "images": images})
        except BaseException:
            with self.lock:
                self._shared.keep_pauses(sent, self.timing.monotonic())
            raise
        self._outages.record_answer()
        with self.lock:
            place = self._shared.read_answer(answer, sent, self.timing.monotonic())
        if self._shared.difference and not self._is_difference_told:
            self._is_difference_told = True
            _log.warning("the shared limit at %s: %s", self._script.description, self._shared.difference)
        return place

    def _start_reporting(self) -> None:
        """Have the reports sent soon. Called with the lock held, by whatever loop a request ended in."""
        try:
            desk = self._known_desk()
        except RuntimeError:  # no loop: they go with the next request
            return
        if desk is None or desk.is_closed:
            return
        if self._shared.is_urgent:
            desk.is_urgent.set()
        if desk.reporting is None or desk.reporting.done():
            desk.reporting = asyncio.create_task(self._report(desk))

    async def _report(self, desk: Desk) -> None:
        while self._shared.has_reports:
            with suppress(TimeoutError):
                async with asyncio.timeout(_REPORT_DELAY):
                    await desk.is_urgent.wait()
            desk.is_urgent.clear()
            if self._shared.has_reports:
                try:
                    await self._run(desk)
                except (UnreachableError, ConfigurationError) as error:
                    _log.debug("the shared limit at %s got no report: %s", self._script.description, error)


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Mark a failure as seen, should its call have been cancelled."""
    if not task.cancelled():
        task.exception()
