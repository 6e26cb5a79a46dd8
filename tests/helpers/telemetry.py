"""What OpenTelemetry was told, by the in-memory exporters of its SDK."""

import json
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from openai_images import Telemetry


class Recorded:
    """Providers of its own, and what they recorded."""

    def __init__(self, *processors: SpanProcessor) -> None:
        """More processors come before the one that records."""
        self._exporter = InMemorySpanExporter()
        self._reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        for processor in (*processors, SimpleSpanProcessor(self._exporter)):
            self.tracer_provider.add_span_processor(processor)
        self.meter_provider = MeterProvider([self._reader], shutdown_on_exit=False)

    def telemetry(self, **options: Any) -> Telemetry:
        """What a client takes."""
        return Telemetry(tracer_provider=self.tracer_provider, meter_provider=self.meter_provider, **options)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The spans that ended, in that order."""
        return self._exporter.get_finished_spans()

    @property
    def span(self) -> ReadableSpan:
        """The only span."""
        (span,) = self.spans
        return span

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the only span."""
        return dict(self.span.attributes or {})

    def metrics(self) -> dict[str, Any]:
        """Each metric by its name, as SDKs write it in JSON."""
        data = self._reader.get_metrics_data()
        if data is None:
            return {}
        (resource,) = json.loads(data.to_json())["resource_metrics"]
        (scope,) = resource["scope_metrics"]
        return {metric["name"]: metric for metric in scope["metrics"]}

    def points(self) -> dict[str, list[Any]]:
        """The data points of each metric: attributes, with the value of a counter or the sum of a histogram."""
        return {
            name: [
                (point["attributes"], point["sum"] if "sum" in point else point["value"])
                for point in metric["data"]["data_points"]
            ]
            for name, metric in self.metrics().items()
        }

    def text(self) -> str:
        """All that was recorded, as text."""
        data = self._reader.get_metrics_data()
        return "\n".join([*(span.to_json() for span in self.spans), "" if data is None else data.to_json()])
