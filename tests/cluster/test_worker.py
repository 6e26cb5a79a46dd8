"""`run_items`: claims before the first byte, images before records, and a row for every item whatever happens."""

import asyncio
import errno
import json
import pickle
import socket
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    BatchItem,
    BatchOptions,
    ConfigurationError,
    Image,
    ImagesClient,
    Limits,
    RetryPolicy,
)
from openai_images._util.filesystem import Disk
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.batch.run.run_state import WorkItem
from openai_images.cluster.claim_store import StorageImages
from openai_images.cluster.job import ItemSpec, Job
from openai_images.cluster.records import claim_name, item_ids, item_stem, record_name
from openai_images.cluster.storage import FolderStorage
from openai_images.cluster.worker import close_workers, run_items
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import many, posts
from tests.helpers.clients import PNG
from tests.helpers.leaks import until


def job_of(client: ImagesClient, out: Path, *, in_flight: int | None = None, **options: Any) -> Job:
    """A job in this folder."""
    return Job.from_client(client, str(out), BatchOptions(**options), in_flight=in_flight)


def specs(items: list[BatchItem], attempt: int = 0) -> list[ItemSpec]:
    """The items as a worker is given them."""
    resolved = resolve_items(items, None, BatchOptions())
    ids = item_ids(resolved)
    return [
        ItemSpec(ids[item.key], attempt, WorkItem(item=item, stem=item_stem(item.key, ids[item.key])))
        for item in resolved
    ]


def rows_of(out: Path, name: str) -> list[dict[str, Any]]:
    """The rows of a claim or a record."""
    return [json.loads(line) for line in (out / name).read_text().splitlines()]


async def test_items_are_done(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Each has a claim, an image and a record, and a small row with what was recorded."""
    items = specs(many(5))
    job: Job = pickle.loads(pickle.dumps(job_of(client, out)))
    rows = await run_items(job, pickle.loads(pickle.dumps(items)))
    assert [row["state"] for row in rows] == ["done"] * 5
    assert [row["key"] for row in rows] == [item.key for item in items]
    assert set(posts(server).values()) == {1}
    assert server.api_key not in repr(job)
    assert server.api_key.encode() not in pickle.dumps(job)
    for item, row in zip(items, rows, strict=True):
        [claim] = rows_of(out, claim_name(item.id, 1))
        record = rows_of(out, record_name(item.id, 1))
        assert (claim["state"], claim["run"], claim["key"]) == ("sent", job.run, item.key)
        assert [each["state"] for each in record] == ["sent", "done"]
        assert row["rows"] == record
        assert (out / record[-1]["files"][0]["name"]).exists()
        assert record[-1]["files"][0]["name"] == f"images/{item.key}-{item.id[:12]}.png"


async def test_a_budget_allows_no_repeated_attempts(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Workers do not know the budget: they do not repeat what may have been billed."""
    server.always("reset_after_body")
    repeating = client.with_options(retry=RetryPolicy(retry_unknown=True, max_retries=1))
    await run_items(job_of(repeating, out / "without"), specs(many(1)))
    assert server.posts == 2
    await run_items(job_of(repeating, out / "with", budget=Decimal(1)), specs(many(1)))
    assert server.posts == 3


async def test_an_engine_may_run_items_twice(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """The second time each row says what the first one recorded, and nothing is sent."""
    job, items = job_of(client, out), specs(many(3))
    first = await run_items(job, items)
    second = await run_items(job, items)
    other_run = await run_items(job_of(client, out), items)
    assert set(posts(server).values()) == {1}
    assert [row["rows"][-1]["files"] for row in second] == [row["rows"][-1]["files"] for row in first]
    assert all(row["taken"] for row in [*second, *other_run])


async def test_a_claim_without_a_record_is_unknown(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Whoever made it; a plan that knows it and was told to sends it again."""
    [item] = specs(many(1))
    claim = b'{"state":"sent","key":"00001","run":"other","worker":"host:1"}\n'
    FolderStorage(out).create(claim_name(item.id, 1), claim)
    [row] = await run_items(job_of(client, out), [item])
    assert (row["state"], row["taken"]) == ("unknown", True)
    assert not server.requests
    [row] = await run_items(job_of(client, out), specs(many(1), attempt=1))
    assert (row["state"], row["attempt"]) == ("done", 2)
    assert len(server.requests) == 1


async def test_one_bad_item(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """It has a row that says why; the others are done."""
    server.script("ok", "moderation_400", "ok")
    job = Job(out=str(out), client=job_of(client, out).client, in_flight=1)
    rows = await run_items(job, specs(many(3)))
    assert [row["state"] for row in rows] == ["done", "failed", "done"]
    assert rows[1]["error"] == "ModerationBlockedError"
    assert not any("stops" in row for row in rows)


async def test_an_error_of_all_items(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """The row says that it stops the job; what was claimed is free again, and another run does it."""
    server.script("quota_429")
    job = Job(out=str(out), client=job_of(client, out).client, in_flight=1)
    rows = await run_items(job, specs(many(3)))
    assert [(row["state"], row["stops"], row["error"]) for row in rows] == [
        ("pending", True, "QuotaExhaustedError")
    ] * 3
    assert len(server.requests) == 1
    again = await run_items(job_of(client, out), specs(many(3)))
    assert [(row["state"], row["attempt"]) for row in again] == [("done", 2), ("done", 1), ("done", 1)]


async def test_in_flight(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All calls of `run_items` in a process share its places."""
    most = 0
    async with LocalImagesServer(pictures=PNG, pace=0.02) as server:
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
        client = ImagesClient(base_url=server.base_url, limits=Limits(concurrency=3))
        job = Job.from_client(client, str(out), BatchOptions())
        tasks = [asyncio.create_task(run_items(job, [item])) for item in specs(many(9))]
        while not all(task.done() for task in tasks):
            most = max(most, server.open_connections)
            await asyncio.sleep(0.005)
        assert all(row["state"] == "done" for task in tasks for row in task.result())
        assert 1 < most <= 3
        await close_workers()
        await close_workers()


class HeldStorage(FolderStorage):
    """Waits in the middle of the creation of claims, and fails where it is told to."""

    hold = threading.Event()
    held = threading.Event()
    fails = ""

    def create(self, name: str, data: bytes) -> bool:
        """Held, or impossible."""
        if type(self).fails and name.startswith(type(self).fails):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        created = super().create(name, data)
        if name.startswith("claims/") and not self.hold.is_set():
            self.held.set()
            self.hold.wait(10)
        return created

    def put(self, name: str, data: bytes) -> None:
        """Impossible likewise."""
        if type(self).fails and name.startswith(type(self).fails):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        super().put(name, data)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> type[HeldStorage]:
    """The storage of all workers."""
    monkeypatch.setattr(HeldStorage, "hold", threading.Event())
    monkeypatch.setattr(HeldStorage, "held", threading.Event())
    monkeypatch.setattr(HeldStorage, "fails", "")
    monkeypatch.setattr("openai_images.cluster.worker.open_storage", HeldStorage)
    return HeldStorage


async def test_cancelled_between_claim_and_first_byte(
    client: ImagesClient, server: LocalImagesServer, out: Path, held: type[HeldStorage]
) -> None:
    """Its record says that it was not executed: provably nothing was sent, and anybody may send it."""
    [item] = specs(many(1))
    running = asyncio.create_task(run_items(job_of(client, out), [item]))
    await until(held.held.is_set)
    running.cancel()
    await asyncio.sleep(0)
    held.hold.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not server.requests
    assert [row["state"] for row in rows_of(out, record_name(item.id, 1))] == ["sent", "refused"]
    [row] = await run_items(job_of(client, out), [item])
    assert (row["state"], row["attempt"]) == ("done", 2)


async def test_cancelled_in_flight(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while its record says that the outcome is unknown."""
    monkeypatch.setattr("openai_images.cluster.item_tasks._GRACE_SECONDS", 0.1)
    server.script("stall")
    [item] = specs(many(1))
    running = asyncio.create_task(run_items(job_of(client, out), [item]))
    await until(lambda: server.requests)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [row["state"] for row in rows_of(out, record_name(item.id, 1))] == ["sent", "unknown"]


@pytest.mark.parametrize(
    ("fails", "state"), [("images/", "done"), ("records/", "unknown"), ("claims/", "pending")]
)
async def test_a_full_disk(
    client: ImagesClient,
    server: LocalImagesServer,
    out: Path,
    held: type[HeldStorage],
    fails: str,
    state: str,
) -> None:
    """The job stops; a paid image is never lost: it is elsewhere, or it is adopted."""
    held.hold.set()
    held.fails = fails
    [row] = await run_items(job_of(client, out), specs(many(1)))
    assert (row["state"], row["stops"]) == (state, True)
    assert len(server.requests) == (fails != "claims/")
    if state == "done":
        [file] = row["rows"][-1]["files"]
        assert Path(file["name"]).is_absolute()
        assert Path(file["name"]).exists()
        assert row["saved"] == [f"{file['name']} on {socket.gethostname()}"]
        assert row["message"].endswith(f"; saved as {row['saved'][0]}")
    else:
        assert "No space left" in row["message"]


async def test_a_job_that_cannot_be_run(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No key in the worker's environment, no such storage: the caller learns of it, and may try again."""
    job = job_of(client, out)
    monkeypatch.delenv("OPENAI_API_KEY")
    [row] = await run_items(job, specs(many(1)))
    assert (row["state"], row["stops"], row["error"]) == ("pending", True, "ConfigurationError")
    with pytest.raises(ConfigurationError, match="memory"):
        await run_items(Job.from_client(client, "memory://x", BatchOptions()), specs(many(1)))
    with pytest.raises(ConfigurationError, match="proxy="):
        Job.from_client(ImagesClient(proxy="http://127.0.0.1:1"), str(out), BatchOptions())


def test_images_of_one_name(tmp_path: Path) -> None:
    """A second attempt never replaces the image of the first one; the same image is stored once."""
    store = StorageImages(FolderStorage(tmp_path), Disk())
    names = [
        store.save("fox", [Image.from_bytes(data)], 1).files[0].name
        for data in (PNG, PNG + b"\0", PNG, PNG + b"\0\0")
    ]
    assert names == ["images/fox.png", "images/fox.2.png", "images/fox.png", "images/fox.3.png"]
    assert (tmp_path / "images/fox.png").read_bytes() == PNG
