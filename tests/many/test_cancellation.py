"""Wherever the consumer is cancelled or leaves, the batch stops at once: no task, no connection, nothing more sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from openai_images import ImagesClient, Limits
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG
from tests.helpers.fake_send import Desk, outcomes_of, settle
from tests.helpers.leaks import nothing_left, only, parts, until

PICTURE = PNG + bytes(1_000_000)
PROMPTS = ["a", "b", "c", "d", "e", "f"]


class OwnError(Exception):
    """An exception of the user's code."""


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that never gets round to answering."""
    async with LocalImagesServer(pictures=PICTURE, always="stall") as server:
        yield server


@pytest.fixture
async def client(server: LocalImagesServer) -> AsyncIterator[ImagesClient]:
    """A client of it."""
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        yield client


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task and see it end that way."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def tasks_of_batches() -> list[asyncio.Task[Any]]:
    """The tasks of any outcomes in this loop: those that read and those that work."""
    return [task for task in asyncio.all_tasks() if "Runner." in getattr(task.get_coro(), "__qualname__", "")]


@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("ordered", [True, False])
async def test_the_consumer_is_cancelled_while_it_waits(ordered: bool, entered: bool) -> None:
    """In `async with` and in a plain `async for`: all work is cancelled when the consumer has ended, none goes on."""
    desk = Desk()

    async def consume() -> None:
        outcomes = outcomes_of(PROMPTS, desk, 3, ordered=ordered)
        async with outcomes if entered else contextlib.nullcontext():
            async for _ in outcomes:
                pass

    before = asyncio.all_tasks()
    task = asyncio.ensure_future(consume())
    await settle()
    desk.end(0)
    await settle()
    assert desk.open == [1, 2, 3]
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert asyncio.all_tasks() == before
    assert (desk.open, sorted(desk.cancelled)) == ([], [1, 2, 3])
    assert desk.begun == [0, 1, 2, 3]


@pytest.mark.parametrize("how", ["cancel", "break", "raise", "return"])
async def test_the_consumer_leaves_in_its_body(how: str) -> None:
    """Cancelled between two outcomes, `break`, an exception and `return`: the block leaves no task."""
    desk = Desk()

    async def consume() -> None:
        async with outcomes_of(PROMPTS, desk, 3) as outcomes:
            async for _ in outcomes:
                match how:
                    case "cancel":
                        await asyncio.Event().wait()
                    case "break":
                        break
                    case "raise":
                        raise OwnError
                    case _:
                        return

    before = asyncio.all_tasks()
    task = asyncio.ensure_future(consume())
    await settle()
    desk.end(0)
    await settle()
    task.cancel() if how == "cancel" else None
    await asyncio.wait([task])
    assert asyncio.all_tasks() == before
    assert desk.open == []
    assert task.cancelled() == (how == "cancel")
    if how == "raise":
        assert type(task.exception()) is OwnError


async def test_cancelled_twice() -> None:
    """Somebody impatient cancels again while it is closing: work that takes its time to end still ends."""
    slow, ended = asyncio.Event(), []

    async def work(item: Any, _: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            await slow.wait()
            ended.append(item.index)

    async def consume() -> None:
        async with outcomes_of(PROMPTS, work, 2) as outcomes:
            async for _ in outcomes:
                pass

    async with nothing_left():
        task = asyncio.ensure_future(consume())
        await settle()
        task.cancel()
        await settle()
        assert not task.done()
        await cancel(task)
        slow.set()
    assert sorted(ended) == [0, 1]


async def test_the_source_is_cancelled_too() -> None:
    """A source that waits is ended, and its clean-up has run when the consumer has ended."""
    log = []

    async def prompts() -> AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            log.append("closed")

    async def consume() -> None:
        async for _ in outcomes_of(prompts(), Desk(), 2):
            pass

    async with nothing_left():
        task = asyncio.ensure_future(consume())
        await settle()
        await cancel(task)
        assert log == ["closed"]


async def test_a_source_that_raises_while_work_is_open() -> None:
    """Cancelled behind it, the open work goes as well."""
    desk = Desk()

    def prompts() -> Iterator[str]:
        yield "a"
        raise OwnError

    async def consume() -> None:
        async for _ in outcomes_of(prompts(), desk, 2):
            pass

    async with nothing_left():
        task = asyncio.ensure_future(consume())
        await settle()
        await cancel(task)
    assert desk.cancelled == [0]


async def test_closed_from_within_the_work() -> None:
    """Work that closes the outcomes it belongs to is itself cancelled, and waits for nobody."""
    seen = []

    async def work(item: Any, _: Any) -> Any:
        try:
            await outcomes.aclose()
        finally:
            seen.append(item.index)

    async with nothing_left():
        outcomes = outcomes_of(PROMPTS, work, 2)
        with pytest.raises(RuntimeError, match="closed before their end"):
            await anext(outcomes)
    assert sorted(seen) == [0, 1]


@pytest.mark.parametrize("place", ["work", "source"])
async def test_an_exit_from_within(place: str) -> None:
    """A SystemExit ends the loop as it would from anywhere, and the rest is cancelled."""
    desk = Desk()

    async def work(item: Any, observer: Any) -> Any:
        if item.index == 2:
            raise SystemExit(7)
        return await desk(item, observer)

    async def prompts() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        await settle()
        if place == "source":
            raise SystemExit(7)
        yield "c"

    async def consume() -> None:
        async with outcomes_of(prompts(), work, 3) as outcomes:
            async for _ in outcomes:
                pass

    def run() -> object:
        try:
            asyncio.run(consume())
        except SystemExit as error:
            return error.code
        return None

    assert await asyncio.to_thread(run) == 7
    assert sorted(desk.cancelled) == [0, 1]


async def test_a_loop_that_ends() -> None:
    """`asyncio.run` that ends in the middle of it leaves nothing to complain about."""
    desk = Desk()

    async def leave() -> None:
        outcomes = outcomes_of(PROMPTS, desk, 3)
        task = asyncio.create_task(anext(outcomes))  # type: ignore[arg-type]
        await settle()
        assert not task.done()

    await asyncio.to_thread(asyncio.run, leave())
    assert sorted(desk.cancelled) == [0, 1, 2]


@pytest.mark.parametrize("into", [True, False])
@pytest.mark.parametrize("fault", ["stall", "stall_after_headers", "stall_mid_event"])
async def test_connections_close(
    fault: str, into: bool, server: LocalImagesServer, client: ImagesClient, tmp_path: Path
) -> None:
    """Cancelled before the answers, behind their headers and in mid-picture: the server sees all clients leave."""
    server.always(fault)

    async def consume() -> None:
        folder = tmp_path / "out" if into else None
        async for _ in client.generate_many(PROMPTS, concurrency=4, into=folder):
            pass

    async with nothing_left():
        task = asyncio.create_task(consume())
        await until(lambda: len(server.requests) == 4)
        if into and fault == "stall_mid_event":
            await until(lambda: len(parts(tmp_path)) == 4)
        await cancel(task)
        assert tasks_of_batches() == []
        await server.wait_disconnected(4)
        await until(lambda: server.open_connections == 0)
        assert server.posts == 4
        await client.aclose()
    await only(tmp_path, [])


async def test_cancelled_while_waiting_for_the_limiter(server: LocalImagesServer, tmp_path: Path) -> None:
    """What waits for a slot goes too; the slots are free again."""
    async with (
        nothing_left(),
        ImagesClient(
            base_url=server.base_url, api_key=server.api_key, limits=Limits(concurrency=2)
        ) as client,
    ):

        async def consume() -> None:
            async with client.generate_many(PROMPTS, concurrency=5, into=tmp_path) as outcomes:
                async for _ in outcomes:
                    pass

        task = asyncio.create_task(consume())
        await until(lambda: len(server.requests) == 2)
        await cancel(task)
        assert server.posts == 2
        server.always(None)
        async with asyncio.timeout(60):
            await asyncio.gather(*(client.generate("another") for _ in range(3)))


async def test_break_with_a_real_server(server: LocalImagesServer, client: ImagesClient) -> None:
    """The rest is cancelled and nothing more is sent."""
    server.script("ok")
    async with nothing_left():
        async with client.generate_many(PROMPTS, concurrency=3) as outcomes:
            async for _ in outcomes:
                break
        await until(lambda: server.open_connections <= 1)
        assert server.posts == 3
        await client.aclose()


@pytest.mark.parametrize("entered", [True, False])
async def test_in_a_handler_whose_client_leaves(
    entered: bool, server: LocalImagesServer, client: ImagesClient
) -> None:
    """A web application's request is dropped by the browser: its batch stops and leaves no task."""
    server.script("ok")

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        outcomes = client.generate_many((f"prompt {number}" for number in range(1000)), concurrency=4)
        async with outcomes if entered else contextlib.nullcontext():
            async for outcome in outcomes:
                await response.write(f"{outcome.index}\n".encode())
        return response

    app = web.Application()
    app.router.add_get("/", handler)
    runner = web.AppRunner(app, handler_cancellation=True)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = "http://{}:{}/".format(*runner.addresses[0])
    async with nothing_left():
        async with aiohttp.ClientSession() as browser, browser.get(url) as page:
            assert await page.content.readline() == b"0\n"
            await until(lambda: server.posts == 5)
            assert len(tasks_of_batches()) == 5
            page.close()
            await server.wait_disconnected(4)
        await until(lambda: tasks_of_batches() == [])
        assert server.posts == 5
        await client.aclose()
    await runner.cleanup()
