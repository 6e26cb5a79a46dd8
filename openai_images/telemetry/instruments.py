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

from opentelemetry import metrics, trace

from openai_images._version import __version__

if TYPE_CHECKING:
    from openai_images.catalog.prices import Prices

_log = logging.getLogger("openai_images")

_NAME: Final = "openai_images"
_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
"""Bucket boundaries of times: 10 ms to 82 s."""
_TOKENS: Final = tuple(4**power for power in range(14))
"""Bucket boundaries of token counts: 1 to 67 million."""


class Instruments:
    """The tracer and the instruments that record the calls of a client."""

    def __init__(
        self,
        tracer_provider: trace.TracerProvider | None,
        meter_provider: metrics.MeterProvider | None,
        *,
        capture_prompts: bool,
        prices: Prices | None,
    ) -> None:
        """None means the global provider, also one that is set later."""
        self.capture_prompts = capture_prompts
        self.prices = prices
        self.tracer = trace.get_tracer(_NAME, __version__, tracer_provider)
        self._meter = metrics.get_meter(_NAME, __version__, meter_provider)
        self._has_failed = False
        inference, own = "gen_ai.client.inference", f"{_NAME}.client"
        self.duration = self._times(
            f"{inference}.duration", "Duration of a call, with all its attempts and waits."
        )
        self.time_to_first_chunk = self._times(
            f"{inference}.time_to_first_chunk",
            "Time from sending the request of a stream to its first image, partial or complete.",
        )
        self.tokens_of_call = {kind: self._tokens_of_call(inference, kind) for kind in ("input", "output")}
        count = self._meter.create_counter
        self.tokens = {
            kind: count(f"{inference}.usage.{kind}_tokens", "{token}", f"Number of {kind} tokens used.")
            for kind in ("input", "output")
        }
        self.images = count(f"{own}.images", "{image}", "Number of complete images received.")
        self.cost = count(
            f"{own}.cost", "{USD}", "Cost in US dollars, as far as token counts and prices are known."
        )
        self.refusals = count(
            f"{own}.refusals", "{request}", "Number of requests blocked by the safety system."
        )
        self.unknown_outcomes = count(
            f"{own}.unknown_outcomes",
            "{call}",
            "Number of calls without a result that may have been billed.",
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

    def _times(self, name: str, description: str) -> metrics.Histogram:
        return self._meter.create_histogram(
            name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS
        )

    def _tokens_of_call(self, prefix: str, kind: str) -> metrics.Histogram:
        return self._meter.create_histogram(
            f"{prefix}.operation.{kind}_tokens",
            "{token}",
            f"Number of {kind} tokens of a call.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
