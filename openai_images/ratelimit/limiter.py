"""Decides which request is sent next, and when: one limiter for all calls of a client.

Invariants: calls are sent in order of arrival, but none waits longer than its patience: then it is sent, or
raises `RateLimitError` if the server itself asked to wait. No slot is held while waiting. Slots belong to an event
loop, the pacer to the client: a lock guards it, as loops may run in several threads. A long wait is logged.
Must not: decide what is sent again. `Limiter` and `Slot` are protocols, so that a shared limiter can replace this one.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Protocol

from attrs import define

from openai_images.errors import RateLimitError
from openai_images.models.options import Limits, Timing
from openai_images.ratelimit.pacer import Pacer, Permit
from openai_images.ratelimit.queue import LoopState, Waiter
from openai_images.wire.headers import advertised_limits

_SHORT_LIMIT = 3600.0
"""Seconds; a longer pause is a limit (such as a daily one) that no run waits for."""

_IDLE = 300.0
"""Seconds without any attempt after a pause; then a stall is counted from the next rejection."""


@define
class Stall:
    """The time since the first rejection after the last success; `since` is `math.inf` after a success."""

    since: float = math.inf
    reason: str = ""
    announced: float = 0.0

    def record_rejection(self, error: RateLimitError, now: float, resume_at: float) -> None:
        """Record a rejection; the previous pause ended at `resume_at`."""
        if self.since == math.inf or now - resume_at > _IDLE:
            self.since = now
        self.reason, self.announced = error.reason, error.retry_after or 0.0

    def seconds(self, now: float) -> float:
        """Return how many seconds it has lasted."""
        return max(0.0, now - self.since)

    def is_hopeless(self, pause: float, max_stall: float, now: float) -> bool:
        """Whether waiting for the rest of a pause makes no sense."""
        announced = self.announced if self.announced <= _SHORT_LIMIT else 0.0
        return max_stall < math.inf and (pause > _SHORT_LIMIT or self.seconds(now) > max_stall + announced)


_log = logging.getLogger("openai_images")

_LONG_WAIT = 5.0
"""Seconds; a longer wait is logged, and also a shorter one if nothing was accepted for that long."""

_LOG_INTERVAL = 60.0
_DAY = 86_400.0


class Patience(NamedTuple):
    """The maximum seconds that a call waits for limits, and that all calls may wait without a success."""

    max_wait: float = math.inf
    max_stall: float = math.inf


class Slot(Protocol):
    """Permission to send one request now. Its results may be recorded at any time, also after `release`."""

    waited: float
    """Seconds that it waited for limits."""

    def record_success(self, headers: Mapping[str, str]) -> None:
        """Record that the server accepted the request; its headers may advertise limits."""

    def record_rejection(self, headers: Mapping[str, str], seconds: float, error: RateLimitError) -> None:
        """Record that the server rejected it for the rate (429): no request is sent for that many seconds."""

    def record_usage(self, tokens: int) -> None:
        """Record how many tokens it took."""

    def release(self) -> None:
        """End the request. Idempotent."""


class Limiter(Protocol):
    """Grants slots in accordance with rate limits."""

    async def acquire(self, images: int, patience: Patience) -> Slot:
        """Wait until a request for `images` may be sent; the caller must `release` the slot.

        Raises `RateLimitError` if that takes longer than the patience allows.
        """
        ...

    @property
    def wait_reason(self) -> str | None:
        """Why the next request waits and until when; None if it is sent within a few seconds."""


class LocalLimiter:
    """The limiter of one process."""

    def __init__(self, limits: Limits, timing: Timing) -> None:
        """`limits.concurrency` is per event loop, the limits per minute are for the client."""
        self._concurrency = limits.concurrency
        self.timing = timing
        self.lock = threading.Lock()
        self.pacer = Pacer(limits, timing.monotonic())
        self.stall = Stall()
        self._loops: dict[asyncio.AbstractEventLoop, LoopState] = {}
        self._logged_until = -math.inf

    @property
    def wait_reason(self) -> str | None:
        """Why the next request waits and until when; None if it is sent within a few seconds."""
        with self.lock:
            return self._reason(1, self.timing.monotonic())

    async def acquire(self, images: int = 1, patience: Patience = Patience()) -> LocalSlot:  # noqa: B008  immutable
        """Wait until every limit allows `images`, and for a slot. Raises `RateLimitError`."""
        state = self._loop_state()
        waiter = Waiter(images, patience.max_wait, state.held, self.timing.monotonic())
        with state.waiting(waiter):
            while True:
                await self._wait_for_limits(state, waiter, patience.max_stall)
                await state.slots.acquire()
                permit = self._try(waiter)
                if permit is not None:
                    return LocalSlot(self, state, waiter, permit)
                state.slots.release()  # the limits have changed meanwhile

    def log_wait(self, level: int, images: int, now: float) -> None:
        """Log why a request for `images` waits, unless a wait as long was logged already."""
        with self.lock:
            reason, end = self._reason(images, now), now + self.pacer.delay(images, now)
            if reason is None or end <= self._logged_until + 1:
                return
            self._logged_until = end + _LOG_INTERVAL
        _log.log(level, "%s", reason)

    def _loop_state(self) -> LoopState:
        loop = asyncio.get_running_loop()
        with self.lock:
            if loop not in self._loops:
                self._loops = {other: state for other, state in self._loops.items() if not other.is_closed()}
                self._loops[loop] = LoopState(self._concurrency, self.timing)
            return self._loops[loop]

    def _try(self, waiter: Waiter) -> Permit | None:
        """Return a permit if the limits allow it, or if its patience is used up and only configured limits count."""
        now = max(self.timing.monotonic(), waiter.now)
        with self.lock:
            delay = self.pacer.delay(waiter.images, now, only_configured=waiter.is_due)
            return None if delay > 0 else self.pacer.acquire(waiter.images, now)

    async def _wait_for_limits(self, state: LoopState, waiter: Waiter, max_stall: float) -> None:
        """Wait until the limits allow it. Raises `RateLimitError`."""
        while True:
            now = waiter.now = max(waiter.now, self.timing.monotonic())
            left, is_first = state.left(waiter), state.first is waiter
            with self.lock:
                pause = self.pacer.pause_left(now)
                min_delay = self.pacer.delay(waiter.images, now, only_configured=True)
                delay = self.pacer.delay(waiter.images, now)
                if pause > left or (pause > 0 and self.stall.is_hopeless(pause, max_stall, now)):
                    raise self._error(pause)
            # If a limit takes longer than its patience, it is sent anyway: the server decides, and a 429 costs nothing.
            waiter.is_due = left <= 0 or (is_first and delay > left)
            delay = min_delay if waiter.is_due else delay
            if not (is_first or waiter.is_due):
                waiter.turn = asyncio.get_running_loop().create_future()
                await waiter.turn
                continue
            if delay <= 0:
                return
            if is_first:
                self.log_wait(logging.INFO, waiter.images, now)
            await state.sleep(waiter, delay)
            if is_first:
                passed = max(waiter.now, self.timing.monotonic()) - now
                state.hold(min(passed, pause) + max(0.0, passed - min_delay), max(0.0, pause - passed))

    def _reason(self, images: int, now: float) -> str | None:
        pause, delay = self.pacer.pause_left(now), self.pacer.delay(images, now)
        if pause > _LONG_WAIT or (pause > 0 and self.stall.seconds(now) > _LONG_WAIT):
            return self._describe_pause(pause)
        if delay > _LONG_WAIT:
            return f"{self.pacer.binding_limit(now)}: the next request goes in {delay:.0f} s"
        return None

    def _describe_pause(self, left: float) -> str:
        until = datetime.fromtimestamp(self.timing.wall() + left).astimezone()
        when = until.strftime("%H:%M:%S" if left < _DAY else "%Y-%m-%d %H:%M")
        reason = f" ({self.stall.reason})" if self.stall.reason else ""
        return f"rate limited by the server, until {when}, {left:.0f} s from now{reason}"

    def _error(self, pause: float) -> RateLimitError:
        error = RateLimitError(f"{self._describe_pause(pause)}; nothing was sent", status_code=429)
        error.reason, error.retry_after, error.safe_to_resend = self.stall.reason, pause, True
        return error


class LocalSlot:
    """A slot of a `LocalLimiter`."""

    def __init__(self, limiter: LocalLimiter, state: LoopState, waiter: Waiter, permit: Permit) -> None:
        """The loop's semaphore has been acquired for it."""
        self.waited = state.held - waiter.held_before
        self._limiter = limiter
        self._state = state
        self._images = waiter.images
        self._permit = permit
        self._is_success = self._is_released = False
        self._stalled_since = math.inf

    def record_success(self, headers: Mapping[str, str]) -> None:
        """Record that the server accepted the request; its headers may advertise limits."""
        self._is_success = True
        limiter = self._limiter
        with limiter.lock:
            limiter.pacer.record_success(self._permit, advertised_limits(headers), limiter.timing.monotonic())

    def record_rejection(self, headers: Mapping[str, str], seconds: float, error: RateLimitError) -> None:
        """Record that the server rejected it for the rate (429): no request is sent for that many seconds."""
        limiter, now = self._limiter, self._limiter.timing.monotonic()
        with limiter.lock:
            if self._is_success and self._is_released:  # a 429 in the body of a 200, read to its end
                limiter.stall.since = self._stalled_since
            self._is_success = False
            limiter.stall.record_rejection(error, now, limiter.pacer.resume_at)
            limiter.pacer.record_rejection(self._permit, advertised_limits(headers), seconds, now)
        limiter.log_wait(logging.WARNING, 1, now)

    def record_usage(self, tokens: int) -> None:
        """Record how many tokens it took."""
        limiter = self._limiter
        with limiter.lock:
            limiter.pacer.record_usage(self._permit, self._images, tokens, limiter.timing.monotonic())

    def release(self) -> None:
        """End the request. Idempotent."""
        if self._is_released:
            return
        self._is_released = True
        limiter, now = self._limiter, self._limiter.timing.monotonic()
        with limiter.lock:
            limiter.pacer.close(self._permit)
            self._stalled_since = limiter.stall.since
            # A success of a request sent before a pause does not show that waiting for its end makes sense.
            if self._is_success:
                limiter.stall.since = now if limiter.pacer.pause_left(now) > 0 else math.inf
        self._state.slots.release()
        self._state.wake_first()  # the limits may allow more now
