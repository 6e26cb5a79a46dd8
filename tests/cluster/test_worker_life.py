"""Workers of a process: one task for each item, closed only when what is in flight has ended, stopped for good."""

import asyncio
import errno
from pathlib import Path
from typing import Any

import pytest

from openai_images import ImagesClient
from openai_images.cluster import worker as worker_module
from openai_images.cluster.storage import FolderStorage
from openai_images.cluster.worker import close_workers, run_items, stop_run
from openai_images.server import LocalImagesServer
from tests.cluster.test_stopping import sent
from tests.cluster.test_worker import job_of, specs
from tests.helpers.batch_runs import many, posts


def names(out: Path) -> dict[str, int]:
    """How many claims, records and images there are."""
    return {name: len(list((out / name).glob("*"))) for name in ("claims", "records", "images")}


async def test_an_item_that_is_handed_out_twice_at_once_is_sent_once(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Both callers get the row of its one task, also where it is twice in one chunk."""
    server.reset(pace=0.05)
    job, items = job_of(client, out), specs(many(16))
    first, second, [once, twice] = await asyncio.gather(
        run_items(job, items), run_items(job, items), run_items(job, [items[0], items[0]])
    )
    assert first == second
    assert once == twice == first[0]
    assert [row["state"] for row in first] == ["done"] * 16
    assert set(posts(server).values()) == {1}
    assert names(out) == {"claims": 16, "records": 16, "images": 16}


async def test_a_cancelled_caller_ends_no_item_of_another(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Its items go on where somebody else awaits them; the rest is not sent."""
    server.reset(pace=0.2)
    job, items = job_of(client, out, in_flight=2), specs(many(6))
    first = asyncio.create_task(run_items(job, items))
    await sent(server, 2)
    second = asyncio.create_task(run_items(job, items[:4]))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert [row["state"] for row in await second] == ["done"] * 4
    assert server.posts == 4
    again = await run_items(job, items)
    assert [row["state"] for row in again] == ["done"] * 6
    assert set(posts(server).values()) == {1}


async def test_an_item_that_was_ended_is_begun_anew(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller that comes while its task is being ended waits for the record of that, and is told of it."""
    monkeypatch.setattr("openai_images.cluster.item_tasks._GRACE_SECONDS", 0.05)
    server.script("stall")
    job, [item] = job_of(client, out), specs(many(1))
    put = FolderStorage.put
    first = asyncio.create_task(run_items(job, [item]))
    await sent(server, 1)
    joined: list[asyncio.Task[Any]] = []

    def put_and_join(storage: FolderStorage, name: str, data: bytes) -> None:
        if name.startswith("records/") and not joined:
            loop.call_soon_threadsafe(lambda: joined.append(loop.create_task(run_items(job, [item]))))
        put(storage, name, data)

    loop = asyncio.get_running_loop()
    monkeypatch.setattr(FolderStorage, "put", put_and_join)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    [row] = await joined[0]
    assert (row["state"], row["taken"], server.posts) == ("unknown", True, 1)
    assert row["rows"][-1]["state"] == "unknown"


async def test_closing_awaits_what_is_in_flight(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """It is paid for; what waits for a slot is not sent."""
    server.reset(pace=0.3)
    job = job_of(client, out, in_flight=2)
    running = asyncio.create_task(run_items(job, specs(many(5))))
    await sent(server, 2)
    await close_workers()
    assert sorted(row["state"] for row in await running) == ["done"] * 2 + ["pending"] * 3
    assert names(out) == {"claims": 2, "records": 2, "images": 2}
    assert server.posts == 2
    assert server.open_connections == 0


async def test_closing_gives_up_at_last(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what has no answer then is recorded as unknown."""
    monkeypatch.setattr("openai_images.cluster.item_tasks._GRACE_SECONDS", 0.05)
    server.script("stall")
    running = asyncio.create_task(run_items(job_of(client, out), specs(many(1))))
    await sent(server, 1)
    await close_workers()
    [row] = await running
    assert row["state"] == "unknown"
    assert names(out) == {"claims": 1, "records": 1, "images": 0}


async def test_a_halted_run_stays_halted(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later chunks of it are not sent, and say why; another run is."""

    def full(storage: FolderStorage, name: str, data: bytes) -> bool:
        if name.startswith("images/"):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        return create(storage, name, data)

    create = FolderStorage.create
    monkeypatch.setattr(FolderStorage, "create", full)
    job, items = job_of(client, out, in_flight=1), specs(many(9))
    rows = [row for n in (0, 3, 6) for row in await run_items(job, items[n : n + 3])]
    count = server.posts
    assert count < 4
    assert all(row["stops"] for row in rows)
    assert {(row["state"], row["error"]) for row in rows[3:]} == {("pending", "OSError")}
    assert "No space left" in rows[-1]["message"]
    monkeypatch.setattr(FolderStorage, "create", create)
    [row] = await run_items(job_of(client, out), items[8:])
    assert (row["state"], server.posts) == ("done", count + 1)


async def test_a_run_that_was_stopped_before_it_came(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """It opens no client."""
    job = job_of(client, out)
    await stop_run(job.run)
    [row] = await run_items(job, specs(many(1)))
    assert (row["state"], row["stops"], "error" in row) == ("pending", True, False)
    assert not server.posts
    assert not out.exists()


async def test_idle_workers_of_other_runs_are_closed(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path
) -> None:
    """Drivers that died leave them; one that is busy stays, and one that was closed is opened again."""
    jobs = [job_of(client, tmp_path / str(n)) for n in range(9)]
    server.script("stall")
    busy = asyncio.create_task(run_items(jobs[0], specs(many(1))))
    await sent(server, 1)
    for job in jobs[1:]:
        await run_items(job, specs(many(3)))
    workers = worker_module._workers[asyncio.get_running_loop()]  # pyright: ignore[reportPrivateUsage]
    assert list(workers)[-1] == jobs[-1].run
    assert jobs[0].run in workers
    assert len(workers) == 5
    server.release()
    [row] = await busy
    assert row["state"] == "done"
    rows = await run_items(jobs[1], specs(many(4)))
    assert [row["state"] for row in rows] == ["done"] * 4
    assert rows[0]["taken"]


async def test_no_items(client: ImagesClient, out: Path) -> None:
    """An engine may hand out an empty chunk."""
    assert await run_items(job_of(client, out), []) == []
