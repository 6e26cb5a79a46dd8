"""The limiter of clients that share their limits through Redis: the place of each request is reserved there.

Invariants: nothing is sent without a place, so while the server is away nothing is; that is logged, and after a minute
an error. Each event loop has one place at a time, that of its first waiting call: a killed process loses no more. One
script per request: results travel with the next reservation, or soon after; a pause is reported immediately, and a
place that was waited for is checked against pauses before it is used. Slots and order are those of `Limiter`.
Must not: hold a slot while waiting, or keep a limit itself.
"""

from __future__ import annotations

import asyncio
import logging
import math
from contextlib import suppress
from datetime import datetime

from attrs import define, field

from openai_images.errors import ConfigurationError, SharedLimitError
from openai_images.models.options import Limits, Timing
from openai_images.ratelimit.limiter import Limiter, Patience, Queue, Slot, Waiter
from openai_images.ratelimit.redis_script import RedisScript, UnreachableError
from openai_images.ratelimit.shared_pacer import SharedPacer, SharedPermit

_log = logging.getLogger("openai_images")

_LONGEST_OUTAGE = 60.0  # seconds
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0  # seconds between attempts to reach the server
_REFUSING = 5.0  # seconds after an outage became an error in which calls fail without another attempt
_CHECKED = 0.1  # seconds after which a place is checked before it is used; reserve.lua has it too
_REPORT_DELAY = 1.0  # seconds that reports wait for the next reservation
_CLOSING = 2.0  # seconds for the last reports when a client is closed


@define(eq=False)
class Outage:
    """Since when the server has been away, until when it is awaited, and why."""

    since: float
    until: str
    reason: str = ""
    failures: int = 0
    refused_at: float = math.inf

    def is_over(self, now: float) -> bool:
        """Whether it became an error so long ago that the next failure is another outage."""
        return now - self.refused_at > _LONGEST_OUTAGE


@define(eq=False)
class Desk:
    """What an event loop has of the shared limits: its place, and what is under way to the server."""

    queue: Queue
    place: SharedPermit | None = None
    reserving: asyncio.Task[None] | None = None
    reporting: asyncio.Task[None] | None = None
    lock: asyncio.Lock = field(factory=asyncio.Lock)
    is_urgent: asyncio.Event = field(factory=asyncio.Event)


class SharedLimiter(Limiter):
    """Grants slots in accordance with limits that other clients, also on other machines, use too."""

    def __init__(self, limits: Limits, timing: Timing) -> None:
        """Raises `ConfigurationError` if the package redis is missing."""
        super().__init__(limits, timing)
        self.pacer = self._shared = SharedPacer(limits, timing.monotonic(), self._start_reporting)
        self._script = RedisScript(limits)
        self._desks: dict[asyncio.AbstractEventLoop, Desk] = {}
        self._outage: Outage | None = None

    @property
    def wait_reason(self) -> str | None:
        """Why the next request waits and until when; None if it is sent within a few seconds."""
        outage = self._outage
        return self._describe(outage) if outage and outage.failures > 1 else super().wait_reason

    async def acquire(self, images: int = 1, patience: Patience = Patience()) -> Slot:  # noqa: B008  immutable
        """Wait until a request for `images` may be sent; the caller must `release` the slot.

        Raises `RateLimitError` if that takes longer than the patience allows, `SharedLimitError` if the server stays
        away, and `ConfigurationError` if it cannot be used.
        """
        desk = self._desk()
        queue = desk.queue
        waiter = Waiter(images, patience, queue.held, self.timing.monotonic())
        queue.add(waiter)
        try:
            return await self._wait_at(desk, waiter)
        finally:
            queue.remove(waiter)
            if not queue.waiters:
                self._return_place(desk)

    async def aclose(self) -> None:
        """Send the last reports of the running loop, and close its connection. Idempotent."""
        desk = self._desks.pop(asyncio.get_running_loop(), None)
        if desk is None:
            return
        if desk.reporting is not None:
            desk.reporting.cancel()
        if self._shared.has_reports:
            with suppress(UnreachableError, ConfigurationError, TimeoutError):
                async with asyncio.timeout(_CLOSING):
                    await self._run(desk)
        await self._script.aclose()

    async def _wait_at(self, desk: Desk, waiter: Waiter) -> Slot:
        queue, timing = desk.queue, self.timing
        while True:
            now = waiter.now = max(waiter.now, timing.monotonic())
            left = queue.left(waiter)
            with self.lock:
                pause = self.pause_or_raise(waiter, left, now)
            if not queue.free or queue.first is not waiter:
                await queue.wait(waiter, math.inf, timing)
                continue
            place = desk.place
            if place is None or place.images != waiter.images or self._is_void(place, now):
                self._return_place(desk)
                await self._reserve(desk, waiter.images)
                continue
            delay, told = place.ready_at - now, place.told_at - now
            delay = told if left < delay else delay  # as in `Limiter`: only the server knows
            if delay <= 0 and now - place.checked_at <= _CHECKED:
                desk.place = None
                with self.lock:
                    self._shared.send(place)
                return Slot(self, queue, place, queue.held - waiter.held_before)
            if delay <= 0:
                await self._check(desk, place)
                continue
            self.log_wait(logging.INFO, waiter.images, now)
            await queue.wait(waiter, delay, timing)
            passed = max(waiter.now, timing.monotonic()) - now
            queue.hold(min(passed, pause) + max(0.0, passed - told), max(0.0, pause - passed))

    def _desk(self) -> Desk:
        """Return the desk of the running event loop."""
        loop = asyncio.get_running_loop()
        desk = self._desks.get(loop)
        if desk is None:
            for other in list(self._desks):  # a copy: other threads' loops come and go meanwhile
                if other.is_closed():
                    self._desks.pop(other, None)
            desk = self._desks[loop] = Desk(self.queue())
        return desk

    # Places.

    async def _reserve(self, desk: Desk, images: int) -> None:
        """Have a place; a call that is cancelled meanwhile leaves it to the next one."""
        if desk.reserving is None or desk.reserving.done():
            desk.reserving = asyncio.create_task(self._fetch_place(desk, images))
            desk.reserving.add_done_callback(_retrieve)
        await asyncio.shield(desk.reserving)

    async def _fetch_place(self, desk: Desk, images: int) -> None:
        while desk.queue.waiters:
            self._refuse_again()
            try:
                desk.place = await self._run(desk, images)
            except UnreachableError as error:
                delay = self._record_failure(str(error))
            else:
                if not desk.queue.waiters:
                    self._return_place(desk)
                return
            if delay is None:
                raise self._unreachable()
            await self.timing.sleep(delay)

    async def _check(self, desk: Desk, place: SharedPermit) -> None:
        """Learn whether somebody was rejected meanwhile; a place is valid also while the server is away."""
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
            if desk.place is not None and self._is_void(desk.place, self.timing.monotonic()):
                self._return_place(desk)
                desk.queue.wake_first()
            with self.lock:
                sent = self._shared.take_reports(self.timing.monotonic())
            ask = {"told": self._shared.told, "reports": sent.facts}
            try:
                answer = await self._script.run(ask if images is None else {**ask, "images": images})
            except UnreachableError:
                with self.lock:
                    self._shared.keep_pauses(sent, self.timing.monotonic())
                raise
            outage, self._outage = self._outage, None
            if outage is not None and outage.failures > 1:
                _log.warning("the shared limit at %s is reached again", self._script.description)
            with self.lock:
                return self._shared.read_answer(answer, sent, self.timing.monotonic())

    def _start_reporting(self) -> None:
        """Have the reports sent soon. Called with the lock held, by whatever loop a request ended in."""
        try:
            desk = self._desks.get(asyncio.get_running_loop())
        except RuntimeError:  # no loop: they go with the next request
            return
        if desk is None:
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

    def _record_failure(self, reason: str) -> float | None:
        """Count a failure; return the seconds until the next attempt, None after a minute."""
        now = self.timing.monotonic()
        outage = self._outage
        if outage is None or outage.is_over(now):
            until = datetime.fromtimestamp(self.timing.wall() + _LONGEST_OUTAGE).astimezone()
            outage = self._outage = Outage(now, until.strftime("%H:%M:%S"))
        outage.reason, outage.failures = reason, outage.failures + 1
        if outage.failures == 2:  # a connection that was closed while idle fails once
            _log.warning("%s", self._describe(outage))
        if now - outage.since >= _LONGEST_OUTAGE:
            outage.refused_at = now
            return None
        return min(_FIRST_DELAY * 2.0 ** min(outage.failures - 1, 10), _LONGEST_DELAY)

    def _refuse_again(self) -> None:
        """Raise what the last attempt raised, if that was just now: many calls must not wait one after the other."""
        outage = self._outage
        if outage is not None and 0 <= self.timing.monotonic() - outage.refused_at < _REFUSING:
            raise self._unreachable()

    def _describe(self, outage: Outage) -> str:
        text = f"the shared limit at {self._script.description} cannot be reached ({outage.reason}): nothing is sent"
        return f"{text}, trying until {outage.until}" if outage.refused_at == math.inf else text

    def _unreachable(self) -> SharedLimitError:
        reason = "" if self._outage is None else f" ({self._outage.reason})"
        return SharedLimitError(
            f"the Redis server {self._script.description} could not be reached for {_LONGEST_OUTAGE:.0f} s{reason}, so "
            "nothing was sent; check Limits(shared=…) and that the server is up"
        )


def _retrieve(task: asyncio.Task[None]) -> None:
    """Mark a failure as seen, should its call have been cancelled."""
    if not task.cancelled():
        task.exception()
