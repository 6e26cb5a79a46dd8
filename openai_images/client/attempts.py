"""The attempts of one call: wait for a slot, send, check the status, and wait before the next attempt.

Invariants: a slot of the limiter is held only while a request is in flight, never during the wait for a retry; an error
response is converted to its exception here.
Must not: read a successful response.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from openai_images._util.aio import mark_cancelled
from openai_images._util.waits import LongWaits, Wait
from openai_images.client.prepared_request import PreparedRequest
from openai_images.errors import (
    ImagesError,
    OutcomeUnknownError,
    RateLimitError,
    StoppedBeforeSendError,
    annotate,
)
from openai_images.http.request_body import RequestProgress
from openai_images.http.retry import RetryState, decide, describe_failure
from openai_images.http.transport import Response, Transport
from openai_images.models.image import Image
from openai_images.models.options import RetryPolicy, Timeouts, Timing
from openai_images.models.usage import Usage
from openai_images.ratelimit.limiter import Limiter, Patience, Slot
from openai_images.wire.error_mapping import ResponseContext, error_from_body

if TYPE_CHECKING:
    from openai_images.models.outcomes import CallObserver
    from openai_images.telemetry.telemetry import Instruments

_log = logging.getLogger("openai_images")

STOPPED = "an attempt may have been billed, and the run was stopped before the next one"

_T = TypeVar("_T")

_SUCCESS = range(200, 300)
_RATE_LIMITED = 429


class CallContext(NamedTuple):
    """The objects that all calls of a client share; `reported` holds the warnings that were logged."""

    transport: Transport
    limiter: Limiter
    retry: RetryPolicy
    timeouts: Timeouts
    timing: Timing
    max_image_bytes: int
    waits: LongWaits
    reported: set[str]
    telemetry: Instruments | None

    @property
    def wait_reason(self) -> str | None:
        """Why requests wait for a limit or for their next attempt, and until when; None if only for a few seconds."""
        limit = self.limiter.wait_reason if self.limiter.has_waiters else None
        return limit or self.waits.reason(self.timing.monotonic(), self.timing.wall())

    async def retried(self, attempt: Callable[[], Awaitable[_T]]) -> _T:
        """Return what `attempt` does, made again after an error as the policy allows. Raises `ImagesError`."""
        timing, state, attempts, started = self.timing, RetryState(), 0, self.timing.monotonic()
        while True:
            attempts += 1
            try:
                return await attempt()
            except ImagesError as error:
                annotate(error, {"attempts": attempts, "elapsed": timing.monotonic() - started})
                delay = decide(error, self.retry, state, timing.random())
                _log.debug("attempt %d: %s", attempts, type(error).__name__)
                if delay is None:
                    raise
                wait = self.hold(attempts, error, delay.seconds)
            waited = delay.seconds if delay.everyone else 0.0
            state = state.after(delay)._replace(waited=state.waited + waited)
            with wait:
                await timing.sleep(delay.seconds)

    def hold(self, attempt: int, error: ImagesError, seconds: float) -> AbstractContextManager[Wait | None]:
        """Report the wait of `seconds` after attempt number `attempt` failed."""
        cause = f"attempt {attempt} failed ({describe_failure(error)}): the next one waits"
        return self.waits.hold(cause, seconds, self.timing.monotonic(), self.timing.wall())

    def warn_once(self, warning: str | None) -> None:
        """Log a warning unless it is None or was logged before."""
        if warning is not None and warning not in self.reported:
            self.reported.add(warning)
            _log.warning("%s", warning)


class Attempts:
    """The attempts of one call: `open` a response, `wait_to_retry` after an error, `release` at the end."""

    def __init__(
        self, context: CallContext, prepared: PreparedRequest, observer: CallObserver | None
    ) -> None:
        self.context = context
        self.count = 0
        self.request_id: str | None = None
        self._prepared = prepared
        self._observer = observer
        self._retry_state = RetryState()
        self._started: float | None = None
        self._slot: Slot | None = None
        self._headers: Mapping[str, str] = {}
        self._outcome_unknown = False
        self._progress: RequestProgress | None = None
        self._wait: Wait | None = None
        self._is_acquiring = False

    @property
    def maybe_billed(self) -> bool:
        """Whether an attempt may have been billed, including the one in flight."""
        return self._outcome_unknown or (self._progress is not None and self._progress.may_be_executed)

    @property
    def wait_reason(self) -> str | None:
        """Why it waits for a limit or its next attempt, and until when; None if it does not, or for a few seconds."""
        timing = self.context.timing
        if self._wait is not None:
            return self._wait.describe(timing.monotonic(), timing.wall())
        return self.context.limiter.wait_reason if self._is_acquiring else None

    async def open(self) -> tuple[Response, ResponseContext]:
        """Send until there is a successful response, as often as the policy allows. Raises `ImagesError`."""
        await self._prepared.prepare()
        if self._started is None:
            self._started = self.context.timing.monotonic()
        while True:
            try:
                return await self._attempt()
            except StoppedBeforeSendError as error:
                self.release()
                if self._outcome_unknown:
                    raise self.annotate(OutcomeUnknownError(STOPPED)) from None
                self.annotate(error)
                raise
            except ImagesError as error:
                has_slot = self._slot is not None  # without a slot, the limiter raised the error
                self.release()
                if not has_slot or not await self.wait_to_retry(error):
                    self.annotate(error)
                    raise
            except BaseException:
                self.release()
                raise

    async def wait_to_retry(self, error: ImagesError) -> bool:
        """Sleep until the next attempt; False if there is none. Raises `StoppedBeforeSendError`."""
        context, state = self.context, self._retry_state
        self._progress = None
        self._outcome_unknown = self._outcome_unknown or error.maybe_billed
        delay = decide(error, context.retry, state, context.timing.random())
        if self._slot and isinstance(error, RateLimitError) and error.safe_to_resend:
            # Recorded before the first await, so that the next call that gets the slot obeys it. A call that does not
            # retry records it, too, if the server named a wait: all calls share the limit.
            seconds = delay.seconds if delay else error.retry_after
            if seconds is not None:
                self._slot.record_rejection(self._headers, seconds, error)
        if self._observer is not None and self.count and error.safe_to_resend and not self._outcome_unknown:
            await self._observer.on_not_executed(error)
        next_step = f"again in {delay.seconds:.3g} s" if delay else "given up"
        _log.debug("attempt %d: %s, %s", self.count, type(error).__name__, next_step)
        if delay is None:
            if isinstance(error, RateLimitError) and error.safe_to_resend:  # only a wait ends these
                longest = context.retry.max_rate_limit_wait
                error.args = (f"{error}; RetryPolicy(max_rate_limit_wait={longest:g}) allows no longer wait",)
            return False
        self._retry_state = state.after(delay)
        if self._observer is not None:
            self._observer.on_retry(self.count, error, delay.seconds)
        return delay.everyone or await self._sleep(error, delay.seconds)

    async def _sleep(self, error: ImagesError, seconds: float) -> bool:
        """Sleep; return False if the wait was ended after an attempt that may have been billed."""
        try:
            with self._waiting(), self.context.hold(self.count, error, seconds) as self._wait:
                if self._observer is not None:
                    self._observer.on_wait()
                await self.context.timing.sleep(seconds)
        except StoppedBeforeSendError:
            if not self._outcome_unknown:
                raise
            return False
        finally:
            self._wait = None
        return True

    def release(self) -> None:
        """Release the limiter's slot. Idempotent."""
        if self._slot is not None:
            self._slot.release()

    def record_usage(self, usage: Usage | None) -> None:
        """Report the tokens of the call to the limiter, if the server reported them."""
        if self._slot is not None and usage is not None and usage.total_tokens is not None:
            self._slot.record_usage(usage.total_tokens)

    def call_info(self) -> dict[str, Any]:
        """Return the fields of results and errors: attempts, elapsed seconds, the server's request id."""
        elapsed = 0.0 if self._started is None else self.context.timing.monotonic() - self._started
        return {"attempts": self.count, "elapsed": elapsed, "request_id": self.request_id}

    def annotate(self, error: ImagesError) -> ImagesError:
        """Add the call's info to the error; `maybe_billed` is set if any attempt may have been billed."""
        billing = {"maybe_billed": True} if self._outcome_unknown else {}
        return annotate(error, {**self.call_info(), **billing})

    def _waiting(self) -> AbstractContextManager[object]:
        return nullcontext() if self._observer is None else self._observer.waiting()

    async def _acquire(self) -> Slot:
        """Wait for a slot of the limiter."""
        context, state = self.context, self._retry_state
        if self._observer is not None:
            self._observer.on_wait()
        self._slot = None
        patience = Patience(context.retry.max_rate_limit_wait - state.waited, context.retry.max_stall)
        self._is_acquiring = True
        try:
            slot = self._slot = await context.limiter.acquire(self._prepared.image_count, patience)
        finally:
            self._is_acquiring = False
        if slot.waited:
            self._retry_state = state._replace(waited=state.waited + slot.waited)
        return slot

    async def _attempt(self) -> tuple[Response, ResponseContext]:
        context = self.context
        with self._waiting():
            slot = await self._acquire()
            request = await self._prepared.build(context.timeouts.total)
            if self._observer is not None:
                await self._observer.before_send(self.count + 1)
        self.count += 1
        self.request_id = None
        _log.debug("attempt %d: POST, %d bytes", self.count, len(request.body))
        response = await context.transport.open(request, context.timeouts, self._watch)
        self._headers = response.headers
        if response.status != _RATE_LIMITED:
            slot.record_success(response.headers)
        response_context = ResponseContext(
            response.status,
            response.headers,
            self._prepared.secrets,
            context.timing.wall(),
            response.upload_incomplete,
        )
        self.request_id = response_context.request_id
        _log.debug("attempt %d: status %d, request %s", self.count, response.status, self.request_id)
        if response.status in _SUCCESS:
            return response, response_context
        try:
            body = await response.read_error_body()
        finally:
            response.close()
        raise error_from_body(response_context, body)

    def _watch(self, progress: RequestProgress) -> None:
        self._progress = progress


def annotate_cancellation(
    error: BaseException | None, all_attempts: Sequence[Attempts], images: Sequence[Image]
) -> None:
    """Set `maybe_billed`, `attempts`, `elapsed`, `request_id` and `images` of a CancelledError that ends a call.

    The object stays the same: only then does `asyncio.timeout` convert it to a TimeoutError, whose `__cause__` it is.
    """
    if not isinstance(error, asyncio.CancelledError):
        return
    infos = [attempts.call_info() for attempts in all_attempts]
    count, elapsed = sum(info["attempts"] for info in infos), max(info["elapsed"] for info in infos)
    request_id = next((info["request_id"] for info in infos if info["request_id"]), None)
    note = (
        f"the call was cancelled {elapsed:.1f} s after its start, when its request was already sent: it may have been "
        "billed; timeout=… ends a call with an APITimeoutError instead"
    )
    maybe_billed = any(attempts.maybe_billed for attempts in all_attempts)
    info = {"attempts": count, "elapsed": elapsed, "request_id": request_id, "images": tuple(images)}
    mark_cancelled(error, note if maybe_billed else None, **info)
