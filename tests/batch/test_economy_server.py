"""Economy against the local server: its states, failures and expiry, and each step going wrong."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import pytest

from openai_images import Batch, BatchOptions, EditRequest, ImagesClient, NotFoundError
from openai_images.batch.economy import submitter as economy_submit
from openai_images.batch.items.models import BatchItem
from openai_images.server import BatchPace, LocalImagesServer
from tests.helpers.batch_runs import MODEL, items_of, many, pictures, run
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.edit_images import encoded, house


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server whose batches end at once."""
    async with LocalImagesServer(pictures=PNG, now=lambda: FakeTime.WALL) as server:
        yield server


def assert_paid_once(server: LocalImagesServer, out: Path, done: int) -> None:
    """No request ran twice, and each that was paid for has its image."""
    ran = Counter(request.custom_id for request in server.batch_requests)
    assert [name for name, count in ran.items() if count > 1] == []
    paid = sum(request.billed for request in server.batch_requests)
    assert paid == done == len(pictures(out))


async def test_failures_and_expiry(
    server: LocalImagesServer, client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some fail, some are not run in time, and one whole batch is not: another run sends what was not run."""
    monkeypatch.setattr(economy_submit, "MAX_ITEMS", 50)
    server.reset(batch_pace=BatchPace(failed=0.03, expired=0.02))
    server.script("batch_expired")
    ran = await run(client, many(300), out, economy=True)
    assert ran.error is None
    assert len(server.batches) == 6
    assert ran.summary.not_started >= 50
    assert ran.summary.unknown == 0
    for _ in range(3):
        ran = await run(client, many(300), out, economy=True)
    assert ran.summary.done + ran.summary.failed == 300
    assert 0 < ran.summary.failed == ran.summary.blocked < 30
    assert_paid_once(server, out, ran.summary.done)


@pytest.mark.parametrize(
    "fault",
    [
        "file_upload:lost", "file_upload:500", "file_upload:reset", "file_upload:cut", "batch_create:lost",
        "batch_create:500_after", "batch_create:500", "batch_create:reset", "batch_create:429", "batch_retrieve:500",
        "batch_retrieve:reset", "file_content:cut", "file_content:reset", "file_content:500", "batch_duplicate_lines",
    ],
)  # fmt: skip
async def test_a_step_that_goes_wrong(
    fault: str, server: LocalImagesServer, client: ImagesClient, out: Path
) -> None:
    """It is repeated where that costs nothing, and looked for where it may."""
    server.script(fault)
    ran = await run(client, many(5), out, economy=True)
    assert ran.error is None
    assert ran.summary.done == 5
    assert len(server.batches) == 1
    assert_paid_once(server, out, 5)


@pytest.mark.parametrize("fault", ["batch_create:400", "batch_create:401"])
async def test_a_creation_that_is_refused(
    fault: str, server: LocalImagesServer, client: ImagesClient, out: Path
) -> None:
    """Another run sends it."""
    server.script(fault)
    ran = await run(client, many(5), out, economy=True)
    assert ran.error is not None
    assert (ran.summary.not_started, ran.outcomes) == (5, [])
    assert (await run(client, many(5), out, economy=True)).summary.done == 5
    assert_paid_once(server, out, 5)


@pytest.mark.parametrize(
    ("fault", "failed"), [("batch_token_limit", 0), ("batch_expired", 0), ("batch_invalid", 1)]
)
async def test_a_batch_that_is_not_run(
    fault: str, failed: int, server: LocalImagesServer, client: ImagesClient, out: Path
) -> None:
    """It is not billed. Another run sends it, without the line that the provider has rejected."""
    server.script(fault)
    ran = await run(client, many(5), out, economy=True)
    assert ran.error is None
    assert (ran.summary.not_started, ran.summary.failed, len(ran.failed)) == (5 - failed, failed, 5)
    assert (await run(client, many(5), out, economy=True)).summary.done == 5 - failed
    assert (await run(client, many(5), out, economy=True, retry_failed=True)).summary.done == 5
    assert_paid_once(server, out, 5)


async def test_a_full_queue(
    server: LocalImagesServer, client: ImagesClient, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the provider does not take is sent again when another batch has ended."""
    monkeypatch.setattr(economy_submit, "MAX_ITEMS", 3)
    server.script("batch_ok", "batch_token_limit")
    ran = await run(client, many(6), out, economy=True)
    assert ran.error is None
    assert ran.summary.done == 6
    assert [batch.status for batch in server.batches] == ["completed", "failed", "completed"]
    assert_paid_once(server, out, 6)


async def test_it_is_never_known_whether_a_batch_exists(
    server: LocalImagesServer, client: ImagesClient, out: Path
) -> None:
    """Nothing is sent again before that is known; another run finds it."""
    server.script("batch_create:lost", "batch_list:404")
    ran = await run(client, many(3), out, economy=True)
    assert ran.error is not None
    assert (ran.summary.submitted, ran.summary.unknown) == (3, 0)
    ran = await run(client, many(3), out, economy=True)
    assert ran.summary.done == 3
    assert_paid_once(server, out, 3)


async def test_a_batch_that_nobody_knows(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """It may be another account's; `retry_unknown` gives it up."""
    server.script("batch_stuck")
    async with Batch(client, many(3), out, options=BatchOptions(economy=True)) as batch:
        waiting = asyncio.ensure_future(anext(batch))
        while not (server.batches and batch.summary.submitted):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        batch.stop()
        with pytest.raises(StopAsyncIteration):
            await waiting
    async with LocalImagesServer(pictures=PNG) as other, client_of(other) as stranger:
        ran = await run(stranger, many(3), out, economy=True)
        assert isinstance(ran.error, NotFoundError)
        assert ran.summary.submitted == 3
        ran = await run(stranger, many(3), out, economy=True, retry_unknown=True)
        assert ran.summary.unknown == 3
        ran = await run(stranger, many(3), out, economy=True, retry_unknown=True)
        assert ran.summary.done == 3


@pytest.mark.parametrize(
    ("fault", "done"), [("batch_no_output", 0), ("batch_missing_line", 4), ("batch_garbage_line", 5)]
)
async def test_files_that_lack_something(
    fault: str, done: int, server: LocalImagesServer, client: ImagesClient, out: Path
) -> None:
    """What may have been billed is unknown, and not sent again by itself."""
    server.script(fault)
    ran = await run(client, many(5), out, economy=True)
    assert ran.error is None
    assert (ran.summary.done, ran.summary.unknown) == (done, 5 - done)
    again = await run(client, many(5), out, economy=True)
    assert again.outcomes == []
    assert len(server.batches) == 1
    last = await run(client, many(5), out, economy=True, retry_unknown=True)
    assert last.summary.done == 5


async def test_edits(server: LocalImagesServer, client: ImagesClient, out: Path, tmp_path: Path) -> None:
    """Their images go into the file."""
    photo = tmp_path / "fox.png"
    photo.write_bytes(encoded(house((64, 64))))
    request = EditRequest("make it night", image=photo, model=MODEL, size="1024x1024", quality="low")
    items = [BatchItem("night", request), *items_of("an otter")]
    ran = await run(client, items, out, economy=True, budget=Decimal(5), max_image_cost=Decimal(1))
    assert ran.error is None
    assert ran.done == ["00001", "night"]
    assert sorted(batch.endpoint for batch in server.batches) == [
        "/v1/images/edits",
        "/v1/images/generations",
    ]
    gone = [BatchItem("gone", EditRequest("x", image=photo, model=MODEL)), *items]
    photo_bytes = photo.read_bytes()
    ran = await run(client, gone, out, economy=True)
    assert ran.done == ["gone"]
    assert photo.read_bytes() == photo_bytes
