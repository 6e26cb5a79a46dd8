"""`CallTrace`: the span and the metrics of one call, for any number of attempts and requests; `RunTrace`: many calls.

Invariants: nothing here raises, and nothing is recorded before the call is opened or after it has ended. The span is
current while the call sends and reads, but not while the caller's code runs. Events are counted and limited. The span
of many calls (`RunTrace`) ends with the last one, and has no token counts: those of its calls would be counted twice.
Must not: know how a call is made (`client/traced_call.py` does).
"""

from __future__ import annotations

import contextvars
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Final, NamedTuple

from opentelemetry import context as otel_context, trace

from openai_images.errors import DownloadError, ImagesError, ModerationBlockedError
from openai_images.models.outcomes import Progress, RunObserver
from openai_images.models.results import ImageEvent, ImageResult, PartialImage, UnknownEvent
from openai_images.telemetry.telemetry import (
    Attributes,
    CallFacts,
    Instruments,
    by_modality,
    error_attributes,
    error_type,
    is_count,
    metric_attributes,
    moderation_stage,
    partial_attributes,
    request_attributes,
    response_model,
    usage_attributes,
)

_MAX_EVENTS: Final = 50
"""Events of one name in a span: there may be many waits for a rate limit, and a server may send many partials."""

_COUNTS = ("total", "done", "failed", "blocked", "unknown", "images")


class CallEnd(NamedTuple):
    """How a call ended; without a result and an error, the caller closed it early."""

    result: ImageResult | None
    error: BaseException | None
    attempts: int
    requests: int
    request_id: str | None
    maybe_billed: bool

    @property
    def available_result(self) -> ImageResult | None:
        """The result, or the partial result of an error."""
        candidates = (getattr(self.error, name, None) for name in ("result", "response"))
        return next((each for each in candidates if isinstance(each, ImageResult)), self.result)

    @property
    def image_count(self) -> int:
        """The number of complete images received."""
        result = self.available_result
        return len(getattr(self.error, "images", ()) if result is None else result.images)

    @property
    def failed(self) -> bool:
        """Whether the caller got no result."""
        return self.error is not None or self.result is None

    @property
    def refusals(self) -> list[ModerationBlockedError]:
        """The requests that the safety system blocked."""
        errors = (self.error, *getattr(self.error, "errors", ()))
        return [error for error in errors if isinstance(error, ModerationBlockedError)]


class CallTrace:
    """Records one call: enter `active` while it sends or reads, report what happens, `end` it."""

    def __init__(self, instruments: Instruments, facts: CallFacts, clock: Callable[[], float]) -> None:
        """`clock` gives seconds."""
        self._instruments = instruments
        self._facts = facts
        self._clock = clock
        self._span: trace.Span = trace.INVALID_SPAN
        self._shared: Attributes = {}
        self._started: float | None = None
        self._sent: float | None = None
        self._to_first_image: float | None = None
        self._events: Counter[str] = Counter()
        self._is_over = False

    @contextmanager
    def active(self) -> Generator[None]:
        """Make the span current, and start it the first time: spans of an HTTP library become its children."""
        if self._started is None:
            self._start()
        if self._is_over or not self._span.get_span_context().is_valid:
            yield
            return
        token = otel_context.attach(trace.set_span_in_context(self._span))
        try:
            yield
        except GeneratorExit:  # a coroutine may be closed in another context, which has its own current span
            if trace.get_current_span() is self._span:
                otel_context.detach(token)
            raise
        except BaseException:
            otel_context.detach(token)
            raise
        else:
            otel_context.detach(token)

    def sent(self) -> None:
        """Record that a request is about to be sent."""
        if self._sent is None:
            self._sent = self._clock()

    def not_executed(self) -> None:
        """Record that the request was not executed: times are measured from the next attempt."""
        self._sent = None

    def retried(self, attempt: int, error: ImagesError, seconds: float) -> None:
        """Record that attempt number `attempt` failed, and that the next one follows after `seconds`."""
        attributes = {"openai_images.attempt": attempt, "openai_images.retry.delay": seconds}
        self._add_event("openai_images.retry", {**attributes, **error_attributes(error)})

    def received(self, event: ImageEvent) -> None:
        """Record an event of a stream, or an image."""
        if isinstance(event, UnknownEvent) or not self._facts.stream:
            return
        if self._to_first_image is None and self._sent is not None:
            self._to_first_image = self._clock() - self._sent
        if isinstance(event, PartialImage):
            self._add_event("openai_images.partial_image", partial_attributes(event))

    def end(self, end: CallEnd) -> None:
        """End the span, and record the metrics. Idempotent."""
        if self._started is None or self._is_over:
            return
        self._is_over = True
        duration = self._clock() - self._started
        with self._instruments.guard():
            cost = self._cost(end)
            with self._instruments.guard():
                self._set_attributes(end, cost)
            self._record(end, duration, cost)
        with self._instruments.guard():
            self._span.end()

    def _start(self) -> None:
        self._started = self._clock()
        instruments, facts = self._instruments, self._facts
        with instruments.guard():
            self._shared = metric_attributes(facts)
            model = str(self._shared.get("gen_ai.request.model", ""))
            self._span = instruments.tracer.start_span(
                f"generate_content {model}".strip(),
                kind=trace.SpanKind.CLIENT,
                attributes={
                    **self._shared,
                    **request_attributes(facts, capture_prompts=instruments.capture_prompts),
                },
            )

    def _add_event(self, name: str, attributes: Attributes) -> None:
        self._events[name] += 1
        if self._events[name] <= _MAX_EVENTS:
            with self._instruments.guard():
                self._span.add_event(name, attributes)

    def _cost(self, end: CallEnd) -> float | None:
        result = end.available_result
        cost = None if result is None else result.cost(self._instruments.prices)
        return None if cost is None else float(cost)

    def _set_attributes(self, end: CallEnd, cost: float | None) -> None:
        result, span = end.available_result, self._span
        known = {
            "openai_images.requests": end.requests if end.requests > 1 else None,
            "openai_images.request_id": end.request_id,
            "gen_ai.response.time_to_first_chunk": self._to_first_image,
            "openai_images.cost": cost,
        }
        attributes: Attributes = {
            "openai_images.attempts": end.attempts,
            "openai_images.images": end.image_count,
            **response_model(result),
            **usage_attributes(None if result is None else result.usage),
            **{name: value for name, value in known.items() if value is not None},
        }
        if end.failed:
            attributes.update(error_attributes(end.error))
            attributes["openai_images.maybe_billed"] = end.maybe_billed
            # Without a description: an error's message may contain a part of the prompt.
            span.set_status(trace.StatusCode.ERROR)
        span.set_attributes(attributes)

    def _record(self, end: CallEnd, duration: float, cost: float | None) -> None:
        """Record the metrics while the span is current, so that their exemplars name it."""
        instruments, result = self._instruments, end.available_result
        within = trace.set_span_in_context(self._span)
        shared = {**self._shared, **response_model(result)}
        error = {"error.type": error_attributes(end.error)["error.type"]} if end.failed else {}
        instruments.duration.record(duration, {**shared, **error}, within)
        if self._to_first_image is not None:
            instruments.time_to_first_chunk.record(self._to_first_image, shared, within)
        if end.attempts:
            self._record_tokens(result, shared, error, within)
        if end.image_count:
            instruments.images.add(end.image_count, shared, within)
        if cost is not None:
            instruments.cost.add(cost, shared, within)
        for refusal in end.refusals:
            instruments.refusals.add(1, {**shared, **moderation_stage(refusal)}, within)
        # The images of a failed download are paid for, so they count.
        if end.failed and end.maybe_billed and not isinstance(end.error, DownloadError):
            instruments.unknown_outcomes.add(1, {**shared, **error}, within)

    def _record_tokens(
        self,
        result: ImageResult | None,
        shared: Attributes,
        error: Attributes,
        within: otel_context.Context,
    ) -> None:
        """Record the tokens of a call that was sent; 0 if the server did not report them, as the conventions say."""
        usage = None if result is None else result.usage
        for kind, histogram in self._instruments.tokens_of_call.items():
            total = getattr(usage, f"{kind}_tokens", None)
            histogram.record(total if is_count(total) else 0, {**shared, **error}, within)
            for modality, count in by_modality(total, getattr(usage, f"{kind}_tokens_details", None)):
                attributes = {**shared, "gen_ai.token.modality": modality}
                self._instruments.tokens[kind].add(count, attributes, within)


class RunTrace(RunObserver):
    """Records one run of many calls."""

    def __init__(self, instruments: Instruments, name: str) -> None:
        """`name` is the verb: generate_many or batch."""
        self._instruments = instruments
        self._name = name
        self._span: trace.Span = trace.INVALID_SPAN

    def start(self) -> contextvars.Context:
        """Start the span; it is current in the returned context."""
        context = contextvars.copy_context()
        with self._instruments.guard():
            self._span = self._instruments.tracer.start_span(f"openai_images.{self._name}")
            if self._span.get_span_context().is_valid:
                context.run(otel_context.attach, trace.set_span_in_context(self._span))
        return context

    def end(self, progress: Progress, error: BaseException | None) -> None:
        """Set the counts, and end the span."""
        counts = {name: getattr(progress, name) for name in _COUNTS}
        attributes: Attributes = {
            f"openai_images.run.{name}": value for name, value in counts.items() if value is not None
        }
        if progress.spent is not None:
            attributes["openai_images.run.spent"] = float(progress.spent)
        if error is not None:
            attributes["error.type"] = error_type(error)
        with self._instruments.guard():
            self._span.set_attributes(attributes)
            if error is not None:
                self._span.set_status(trace.StatusCode.ERROR)
        with self._instruments.guard():
            self._span.end()
