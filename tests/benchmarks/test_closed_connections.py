"""The race for kept connections."""

import pytest

from benchmarks.closed_connections import races


@pytest.mark.parametrize("is_busy", [True, False])
def test_races(*, is_busy: bool) -> None:
    """Each race has an end."""
    ends = races(3, 1, is_busy=is_busy)
    assert sum(ends.values()) == 3
    assert ends.keys() <= {"answered", "not sent", "unknown"}
