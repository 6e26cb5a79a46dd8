"""The server goes away for a while: the batch waits for it instead of failing its items one by one."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openai_images import (
    APIConnectionError,
    Batch,
    BatchOptions,
    Failed,
    ImagesClient,
    InternalServerError,
    Progress,
    RetryPolicy,
    Timing,
)
from openai_images.batch.run.caller import CircuitBreaker
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import many, posts, rows, run, states
from tests.helpers.clients import JSON_ANSWER, KEY, FakeTime
from tests.helpers.raw_server import RawServer, free_port, reply


class Away(FakeTime):
    """A clock that tells who waits, and calls what happens once so many seconds have passed."""

    def __init__(self) -> None:
        super().__init__()
        self.at: float = float("inf")
        self.then: Callable[[], Awaitable[object]] | None = None

    async def sleep(self, seconds: float) -> None:
        """Skip the time, and let happen what is due."""
        await super().sleep(seconds)
        if self.skipped >= self.at and self.then is not None:
            then, self.then = self.then, None
            await then()


def client_at(port: int, time: FakeTime, **options: object) -> ImagesClient:
    """A client of whoever listens there."""
    return ImagesClient(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY, timing=time.timing, **options)  # type: ignore[arg-type]


async def test_away_for_a_minute(out: Path) -> None:
    """Nothing fails: one item knocks after growing pauses, and when the server is back all of them are done."""
    time, port = Away(), free_port()
    answer = [reply(JSON_ANSWER, "Connection: close"), "close"]
    first, second = RawServer(answer, port=port), RawServer(answer, port=port)
    async with (
        client_at(port, time) as client,
        Batch(client, many(12), out, options=BatchOptions(concurrency=4)) as batch,
    ):
        done = 0
        await first.__aenter__()
        async for _ in batch:
            done += 1
            if done == 3:
                await first.__aexit__(None, None, None)
                time.at, time.then = time.skipped + 60, second.__aenter__
        await second.__aexit__(None, None, None)
    summary = batch.summary
    assert (summary.done, summary.failed, summary.not_started) == (12 - summary.unknown, 0, 0)
    assert summary.unknown <= 4  # those in flight when it went
    pauses = [seconds for seconds in time.slept if seconds >= 1]
    assert len(pauses) < 40
    assert {1.0, 2.0, 4.0, 8.0, 16.0, 32.0} <= set(pauses)
    refused = [row for row in rows(out) if row["state"] == "refused"]
    assert refused
    assert all(row["error"] == "APIConnectionError" for row in refused)


async def test_away_for_too_long(out: Path) -> None:
    """After its patience the batch stops; its items did not run and can be sent another day."""
    time, port = Away(), free_port()
    answer = [reply(JSON_ANSWER, "Connection: close"), "close"]
    options = BatchOptions(concurrency=2, max_outage=300)
    async with (
        RawServer(answer, port=port) as server,
        client_at(port, time) as client,
        Batch(client, many(8), out, options=options) as batch,
    ):
        await anext(batch)
        server._server.close()
        await server._server.wait_closed()
        with pytest.raises(APIConnectionError) as caught:
            async for _ in batch:
                pass
    assert str(caught.value).startswith(
        "the batch stopped because the server stayed unreachable: no connection could be made"
    )
    assert str(caught.value).endswith("run it again to continue")
    summary = batch.summary
    assert (summary.reason, summary.failed, summary.not_started) == (
        "server",
        0,
        8 - summary.done - summary.unknown,
    )
    assert 300 <= sum(time.slept) <= 300 + 60 + 3 * 8
    assert [row for row in rows(out) if row["state"] == "failed"] == []


async def test_gone_after_a_lost_response(out: Path) -> None:
    """An item whose first attempt may have been billed has an outcome when the server stays away."""
    time, port = Away(), free_port()
    options = BatchOptions(concurrency=1, max_outage=0)
    retry = RetryPolicy(retry_unknown=True)
    async with RawServer(["close"], port=port) as server, client_at(port, time, retry=retry) as client:
        time.at = 0

        async def leave() -> None:
            server._server.close()
            await server._server.wait_closed()

        time.then = leave
        async with Batch(client, many(3), out, options=options) as batch:
            outcome = await anext(batch)
            with pytest.raises(APIConnectionError, match="the server stayed unreachable"):
                await anext(batch)
    assert isinstance(outcome, Failed)
    assert isinstance(outcome.error, APIConnectionError)
    assert outcome.error.maybe_billed
    assert (batch.summary.unknown, batch.summary.not_started, server.posts) == (1, 2, 1)


async def test_never_there(out: Path) -> None:
    """A server that never answered is not waited for so long: its address is probably wrong."""
    time = Away()
    async with client_at(free_port(), time) as client:
        ran = await run(client, many(8), out, concurrency=4)
    assert isinstance(ran.error, APIConnectionError)
    assert (ran.outcomes, ran.summary.not_started, ran.summary.reason) == ([], 8, "server")
    assert 30 <= sum(time.slept) <= 100


async def test_stop_while_it_is_remote(out: Path) -> None:
    """Whoever waits for the server was not sent: a stop ends the wait at once."""
    time = Away()
    async with client_at(free_port(), time) as client, Batch(client, many(8), out) as batch:

        async def stop() -> None:
            batch.stop()

        time.at, time.then = 5, stop
        assert [outcome async for outcome in batch] == []
    assert (batch.summary.reason, batch.summary.not_started, batch.summary.unknown) == ("stopped", 8, 0)


async def test_leaving_while_it_is_remote(out: Path) -> None:
    """Whoever waits for the server was not sent: leaving makes nothing unknown."""
    time = Away()
    options = BatchOptions(concurrency=1)
    async with client_at(free_port(), time) as client, Batch(client, many(8), out, options=options) as batch:
        iterating = asyncio.ensure_future(anext(batch))

        async def leave() -> None:
            iterating.cancel()
            await asyncio.Event().wait()

        time.at, time.then = 5, leave
        with pytest.raises(asyncio.CancelledError):
            await iterating
    assert (batch.summary.not_started, batch.summary.unknown) == (8, 0)


async def test_later_said_to_all(server: LocalImagesServer, out: Path) -> None:
    """A server that says 503 and Retry-After is waited for as one that is away."""
    server.script(*["overloaded_503_retry_after:1"] * 20)
    time = Away()
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key, timing=time.timing) as client:
        ran = await run(client, many(6), out, concurrency=3)
    assert (ran.summary.done, ran.failed) == (6, {})
    assert states(out, "00001").count("refused") > 2


async def test_later_said_to_one(server: LocalImagesServer, out: Path) -> None:
    """A server that says "later" to one item again and again means the item: it fails, and was not run."""
    time = Away()
    server.always("should_retry_true:500")
    policy = RetryPolicy(max_retries=0)
    async with ImagesClient(
        base_url=server.base_url, api_key=server.api_key, timing=time.timing, retry=policy
    ) as client:
        ran = await run(client, many(1), out, max_outage=10_000)
    assert set(ran.failed) == {"00001"}
    assert (ran.summary.not_started, posts(server).total()) == (1, 8)


# The gate alone.


async def passed(gate: CircuitBreaker) -> bool:
    """Whether the next one has to knock."""
    return await gate.acquire(lambda: None)


async def test_the_reason_of_an_outage(
    server: LocalImagesServer, out: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It has the server's words and the end, in the log and in the progress; then it is over."""
    server.script(*["overloaded_503_retry_after:1"] * 8)
    time, seen = FakeTime(), list[Progress]()
    options = BatchOptions(concurrency=2, max_outage=300)
    async with (
        ImagesClient(base_url=server.base_url, api_key=server.api_key, timing=time.timing) as client,
        Batch(client, many(2), out, options=options, progress=seen.append) as batch,
    ):
        async for _ in batch:
            pass
    words = "status 503: The server is currently overloaded. Please try again later."
    [message] = [message for message in caplog.messages if words in message]
    assert message.startswith(
        f"no request is executed ({words}); nothing is lost, and one is sent again, until "
    )
    assert message.endswith(", 300 s from now")
    assert any(words in str(progress.wait_reason) for progress in seen)
    assert (seen[-1].done, seen[-1].wait_reason) == (2, None)


async def test_a_knocker_who_leaves() -> None:
    """When the one who knocks is cancelled another one does."""
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        if not asleep.is_set():
            asleep.set()
            await asyncio.Event().wait()

    gate = CircuitBreaker(600, Timing(monotonic=lambda: 0.0, sleep=sleep))
    gate.record_failure(InternalServerError("busy", status_code=503), is_probe=False)
    first = asyncio.ensure_future(passed(gate))
    await asleep.wait()
    second = asyncio.ensure_future(passed(gate))
    await asyncio.sleep(0)
    first.cancel()
    assert await second


async def test_the_gate() -> None:
    """Open, closed by a failure, one knocks at a time, opened by an answer."""
    time = FakeTime()
    gate = CircuitBreaker(600, Timing(monotonic=lambda: 0.0, sleep=time.sleep))
    assert not await passed(gate)
    assert gate.record_failure(APIConnectionError("gone"), is_probe=False)
    assert await passed(gate)
    waiting = asyncio.ensure_future(passed(gate))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not waiting.done()  # somebody else knocks
    gate.release_probe()
    assert await waiting
    assert gate.record_failure(APIConnectionError("gone"), is_probe=True)
    assert await passed(gate)
    gate.record_success()
    assert not await passed(gate)
    assert time.slept == [1.0, 1.0, 2.0]


async def test_the_last_pause_ends_with_the_outage() -> None:
    """No wait is longer than what is said."""
    time = FakeTime()
    gate = CircuitBreaker(5, time.timing)
    error = InternalServerError("busy", status_code=503)
    waits = gate.record_failure(error, is_probe=False)
    while waits:
        assert await passed(gate)
        waits = gate.record_failure(error, is_probe=True)
    assert time.slept == [1.0, 2.0, 2.0]
