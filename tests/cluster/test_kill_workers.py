"""Shards that are killed with SIGKILL or stopped, and run again: nothing is lost, and nothing is paid for twice.

`python -m benchmarks kill_workers` does the same thirty times, at moments drawn by chance.
"""

from pathlib import Path

import pytest

from benchmarks.kill import noise
from benchmarks.kill_workers import one
from benchmarks.kill_workers_run import Job, Shards, Strike, strike_and_resume
from openai_images.cluster.open_storage import open_storage
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("sys.platform == 'win32'", reason="Windows has no SIGKILL"),
]


@pytest.mark.parametrize(
    "strike", [Strike(16, (0, 2)), Strike(8, (1,), stop=True)], ids=["killed at a third", "a zombie"]
)
async def test_shards_on_a_folder(tmp_path: Path, strike: Strike) -> None:
    """Unknown is exactly what was in flight; with --retry-unknown all images are there."""
    options = {"prompts": 48, "workers": 3, "engine": "shards"}
    story = await one(tmp_path, 1, strike, noise(60), **options)  # type: ignore[arg-type]
    assert (story.wrong, story.was_running) == ([], True), story.said


class StorageFiles:
    """An object store, as the judges read a folder."""

    def __init__(self, url: str) -> None:
        """Not opened: the batch makes it."""
        self.url = url

    def names(self, folder: str) -> list[str]:
        """The names in a folder."""
        return sorted(entry.name.rpartition("/")[2] for entry in open_storage(self.url).list(folder))

    def read(self, name: str) -> bytes:
        """An object."""
        return open_storage(self.url).read(name)

    def unnamed(self) -> list[str]:
        """None: an object appears whole, under its name."""
        return []


async def test_shards_on_an_object_store(tmp_path: Path, s3_url: str, s3_environment: dict[str, str]) -> None:
    """The same, with claims that are conditional puts."""
    async with LocalImagesServer(pictures=PNG, pace=0.3) as server:
        job = Job(
            prompts=tuple(f"image {number}" for number in range(12)),
            source=tmp_path / "prompts.txt",
            out=s3_url,
            files=StorageFiles(s3_url),
            server=server,
            workers=2,
            in_flight=2,
            env=s3_environment,
        )
        story = await strike_and_resume(job, Shards, Strike(3, (0,)))
    # One pixel for all: an image says nothing about whose it is.
    assert [wrong for wrong in story.wrong if "images for" not in wrong] == [], story.said
    assert story.was_running
