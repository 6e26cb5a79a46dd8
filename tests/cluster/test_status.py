"""All processes of a batch together: its numbers, its journal, its page, and who has claimed what has no end."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    Batch,
    BatchFolderError,
    BatchOptions,
    ImagesClient,
    OpenClaim,
    Shard,
    read_batch_costs,
    read_batch_status,
)
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.cluster.records import claim_name, item_ids, record_name
from openai_images.cluster.storage import open_storage
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, posts
from tests.helpers.clients import PNG


async def run(client: ImagesClient, items: Any, out: Any, *shards: Shard, **options: Any) -> None:
    """These shards, one after the other."""
    for shard in shards or (Shard(),):
        async with Batch(client, items, out, options=BatchOptions(**options), shard=shard) as batch:
            async for _ in batch:
                pass


def journal(out: Path) -> list[dict[str, Any]]:
    """The rows of the journal."""
    return [json.loads(line) for line in (out / "journal.jsonl").read_text().splitlines()]


async def test_all_shards_together(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """What is done in whatever shard counts; what no shard has begun is not started."""
    items = many(12)
    await run(client, items, out, Shard(1, 3), Shard(3, 3))
    status = await asyncio.to_thread(read_batch_status, str(out))
    done = len(server.requests)
    assert (status.summary.total, status.summary.done, status.runs) == (12, done, 2)
    assert status.summary.not_started == 12 - done
    assert status.unknown == ()
    page = Path(status.page).read_text()
    assert "otter number 12" in page
    rows = journal(out)
    assert [row["state"] for row in rows] == ["begun", *["sent", "done"] * done]
    assert all(row["record"].endswith(".1") for row in rows[1:])
    assert {"usage", "cost", "files"} <= rows[2].keys()
    assert (out / "pictures.csv").read_text().count("\n") == 1 + done


async def test_the_journal_is_made_of_new_records_and_of_itself(
    client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records that it has are not read again, and it stays the same as long as nothing happens."""
    await run(client, many(4), out)
    first = await asyncio.to_thread(read_batch_status, str(out))
    text = (out / "journal.jsonl").read_bytes()
    for path in (out / "records").iterdir():
        path.write_text("gone\n".rjust(path.stat().st_size))
    assert await asyncio.to_thread(read_batch_status, str(out)) == first
    assert (out / "journal.jsonl").read_bytes() == text
    costs = read_batch_costs(out)
    assert sum(model.images for model in costs.models) == 4


async def test_who_has_claimed_it(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A claim without a record: its worker, since when, and which attempt; another state as soon as it has one."""
    items = many(2)
    ids = item_ids(resolve_items(items, None, BatchOptions()))
    await run(client, items, out)
    record = out / record_name(ids["00002"], 1)
    text = record.read_text()
    [picture] = (out / "images").glob("00002-*")
    record.unlink()
    picture.unlink()
    claim = json.loads((out / claim_name(ids["00002"], 1)).read_text())
    status = await asyncio.to_thread(read_batch_status, str(out))
    expected = OpenClaim(key="00002", attempt=1, worker=claim["worker"], at=claim["at"])
    assert status.unknown == (expected,)
    assert (status.summary.unknown, status.summary.done, status.summary.unpriced) == (1, 1, 1)
    picture.write_bytes(PNG)
    record.write_text(text)
    status = await asyncio.to_thread(read_batch_status, str(out))
    assert (status.summary.unknown, status.summary.done, status.summary.unpriced) == (0, 2, 0)


async def test_a_late_record_of_an_adopted_item(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A worker that was slower than whoever adopted its image: both are in the journal, and its cost counts."""
    [item] = many(1)
    await run(client, [item], out)
    [path] = (out / "records").iterdir()
    text = path.read_text()
    path.unlink()
    status = await asyncio.to_thread(read_batch_status, str(out))
    assert (status.summary.done, status.summary.spent) == (1, None)
    path.write_text(text)
    status = await asyncio.to_thread(read_batch_status, str(out))
    assert status.summary.done == 1
    assert status.summary.spent is not None
    assert status.summary.spent > Decimal(0)
    assert [row["state"] for row in journal(out)] == ["begun", "sent", "done", "done"]


async def test_another_input(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """The newest one counts; what was asked before stays in the journal, under its key if that is free."""
    await run(client, items_of("a", "b"), out)
    await asyncio.to_thread(read_batch_status, str(out))
    await run(client, items_of("c", "a"), out)
    status = await asyncio.to_thread(read_batch_status, str(out))
    assert (status.summary.total, status.summary.done) == (2, 2)
    assert posts(server) == {"a": 1, "b": 1, "c": 1}
    keys = {row["key"]: row["files"][0]["name"][:13] for row in journal(out) if row["state"] == "done"}
    assert keys == {"00001": "images/00001-", "00002": "images/00001-"}


async def test_without_prompts(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """No file of the folder has one."""
    await run(client, items_of("a secret otter"), out, record_prompts=False)
    await asyncio.to_thread(read_batch_status, str(out), BatchOptions(record_prompts=False))
    for path in out.rglob("*"):
        assert path.is_dir() or b"secret otter" not in path.read_bytes()


async def test_what_is_no_shared_batch(out: Path) -> None:
    """It says so, and leaves no trace."""
    with pytest.raises(BatchFolderError, match="it has no folder 'claims'"):
        read_batch_status(str(out))
    assert not out.exists()


async def test_in_an_object_store(client: ImagesClient, server: LocalImagesServer, s3_url: str) -> None:
    """Images have URLs, the page and the journal are beside them, and unknown requests are the same."""
    items = many(6)
    outcomes = []
    for number in (1, 2):
        async with Batch(client, items, s3_url, shard=Shard(number, 2)) as batch:
            outcomes += [outcome async for outcome in batch]
    urls = {outcome.key: outcome.result.image.url for outcome in outcomes}
    storage = open_storage(s3_url)
    for url in urls.values():
        assert storage.read(url.removeprefix(f"{s3_url}/")) == PNG
    ids = item_ids(resolve_items(items, None, BatchOptions()))
    storage._fs.rm_file(storage._path(record_name(ids["00001"], 1)))
    storage._fs.rm_file(storage._path(record_name(ids["00002"], 1)))
    storage._fs.rm_file(storage._path(urls["00002"].removeprefix(f"{s3_url}/")))
    status = await asyncio.to_thread(read_batch_status, s3_url)
    assert (status.summary.done, [claim.key for claim in status.unknown]) == (5, ["00002"])
    assert status.page == f"{s3_url}/index.html"
    assert b"otter number 6" in storage.read("index.html")
    await run(client, items, s3_url)
    assert set(posts(server).values()) == {1}
    await run(client, items, s3_url, Shard(1, 2), Shard(2, 2), retry_unknown=True)
    status = await asyncio.to_thread(read_batch_status, s3_url)
    assert (status.summary.done, status.unknown) == (6, ())
    assert posts(server)["otter number 2"] == 2
