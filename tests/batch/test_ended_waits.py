"""Items that end while they wait for their next attempt: what may be billed is unknown, what was paid is stored."""

import asyncio
from pathlib import Path

import pytest

from openai_images import (
    Batch,
    BatchItem,
    BatchOptions,
    ConfigurationError,
    Failed,
    GenerateRequest,
    ImagesClient,
    Limits,
    RetryPolicy,
)
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, run, states
from tests.helpers.clients import FakeTime, client_of
from tests.helpers.leaks import until
from tests.helpers.waits import Waits

OVERLOADED = "overloaded_503_retry_after:30"
ATTEMPTS = RetryPolicy(retry_unknown=True)


async def test_a_lost_attempt_before_one_that_is_not_sent(server: LocalImagesServer, out: Path) -> None:
    """The item is unknown, not refused: the next run does not pay for it again without a word."""
    calls = 0

    async def key() -> str | None:
        nonlocal calls
        calls += 1
        return server.api_key if calls == 1 else None

    server.script("close_after_body")
    async with ImagesClient(
        base_url=server.base_url,
        api_key=key,
        timing=FakeTime().timing,
        retry=ATTEMPTS,  # type: ignore[arg-type]
    ) as client:
        batch = Batch(client, many(1), out)

        async def read() -> None:
            async with batch:
                async for _ in batch:
                    pass

        with pytest.raises(ConfigurationError):
            await read()
    assert (states(out, "00001"), batch.summary.unknown) == (["sent", "unknown"], 1)
    async with (
        ImagesClient(base_url=server.base_url, api_key=server.api_key) as client,
        Batch(client, many(1), out) as batch,
    ):
        async for _ in batch:
            pass
    assert server.posts == 1


async def test_a_lost_attempt_before_one_that_fails(server: LocalImagesServer, out: Path) -> None:
    """The error of the last attempt is no proof that none was billed."""
    server.script("close_after_body", *["overloaded_503_retry_after:1"] * 3, "status:400")
    time = FakeTime()
    async with (
        ImagesClient(
            base_url=server.base_url, api_key=server.api_key, timing=time.timing, retry=ATTEMPTS
        ) as client,
        Batch(client, many(1), out) as batch,
    ):
        [outcome] = [outcome async for outcome in batch]
    assert isinstance(outcome, Failed)
    assert (outcome.maybe_billed, batch.summary.unknown) == (True, 1)


async def test_images_of_a_cancelled_item(server: LocalImagesServer, out: Path) -> None:
    """Ten of its twenty images have arrived, and are stored although the others are not awaited."""
    waits = Waits()
    server.script("ok", OVERLOADED)
    item = BatchItem("boat", GenerateRequest("a boat", model="gpt-image-2", n=20))
    async with (
        ImagesClient(base_url=server.base_url, api_key=server.api_key, timing=waits.timing) as client,
        Batch(client, [item], out) as batch,
    ):
        task = asyncio.ensure_future(anext(batch))
        async with asyncio.timeout(60):
            await waits.asleep.wait()
            await until(lambda: server.posts == 2)
            for _ in range(100):  # the images are read
                await asyncio.sleep(0.002)
        task.cancel()
        await asyncio.wait([task])
    assert states(out, "boat") == ["sent", "unknown"]
    assert len(list((out / "images").iterdir())) == 10
    async with client_of(server) as client:
        ran = await run(client, [item], out, retry_unknown=True)
    assert (ran.done, server.requests[-1].json["n"], server.posts) == (["boat"], 10, 3)
    assert len(list((out / "images").iterdir())) == 20


async def test_urls_of_a_cancelled_item(server: LocalImagesServer, out: Path) -> None:
    """Those of its first ten images are in the journal: the next run downloads them, and sends nothing."""
    waits = Waits()
    server.script("url_answer", OVERLOADED)
    item = BatchItem("boat", GenerateRequest("a boat", model="gpt-image-2", n=20))
    async with (
        client_of(server, timing=waits.timing, limits=Limits(concurrency=1)) as client,
        Batch(client, [item], out) as batch,
    ):
        task = asyncio.ensure_future(anext(batch))
        await asyncio.wait_for(waits.asleep.wait(), 60)
        task.cancel()
        await asyncio.wait([task])
    async with client_of(server) as client:
        ran = await run(client, [item], out)
        assert (ran.plan.away, ran.summary.incomplete, server.posts) == (("boat",), 1, 2)
        assert len(list((out / "images").iterdir())) == 10


async def test_a_lost_part_of_an_item_behind_urls(server: LocalImagesServer, out: Path) -> None:
    """When its other images are downloaded by a later run, it is still unknown."""
    server.script("url_answer", "close_after_body", *["download_404"] * 10)
    items = items_of("a boat", n=20)
    async with client_of(server, limits=Limits(concurrency=1)) as client:
        first = await run(client, items, out)
        second = await run(client, items, out)
        assert (first.summary.away, second.summary.unknown, second.summary.incomplete) == (1, 1, 1)
        await run(client, items, out, retry_missing=True)
        assert server.posts == 2
        last = await run(client, items, out, retry_unknown=True)
    assert (last.summary.done, server.requests[-1].json["n"]) == (1, 10)


async def test_economy_that_is_stopped_during_an_upload(server: LocalImagesServer, out: Path) -> None:
    """No batch is created afterwards."""
    waits = Waits()
    server.script("file_upload:500")
    items = [BatchItem(f"b{number}", GenerateRequest("a boat", model="gpt-image-2")) for number in range(3)]
    async with (
        ImagesClient(base_url=server.base_url, api_key=server.api_key, timing=waits.timing) as client,
        Batch(client, items, out, options=BatchOptions(economy=True)) as batch,
    ):
        task = asyncio.ensure_future(anext(batch, None))
        await asyncio.wait_for(waits.asleep.wait(), 60)
        batch.stop()
        waits.over.set()
        await asyncio.wait_for(task, 60)
    assert (list(server.batches), batch.summary.not_started) == ([], 3)
