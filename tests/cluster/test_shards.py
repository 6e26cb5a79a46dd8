"""Shards: processes that share a folder, each with its items; together they are one batch."""

import asyncio
import errno
import re
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    Batch,
    BatchFolderError,
    BatchItem,
    BatchOptions,
    ConfigurationError,
    Failed,
    ImagesClient,
    Outcome,
    Shard,
    Succeeded,
)
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.cluster.records import claim_name, item_ids, read_rows, record_name
from openai_images.cluster.storage import FolderStorage
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, posts
from tests.helpers.clients import PNG


async def run(
    client: ImagesClient, items: list[BatchItem], out: Path, shard: Shard | None = None, **options: Any
) -> tuple[Batch, list[Outcome]]:
    """A shard, run to its end."""
    batch = Batch(client, items, out, options=BatchOptions(**options), shard=shard or Shard())
    async with batch:
        outcomes = [outcome async for outcome in batch]
    return batch, outcomes


def ids_of(items: list[BatchItem]) -> dict[str, str]:
    """The items' ids by key."""
    return item_ids(resolve_items(items, None, BatchOptions()))


async def test_shards_are_one_batch(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Each item is in one shard; all images are there, with paths; run again they send nothing."""
    items = many(20)
    ran = await asyncio.gather(*(run(client, items, out, Shard(number, 4)) for number in range(1, 5)))
    done = [outcome for _, outcomes in ran for outcome in outcomes]
    assert sorted(outcome.key for outcome in done) == [item.key for item in items]
    assert all(isinstance(outcome, Succeeded) and outcome.result.image.data == PNG for outcome in done)
    assert set(posts(server).values()) == {1}
    again = await asyncio.gather(*(run(client, items, out, Shard(number, 4)) for number in range(1, 5)))
    assert not any(outcomes for _, outcomes in again)
    assert sum(batch.summary.done for batch, _ in again) == 20
    assert len(server.requests) == 20


async def test_neither_order_nor_keys_matter(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """The same requests in another order under other keys are the same items."""
    await run(client, items_of("a", "b", "b"), out)
    batch, outcomes = await run(client, items_of("b", "a", "c", "b"), out)
    assert [outcome.key for outcome in outcomes] == ["00003"]
    assert batch.summary.done == 4
    assert posts(server) == {"a": 1, "b": 2, "c": 1}


async def test_open_claims_are_unknown(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """They are sent again only when asked for, as a new attempt; the second record ends them."""
    items = many(3)
    ids = ids_of(items)
    await run(client, items, out)
    (out / record_name(ids["00002"], 1)).unlink()
    for path in (out / "images").glob("00002-*"):
        path.unlink()
    batch, outcomes = await run(client, items, out)
    assert (batch.plan.unknown, batch.unknown, outcomes) == (("00002",), ("00002",), [])
    batch, outcomes = await run(client, items, out, retry_unknown=True)
    assert [outcome.key for outcome in outcomes] == ["00002"]
    assert (out / claim_name(ids["00002"], 2)).exists()
    assert batch.summary.done == 3
    assert batch.summary.unpriced == 1
    assert len(server.requests) == 4


async def test_an_image_without_a_record_is_adopted(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """It was paid for: its item is done, and is not sent again even with retry_unknown."""
    items = many(2)
    await run(client, items, out)
    (out / record_name(ids_of(items)["00001"], 1)).unlink()
    batch, outcomes = await run(client, items, out, retry_unknown=True)
    assert (batch.plan.adopted, outcomes) == (("00001",), [])
    assert batch.summary.done == 2
    assert len(server.requests) == 2


async def test_a_shard_that_was_overtaken(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Two processes run the same shard: each item is sent by one of them, and the other says so."""
    items = many(6)
    ran = await asyncio.gather(run(client, items, out), run(client, items, out))
    outcomes = [outcome for _, each in ran for outcome in each]
    assert sum(isinstance(outcome, Succeeded) for outcome in outcomes) == 6
    assert all("another worker has claimed" in str(o.error) for o in outcomes if isinstance(o, Failed))
    assert set(posts(server).values()) == {1}


async def test_identical_requests_share_an_image(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """With dedupe they are in one shard, and stay done."""
    items = items_of("a", "b", "a", "a")
    for _ in range(2):
        ran = [await run(client, items, out, Shard(number, 3), dedupe=True) for number in (1, 2, 3)]
        assert sum(batch.summary.done for batch, _ in ran) == 4
    assert posts(server) == {"a": 1, "b": 1}


async def test_one_folder_is_of_one_kind(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A batch on one machine makes no claims, and shards write no journal: neither takes the other's folder."""
    items = many(1)
    async with Batch(client, items, out) as batch:
        with pytest.raises(BatchFolderError, match="one machine"):
            await run(client, items, out)
        assert [outcome.key async for outcome in batch] == ["00001"]
    with pytest.raises(BatchFolderError, match="one machine"):
        await run(client, items, out)
    assert not (out / "claims").exists()
    shared = out.with_name("shared")
    await run(client, items, shared)
    with pytest.raises(BatchFolderError, match="many machines"):
        await Batch(client, items, shared).__aenter__()
    foreign = out.with_name("foreign")
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("")
    with pytest.raises(BatchFolderError, match="not empty"):
        await run(client, items, foreign)


@pytest.mark.parametrize("text", ["0/4", "5/4", "3", "a/b", "1/0", ""])
def test_no_shard(text: str) -> None:
    """Shards are counted from 1."""
    with pytest.raises(ConfigurationError, match="shard"):
        Shard.parse(text)
    assert Shard.parse("3/16") == Shard(3, 16)


async def test_an_image_without_its_name_is_adopted(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Its process was killed between the last byte and the name: a complete one is done, a truncated one is not."""
    items = many(2)
    ids = ids_of(items)
    await run(client, items, out)
    for key, data in (("00001", PNG), ("00002", PNG[:-9])):
        (out / record_name(ids[key], 1)).unlink()
        [image] = (out / "images").glob(f"{key}-*")
        image.unlink()
        (out / "images" / f".{image.name}.0123abcd.part").write_bytes(data)
    batch, outcomes = await run(client, items, out)
    assert (batch.plan.adopted, batch.plan.unknown, outcomes) == (("00001",), ("00002",), [])
    [image] = (out / "images").glob("00001-*")
    assert image.read_bytes() == PNG
    assert len(server.requests) == 2


async def test_images_that_were_saved_elsewhere_come_back(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the folder did not take is brought there by the next run on that machine; elsewhere it counts as done."""
    create = FolderStorage.create

    def full(self: FolderStorage, name: str, data: bytes) -> bool:
        if name.startswith("images/"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return create(self, name, data)

    items = many(1)
    with monkeypatch.context() as patch:
        patch.setattr(FolderStorage, "create", full)
        with pytest.raises(BatchFolderError, match="No space left") as caught:
            await run(client, items, out)
    [saved] = re.findall(r"\n  (\S+)", str(caught.value))
    elsewhere = Path(saved).rename(f"{saved}.moved")
    batch, outcomes = await run(client, items, out)
    assert (batch.summary.done, outcomes) == (1, [])
    assert "on the machine of " in batch.plan.notes[0]
    elsewhere.rename(saved)
    batch, outcomes = await run(client, items, out)
    assert (batch.summary.done, outcomes, batch.plan.notes) == (1, [], ())
    [image] = (out / "images").iterdir()
    assert image.read_bytes() == PNG
    assert len(server.requests) == 1


async def test_images_behind_urls(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """What could not be fetched is fetched by the next run, for nothing; its record has both."""
    items = many(1)
    server.script("url_answer", "download_404", "download_ok")
    batch, [outcome] = await run(client, items, out)
    assert isinstance(outcome, Failed)
    assert batch.summary.away == 1
    batch, [outcome] = await run(client, items, out)
    assert isinstance(outcome, Succeeded)
    assert outcome.result.image.data == PNG
    rows = read_rows(FolderStorage(out), record_name(ids_of(items)["00001"], 1))
    assert [row["state"] for row in rows] == ["sent", "away", "away", "done"]
    assert len(server.requests) == 1
