"""Spans and metrics of calls, with OpenTelemetry."""
