"""A call that is cancelled from outside says on that very exception whether it may have been billed."""

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import ImagesClient, Limits, RetryPolicy, Timing
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, client_of
from tests.helpers.edit_images import encoded, house
from tests.helpers.leaks import until
from tests.helpers.raw_server import STALL, RawServer, reply
from tests.helpers.tiny_images import png

PROMPT = "SENTINEL prompt"
SOURCE = encoded(house((64, 64)))
NOTE = "when its request was already sent: it may have been billed"

Verb = Callable[[ImagesClient], Awaitable[object]]


async def generate(client: ImagesClient) -> object:
    """An awaited image."""
    return await client.generate(PROMPT)


async def generate_several(client: ImagesClient) -> object:
    """Two requests at once."""
    return await client.generate(PROMPT, n=11)


async def stream(client: ImagesClient) -> object:
    """A stream that is iterated."""
    async with client.stream(PROMPT, partial_images=1) as events:
        return [event async for event in events]


async def edit(client: ImagesClient) -> object:
    """An edited image, whose upload has ended."""
    return await client.edit(PROMPT, image=SOURCE)


EACH = pytest.mark.parametrize("verb", [generate, generate_several, stream, edit])


async def by_timeout(call: Awaitable[object], reached: Callable[[], bool]) -> BaseException | None:
    """The cause of the TimeoutError of `asyncio.timeout`, which runs out when the call is that far."""
    with pytest.raises(TimeoutError) as caught:  # noqa: PT012  the block is what is tested
        async with asyncio.timeout(None) as limit:
            loop = asyncio.get_running_loop()
            asyncio.ensure_future(until(reached)).add_done_callback(lambda _: limit.reschedule(loop.time()))
            await call
    return caught.value.__cause__


async def by_wait_for(call: Awaitable[object], reached: Callable[[], bool]) -> BaseException | None:
    """The cause of the TimeoutError of `asyncio.wait_for`."""
    with pytest.raises(TimeoutError) as caught:
        await asyncio.wait_for(call, 1.0)
    assert reached()
    return caught.value.__cause__


async def by_cancel(call: Awaitable[object], reached: Callable[[], bool]) -> BaseException | None:
    """What a cancelled task raises."""
    task = asyncio.ensure_future(call)
    await until(reached)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return caught.value


WAYS = pytest.mark.parametrize("way", [by_timeout, by_wait_for, by_cancel])


def billed(error: Any) -> bool:
    """What the exception says, which is of no other class; its note is there where it says so, without the prompt."""
    assert type(error) is asyncio.CancelledError
    shown = "".join(traceback.format_exception(error))
    assert (NOTE in shown) is error.maybe_billed
    assert "SENTINEL" not in "".join(error.__notes__ if error.maybe_billed else [])
    assert error.elapsed >= 0
    maybe_billed: bool = error.maybe_billed
    return maybe_billed


@EACH
@WAYS
async def test_after_the_request_was_sent(verb: Verb, way: Any, server: LocalImagesServer) -> None:
    """It may have been billed, and the traceback says so."""
    server.always("stall")
    count = 2 if verb is generate_several else 1
    async with client_of(server, model="gpt-image-2") as client:
        error = await way(verb(client), lambda: len(server.requests) == count)
    assert billed(error)
    assert error.attempts == count


@EACH
@pytest.mark.parametrize("way", [by_timeout, by_cancel])
async def test_while_it_waits_for_its_turn(verb: Verb, way: Any, server: LocalImagesServer) -> None:
    """Nothing was sent, and the exception says that, too."""
    server.always("stall")
    async with client_of(server, model="gpt-image-2", limits=Limits(concurrency=1)) as client:
        holder = asyncio.create_task(generate(client))
        await until(lambda: server.posts == 1)
        waiters = client._context.limiter.queue().waiters
        error = await way(verb(client), lambda: len(waiters) >= 1)
        assert not billed(error)
        assert error.attempts == 0
        server.release()
        await holder


async def test_in_the_middle_of_a_stream(server: LocalImagesServer) -> None:
    """A partial image had come; the request's id is known, and stays on the exception."""
    server.script("stall_between_events")
    async with client_of(server, model="gpt-image-2") as client:
        events = client.stream(PROMPT, partial_images=2)
        await anext(events)
        error: Any = await by_wait_for(anext(events), lambda: True)
        assert billed(error)
        assert error.request_id == events.request_id is not None


@pytest.mark.parametrize(("refused", "expected"), [(True, False), (False, True)])
async def test_between_two_attempts(refused: bool, expected: bool) -> None:
    """What an earlier attempt may have cost counts; a request that was refused cost nothing."""
    asleep = asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    answer = reply(b"{}", *(["x-should-retry: true"] if refused else []), status=503)
    async with (
        RawServer([answer], [STALL]) as raw,
        client_of(raw, timing=Timing(sleep=sleep), retry=RetryPolicy(retry_unknown=True)) as client,
    ):
        error: Any = await by_cancel(generate(client), asleep.is_set)
    assert billed(error) is expected
    assert error.attempts == 1


async def test_while_its_images_are_uploaded() -> None:
    """A request that the server does not have whole cannot have run."""
    begun, gone = asyncio.Event(), asyncio.Event()

    async def read_little(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await gone.wait()
        writer.transport.abort()

    async with await asyncio.start_server(read_little, "127.0.0.1", 0) as served:
        port = served.sockets[0].getsockname()[1]
        async with ImagesClient(base_url=f"http://127.0.0.1:{port}/v1", api_key="k") as client:
            call = client.edit(PROMPT, image=png(bytes(16_000_000)), model="gpt-image-2")
            error: Any = await by_cancel(call, begun.is_set)
        gone.set()
    assert not billed(error)
    assert error.attempts == 1


async def test_while_it_is_downloaded(tmp_path: Path) -> None:
    """The image is paid for, and not here yet."""
    async with (
        LocalImagesServer(pictures=PNG, picture_links="absolute") as server,
        client_of(server, model="gpt-image-2") as client,
    ):
        server.script("download_stall")
        call = client.generate(PROMPT, into=tmp_path / "otter")
        error: Any = await by_cancel(call, lambda: len(server.downloads) == 1)
    assert billed(error)


async def test_in_the_block_of_a_stream(server: LocalImagesServer) -> None:
    """The caller's own code is cancelled while a stream is in flight; after its end there is nothing to say."""
    server.script("stall_between_events")
    inside = asyncio.Event()

    async def relay(client: ImagesClient, count: int) -> None:
        async with client.stream(PROMPT, partial_images=1) as events:
            for _ in range(count):
                await anext(events, None)
            inside.set()
            await asyncio.Event().wait()

    async with client_of(server, model="gpt-image-2") as client:
        assert billed(await by_cancel(relay(client, 1), inside.is_set))
        inside.clear()
        error = await by_cancel(relay(client, 3), inside.is_set)
        assert not hasattr(error, "maybe_billed")


@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("limited", [True, False])
async def test_many(entered: bool, limited: bool, server: LocalImagesServer) -> None:
    """A run says it of the requests that were in flight."""
    server.always("stall")

    async def run(client: ImagesClient) -> None:
        outcomes = client.generate_many([PROMPT] * 3, concurrency=3)
        if not entered:
            await anext(outcomes)
        async with outcomes:
            await anext(outcomes)

    async with client_of(server, model="gpt-image-2", limits=Limits(concurrency=1)) as client:
        holder = asyncio.create_task(generate(client)) if limited else None
        await until(lambda: server.posts == limited)
        waiting = 3 if limited else 2
        error: Any = await by_cancel(run(client), lambda: _waiting(client) == waiting and server.posts == 1)
        assert error.maybe_billed is not limited
        assert (
            "requests in flight when the run was cancelled: 1" in str(getattr(error, "__notes__", []))
        ) is not limited
        server.release()
        if holder is not None:
            await holder


def _waiting(client: ImagesClient) -> int:
    return len(client._context.limiter.queue().waiters)


async def test_requests_sent_while_they_are_cancelled(
    server: LocalImagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of several that is sent after the cancellation, but before its task ends, counts."""

    async def is_open(_: object) -> bool:
        call.cancel()
        await asyncio.sleep(0)
        return True

    monkeypatch.setattr("openai_images.http.request_body.is_open", is_open)
    async with client_of(server, model="gpt-image-2") as client:
        call = asyncio.ensure_future(generate_several(client))
        with pytest.raises(asyncio.CancelledError) as caught:
            await call
    assert billed(caught.value)


async def test_one_call_inside_another(server: LocalImagesServer) -> None:
    """A call that waits for its turn does not take back what the stream around it says."""
    server.always("stall_between_events")

    async def both(client: ImagesClient) -> None:
        async with client.stream(PROMPT, partial_images=1) as events:
            await anext(events)
            await client.generate(PROMPT)

    async with client_of(server, model="gpt-image-2", limits=Limits(concurrency=1)) as client:
        assert billed(await by_cancel(both(client), lambda: _waiting(client) == 1))
