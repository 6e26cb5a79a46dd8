"""Batches that are killed with SIGKILL and resumed: nothing is lost, and nothing is paid for twice.

`python -m benchmarks kill` does the same fifty times, at moments drawn by chance.
"""

import asyncio
from pathlib import Path

import pytest

from benchmarks.kill import noise, one
from benchmarks.kill_run import Moment

pytestmark = pytest.mark.slow

PROMPTS = 24
MOMENTS = (
    Moment(1, 0.0),  # the journal has just begun
    Moment(2_500, 0.0),  # requests are under way
    Moment(6_000, 0.01),  # pictures arrive and are written
)


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no SIGKILL")
async def test_a_batch_that_is_killed_goes_on(tmp_path: Path) -> None:
    """At each moment: done pictures stay as they are, only unknown ones are missing, and all come when asked for."""
    picture = noise(120)
    stories = await asyncio.gather(
        *(one(tmp_path, number, moment, picture, PROMPTS) for number, moment in enumerate(MOMENTS))
    )
    assert [story.wrong for story in stories] == [[]] * len(MOMENTS), [story.said for story in stories]
    assert all(story.was_running for story in stories)
    assert any(story.killed.open for story in stories)
    assert any(story.killed.done for story in stories)
