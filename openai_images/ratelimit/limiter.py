"""Who may send, and when: one limiter for all calls of a client.

Invariants: calls go in the order in which they came, except that none waits longer than it may: then it is sent, or
raises `RateLimitError` where the server itself asked to wait. No slot is held while waiting. Slots belong to an event
loop, the pacer to the client: its state changes under a lock, as loops may run in several threads. A long wait is
logged with its reason and its end. `Limiter` and `Slot` are protocols, so that a limiter shared by several machines
can take this one's place. Must not: decide what is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from attrs import frozen

from openai_images.errors import RateLimitError
from openai_images.ratelimit.pacer import Pacer, Permit
from openai_images.ratelimit.queue import LOOK_INTERVAL, LoopState, Waiter
from openai_images.wire.headers import advertised_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.options import Limits, Timing

_log = logging.getLogger("openai_images")

_LONG_WAIT = 5.0
"""Seconds; a longer wait is logged."""

_SHORT_LIMIT = 3600.0
"""Seconds; a server that asks for a longer pause speaks of a limit that no run waits for."""

_IDLE = 300.0
"""Seconds after a pause in which nothing was tried: that is no stall."""

_LOG_INTERVAL = 60.0
_DAY = 86_400.0


@frozen
class Patience:
    """Seconds a call may wait for limits in all, and seconds all calls may go without a success while they do."""

    max_wait: float = math.inf
    max_stall: float = math.inf


class Slot(Protocol):
    """One request that may be sent now. What is learned from it may be recorded at any time, also after `release`."""

    waited: float
    """Seconds that limits took before it."""

    def record_success(self, headers: Mapping[str, str]) -> None:
        """The server took the request; its headers may advertise limits."""

    def record_rejection(self, headers: Mapping[str, str], seconds: float, error: RateLimitError) -> None:
        """The server rejected it for the rate (429): nobody starts for that many seconds."""

    def record_usage(self, tokens: int) -> None:
        """It took so many tokens."""

    def release(self) -> None:
        """The request is over. Idempotent."""


class Limiter(Protocol):
    """Gives slots."""

    async def acquire(self, images: int, patience: Patience) -> Slot:
        """Wait until a request for so many images may be sent; the caller must `release` what comes back.

        Raises `RateLimitError` where that takes longer than the patience allows.
        """
        ...

    @property
    def wait_reason(self) -> str | None:
        """Why the next request waits and until when; None where it goes within a few seconds."""


class LocalLimiter:
    """The limiter of one process."""

    def __init__(self, limits: Limits, timing: Timing) -> None:
        """Allow `limits.concurrency` requests at once in each event loop, and keep the limits per minute."""
        self._concurrency = limits.concurrency
        self.timing = timing
        self.pacer = Pacer(limits, timing.monotonic())
        self.lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, LoopState] = {}
        self._stalled_since: float | None = None
        self._paused_until = -math.inf
        self._reason = ""
        self._announced = 0.0
        self._logged_until = -math.inf

    @property
    def wait_reason(self) -> str | None:
        """Why the next request waits and until when; None where it goes within a few seconds."""
        now = self.timing.monotonic()
        with self.lock:
            pause, delay = self.pacer.pause_left(now), self.pacer.delay(1, now)
            limit = self.pacer.binding_limit(now) if delay > _LONG_WAIT else ""
            is_long = self._is_long(pause, now)
        if is_long:
            return self._describe_pause(pause)
        return f"{limit}: the next request goes in {delay:.0f} s" if limit else None

    async def acquire(self, images: int = 1, patience: Patience = Patience()) -> LocalSlot:
        """Wait until every limit allows so many images, and for a slot. Raises `RateLimitError`."""
        state = self._loop_state()
        waiter = Waiter(images, patience.max_wait, state.held, self.timing.monotonic())
        with state.waiting(waiter):
            while True:
                await self._wait_for_limits(state, waiter, patience.max_stall)
                await state.slots.acquire()
                permit = self._try(waiter)
                if permit is not None:
                    break
                state.slots.release()  # the limits have changed meanwhile
        return LocalSlot(self, permit, waiter, state)

    def record_success(self, permit: Permit, headers: Mapping[str, str]) -> None:
        """A request was accepted."""
        with self.lock:
            self.pacer.record_success(permit, advertised_limits(headers), self.timing.monotonic())

    def release(self, permit: Permit, *, is_success: bool) -> float | None:
        """A request is over. What it returns is for `resume_stall`, should its answer turn out to be a rejection."""
        now = self.timing.monotonic()
        with self.lock:
            self.pacer.close(permit)
            before = self._stalled_since
            if is_success:  # what was sent before a pause does not say that waiting for its end makes sense
                self._stalled_since = now if self.pacer.pause_left(now) > 0 else None
            return before

    def resume_stall(self, since: float | None) -> None:
        """It was no success."""
        with self.lock:
            self._stalled_since = since

    def record_rejection(
        self, permit: Permit, headers: Mapping[str, str], seconds: float, error: RateLimitError
    ) -> None:
        """A request was rejected: nothing goes for so many seconds."""
        now = self.timing.monotonic()
        with self.lock:
            self.pacer.record_rejection(permit, advertised_limits(headers), seconds, now)
            left = self.pacer.pause_left(now)
            if self._stalled_since is None or now - self._paused_until > _IDLE:
                self._stalled_since = now
            self._paused_until = now + left
            self._reason, self._announced = error.reason, error.retry_after or 0.0
            is_news = self._is_long(left, now) and now + left > self._logged_until + 1
            after = _LOG_INTERVAL if is_news and left <= _LONG_WAIT else 0.0
            self._logged_until = max(self._logged_until, now + left + after)
        if is_news:
            _log.warning("%s", self._describe_pause(left))

    def record_usage(self, permit: Permit, images: int, tokens: int) -> None:
        """A request took so many tokens."""
        with self.lock:
            self.pacer.record_usage(permit, images, tokens, self.timing.monotonic())

    def _try(self, waiter: Waiter) -> Permit | None:
        """A permit, where the limits allow it, or where it has waited long enough for all but a pause."""
        now = max(self.timing.monotonic(), waiter.now)
        with self.lock:
            delay = self.pacer.delay(waiter.images, now, only_configured=waiter.is_due)
            return None if delay > 0 else self.pacer.acquire(waiter.images, now)

    async def _wait_for_limits(self, state: LoopState, waiter: Waiter, max_stall: float) -> None:
        """Until the limits allow it to go. Raises `RateLimitError`."""
        while True:
            now = waiter.now = max(waiter.now, self.timing.monotonic())
            left, is_first = max(0.0, waiter.left(state.held)), state.first is waiter
            with self.lock:
                pause = self.pacer.pause_left(now)
                at_least = self.pacer.delay(waiter.images, now, only_configured=True)
                delay = self.pacer.delay(waiter.images, now)
            if pause > left or self._is_stalled(pause, max_stall, now):
                raise self._error(pause)
            # A limit that takes longer than it may wait is tried: the server's answer is sure, and a 429 costs nothing.
            waiter.is_due = left <= 0 or (is_first and delay > left)
            delay = at_least if waiter.is_due else delay
            if not (is_first or waiter.is_due):
                waiter.turn = asyncio.get_running_loop().create_future()
                await waiter.turn
                continue
            if delay <= 0:
                return
            if is_first:
                self._log_limit(delay, now)
            waiter.now = await self._sleep(state, waiter, delay)
            if is_first:
                passed = waiter.now - now
                held = min(passed, pause) + max(0.0, passed - at_least)
                state.hold(held, max(0.0, pause - passed))

    async def _sleep(self, state: LoopState, waiter: Waiter, seconds: float) -> float:
        """So long, or until somebody comes who may not wait as long; the time then."""
        seconds = min(seconds, LOOK_INTERVAL) if state.impatient and len(state.queue) > 1 else seconds
        turn = waiter.turn = asyncio.get_running_loop().create_future()
        timer = asyncio.ensure_future(self.timing.sleep(seconds))
        try:
            await asyncio.wait((turn, timer), return_when=asyncio.FIRST_COMPLETED)
            if not timer.done():
                return max(waiter.now, self.timing.monotonic())
            await timer  # which may have failed
        finally:
            timer.cancel()
        # A timer may be a little early, and a clock may stand still.
        return max(waiter.now + seconds, self.timing.monotonic())

    def _is_long(self, pause: float, now: float) -> bool:
        """Whether a pause is worth saying: it is long, or one of many with no success."""
        stalled = 0.0 if self._stalled_since is None else now - self._stalled_since
        return pause > _LONG_WAIT or (pause > 0 and stalled > _LONG_WAIT)

    def _is_stalled(self, pause: float, max_stall: float, now: float) -> bool:
        """Whether nothing was accepted for so long that waiting on makes no sense."""
        if pause <= 0 or self._stalled_since is None or max_stall == math.inf:
            return False
        announced = self._announced if self._announced <= _SHORT_LIMIT else 0.0
        return pause > _SHORT_LIMIT or now - self._stalled_since > max_stall + announced

    def _error(self, pause: float) -> RateLimitError:
        error = RateLimitError(f"{self._describe_pause(pause)}; nothing was sent", status_code=429)
        error.reason, error.retry_after, error.safe_to_resend = self._reason, pause, True
        return error

    def _describe_pause(self, left: float) -> str:
        until = datetime.fromtimestamp(self.timing.wall() + left).astimezone()
        when = until.strftime("%H:%M:%S" if left < _DAY else "%Y-%m-%d %H:%M")
        said = f" ({self._reason})" if self._reason else ""
        return f"rate limited by the server, until {when}, {left:.0f} s from now{said}"

    def _log_limit(self, delay: float, now: float) -> None:
        """Say once that a limit and not a pause takes long."""
        with self.lock:
            if delay <= _LONG_WAIT or now + delay <= self._logged_until + _LONG_WAIT:
                return
            self._logged_until = now + delay + _LOG_INTERVAL
            limit = self.pacer.binding_limit(now)
        _log.info("%s: the next request goes in %.0f s", limit, delay)

    def _loop_state(self) -> LoopState:
        loop = asyncio.get_running_loop()
        with self.lock:
            state = self._loops.get(loop)
            if state is None:
                self._loops = {other: kept for other, kept in self._loops.items() if not other.is_closed()}
                state = self._loops[loop] = LoopState(self._concurrency)
            return state


class LocalSlot:
    """A slot of a `LocalLimiter`."""

    def __init__(self, limiter: LocalLimiter, permit: Permit, waiter: Waiter, state: LoopState) -> None:
        self.waited = waiter.waited
        self._limiter = limiter
        self._permit = permit
        self._images = waiter.images
        self._state: LoopState | None = state
        self._is_success = False
        self._stall: float | None = None

    def record_success(self, headers: Mapping[str, str]) -> None:
        """The server took the request; its headers may advertise limits."""
        self._is_success = True
        self._limiter.record_success(self._permit, headers)

    def record_rejection(self, headers: Mapping[str, str], seconds: float, error: RateLimitError) -> None:
        """The server rejected it for the rate (429): nobody starts for that many seconds."""
        if self._is_success and self._state is None:  # a 429 in the body of a 200, read to its end
            self._limiter.resume_stall(self._stall)
        self._is_success = False
        self._limiter.record_rejection(self._permit, headers, seconds, error)

    def record_usage(self, tokens: int) -> None:
        """It took so many tokens."""
        self._limiter.record_usage(self._permit, self._images, tokens)

    def release(self) -> None:
        """The request is over. Idempotent."""
        state, self._state = self._state, None
        if state is not None:
            self._stall = self._limiter.release(self._permit, is_success=self._is_success)
            state.slots.release()
            state.wake_first()  # limits may have become wider
