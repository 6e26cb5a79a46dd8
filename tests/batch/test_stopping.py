"""A batch that is stopped sends nothing new: also no other part of an item, and no other attempt of a lost one."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openai_images import Batch, Failed, Limits, Outcome, OutcomeUnknownError, PartialResultError, RetryPolicy
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, pictures, run, states
from tests.helpers.clients import client_of
from tests.helpers.leaks import nothing_left, until
from tests.helpers.waits import Waits

ITEM = "00001"
ATTEMPTS = RetryPolicy(retry_unknown=True)


async def stopped(batch: Batch, ready: Callable[[], Awaitable[object]], waits: Waits) -> list[Outcome]:
    """The outcomes of a batch that is stopped when it is ready; then no wait has ended yet."""

    async def collect() -> list[Outcome]:
        return [outcome async for outcome in batch]

    task = asyncio.ensure_future(collect())
    async with asyncio.timeout(60):
        await ready()
        batch.stop()
        for _ in range(20):
            await asyncio.sleep(0)
        waits.over.set()
        return await task


@pytest.mark.parametrize("second", ["overloaded_503_retry_after:30", "rate_limited:30"])
async def test_a_part_that_waits(server: LocalImagesServer, out: Path, second: str) -> None:
    """The images of the others are stored, and only the missing ones are requested again."""
    waits = Waits()
    server.script("ok", second, "stall")
    items = items_of("an otter", n=23)
    async with nothing_left(), client_of(server, timing=waits.timing) as client:
        async with Batch(client, items, out) as batch:

            async def ready() -> None:
                await waits.asleep.wait()
                await until(lambda: server.posts == 3)
                for _ in range(50):
                    await asyncio.sleep(0.002)
                asyncio.get_running_loop().call_soon(server.release)

            [outcome] = await stopped(batch, ready, waits)
        assert isinstance(outcome, Failed)
        assert isinstance(outcome.error, PartialResultError)
        assert "the run was stopped before this request was sent" in str(outcome.error)
        assert (server.posts, states(out, ITEM)) == (3, ["sent", "failed"])
        received = len(outcome.error.result.images)
        assert len(pictures(out)) == received >= 13
        assert (batch.summary.reason, batch.summary.incomplete) == ("stopped", 1)
        again = await run(client, items, out, retry_missing=True)
    assert (again.done, len(pictures(out))) == ([ITEM], 23)
    assert sum(request.json["n"] for request in server.requests[3:]) == 23 - received


async def test_a_part_that_waits_for_a_slot(server: LocalImagesServer, out: Path) -> None:
    """It has not been sent, and is not."""
    waits = Waits()
    server.script("stall")
    async with (
        client_of(server, timing=waits.timing, limits=Limits(concurrency=1)) as client,
        Batch(client, items_of("an otter", n=20), out) as batch,
    ):

        async def ready() -> None:
            await until(lambda: server.posts == 1)
            asyncio.get_running_loop().call_soon(server.release)

        [outcome] = await stopped(batch, ready, waits)
    assert isinstance(outcome, Failed)
    assert (server.posts, len(pictures(out)), batch.summary.incomplete) == (1, 10, 1)


async def test_parts_of_which_none_was_executed(server: LocalImagesServer, out: Path) -> None:
    """The item is pending, and another run sends it without being asked."""
    waits = Waits()
    server.always("overloaded_503_retry_after:30")
    async with client_of(server, timing=waits.timing) as client:
        async with Batch(client, items_of("an otter", n=20), out) as batch:

            async def ready() -> None:
                await until(lambda: server.posts == 2)
                for _ in range(50):
                    await asyncio.sleep(0.002)

            assert await stopped(batch, ready, waits) == []
        assert (server.posts, batch.summary.not_started, states(out, ITEM)[-1]) == (2, 1, "refused")


@pytest.mark.parametrize("n", [1, 20])
async def test_a_lost_attempt_that_waits_for_the_next(server: LocalImagesServer, out: Path, n: int) -> None:
    """It may have been billed: its error is the outcome, and nothing is sent."""
    waits = Waits()
    server.always("close_after_body")
    posts = -(-n // 10)
    async with (
        client_of(server, timing=waits.timing, retry=ATTEMPTS) as client,
        Batch(client, items_of("an otter", n=n), out) as batch,
    ):

        async def ready() -> None:
            await waits.asleep.wait()
            await until(lambda: server.posts == posts)
            for _ in range(50):
                await asyncio.sleep(0.002)

        [outcome] = await stopped(batch, ready, waits)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, OutcomeUnknownError)
    assert (server.posts, states(out, ITEM)) == (posts, ["sent", "unknown"])
    assert (batch.summary.unknown, batch.summary.reason) == (1, "stopped")


async def test_a_lost_attempt_while_the_server_is_down(server: LocalImagesServer, out: Path) -> None:
    """It waits with all others until the server responds, and is sent no more after the stop."""
    waits = Waits()
    server.script("close_after_body")
    server.always("overloaded_503_retry_after:1")
    slept = 0

    async def sleep(seconds: float) -> None:
        nonlocal slept
        slept += 1
        if slept > 3:  # the client's attempts have ended
            await waits.sleep(seconds)

    timing = waits.timing.__class__(monotonic=waits.timing.monotonic, wall=waits.timing.wall, sleep=sleep)
    async with (
        client_of(server, timing=timing, retry=ATTEMPTS) as client,
        Batch(client, many(1), out) as batch,
    ):
        [outcome] = await stopped(batch, waits.asleep.wait, waits)
    assert isinstance(outcome, Failed)
    assert (outcome.maybe_billed, batch.summary.unknown) == (True, 1)
    sent = server.posts
    async with client_of(server) as client:
        assert (await run(client, many(1), out)).plan.unknown == (ITEM,)
    assert server.posts == sent


@pytest.mark.parametrize("n", [1, 20])
async def test_a_verdict_while_lost_attempts_wait(server: LocalImagesServer, out: Path, n: int) -> None:
    """Identical failures end the batch, also for items whose next attempt is due."""
    server.always("close_after_body")
    async with client_of(server, retry=ATTEMPTS, limits=Limits(concurrency=3)) as client:
        ran = await run(client, items_of(*map(str, range(20)), n=n), out, max_identical_failures=2)
    at_verdict = 3 * 2 * -(-n // 10)  # attempts of the items that ended before
    assert (ran.summary.reason, ran.summary.unknown, len(ran.outcomes)) == (
        "failures",
        len(ran.outcomes),
        ran.summary.unknown,
    )
    assert server.posts <= at_verdict + 2 * 3 * -(-n // 10)
