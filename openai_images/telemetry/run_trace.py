"""`RunTrace`: the span of many calls, whose spans are its children.

Invariants: nothing here raises; the span ends with the last call. It has no token counts: those of its calls would be
counted twice.
"""

from __future__ import annotations

import contextvars

from opentelemetry import context as otel_context, trace

from openai_images.models.outcomes import Progress, RunObserver
from openai_images.telemetry.attributes import Attributes, error_type
from openai_images.telemetry.instruments import Instruments

_COUNTS = ("total", "done", "failed", "blocked", "unknown", "images")


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
