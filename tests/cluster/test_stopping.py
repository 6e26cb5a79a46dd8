"""What a process does where it is to send nothing more, or is ended: `stop_run`, and a cancelled `run_items`."""

import asyncio
from pathlib import Path

import pytest

from openai_images import ImagesClient
from openai_images.cluster.worker import close_workers, run_items, stop_run
from openai_images.server import LocalImagesServer
from tests.cluster.test_worker import job_of, specs
from tests.helpers.batch_runs import many, posts


async def sent(server: LocalImagesServer, count: int) -> None:
    """Wait until so many requests have arrived."""
    async with asyncio.timeout(60):
        while server.posts < count:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("steps", range(6))
async def test_a_stop_at_any_step_gives_every_item_a_row(
    client: ImagesClient, server: LocalImagesServer, out: Path, steps: int
) -> None:
    """Also one whose task has not begun; nothing is lost, and another run sends the rest."""
    items = specs(many(20))
    job = job_of(client, out)
    await run_items(job, items[:1])
    running = asyncio.create_task(run_items(job, items[1:]))
    for _ in range(steps):
        await asyncio.sleep(0)
    await stop_run(job.run)
    rows = await running
    assert [row["key"] for row in rows] == [item.key for item in items[1:]]
    assert {row["state"] for row in rows} <= {"done", "pending"}
    assert all(row["state"] == "done" for row in await run_items(job_of(client, out), items))
    assert set(posts(server).values()) == {1}


async def test_a_stop_awaits_what_is_in_flight(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """What waits for a slot is ended at once; later chunks of this run are not begun, and the client is closed."""
    server.reset(pace=0.3)
    job = job_of(client, out, in_flight=3)
    running = asyncio.create_task(run_items(job, specs(many(20))))
    await sent(server, 3)
    await stop_run(job.run)
    rows = await running
    assert sorted(row["state"] for row in rows) == ["done"] * 3 + ["pending"] * 17
    assert {row["state"] for row in await run_items(job, specs(many(30))[20:])} == {"pending"}
    assert server.posts == 3
    await asyncio.sleep(0.05)
    assert server.open_connections == 0


async def test_a_cancelled_chunk_gives_what_is_in_flight_time_to_end(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """It is paid for: its image and its record are there when the cancellation is raised; other chunks go on."""
    server.reset(pace=0.3)
    job = job_of(client, out, in_flight=8)
    items = specs(many(20))
    other = asyncio.create_task(run_items(job, items[:4]))
    await sent(server, 4)
    running = asyncio.create_task(run_items(job, items[4:]))
    await sent(server, 8)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert {row["state"] for row in await other} == {"done"}
    assert server.posts == len(list((out / "records").iterdir())) == 8
    await close_workers()
