"""The tracer and the metric instruments of one client.

Names, units and bucket boundaries are those of the GenAI semantic conventions v0.1.0 (`client-inference.md` in
github.com/open-telemetry/semantic-conventions-genai); names that they do not define begin with `openai_images.`.

Invariants: an exception of a span processor or an exporter never ends a call.
Must not: choose attributes (`attributes.py` does).
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from openai_images._version import __version__
from openai_images.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry import metrics

    from openai_images.telemetry.telemetry import Telemetry

_log = logging.getLogger("openai_images")

_NAME: Final = "openai_images"
_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
"""Bucket boundaries of times: 10 ms to 82 s."""
_TOKENS: Final = tuple(4**power for power in range(14))
"""Bucket boundaries of token counts: 1 to 67 million."""


_COUNTERS: Final = (
    ("images", "{image}", "Number of complete images received."),
    ("cost", "{USD}", "Cost in US dollars, as far as token counts and prices are known."),
    ("refusals", "{request}", "Number of requests blocked by the safety system."),
    ("unknown_outcomes", "{call}", "Number of calls without a result that may have been billed."),
)


class Instruments:
    """The tracer and the instruments that record the calls of a client."""

    def __init__(self, telemetry: Telemetry) -> None:
        """Raises `ConfigurationError` if OpenTelemetry is not installed."""
        try:
            # Imported here: OpenTelemetry is optional.
            from opentelemetry import metrics, trace  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                "telemetry= needs opentelemetry-api, which is not installed: pip install 'openai-images[otel]'"
            ) from error
        self.capture_prompts, self.prices = telemetry.capture_prompts, telemetry.prices
        self.tracer = trace.get_tracer(_NAME, __version__, telemetry.tracer_provider)
        meter = metrics.get_meter(_NAME, __version__, telemetry.meter_provider)
        self._has_failed = False

        def histogram(name: str, unit: str, text: str, bounds: tuple[float, ...]) -> metrics.Histogram:
            name = f"gen_ai.client.inference.{name}"
            return meter.create_histogram(name, unit, text, explicit_bucket_boundaries_advisory=bounds)

        self.duration = histogram(
            "duration", "s", "Duration of a call, with all its attempts and waits.", _SECONDS
        )
        self.time_to_first_chunk = histogram(
            "time_to_first_chunk",
            "s",
            "Time from sending the request of a stream to its first image, partial or complete.",
            _SECONDS,
        )
        self.tokens_of_call = {
            kind: histogram(
                f"operation.{kind}_tokens", "{token}", f"Number of {kind} tokens of a call.", _TOKENS
            )
            for kind in ("input", "output")
        }
        self.tokens = {
            kind: meter.create_counter(
                f"gen_ai.client.inference.usage.{kind}_tokens", "{token}", f"Number of {kind} tokens used."
            )
            for kind in ("input", "output")
        }
        self.images, self.cost, self.refusals, self.unknown_outcomes = (
            meter.create_counter(f"openai_images.client.{name}", unit, text) for name, unit, text in _COUNTERS
        )

    @contextmanager
    def guard(self) -> Generator[None]:
        """Log an exception of OpenTelemetry (the first one as a warning) instead of raising it."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  a processor or an exporter may raise anything
            level = logging.DEBUG if self._has_failed else logging.WARNING
            self._has_failed = True
            _log.log(level, "telemetry failed with %s; calls continue without it", type(error).__name__)
