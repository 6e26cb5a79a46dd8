"""Spans and metrics of calls, by OpenTelemetry."""
