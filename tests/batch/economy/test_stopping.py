"""Stopping a run in economy: it ends at once, whatever it waits for, and creates nothing more."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from openai_images import Batch, BatchOptions, BatchSummary, ImagesClient, Succeeded, Timeouts, Timing
from tests.helpers.batch_provider import BatchProvider, answer_nothing
from tests.helpers.batch_runs import many, rows, run, states
from tests.helpers.clients import KEY, FakeTime, client_of

ECONOMY = BatchOptions(economy=True)


class Held:
    """A place where the run waits until it is stopped: `reached` is set there, and `hold` lasts until `over` is."""

    def __init__(self) -> None:
        """Nobody has come yet."""
        self.reached, self.over = asyncio.Event(), asyncio.Event()

    async def hold(self, *_: object) -> None:
        """Wait as long as the test lasts."""
        self.reached.set()
        await self.over.wait()


@pytest.fixture
async def held(provider: BatchProvider) -> AsyncIterator[Held]:
    """One, which is over before the provider is closed."""
    held = Held()
    yield held
    held.over.set()


@pytest.fixture
async def sleepless(provider: BatchProvider, held: Held) -> AsyncIterator[ImagesClient]:
    """A client whose sleeps do not end."""
    timing = Timing(monotonic=lambda: 1000.0, wall=lambda: FakeTime.WALL, sleep=held.hold, random=lambda: 0.0)
    async with client_of(provider, timing=timing) as client:
        yield client


async def stop_at(
    client: ImagesClient, out: Path, reached: asyncio.Event, options: BatchOptions = ECONOMY
) -> BatchSummary:
    """Run a batch, stop it where it waits, and see it end."""
    async with Batch(client, many(3), out, options=options) as batch:
        waiting = asyncio.ensure_future(anext(batch))
        await asyncio.wait_for(reached.wait(), 60)
        batch.stop()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 10)
    return batch.summary


def error(status: int, **headers: str) -> web.Response:
    """A response that allows another attempt."""
    return web.json_response({"error": {"message": "Slow down."}}, status=status, headers=headers)


async def collect_in_another_run(provider: BatchProvider, out: Path) -> None:
    """Everything is there once."""
    async with client_of(provider) as client:
        ran = await run(client, many(3), out, economy=True)
    assert (ran.error, ran.summary.done) == (None, 3)
    assert sorted(provider.prompts()) == [f"otter number {number}" for number in (1, 2, 3)]


async def test_a_creation_that_waits_for_its_next_attempt(
    sleepless: ImagesClient, provider: BatchProvider, held: Held, out: Path
) -> None:
    """A 429 created nothing, so nothing is at the provider, and nothing more is sent."""
    provider.creating = lambda: error(429, **{"Retry-After": "60"})
    summary = await stop_at(sleepless, out, held.reached)
    assert (summary.submitted, summary.not_started, summary.unknown) == (0, 3, 0)
    assert states(out, "00001") == ["sent", "refused"]
    assert provider.calls.count("create") == 1
    provider.creating = lambda: None
    await collect_in_another_run(provider, out)
    assert "list" not in provider.calls


async def test_an_upload_that_waits_for_its_next_attempt(
    sleepless: ImagesClient, provider: BatchProvider, held: Held, out: Path
) -> None:
    """Nothing is created then."""

    async def refuse(_: web.Request) -> web.Response:
        return error(503, **{"Retry-After": "60"})

    provider.first = refuse
    summary = await stop_at(sleepless, out, held.reached)
    assert (summary.submitted, summary.not_started, provider.calls) == (0, 3, [])


async def test_a_status_request_that_waits_for_its_next_attempt(
    sleepless: ImagesClient, provider: BatchProvider, held: Held, out: Path
) -> None:
    """The batch stays at the provider."""
    provider.looking = lambda _: error(429, **{"Retry-After": "60"})
    summary = await stop_at(sleepless, out, held.reached)
    assert (summary.submitted, summary.reason) == (3, "stopped")
    provider.looking = lambda _: None
    await collect_in_another_run(provider, out)


REQUESTS = ["POST /v1/files", "GET /v1/batches/batch_0", "GET /v1/files/file-1/content"]


@pytest.mark.parametrize("request_line", REQUESTS)
async def test_a_response_that_does_not_come(
    request_line: str, client: ImagesClient, provider: BatchProvider, held: Held, out: Path
) -> None:
    """Of a request that costs nothing, it is not awaited."""

    async def hold(request: web.Request) -> None:
        if request_line == f"{request.method} {request.path}":
            await held.hold()

    provider.first = hold
    summary = await stop_at(client, out, held.reached)
    submitted = 0 if request_line == REQUESTS[0] else 3
    assert (summary.submitted, summary.not_started, summary.unknown) == (submitted, 3 - submitted, 0)
    provider.first = answer_nothing
    await collect_in_another_run(provider, out)


async def test_a_download_that_stands_still(
    client: ImagesClient, provider: BatchProvider, held: Held, out: Path
) -> None:
    """The rest of the file is not awaited; what was complete before it is there."""

    async def half(request: web.Request) -> web.StreamResponse | None:
        if not request.path.endswith("/content"):
            return None
        data = provider.files[request.match_info["id"]]
        response = web.StreamResponse()
        response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[: len(data) // 2])
        await held.hold()
        return response

    provider.first = half
    batch = Batch(client, many(3), out, options=ECONOMY)
    async with batch:
        first = await anext(batch)
        waiting = asyncio.ensure_future(anext(batch))
        await asyncio.wait_for(held.reached.wait(), 60)
        batch.stop()
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(waiting, 10)
    assert isinstance(first, Succeeded)
    assert (batch.summary.done, batch.summary.submitted) == (1, 2)
    provider.first = answer_nothing
    await collect_in_another_run(provider, out)


async def test_a_key_that_does_not_come(provider: BatchProvider, held: Held, out: Path) -> None:
    """It is asked for before each request: without it, the batch is not created, and there is none."""

    async def key() -> str:
        if "upload" in provider.calls:
            await held.hold()
        return KEY

    async with client_of(provider, api_key=key, timeouts=Timeouts(total=None)) as client:
        summary = await stop_at(client, out, held.reached)
    assert (summary.submitted, summary.not_started, provider.batches) == (0, 3, {})
    await collect_in_another_run(provider, out)


async def test_a_creation_in_flight(
    client: ImagesClient, provider: BatchProvider, held: Held, out: Path
) -> None:
    """Its response is awaited, as only that has the batch's id."""
    batch = Batch(client, many(3), out, options=ECONOMY)

    async def stop(request: web.Request) -> None:
        if request.path == "/v1/batches":
            batch.stop()

    provider.first = stop
    async with batch:
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(batch), 10)
    assert batch.summary.submitted == 3
    assert [row["step"] for row in rows(out) if row["state"] == "provider_batch"] == ["creating", "created"]
    await collect_in_another_run(provider, out)


async def test_a_creation_in_flight_whose_outcome_is_unknown(
    client: ImagesClient, provider: BatchProvider, out: Path
) -> None:
    """The list is not read any more; another run does."""
    batch = Batch(client, many(3), out, options=ECONOMY)

    def lose() -> web.Response:
        batch.stop()
        return web.json_response({}, status=500)

    provider.lost = lose
    async with batch:
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(batch), 10)
    assert (batch.summary.submitted, "list" in provider.calls) == (3, False)
    provider.lost = lambda: None
    await collect_in_another_run(provider, out)
    assert provider.calls.count("create") == 1
