"""`stream(n=4)`: four single streams as one, with the promises that one stream gives."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from aiohttp import web

from openai_images import (
    APIStatusError,
    CompletedImage,
    ImagesClient,
    ImageStream,
    InternalServerError,
    Limits,
    ModerationBlockedError,
    PartialImage,
    PartialResultError,
    StreamInterruptedError,
    UnknownEvent,
)
from openai_images.client.split import SplitCall
from tests.helpers.clients import before_each_request, event
from tests.helpers.leaks import nothing_left, until
from tests.helpers.split_servers import (
    Asked,
    Gate,
    Painter,
    b64,
    begin,
    client_of,
    last_event,
    painting,
    part_event,
    picture,
    refusal,
    streamed,
    whole,
)

PROMPT = "an otter on a raft"


@pytest.fixture
async def painter() -> AsyncIterator[Painter]:
    """A server that paints what was asked for."""
    async with painting(streamed) as painter:
        yield painter


async def stalled(request: web.Request, asked: Asked) -> web.StreamResponse:
    """One partial image, and then nothing."""
    response = await begin(request, asked.number)
    await response.write(part_event(asked.number, 0))
    await asyncio.Event().wait()
    raise AssertionError


async def test_events_and_result(painter: Painter) -> None:
    """Each image has its own `image_index`, its partials in order before it; the result is that of `generate`."""
    async with client_of(painter) as client:
        stream = client.stream(PROMPT, n=4, partial_images=2, model="gpt-image-2")
        assert isinstance(stream, ImageStream)
        assert (repr(stream), stream.request_id) == ("<ImageStream not sent, 0 partial, 0 completed>", None)
        await asyncio.sleep(0)
        assert painter.asked == []
        async with stream:
            events = [one async for one in stream]
    body = {"prompt": PROMPT, "n": 1, "partial_images": 2, "stream": True, "model": "gpt-image-2"}
    assert painter.asked == [body] * 4
    for index in range(4):
        of_one = [one for one in events if not isinstance(one, UnknownEvent) and one.image_index == index]
        assert [type(one) for one in of_one] == [PartialImage, PartialImage, CompletedImage]
        assert [getattr(one, "partial_image_index", None) for one in of_one] == [0, 1, None]
        assert of_one[-1].image is stream.result.images[index]
    result = stream.result
    assert sorted(image.data for image in result.images) == [picture(mark) for mark in range(4)]
    assert result.usage is not None
    assert (result.usage.total_tokens, result.attempts, result.model) == (440, 4, "gpt-image-2")
    assert result.request_id == stream.request_id == result.parts[0].request_id
    assert len(result.parts) == 4
    assert repr(stream) == "<ImageStream ended, 0 partial, 4 completed>"


@pytest.mark.parametrize("concurrency", [1, 2, 3])
async def test_fewer_slots_than_streams(painter: Painter, concurrency: int) -> None:
    """Streams wait for their turn, and a consumer of what is there lets them have it."""
    async with client_of(painter, limits=Limits(concurrency=concurrency)) as client:
        async with asyncio.timeout(60), client.stream(PROMPT, n=7, partial_images=1) as stream:
            events = [one async for one in stream]
        assert (len(events), painter.most <= concurrency) == (14, True)
        assert client._context.limiter.queue().free > 0


async def test_servers_that_count_otherwise() -> None:
    """What a server says of `image_index` inside a single stream does not matter, nor that it answers with JSON."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked.number == 0:
            return whole(0, 1)
        response = await begin(request)
        await response.write(part_event(asked.number, 0, image_index=7))
        await response.write(event("mystery", text="?"))
        await response.write(last_event(asked.number, image_index=7))
        return response

    limits = Limits(concurrency=1)
    async with (
        painting(answer) as painter,
        client_of(painter, limits=limits) as client,
        client.stream(PROMPT, n=3) as stream,
    ):
        events = [one async for one in stream]
    known = [one for one in events if not isinstance(one, UnknownEvent)]
    assert [(type(one), one.image_index) for one in known] == [
        (CompletedImage, 0),
        (PartialImage, 1),
        (CompletedImage, 1),
        (PartialImage, 2),
        (CompletedImage, 2),
    ]
    assert len(events) == 7
    assert [image.data for image in stream.result.images] == [picture(0, 0), picture(1), picture(2)]


async def test_without_the_events(painter: Painter) -> None:
    """`finish()` gives the result alone, and so does iterating without `async with`."""
    async with client_of(painter) as client:
        assert len((await client.stream(PROMPT, n=4, partial_images=2).finish()).images) == 4
        stream = client.stream(PROMPT, n=4, partial_images=2)
        assert len([one async for one in stream]) == 12
        assert len(stream.result.images) == 4


async def test_the_result_is_there_with_the_last_picture(painter: Painter) -> None:
    """At the last completed event, and after a `break` there; at the others there is none."""
    async with client_of(painter, limits=Limits(concurrency=1)) as client:
        async with client.stream(PROMPT, n=3) as stream:
            seen = 0
            async for one in stream:
                seen += isinstance(one, CompletedImage)
                if seen == 3:
                    break
                with pytest.raises(RuntimeError, match="no result yet"):
                    _ = stream.result
        assert len(stream.result.images) == 3


# One fails


async def test_one_is_refused() -> None:
    """Entering goes well, the others' events come, and the error comes behind them."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        return refusal(400, "moderation_blocked") if asked.number == 0 else await streamed(request, asked)

    events = []
    async with (
        painting(answer) as painter,
        client_of(painter, limits=Limits(concurrency=1)) as client,
        client.stream(PROMPT, n=4, partial_images=1) as stream,
    ):
        with pytest.raises(PartialResultError) as caught:  # noqa: PT012  the loop is what is tested
            async for one in stream:
                events.append(one)  # noqa: PERF401  those before an error are kept
        with pytest.raises(RuntimeError, match="no result yet"):
            _ = stream.result
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
    assert [one.image_index for one in events if isinstance(one, CompletedImage)] == [1, 2, 3]
    error = caught.value
    assert [image.data for image in error.result.images] == [picture(1), picture(2), picture(3)]
    assert [type(one) for one in error.errors] == [ModerationBlockedError]
    assert str(error).startswith("1 of 4 images is missing; the 3 received are in")
    assert not error.maybe_billed


async def test_one_is_cut_after_a_partial_image() -> None:
    """Its partial images are told with their place among all."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked.number != 2:
            return await streamed(request, asked)
        response = await begin(request)
        await response.write(part_event(2, 0))
        return response

    async with painting(answer) as painter, client_of(painter, limits=Limits(concurrency=1)) as client:
        with pytest.raises(PartialResultError) as caught:
            await client.stream(PROMPT, n=4, partial_images=1).finish()
    error = caught.value
    (cut,) = error.errors
    assert isinstance(cut, StreamInterruptedError)
    assert [one.image_index for one in cut.partials] == [2]
    assert (error.partials, error.maybe_billed, len(error.images)) == (cut.partials, True, 3)


async def test_all_are_refused_where_it_is_entered() -> None:
    """The gravest of the errors is raised there, as of one stream."""
    statuses = [400, 500, 400]

    async def answer(_: web.Request, asked: Asked) -> web.StreamResponse:
        return refusal(statuses[asked.number % 3])

    async with (
        painting(answer) as painter,
        nothing_left(),
        client_of(painter, limits=Limits(concurrency=1)) as client,
    ):
        with pytest.raises(InternalServerError) as caught:
            async with client.stream(PROMPT, n=3):
                raise AssertionError
        assert caught.value.__notes__[0].startswith("all 3 requests for the 3 images failed")
        stream = client.stream(PROMPT, n=3)
        with pytest.raises(APIStatusError):
            await anext(stream)
        with pytest.raises(RuntimeError, match="closed before its end"):
            await anext(stream)
        with pytest.raises(APIStatusError):
            await client.stream(PROMPT, n=3).finish()
    assert len(painter.asked) == 9


# It is left


@pytest.mark.parametrize("how", ["break", "aclose", "raise", "timeout"])
async def test_leaving_it_closes_all_connections(how: str) -> None:
    """At once, whichever way, and no task stays."""
    async with painting(stalled) as painter, client_of(painter) as client, nothing_left():
        tasks = asyncio.all_tasks()
        with contextlib.suppress(LookupError, TimeoutError):
            async with (
                asyncio.timeout(None) as limit,
                client.stream(PROMPT, n=4, partial_images=1) as stream,
            ):
                seen = 0
                async for _ in stream:
                    seen += 1
                    if seen == 4 and how == "break":
                        break
                    if seen == 4 and how == "aclose":
                        await stream.aclose()
                        await stream.aclose()
                        break
                    if seen == 4 and how == "raise":
                        raise LookupError
                    if seen == 4 and how == "timeout":
                        limit.reschedule(asyncio.get_running_loop().time() + 0.1)
        ours = {one for one in asyncio.all_tasks() - tasks if "openai_images" in one.get_name()}
        assert ours == set()
        await until(lambda: painter.busy == 0)
        assert client._context.limiter.queue().free > 0
        with pytest.raises(RuntimeError, match="over"):
            async with stream:
                pass
        await client.aclose()
    assert len(painter.asked) == 4


async def test_one_that_is_dropped_is_aborted() -> None:
    """A plain `async for` left by `break` warns, and the server sees all connections close."""
    async with painting(stalled) as painter, client_of(painter) as client, nothing_left():
        with pytest.warns(ResourceWarning, match="unclosed <ImageStream open"):  # noqa: PT031  likewise
            async for _ in client.stream(PROMPT, n=4, partial_images=1):
                break
            gc.collect()
        await until(lambda: painter.busy == 0)
        await client.aclose()


async def test_nothing_is_sent_by_one_that_is_never_used(painter: Painter) -> None:
    """Made and dropped, or made and closed: no request and no warning."""
    async with client_of(painter) as client:
        client.stream(PROMPT, n=4)
        stream = client.stream(PROMPT, n=4)
        await stream.aclose()
        with pytest.raises(RuntimeError, match="closed before its end"):
            await anext(stream)
    assert painter.asked == []


async def test_two_tasks_and_two_iterations() -> None:
    """A second task is refused, and so is a second iteration; the first goes on."""
    gate = Gate(2)

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        response = await begin(request)
        await response.write(part_event(asked.number, 0))
        await gate()
        await response.write(last_event(asked.number))
        return response

    async with (
        painting(answer) as painter,
        client_of(painter) as client,
        client.stream(PROMPT, n=2, partial_images=1) as stream,
    ):
        aiter(stream)
        with pytest.raises(RuntimeError, match="iterated once"):
            aiter(stream)
        await anext(stream)
        await anext(stream)
        first = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(stream)
        gate.go_on.set()
        assert isinstance(await first, CompletedImage)
        assert isinstance(await anext(stream), CompletedImage)


async def test_aclose_while_another_task_waits() -> None:
    """That task is told, and all connections are closed."""
    async with (
        painting(stalled) as painter,
        client_of(painter) as client,
        client.stream(PROMPT, n=2, partial_images=1) as stream,
    ):
        await anext(stream)
        await anext(stream)
        step = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await stream.aclose()
        with pytest.raises(RuntimeError, match="closed before its end"):
            await step
        await until(lambda: painter.busy == 0)


async def test_a_mistake_in_a_request_ends_all() -> None:
    """It is raised at the next step, and the siblings do not wait for that to be closed."""
    entered = asyncio.Event()

    async def fail(number: int) -> None:
        if number == 2:
            await entered.wait()
            raise LookupError("a mistake")

    async with painting(stalled) as painter, client_of(painter) as client:
        before_each_request(client, fail)
        async with client.stream(PROMPT, n=2, partial_images=1) as stream:
            entered.set()
            await until(lambda: painter.busy == 0 and len(painter.asked) == 1)
            with pytest.raises(LookupError, match="a mistake"):
                await anext(stream)


async def test_a_cancelled_request_is_not_waited_for() -> None:
    """Somebody cancels a task that is not theirs: the consumer is told instead of waiting for ever."""
    async with (
        painting(stalled) as painter,
        client_of(painter) as client,
        client.stream(PROMPT, n=2, partial_images=1) as stream,
    ):
        await anext(stream)
        cast("SplitCall", stream._call)._tasks[1].cancel()
        with pytest.raises(RuntimeError, match="cancelled by other code"):  # noqa: PT012  when it is told does not matter
            async with asyncio.timeout(60):
                while True:
                    await anext(stream)


# A consumer that takes its time


async def test_a_slow_consumer_holds_all_back() -> None:
    """At most about one event of each waits: what is to come stays with the server."""
    sent = [0] * 4
    big = event("partial_image", b64_json=b64(picture() + bytes(1_000_000)), partial_image_index=0)

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        response = await begin(request)
        for _ in range(30):
            await response.write(big)
            sent[asked.number] += len(big)
        await response.write(last_event(asked.number))
        return response

    async with (
        painting(answer) as painter,
        client_of(painter) as client,
        client.stream(PROMPT, n=4, partial_images=1) as stream,
    ):
        await anext(stream)
        before = [-1]
        while before != sent:
            before = list(sent)
            for _ in range(300):
                await asyncio.sleep(0)
        engine = cast("SplitCall", stream._call)
        waiting = len(engine._events)
        assert (waiting, min(sent) > 0) == (4, True)
        assert max(sent) < 15_000_000 < 30 * len(big)  # the rest is in the buffers of the kernel's sockets
        assert len([one async for one in stream]) == 123


async def test_finished_pictures_hold_no_slot(painter: Painter) -> None:
    """A consumer that takes its time over the first image may use the client meanwhile: the others have ended."""
    async with (
        client_of(painter, limits=Limits(concurrency=2)) as client,
        asyncio.timeout(60),
        client.stream(PROMPT, n=2) as stream,
    ):
        async for _ in stream:
            await client.stream(PROMPT).finish()
    assert len(stream.result.images) == 2


async def test_a_server_that_goes_on_behind_the_picture() -> None:
    """What comes after it is not gathered without end."""
    sent = 0

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        nonlocal sent
        response = await begin(request)
        await response.write(last_event(asked.number))
        while True:
            await response.write(event("mystery", text="x" * 100_000))
            sent += 1
            await asyncio.sleep(0)

    async with (
        painting(answer) as painter,
        client_of(painter) as client,
        client.stream(PROMPT, n=2) as stream,
    ):
        assert isinstance(await anext(stream), CompletedImage)
        before = -1
        while before != sent:
            before = sent
            for _ in range(300):
                await asyncio.sleep(0)
        assert len(cast("SplitCall", stream._call)._events) < 10
    await until(lambda: painter.busy == 0)


async def test_pictures_go_when_nobody_holds_them(painter: Painter) -> None:
    """Their memory is free at once, without the garbage collector."""
    async with client_of(painter) as client:
        gc.collect()
        gc.disable()
        try:
            stream = client.stream(PROMPT, n=3, partial_images=1)
            async for _ in stream:
                pass
            del _
            gone = [weakref.ref(image) for image in stream.result.images]
            del stream
            assert [one() for one in gone] == [None] * 3
        finally:
            gc.enable()


async def test_two_loops_one_client(painter: Painter) -> None:
    """A stream whose loop ended in the middle is closed in another one without an error."""
    client = client_of(painter)

    async def leave() -> ImageStream:
        stream = client.stream(PROMPT, n=3, partial_images=1)
        await stream.__aenter__()
        return stream

    def run() -> Any:
        left = asyncio.run(leave())

        async def close() -> list[Any]:
            await left.aclose()
            async with ImagesClient(base_url=painter.base_url, api_key="k") as other:
                return [one async for one in other.stream(PROMPT, n=3)]

        return asyncio.run(close())

    assert len(await asyncio.to_thread(run)) == 3
