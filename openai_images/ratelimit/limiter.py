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
from collections import OrderedDict
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from attrs import define, frozen

from openai_images.errors import RateLimitError
from openai_images.ratelimit.pacer import Pacer, Permit
from openai_images.wire.headers import stated_limits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.http.timing import Timing
    from openai_images.models.options import Limits

_log = logging.getLogger("openai_images")

_LONG_WAIT = 5.0
"""Seconds; a longer wait is logged."""

_SHORT_LIMIT = 3600.0
"""Seconds; a server that asks for a longer pause speaks of a limit that no run waits for."""

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


@define(eq=False)
class _Waiter:
    images: int
    patience: Patience
    waited: float = 0.0
    is_due: bool = False
    """Whether it waits no longer for limits that nobody configured."""
    now: float = -math.inf
    turn: asyncio.Future[None] | None = None


class _LoopState:
    """Of one event loop: the slots, and who waits for the limits."""

    def __init__(self, concurrency: int) -> None:
        self.slots = asyncio.Semaphore(concurrency)
        self.queue = OrderedDict[int, _Waiter]()
        self.images = 0

    def is_first(self, waiter: _Waiter) -> bool:
        return next(iter(self.queue.values())) is waiter

    @contextmanager
    def waiting(self, waiter: _Waiter, *, first: bool) -> Generator[None]:
        """In the queue; whoever is first then has its turn."""
        self.queue[id(waiter)] = waiter
        if first:
            self.queue.move_to_end(id(waiter), last=False)
        self.images += waiter.images
        try:
            yield
        finally:
            del self.queue[id(waiter)]
            self.images -= waiter.images
            turn = next((waiter.turn for waiter in self.queue.values()), None)
            if turn is not None and not turn.done():
                turn.set_result(None)


class LocalLimiter:
    """The limiter of one process."""

    def __init__(self, limits: Limits, timing: Timing) -> None:
        """Allow `limits.concurrency` requests at once in each event loop, and keep the limits per minute."""
        self._concurrency = limits.concurrency
        self.timing = timing
        self.pacer = Pacer(limits, timing.monotonic())
        self.lock = threading.Lock()
        self._loops: dict[asyncio.AbstractEventLoop, _LoopState] = {}
        self._stalled_since: float | None = None
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
        if pause > _LONG_WAIT:
            return self._describe_pause(pause)
        return f"{limit}: the next request goes in {delay:.0f} s" if limit else None

    async def acquire(self, images: int = 1, patience: Patience = Patience()) -> LocalSlot:
        """Wait until every limit allows so many images, and for a slot. Raises `RateLimitError`."""
        state, waiter = self._loop_state(), _Waiter(images, patience)
        while True:
            with state.waiting(waiter, first=waiter.waited > 0):
                await self._wait_for_limits(state, waiter)
            await state.slots.acquire()
            permit = self._try(waiter)
            if permit is not None:
                return LocalSlot(self, permit, waiter, state.slots)
            state.slots.release()  # the limits have changed meanwhile

    def record_success(self, permit: Permit, headers: Mapping[str, str]) -> None:
        """A request was accepted."""
        with self.lock:
            self._stalled_since = None
            self.pacer.record_success(permit, stated_limits(headers), self.timing.monotonic())

    def record_rejection(
        self, permit: Permit, headers: Mapping[str, str], seconds: float, error: RateLimitError
    ) -> None:
        """A request was rejected: nothing goes for so many seconds."""
        now = self.timing.monotonic()
        with self.lock:
            self.pacer.record_rejection(permit, stated_limits(headers), seconds, now)
            left = self.pacer.pause_left(now)
            self._stalled_since = now if self._stalled_since is None else self._stalled_since
            self._reason, self._announced = error.reason, error.retry_after or 0.0
            is_news = left > _LONG_WAIT and now + left > self._logged_until + 1
            self._logged_until = max(self._logged_until, now + left)
        if is_news:
            _log.warning("%s", self._describe_pause(left))

    def _try(self, waiter: _Waiter) -> Permit | None:
        """A permit, where the limits allow it, or where it has waited long enough for all but a pause."""
        now = max(self.timing.monotonic(), waiter.now)
        with self.lock:
            delay = self.pacer.delay(waiter.images, now, only_configured=waiter.is_due)
            return None if delay > 0 else self.pacer.acquire(waiter.images, now)

    async def _wait_for_limits(self, state: _LoopState, waiter: _Waiter) -> None:
        """Until the limits allow it to go. Raises `RateLimitError`."""
        waiter.now = max(waiter.now, self.timing.monotonic())
        while True:
            now, left = waiter.now, waiter.patience.max_wait - waiter.waited
            is_first = state.is_first(waiter)
            with self.lock:
                pause = self.pacer.pause_left(now)
                at_least = self.pacer.delay(waiter.images, now, only_configured=True)
                delay = self.pacer.delay(waiter.images if is_first else state.images, now)
            if pause > left or self._is_stalled(pause, waiter.patience, now):
                raise self._error(pause)
            # A limit that takes longer than it may wait is tried: the server's answer is sure, and a 429 costs nothing.
            waiter.is_due = left <= 0 or (is_first and delay > left)
            delay = at_least if waiter.is_due else delay
            if delay <= 0 and (is_first or waiter.is_due):
                return
            if is_first:
                self._log_limit(delay, now)
                await self.timing.sleep(delay)
            else:
                await self._wait_for_turn(waiter, delay if waiter.is_due else min(delay, left))
            # A timer may be a little early; one that waits for its turn may have it at once.
            waiter.now = max(self.timing.monotonic(), now + delay if is_first else now)
            waiter.waited += max(0.0, waiter.now - now - (at_least - pause))

    async def _wait_for_turn(self, waiter: _Waiter, seconds: float) -> None:
        """Until it is the first, or for so many seconds where its patience has an end."""
        turn = waiter.turn = asyncio.get_running_loop().create_future()
        if waiter.patience.max_wait == math.inf:
            await turn
            return
        timer = asyncio.ensure_future(self.timing.sleep(seconds))
        try:
            await asyncio.wait((turn, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()

    def _is_stalled(self, pause: float, patience: Patience, now: float) -> bool:
        """Whether nothing was accepted for so long that waiting on makes no sense."""
        if pause <= 0 or self._stalled_since is None or patience.max_stall == math.inf:
            return False
        announced = self._announced if self._announced <= _SHORT_LIMIT else 0.0
        return pause > _SHORT_LIMIT or now - self._stalled_since > patience.max_stall + announced

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

    def _loop_state(self) -> _LoopState:
        loop = asyncio.get_running_loop()
        with self.lock:
            state = self._loops.get(loop)
            if state is None:
                self._loops = {other: kept for other, kept in self._loops.items() if not other.is_closed()}
                state = self._loops[loop] = _LoopState(self._concurrency)
            return state


class LocalSlot:
    """A slot of a `LocalLimiter`."""

    def __init__(
        self, limiter: LocalLimiter, permit: Permit, waiter: _Waiter, slots: asyncio.Semaphore
    ) -> None:
        self.waited = waiter.waited
        self._limiter = limiter
        self._permit = permit
        self._images = waiter.images
        self._slots: asyncio.Semaphore | None = slots

    def record_success(self, headers: Mapping[str, str]) -> None:
        """The server took the request; its headers may advertise limits."""
        self._limiter.record_success(self._permit, headers)

    def record_rejection(self, headers: Mapping[str, str], seconds: float, error: RateLimitError) -> None:
        """The server rejected it for the rate (429): nobody starts for that many seconds."""
        self._limiter.record_rejection(self._permit, headers, seconds, error)

    def record_usage(self, tokens: int) -> None:
        """It took so many tokens."""
        limiter = self._limiter
        with limiter.lock:
            limiter.pacer.record_usage(self._permit, self._images, tokens, limiter.timing.monotonic())

    def release(self) -> None:
        """The request is over. Idempotent."""
        slots, self._slots = self._slots, None
        if slots is not None:
            with self._limiter.lock:
                self._limiter.pacer.close(self._permit)
            slots.release()
