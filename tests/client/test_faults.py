"""What goes wrong after the request was sent: one POST, the right exception, in time, with all that had arrived."""

import asyncio
import time

import pytest

from openai_images import (
    APIConnectionError,
    APITimeoutError,
    ImagesClient,
    ImagesError,
    OutcomeUnknownError,
    PartialImage,
    StreamInterruptedError,
    Timeouts,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import (
    BOTH,
    COMPLETED,
    JSON_ANSWER,
    KEY,
    PNG,
    PROMPT,
    Call,
    client_of,
    generate,
    partial,
    stream,
)
from tests.helpers.leaks import open_sockets, until
from tests.helpers.raw_server import (
    CLOSE,
    LAST_CHUNK,
    RESET,
    STALL,
    Part,
    RawServer,
    Script,
    chunk,
    chunked,
    reply,
)

SHORT = Timeouts(first_byte=0.15, idle=0.15)
HALF = COMPLETED[: len(COMPLETED) // 2]
EVENTS = "text/event-stream"


async def failing(call: Call, client: ImagesClient) -> ImagesError:
    """The error of a call whose outcome nobody knows."""
    started = time.monotonic()
    with pytest.raises(OutcomeUnknownError) as caught:
        await call(client)
    error = caught.value
    assert isinstance(error, APIConnectionError)
    assert (error.attempts, error.maybe_billed, error.safe_to_resend) == (1, True, False)
    assert "may have been billed" in str(error)
    assert PROMPT not in str(error)
    assert KEY not in str(error)
    assert 0.0 <= error.elapsed <= time.monotonic() - started < 30.0
    return error


@BOTH
@pytest.mark.parametrize(
    ("fault", "expected", "partials", "answered"),
    [
        ("reset_after_body", APIConnectionError, 0, False),
        ("close_after_body", APIConnectionError, 0, False),
        ("stall", APITimeoutError, 0, False),
        ("stall_after_headers", APITimeoutError, 0, True),
        ("stall_between_events", APITimeoutError, 1, True),
        ("stall_mid_event", APITimeoutError, 0, True),
        ("cut_mid_event", StreamInterruptedError, 2, True),
        ("reset_mid_stream", StreamInterruptedError, 1, True),
        ("cut_chunked_body", StreamInterruptedError, 1, True),
        ("malformed_chunk", APIConnectionError, 1, True),
    ],
)
async def test_broken_off(
    call: Call,
    server: LocalImagesServer,
    fault: str,
    expected: type[ImagesError],
    partials: int,
    answered: bool,
) -> None:
    """A connection that breaks, stalls or ends too early is one POST and one typed error."""
    server.script(fault)
    stalls = "stall" in fault or fault == "malformed_chunk"
    async with client_of(server, timeouts=SHORT if stalls else Timeouts()) as client:
        error = await failing(call, client)
    assert isinstance(error, expected)
    assert len(error.partials) == (partials if call is stream else 0)
    assert all(isinstance(one, PartialImage) and one.image.data == PNG for one in error.partials)
    assert (error.request_id is not None) == answered
    assert server.posts == 1


@pytest.mark.parametrize("partials", [0, 1, 2])
async def test_clean_end_without_completed(server: LocalImagesServer, partials: int) -> None:
    """A stream that ends cleanly but without its image is no success, however many partials came."""
    server.script(f"eof_after_partials:{partials}")
    async with client_of(server) as client:
        error = await failing(stream, client)
    assert isinstance(error, StreamInterruptedError)
    assert [one.partial_image_index for one in error.partials] == list(range(partials))
    assert server.posts == 1


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([reply(HALF, kind=EVENTS, length=len(COMPLETED)), CLOSE], id="short length"),
        pytest.param([reply(HALF, kind=EVENTS, length=len(COMPLETED)), RESET], id="short length, reset"),
        pytest.param([chunked(HALF), CLOSE], id="no last chunk"),
        pytest.param([chunked(HALF), LAST_CHUNK], id="clean end in mid-event"),
        pytest.param([chunked(HALF), chunk(b"x" * 20)[:10], CLOSE], id="half a chunk"),
        pytest.param([chunked(HALF), b"zz\r\nlost\r\n", STALL], id="malformed chunk in the same segment"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", HALF, CLOSE], id="no length"
        ),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Le", CLOSE], id="half of the headers"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Le", STALL], id="headers that stall"),
        pytest.param([b"SSH-2.0-OpenSSH_9.6\r\n", STALL], id="not HTTP"),
        pytest.param([reply(b"", kind=EVENTS, length=10), STALL], id="a length and no bytes"),
        pytest.param([reply(JSON_ANSWER[:-30], length=len(JSON_ANSWER)), CLOSE], id="JSON cut"),
    ],
)
@BOTH
async def test_really_cut(call: Call, script: Script) -> None:
    """An answer that lacks even one byte of its image is not delivered, and is not contacted for again."""
    timeouts = SHORT if STALL in script else Timeouts()
    async with RawServer(script) as server, client_of(server, timeouts=timeouts) as client:
        await failing(call, client)
        assert server.posts == 1


@pytest.mark.parametrize(
    "script",
    [
        pytest.param([reply(JSON_ANSWER, length=len(JSON_ANSWER) + 9), CLOSE], id="JSON, too long a length"),
        pytest.param([reply(COMPLETED, kind=EVENTS, length=9999), CLOSE], id="event, too long a length"),
        pytest.param([reply(COMPLETED.rstrip(), kind=EVENTS, length=9999), RESET], id="no blank line, reset"),
        pytest.param([chunked(COMPLETED.rstrip()), LAST_CHUNK], id="no blank line"),
        pytest.param([chunked(COMPLETED), CLOSE], id="no last chunk"),
        pytest.param([chunked(JSON_ANSWER, kind="application/json"), CLOSE], id="JSON, no last chunk"),
        pytest.param([b"HTTP/1.1 200 OK\r\n\r\n", COMPLETED, CLOSE], id="neither length nor type"),
    ],
)
@BOTH
async def test_paid_and_whole(call: Call, script: Script) -> None:
    """An image that is whole was paid for: it is delivered, whatever breaks behind it."""
    async with RawServer(script) as server, client_of(server) as client:
        result = await call(client)
        assert (result.image.data, result.attempts, server.posts) == (PNG, 1, 1)


@pytest.mark.parametrize("is_reading", [True, False])
async def test_malformed_chunk_in_a_later_segment(*, is_reading: bool) -> None:
    """A malformed chunk ends the stream, also where aiohttp says nothing: then, or when the caller reads on."""
    later = asyncio.Event()
    before = open_sockets()
    script: list[Part] = [chunked(partial()), later, b"zz\r\nlost\r\n", STALL]
    async with RawServer(script) as server, client_of(server, timeouts=Timeouts(total=20)) as client:
        async with client.stream(PROMPT, partial_images=1) as events:
            assert isinstance(await anext(events), PartialImage)
            later.set()
            if not is_reading:
                await until(lambda: len(open_sockets() - before) == 1)  # the server's own
            with pytest.raises(StreamInterruptedError) as caught:
                await anext(events)
        assert len(caught.value.partials) == 1
        assert server.posts == 1


async def test_a_malformed_chunk_after_the_image() -> None:
    """A JSON response is delivered when its connection has ended, not when a timer has."""
    later = asyncio.Event()
    script: list[Part] = [chunked(JSON_ANSWER, kind="application/json"), later, b"zz\r\n", STALL]
    async with RawServer(script) as server, client_of(server, timeouts=Timeouts(total=20)) as client:
        call = asyncio.create_task(generate(client))
        await until(lambda: server.posts == 1)
        later.set()
        async with asyncio.timeout(10):
            assert (await call).image.data == PNG


async def test_a_connection_the_server_had_closed() -> None:
    """On a kept connection that was closed meanwhile nothing is sent: the next call safely makes a new one."""
    async with RawServer([reply(JSON_ANSWER), CLOSE]) as server, client_of(server) as client:
        before = open_sockets()
        await generate(client)
        await server.left.wait()
        await until(lambda: open_sockets() <= before)  # until the client has seen it, nobody knows
        await generate(client)
        assert (server.posts, server.connections) == (2, 2)
