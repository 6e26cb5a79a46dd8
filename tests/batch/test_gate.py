"""The gate tells why nothing goes on, once for each time it closes."""

import logging

import pytest

from openai_images import APIConnectionError, Timing
from openai_images.batch.run.caller import CircuitBreaker

GONE = APIConnectionError("no connection")


def test_it_says_that_it_waits_for_the_server(caplog: pytest.LogCaptureFixture) -> None:
    """Once when it closes, not at each try; again when the server goes away another time."""
    now = 0.0
    gate = CircuitBreaker(600.0, Timing(monotonic=lambda: now))
    with caplog.at_level(logging.WARNING, "openai_images"):
        assert gate.record_failure(GONE, is_probe=False)
        assert gate.record_failure(GONE, is_probe=True)
        gate.record_success()
        assert gate.record_failure(GONE, is_probe=False)
        now = 601.0
        assert not gate.record_failure(GONE, is_probe=True)
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 2
    assert "30 s" in messages[0]
    assert "600 s" in messages[1]
