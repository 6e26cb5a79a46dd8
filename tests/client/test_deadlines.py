"""Deadlines hold by the clock, however slow an answer is to decode, and decoding leaves the loop to others."""

import asyncio
from typing import Any

import pytest

from openai_images import APITimeoutError, CompletedImage, Timeouts, Timing, UnknownEvent
from openai_images.http.body_reader import BodyReader, OpenBodies
from openai_images.http.request_body import RequestProgress
from openai_images.http.transport import Response
from openai_images.wire.response import SLOW_BYTES
from tests.helpers.clients import BOTH, COMPLETED, PROMPT, Call, client_of, event, generate
from tests.helpers.raw_server import LAST_CHUNK, STALL, RawServer, chunk, chunked

FLOODS = {
    "comments": (chunked(), b": hi\n\n"),
    "unknown events": (chunked(), b"data: {}\n\n"),
    "white space in base64": (chunked(b'{"data":[{"b64_json":"iVBO', kind="application/json"), b"\\n"),
    "keys": (chunked(b'{"a":{', kind="application/json"), b'"\\u0061":1,'),
}


class Ticking:
    """A clock that moves with each look at it, as if every step took as long."""

    def __init__(self, tick: float) -> None:
        """Start somewhere."""
        self.now = 1000.0
        self.tick = tick

    @property
    def timing(self) -> Timing:
        """What a client takes."""
        return Timing(monotonic=self.look)

    def look(self) -> float:
        """The time, a tick later than before."""
        self.now += self.tick
        return self.now


def flood(kind: str) -> RawServer:
    """A server that sends more than can be decoded in time."""
    head, piece = FLOODS[kind]
    return RawServer([head, *[chunk(piece * (60_000 // len(piece)))] * 20, STALL])


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize("kind", FLOODS)
async def test_total_holds_while_decoding(call: Call, kind: str) -> None:
    """A server that sends faster than we decode is stopped by `total` nevertheless."""
    timing = Ticking(0.001).timing
    async with (
        flood(kind) as server,
        client_of(server, timeouts=Timeouts(total=0.5), timing=timing) as client,
    ):
        with pytest.raises(APITimeoutError) as caught:
            await call(client)
        assert (caught.value.timer, caught.value.seconds) == ("total", 0.5)
        assert caught.value.elapsed < 1.0


async def test_idle_holds_while_decoding() -> None:
    """Where comments are no life, a flood of them is silence."""
    timeouts = Timeouts(idle=0.2, comments_are_life=False)
    async with (
        flood("comments") as server,
        client_of(server, timeouts=timeouts, timing=Ticking(0.001).timing) as client,
    ):
        with pytest.raises(APITimeoutError) as caught:
            await generate(client)
    assert caught.value.timer == "idle"


@BOTH
@pytest.mark.parametrize("kind", FLOODS)
async def test_decoding_gives_way(call: Call, kind: str) -> None:
    """Other tasks have their turn between any two pieces that are slow to decode."""
    head, piece = FLOODS[kind]
    body = piece * (120_000 // len(piece))
    turns = 0

    async def other_task() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with (
        RawServer([head, chunk(body), STALL]) as server,
        client_of(server, timeouts=Timeouts(total=2.0), timing=Ticking(0.01).timing) as client,
    ):
        spinning = asyncio.create_task(other_task())
        with pytest.raises(APITimeoutError):
            await call(client)
        spinning.cancel()
    assert turns >= len(body) // SLOW_BYTES


PING = event("ping")


async def test_what_comes_behind_the_image_grants_no_time() -> None:
    """However much comes behind the image: all of it has one moment."""
    clock = Ticking(0.05)
    script = [chunked(COMPLETED), *[chunk(PING)] * 200, STALL]
    async with RawServer(script) as server, client_of(server, timing=clock.timing) as client:
        began = clock.now
        result = await generate(client)
        assert (result.attempts, server.posts) == (1, 1)
        assert clock.now - began < 4.0  # a tick for each look, of which there are several in a step


async def test_the_caller_may_think_behind_the_image() -> None:
    """The moment for the tail is our waiting, too: the caller's time with the image is not part of it."""
    clock = Ticking(0.0)
    script = [chunked(COMPLETED), chunk(PING), LAST_CHUNK]
    async with (
        RawServer(script) as server,
        client_of(server, timing=clock.timing) as client,
        client.stream(PROMPT) as events,
    ):
        seen = []
        async for found in events:
            seen.append(type(found))
            clock.now += 1000
    assert seen == [CompletedImage, UnknownEvent]


class Content:
    """A body that has come, seen only when the timer has run out already."""

    def __init__(self, body: bytes) -> None:
        """Hold it."""
        self.body = body

    async def read(self, size: int) -> bytes:
        """Wait for ever."""
        await asyncio.get_running_loop().create_future()
        return b""

    def read_nowait(self, size: int) -> bytes:
        """Nothing has come yet."""
        return b""

    def _read_nowait(self, size: int) -> bytes:
        piece, self.body = self.body[:size], self.body[size:]
        return piece


class FakeResponse:
    """An answer with that body."""

    status, headers, connection = 200, {"Content-Type": "text/event-stream"}, None

    def __init__(self, body: bytes) -> None:
        """Have it come."""
        self.content = Content(body)


def opened(response: Any, timeouts: Timeouts, clock: Ticking) -> Response:
    """That answer as the transport gives it."""
    progress = RequestProgress(b"", timeouts, clock.timing)
    return Response(response, BodyReader(response, OpenBodies()), timeouts, clock.timing, progress)


async def test_what_is_here_when_the_timer_runs_out_is_given() -> None:
    """A loop that was blocked finds the timer run out and the paid image in its buffer: the image counts."""
    clock = Ticking(0.0)
    response: Any = FakeResponse(b"A" * 300_000)
    timeouts = Timeouts(total=0.001)
    exchange = opened(response, timeouts, clock)
    assert await exchange.read() + await exchange.read() == b"A" * 300_000
    with pytest.raises(APITimeoutError):
        await exchange.read()


async def test_not_for_ever() -> None:
    """What is here has a twentieth of a second: it may be a flood."""
    clock = Ticking(0.0)
    response: Any = FakeResponse(b": hi\n\n" * 10_000)
    timeouts = Timeouts(total=0.001)
    exchange = opened(response, timeouts, clock)
    assert await exchange.read()
    clock.now += 0.06
    with pytest.raises(APITimeoutError):
        await exchange.read()
