"""Wherever a call is cancelled, once or twice, nothing stays behind and the client goes on working.

A sample of the steps of each scenario; `python -m benchmarks cancel` takes all of them.
"""

from pathlib import Path

import pytest

from benchmarks.cancel import SCENARIOS, SIDE, at_every_step
from benchmarks.cancel_run import Moment, Scenario, serving
from benchmarks.kill import noise

EVERY = 29
MOST = 600  # steps, several times those of the longest scenario

PICTURE = noise(SIDE)


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[scenario.name for scenario in SCENARIOS])
def test_cancelled_at_any_step(scenario: Scenario, tmp_path: Path) -> None:
    """No task, descriptor, slot, half-written file or warning is left; the next calls work, a batch is resumed."""
    moments = [Moment(after, again=after % 3) for after in (0, *range(2, MOST, EVERY))]
    with serving(PICTURE, links=scenario.links) as server:
        found = at_every_step(scenario, server, tmp_path, moments)
    assert found.findings == []
    assert found.cancelled >= 2
    assert found.steps > 20
