"""A batch in economy that is killed: nothing is lost or twice; and the harness sees where it would be."""

import random
from pathlib import Path

import pytest

from benchmarks.economy_kill import EconomyJob, live, look, moments
from benchmarks.kill import noise
from openai_images.server import BatchPace, LocalImagesServer

pytestmark = pytest.mark.slow

PACE = BatchPace(seconds_per_state=0.05, failed=0.05)


@pytest.mark.parametrize(("seed", "fault"), [(1, "batch_create:lost"), (2, "file_content:cut")])
async def test_killed_twice(tmp_path: Path, seed: int, fault: str) -> None:
    """At random moments of its life."""
    async with LocalImagesServer(pictures=noise(20), batch_pace=PACE) as server:
        job = EconomyJob(
            prompts=tuple(f"otter {n}" for n in range(30)), folder=tmp_path / "out", server=server
        )
        draw = moments(random.Random(seed), 3.0, 20_000)
        life = await live(job, draw, 2, fault)
    assert life.wrong == []
    assert life.requests == 30


async def test_what_is_wrong_is_seen(tmp_path: Path) -> None:
    """An image that is gone, and a request that ran twice."""
    async with LocalImagesServer(pictures=noise(20)) as server:
        job = EconomyJob(prompts=("a", "b", "c"), folder=tmp_path / "out", server=server)
        assert (await job.run(None))[0] == 0
        assert look(job) == []
        (tmp_path / "out/images/00002.png").unlink()
        assert look(job) == ["3 images were paid for, and there are 2: []"]
        again = EconomyJob(prompts=job.prompts, folder=tmp_path / "again", server=server)
        await again.run(None)
        assert sum("ran 2 times" in wrong for wrong in look(again)) == 3
