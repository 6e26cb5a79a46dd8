"""`TracedCall`: a call that reports to telemetry.

Invariants: the call's behaviour, results and errors do not change; the span always ends with the call. Imported with
the first call of a client that has telemetry.
Must not: import OpenTelemetry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from openai_images.client.call import Call
from openai_images.client.prepared_request import PreparedRequest
from openai_images.client.wrapping_calls import WrappingCall
from openai_images.errors import ImagesError
from openai_images.models.options import Timing
from openai_images.models.outcomes import CallObserver
from openai_images.models.results import ImageEvent
from openai_images.telemetry.call_trace import CallEnd, CallTrace
from openai_images.telemetry.telemetry import CallFacts

if TYPE_CHECKING:
    from openai_images.telemetry.telemetry import Instruments


def trace_call(
    new_call: Callable[[CallObserver], Call],
    observer: CallObserver | None,
    prepared: PreparedRequest,
    timing: Timing,
    instruments: Instruments,
) -> TracedCall:
    """Return the call made by `new_call`, with its own span and metrics."""
    endpoint = prepared.endpoint
    facts = CallFacts(
        prepared.request, prepared.image_count, prepared.stream, endpoint.base_url, endpoint.is_azure
    )
    trace = CallTrace(instruments, facts, timing.monotonic)
    return TracedCall(new_call(_TracingObserver(trace, observer)), trace)


class _TracingObserver(CallObserver):
    """Reports the attempts of a call, and forwards everything to the inner observer."""

    def __init__(self, trace: CallTrace, inner: CallObserver | None) -> None:
        self._trace = trace
        self._inner = inner or CallObserver()

    def on_wait(self) -> None:
        self._inner.on_wait()

    def waiting(self) -> AbstractContextManager[object]:
        return self._inner.waiting()

    async def before_send(self, attempt: int) -> None:
        await self._inner.before_send(attempt)
        self._trace.sent()

    async def on_not_executed(self, error: ImagesError) -> None:
        self._trace.not_executed()
        await self._inner.on_not_executed(error)

    def on_retry(self, attempt: int, error: ImagesError, seconds: float) -> None:
        self._trace.retried(attempt, error, seconds)
        self._inner.on_retry(attempt, error, seconds)


class TracedCall(WrappingCall):
    """Wraps a call and reports to its trace."""

    def __init__(self, inner: Call, trace: CallTrace) -> None:
        """Wrap `inner`, whose observer is a `_TracingObserver` of the same trace."""
        super().__init__(inner)
        self._trace = trace
        self._cause: BaseException | None = None

    async def open(self) -> None:
        """Send the request. Raises `ImagesError` and OSError."""
        with self._trace.active():
            await self._inner.open()

    async def read(self) -> list[ImageEvent]:
        """Return the next events; an empty list at the end. Raises as `open` does."""
        if self.is_over:
            return []
        inner = self._inner
        with self._trace.active():
            events = await inner.read()
        for event in events:
            self._trace.received(event)
        if inner.is_over:
            self.is_over = True
            self.error, inner.error = inner.error, None
            self._end(self.error)
        return events

    def note(self, error: BaseException | None) -> None:
        """Remember the CancelledError that is about to close the call."""
        super().note(error)
        if isinstance(error, asyncio.CancelledError):
            self._cause = error

    async def fail(self, error: BaseException) -> None:
        """Close the call after this error."""
        self._cause = error
        await super().fail(error)

    def close(self) -> None:
        """Stop the call in any state. Idempotent."""
        self._end(self._cause)
        self._cause = None  # its traceback holds frames of this call
        self.is_over = True
        self._inner.close()

    def _end(self, error: BaseException | None) -> None:
        attempts, result = self.all_attempts, self.result
        maybe_billed: bool | None = getattr(error, "maybe_billed", None)
        if maybe_billed is None:
            maybe_billed = result is None and any(each.maybe_billed for each in attempts)
        self._trace.end(
            CallEnd(
                result=result,
                error=error,
                attempts=sum(each.count for each in attempts),
                requests=len(attempts),
                request_id=self.request_id,
                maybe_billed=maybe_billed,
            )
        )
