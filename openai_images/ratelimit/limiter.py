"""Decides which request is sent next, and when: one limiter for all calls of a client.

Invariants: calls are sent in order of arrival, but none waits longer than its patience: then it is sent first, or
raises `RateLimitError` if the server itself asked to wait. No slot is held while waiting, and a step costs the same
however many wait: only the first looks at the clock. Slots belong to an event loop, limits to the client: a lock guards
them, as loops may run in several threads. A long wait is logged. Must not: decide what is sent again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import NamedTuple

from openai_images._util.waits import LOG_INTERVAL, LONG_WAIT, describe_end
from openai_images.errors import RateLimitError
from openai_images.models.options import Limits, Timing
from openai_images.ratelimit.pacer import Pacer, Permit
from openai_images.wire.headers import advertised_limits

_log = logging.getLogger("openai_images")

_SHORT_LIMIT = 3600.0  # seconds; a longer pause is a limit (such as a daily one) that no run waits for
_IDLE = 300.0  # seconds without any attempt after a pause; then a stall is counted from the next rejection
_CHECK_INTERVAL = 1.0  # seconds between searches for calls whose patience ends


class Patience(NamedTuple):
    """The maximum seconds that a call waits for limits, and that all calls may wait without a success."""

    max_wait: float = math.inf
    max_stall: float = math.inf


class Waiter:
    """A call that waits to send its request."""

    def __init__(self, images: int, patience: Patience, held_before: float) -> None:
        self.images = images
        self.patience = patience
        self.held_before = held_before
        self.timer: asyncio.Future[object] | None = None


class Queue:
    """The free slots of an event loop, and the calls that wait there."""

    def __init__(self, free: int) -> None:
        self.free = free
        self.held = 0.0  # seconds that the first has waited for limits that are not configured
        self.waiters = OrderedDict[Waiter, None]()
        self._check_at = 0.0

    @property
    def first(self) -> Waiter | None:
        """The call that is sent next."""
        return next(iter(self.waiters), None)

    def left(self, waiter: Waiter) -> float:
        """Return the seconds it may still wait."""
        return max(0.0, waiter.patience.max_wait - (self.held - waiter.held_before))

    def add(self, waiter: Waiter) -> None:
        """Put it last; if need be, the first one looks after its patience."""
        self.waiters[waiter] = None
        if len(self.waiters) == 2 or waiter.patience.max_wait <= 0:
            self._check_at = self.held
            self.wake_first()

    def remove(self, waiter: Waiter) -> None:
        """Let the next one be first."""
        del self.waiters[waiter]
        self.wake_first()

    def wake_first(self) -> None:
        """Make the first one check the limits again."""
        if self.first is not None and self.first.timer is not None:
            self.first.timer.cancel()

    async def wait(self, waiter: Waiter, timer: asyncio.Future[object]) -> None:
        """Wait for the timer, or until it is cancelled to wake the waiter."""
        waiter.timer = timer
        try:
            await asyncio.wait((timer,))
        finally:
            timer.cancel()

    def hold(self, seconds: float, pause: float) -> None:
        """Count what the first one waited; those whose patience ends within the rest of the pause become the first."""
        self.held += seconds
        if self.held >= self._check_at:
            self._check_at = self.held + _CHECK_INTERVAL
            for waiter in [waiter for waiter in reversed(self.waiters) if self.left(waiter) <= pause]:
                self.waiters.move_to_end(waiter, last=False)
            self.wake_first()


class Stall:
    """The time since the first rejection after the last success; `since` is `math.inf` after a success."""

    def __init__(self) -> None:
        self.since, self.reason, self.announced = math.inf, "", 0.0

    def record_rejection(self, error: RateLimitError, now: float, resume_at: float) -> None:
        """Record a rejection; the previous pause ended at `resume_at`."""
        if self.since == math.inf or now - resume_at > _IDLE:
            self.since = now
        self.reason, self.announced = error.reason, error.retry_after or 0.0

    def record_success(self, now: float, resume_at: float) -> None:
        """Record a success; in a pause, of a request sent before it, it does not show that waiting makes sense."""
        self.since = max(self.since, now) if now < resume_at else math.inf

    def is_hopeless(self, pause: float, max_stall: float, now: float) -> bool:
        """Whether waiting for the rest of a pause makes no sense."""
        announced = self.announced if self.announced <= _SHORT_LIMIT else 0.0
        is_over = pause > _SHORT_LIMIT or now - self.since > max_stall + announced
        return pause > 0 and max_stall < math.inf and is_over


class Limiter:
    """Grants slots in accordance with rate limits."""

    _queue_type: type[Queue] = Queue

    def __init__(self, limits: Limits, timing: Timing) -> None:
        """`limits.concurrency` is per event loop, the limits per minute are for the client."""
        self.timing = timing
        self.lock = threading.Lock()
        self.pacer = Pacer(limits, timing.monotonic())
        self.stall = Stall()
        self._concurrency = limits.concurrency
        self._queues: dict[asyncio.AbstractEventLoop, Queue] = {}
        self._logged_until = -math.inf

    @property
    def wait_reason(self) -> str | None:
        """Why the next request waits and until when; None if it is sent within a few seconds."""
        return self._reason(1, self.timing.monotonic())[0]

    @property
    def has_waiters(self) -> bool:
        """Whether calls wait for a slot or a limit, in any event loop."""
        return any(queue.waiters for queue in self._queues.values())

    async def acquire(self, images: int = 1, patience: Patience = Patience()) -> Slot:  # noqa: B008  immutable
        """Wait until a request for `images` may be sent; the caller must `release` the slot.

        Raises `RateLimitError` if that takes longer than the patience allows.
        """
        queue = self.queue()
        waiter = Waiter(images, patience, queue.held)
        queue.add(waiter)
        try:
            return await self._wait(queue, waiter)
        finally:
            queue.remove(waiter)

    async def aclose(self) -> None:
        """Close what belongs to the running event loop: nothing, as these limits are the client's own."""

    async def _wait(self, queue: Queue, waiter: Waiter) -> Slot:
        now = -math.inf
        while True:
            now = max(now, self.timing.monotonic())
            left = queue.left(waiter)
            pause = self._pause_or_raise(waiter, left, now)
            if not queue.free or queue.first is not waiter:
                await queue.wait(waiter, asyncio.get_running_loop().create_future())
                continue
            granted = await self._grant(waiter.images, left, now)
            if isinstance(granted, Permit):
                return Slot(self, queue, granted, queue.held - waiter.held_before)
            if granted is None:
                continue
            delay, configured = granted
            self.log_wait(logging.INFO, waiter.images, now)
            if len(queue.waiters) > 1:
                delay = min(delay, _CHECK_INTERVAL)
            started, timer = now, asyncio.ensure_future(self.timing.sleep(delay))
            await queue.wait(waiter, timer)
            if not timer.cancelled():
                timer.result()  # raises if the timer failed
                now += delay  # as a clock may be late or stand still
            passed = max(now, self.timing.monotonic()) - started
            queue.hold(min(passed, pause) + max(0.0, passed - configured), max(0.0, pause - passed))

    async def _grant(self, images: int, left: float, now: float) -> Permit | tuple[float, float] | None:
        """Return a permit, or its delay by all and by pause and configured limits; None to look again.

        What takes longer than `left` is sent anyway: only the server knows, and a 429 costs nothing.
        """
        with self.lock:
            delay = configured = self.pacer.delay(images, now)
            if delay > 0:
                pause = min(left, self.pacer.pause_left(now))  # none for a call that never waits
                configured = max(pause, self.pacer.delay(images, now, only_configured=True))
                delay = configured if left < delay else delay
            return (delay, configured) if delay > 0 else self.pacer.acquire(images, now)

    def _pause_or_raise(self, waiter: Waiter, left: float, now: float) -> float:
        pause = self.pacer.pause_left(now)
        # A call that never waits asks the server itself.
        is_too_long = pause > left and waiter.patience.max_wait > 0
        if is_too_long or self.stall.is_hopeless(pause, waiter.patience.max_stall, now):
            setting = "max_rate_limit_wait" if is_too_long else "max_stall"
            text = f"; nothing was sent; RetryPolicy({setting}=…) allows no longer wait"
            error = RateLimitError(self._describe_pause(pause) + text, status_code=429)
            error.reason, error.retry_after, error.safe_to_resend = self.stall.reason, pause, True
            raise error
        return pause

    def log_wait(self, level: int, images: int, now: float) -> None:
        """Log why a request for `images` waits, unless a wait as long was logged already."""
        reason, delay = self._reason(images, now)
        if reason is not None and now + delay > self._logged_until + 1:
            self._logged_until = now + delay + LOG_INTERVAL
            _log.log(level, "%s", reason)

    def queue(self) -> Queue:
        """Return the queue of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._queues:
            with self.lock:
                open_queues = {key: queue for key, queue in self._queues.items() if not key.is_closed()}
                self._queues = {**open_queues, loop: self._queue_type(self._concurrency)}
        return self._queues[loop]

    def _reason(self, images: int, now: float) -> tuple[str | None, float]:
        """Return why the next request waits, if that takes more than a few seconds, and for how long."""
        with self.lock:
            pause, delay = self.pacer.pause_left(now), self.pacer.delay(images, now)
            limit = self.pacer.binding_limit(images, now) if delay > LONG_WAIT else None
        if pause > LONG_WAIT or (pause > 0 and now - self.stall.since > LONG_WAIT):
            return self._describe_pause(pause), delay
        return limit and f"{limit}: the next request goes in {delay:.0f} s", delay

    def _describe_pause(self, left: float) -> str:
        reason = f" ({self.stall.reason})" if self.stall.reason else ""
        return f"rate limited by the server, {describe_end(left, self.timing.wall())}{reason}"


class Slot:
    """Permission to send one request now. Its results may be recorded at any time, also after `release`."""

    def __init__(self, limiter: Limiter, queue: Queue, permit: Permit, waited: float) -> None:
        """`waited`: seconds that it waited for limits."""
        self.waited = waited
        self._limiter, self._queue, self._permit = limiter, queue, permit
        self._stalled_since = math.inf  # the stall that its success has ended
        self._is_released = False
        queue.free -= 1

    def record_success(self, headers: Mapping[str, str]) -> None:
        """Record that the server accepted the request; its headers may advertise limits."""
        limiter, now = self._limiter, self._limiter.timing.monotonic()
        with limiter.lock:
            self._stalled_since = limiter.stall.since
            limiter.stall.record_success(now, limiter.pacer.resume_at)
            limiter.pacer.record_success(self._permit, advertised_limits(headers), now)

    def record_rejection(self, headers: Mapping[str, str], seconds: float, error: RateLimitError) -> None:
        """Record that the server rejected it for the rate (429): no request is sent for that many seconds."""
        limiter, now = self._limiter, self._limiter.timing.monotonic()
        with limiter.lock:
            limiter.stall.since = min(limiter.stall.since, self._stalled_since)  # a 429 in the body of a 200
            limiter.stall.record_rejection(error, now, limiter.pacer.resume_at)
            limiter.pacer.record_rejection(self._permit, advertised_limits(headers), seconds, now)
        limiter.log_wait(logging.WARNING, 1, now)

    def record_usage(self, tokens: int) -> None:
        """Record how many tokens it took."""
        with self._limiter.lock:
            self._limiter.pacer.record_usage(self._permit, tokens, self._limiter.timing.monotonic())

    def release(self) -> None:
        """End the request. Idempotent."""
        if not self._is_released:
            self._is_released = True
            with self._limiter.lock:
                self._limiter.pacer.close(self._permit)
            self._queue.free += 1
            self._queue.wake_first()  # the limits may allow more now
