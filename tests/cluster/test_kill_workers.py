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


@pytest.mark.parametrize(
    "strike", [Strike(16, (0, 2)), Strike(8, (1,), stop=True)], ids=["killed at a third", "a zombie"]
)
async def test_shards_on_a_folder(tmp_path: Path, strike: Strike) -> None:
    """Unknown is exactly what was in flight; with --retry-unknown all images are there."""
    options = {"prompts": 48, "workers": 3}
    story = await one(tmp_path, 1, strike, noise(60), **options)  # type: ignore[arg-type]
    assert (story.wrong, story.was_running) == ([], True), story.said


@pytest.mark.parametrize(
    "strike", [Strike(12, (0, 2)), Strike(8, (1,), stop=True)], ids=["killed at a third", "a zombie"]
)
@pytest.mark.usefixtures("s3_url")
async def test_shards_on_an_object_store(
    tmp_path: Path, strike: Strike, s3_environment: dict[str, str]
) -> None:
    """The same, with claims that are conditional puts."""
    options = {"prompts": 36, "workers": 3, "s3": s3_environment}
    story = await one(tmp_path, 1, strike, noise(60), **options)  # type: ignore[arg-type]
    assert (story.wrong, story.was_running) == ([], True), story.said
