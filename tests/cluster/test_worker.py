"""`run_items`: claims before the first byte, images before records, and a row for every item whatever happens."""

import json
import pickle
from pathlib import Path
from typing import Any

from openai_images import BatchItem, BatchOptions, ImagesClient
from openai_images.batch.items import resolve_items
from openai_images.batch.run_state import WorkItem
from openai_images.cluster.job import ItemSpec, Job
from openai_images.cluster.names import claim_name, item_ids, item_stem, record_name
from openai_images.cluster.storage import FolderStorage
from openai_images.cluster.worker import run_items
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import many, posts


def job_of(client: ImagesClient, out: Path, **options: Any) -> Job:
    """A job in this folder."""
    return Job.from_client(client, str(out), BatchOptions(**options))


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
