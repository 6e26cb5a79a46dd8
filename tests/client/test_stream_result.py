"""`stream.result`, `stream.request_id`, and a consumer that takes its time."""

import asyncio
import gc
import json
import logging
import weakref
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from openai_images import CompletedImage, ImagesClient, PartialImage
from openai_images.client.call import SingleCall
from openai_images.server import LocalImagesServer
from tests.helpers.clients import client_of
from tests.helpers.leaks import until
from tests.helpers.raw_server import LAST_CHUNK, RawServer, chunked
from tests.helpers.tiny_images import png

PNG = png(bytes(50_000))


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server of one fixed image."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


@pytest.fixture
async def client(server: LocalImagesServer) -> AsyncIterator[ImagesClient]:
    """Its client."""
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        yield client


@pytest.mark.parametrize("finish", [True, False])
async def test_the_end_is_shown_however_it_was_reached(
    server: LocalImagesServer, client: ImagesClient, finish: bool
) -> None:
    """A stream that has ended shows its images; partial ones no longer count."""
    async with client.stream("an otter", partial_images=2) as stream:
        if finish:
            await stream.finish()
        else:
            assert len([event async for event in stream]) == 3
        assert repr(stream) == "<ImageStream ended, 0 partial, 1 completed>"


async def test_too_early_raises(server: LocalImagesServer, client: ImagesClient) -> None:
    """Before the completed image has arrived there is no result, and no name of the request before the answer."""
    server.script("stall_between_events")
    stream = client.stream("an otter", partial_images=1)
    assert stream.request_id is None
    assert repr(stream) == "<ImageStream not sent, 0 partial, 0 completed>"
    async with stream:
        assert (stream.request_id or "").startswith("req_")
        with pytest.raises(RuntimeError, match="no result yet"):
            _ = stream.result
        assert isinstance(await anext(stream), PartialImage)
        assert repr(stream) == "<ImageStream open, 1 partial, 0 completed>"
        with pytest.raises(RuntimeError, match="no result yet"):
            _ = stream.result
    with pytest.raises(RuntimeError, match="no result yet"):
        _ = stream.result


async def test_it_is_there_with_the_completed_picture(client: ImagesClient) -> None:
    """Right at the completed event, after a `break` there, and at the end it is the same."""
    async with client.stream("an otter", partial_images=2) as stream:
        async for event in stream:
            if isinstance(event, CompletedImage):
                seen = stream.result
                assert seen.image == event.image
                break
    assert stream.result is seen
    assert (seen.request_id, seen.attempts) == (stream.request_id, 1)
    assert seen.elapsed > 0


async def test_it_equals_what_generate_gives(client: ImagesClient) -> None:
    """The same prompt gives the same result, but for what differs between any two answers."""
    awaited = await client.generate("an otter", size="1024x1024", quality="low")
    async with client.stream("an otter", size="1024x1024", quality="low") as stream:
        async for _ in stream:
            pass
    assert stream.result.images[0].data == awaited.images[0].data == PNG
    for name in ("background", "output_format", "quality", "size"):
        assert getattr(stream.result, name) == getattr(awaited, name), name
    assert stream.result.usage is not None
    assert awaited.usage is not None
    assert stream.result.usage.total_tokens == awaited.usage.total_tokens


async def test_a_json_answer_to_a_stream(server: LocalImagesServer, client: ImagesClient) -> None:
    """Its image is a completed event, and the result is the document's."""
    server.script("json_instead_of_sse")
    async with client.stream("an otter", partial_images=2) as stream:
        events = [event async for event in stream]
    assert [type(event) for event in events] == [CompletedImage]
    assert stream.result.image.data == PNG


@asynccontextmanager
async def raw_server(*pieces: bytes) -> AsyncIterator[tuple[str, asyncio.Event, list[int]]]:
    """A server that sends these bytes as one chunked event stream, then closes without its end."""
    sent, counts = asyncio.Event(), [0]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        for piece in pieces:
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            await writer.drain()
            counts[0] += len(piece)
        writer.close()
        await writer.wait_closed()
        sent.set()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield f"http://{host}:{port}/v1", sent, counts


def event(kind: str, picture: bytes, **fields: Any) -> bytes:
    """An event of the API."""
    doc = {"type": f"image_generation.{kind}", "b64_json": b64encode(picture).decode(), **fields}
    return b"event: image_generation.%s\ndata: %s\n\n" % (kind.encode(), json.dumps(doc).encode())


async def test_what_arrived_before_the_break_is_not_lost() -> None:
    """The connection breaks while the consumer thinks; the completed image that was already here is delivered."""
    pieces = (event("partial_image", PNG, partial_image_index=0), event("completed", PNG))
    async with (
        raw_server(*pieces) as (base_url, sent, _),
        ImagesClient(base_url=base_url, api_key="k") as client,
        client.stream("an otter", partial_images=1) as stream,
    ):
        assert isinstance(await anext(stream), PartialImage)
        await sent.wait()
        exchange = cast("SingleCall", stream._call)._response
        assert exchange is not None
        await until(lambda: exchange._body._content.exception() is not None)
        rest = [event async for event in stream]
        assert [type(event) for event in rest] == [CompletedImage]
    assert stream.result.image.data == PNG


async def test_a_usage_behind_the_last_picture() -> None:
    """Some servers tell it in an event of its own: it is in the result once the stream has ended."""
    picture = event("partial_succeeded", PNG, image_index=0)
    last = b'data: {"type":"image_generation.completed","usage":{"output_tokens":7,"total_tokens":9}}\n\n'
    body = chunked(picture, last), LAST_CHUNK
    async with RawServer(body) as server, client_of(server) as client:
        result = await client.generate("an otter")
        async with client.stream("an otter") as stream:
            assert [type(one).__name__ async for one in stream] == ["CompletedImage", "UnknownEvent"]
    for one in (result, stream.result):
        assert one.usage is not None
        assert (one.usage.output_tokens, one.usage.total_tokens) == (7, 9)


async def test_a_slow_consumer_holds_the_server_back() -> None:
    """While nobody asks for the next event the server's writing blocks: buffers do not grow with what is to come."""
    partial = event("partial_image", PNG * 20, partial_image_index=0)
    pieces = [partial] * 30 + [event("completed", PNG)]
    async with (
        raw_server(*pieces) as (base_url, sent, counts),
        ImagesClient(base_url=base_url, api_key="k") as client,
        client.stream("an otter", partial_images=1) as stream,
    ):
        await anext(stream)
        accepted = -1
        while accepted != counts[0]:
            accepted = counts[0]
            for _ in range(200):
                await asyncio.sleep(0)
        assert (
            accepted < 15_000_000 < sum(map(len, pieces))
        )  # the rest is in the buffers of the kernel's sockets
        exchange = cast("SingleCall", stream._call)._response
        assert exchange is not None
        assert exchange._body._content.total_bytes < 2 * len(partial)
        assert not sent.is_set()
        assert len([event async for event in stream]) == 30
        await sent.wait()
    assert stream.result.image.data == PNG


async def test_nothing_is_logged_above_debug(client: ImagesClient, caplog: pytest.LogCaptureFixture) -> None:
    """A call that goes well says nothing unless asked to debug."""
    caplog.set_level(logging.INFO)
    await client.generate("an otter")
    assert caplog.records == []


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_picture_goes_when_nobody_holds_it(client: ImagesClient, streamed: bool) -> None:
    """Its memory is free at once, without the garbage collector, as soon as the result is dropped."""
    gc.collect()
    gc.disable()
    try:
        if streamed:
            stream = client.stream("an otter", partial_images=1)
            async for _ in stream:
                pass
            del _
            gone = weakref.ref(stream.result.image)
            del stream
        else:
            gone = weakref.ref((await client.generate("an otter")).image)
        assert gone() is None
    finally:
        gc.enable()
