"""Waits in words."""

import math
from datetime import datetime

import pytest

from openai_images._util.waits import LongWaits, describe_end

WALL = 1_700_000_000.0


@pytest.mark.parametrize(
    ("seconds", "form"),
    [(12.4, "until %H:%M:%S, 12 s from now"), (172_800.0, "until %Y-%m-%d %H:%M, 172800 s from now")],
)
def test_an_end(seconds: float, form: str) -> None:
    """With its day if it is not today's."""
    assert describe_end(seconds, WALL) == datetime.fromtimestamp(WALL + seconds).astimezone().strftime(form)


@pytest.mark.parametrize("seconds", [math.inf, 1e15])
def test_no_end(seconds: float) -> None:
    """A calendar has no such day."""
    assert describe_end(seconds, WALL) == "without an end"


def test_the_longest_of_several_waits(caplog: pytest.LogCaptureFixture) -> None:
    """It is the reason; each cause is logged once, and again after a wait that was left early."""
    waits = LongWaits()
    with waits.hold("a", 60, 0, WALL), waits.hold("b", 30, 0, WALL), waits.hold("a", 40, 5, WALL):
        assert str(waits.reason(20, WALL)).startswith("a, until ")
        assert str(waits.reason(20, WALL)).endswith(", 40 s from now")
    assert waits.reason(20, WALL) is None
    assert [message[0] for message in caplog.messages] == ["a", "b"]
    with pytest.raises(KeyError), waits.hold("c", 60, 0, WALL):
        raise KeyError
    with waits.hold("c", 60, 1, WALL):
        assert [message[0] for message in caplog.messages] == ["a", "b", "c", "c"]
