"""Shards that are killed with SIGKILL or stopped, and run again: nothing is lost, and nothing is paid for twice.

`python -m benchmarks kill_workers` does the same thirty times, at moments drawn by chance.
"""

from pathlib import Path

import pytest

from benchmarks.kill import noise
from benchmarks.kill_workers import one
from benchmarks.kill_workers_judge import Strike

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no SIGKILL"),
]


async def test_shards_on_a_folder(tmp_path: Path) -> None:
    """Two are killed at a third: unknown is exactly what was in flight; with --retry-unknown all images are there."""
    story = await one(tmp_path, 1, Strike(16, (0, 2)), noise(60), prompts=48, workers=3)
    assert (story.wrong, story.was_running) == ([], True), story.output


@pytest.mark.usefixtures("s3_url")
async def test_shards_on_an_object_store(tmp_path: Path, s3_environment: dict[str, str]) -> None:
    """A zombie, and claims that are conditional puts."""
    strike = Strike(8, (1,), stop=True)
    story = await one(tmp_path, 1, strike, noise(60), prompts=36, workers=3, s3=s3_environment)
    assert (story.wrong, story.was_running) == ([], True), story.output
