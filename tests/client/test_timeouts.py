"""The timers bound the client's own waiting, each under its name, and nothing else."""

import asyncio
import time
from typing import Any

import pytest

from openai_images import (
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    ImageResult,
    ImagesClient,
    Limits,
    OutcomeUnknownError,
    PartialImage,
    Timeouts,
    Timing,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import (
    BOTH,
    COMPLETED,
    JSON_ANSWER,
    PROMPT,
    Call,
    client_of,
    generate,
    partial,
    stream,
)
from tests.helpers.raw_server import LAST_CHUNK, STALL, RawServer, chunk, chunked, reply


def test_defaults() -> None:
    """Ten seconds to connect, ten minutes for an attempt, and no other limit: an image may take minutes."""
    timeouts = Timeouts()
    assert (timeouts.connect, timeouts.first_byte, timeouts.idle, timeouts.total) == (10.0, None, None, 600.0)


@pytest.mark.parametrize("name", ["connect", "first_byte", "idle", "total"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_nonsense_is_refused(name: str, value: float) -> None:
    """A timer of nothing could only fail."""
    with pytest.raises(ConfigurationError, match=name):
        Timeouts(**{name: value})


@BOTH
@pytest.mark.parametrize(
    "timeouts", [Timeouts(), Timeouts(connect=None, total=None), Timeouts(first_byte=60, idle=60)]
)
async def test_long_or_none(call: Call, server: LocalImagesServer, timeouts: Timeouts) -> None:
    """Timers that are long, or off, do not disturb."""
    async with client_of(server, timeouts=timeouts) as client:
        assert (await call(client)).attempts == 1


@BOTH
@pytest.mark.parametrize(
    ("fault", "timeouts", "timer", "seconds"),
    [
        ("stall", Timeouts(first_byte=0.1), "first_byte", 0.1),
        ("stall", Timeouts(first_byte=0.1, total=0.2), "first_byte", 0.1),
        ("stall", Timeouts(first_byte=5, total=0.1), "total", 0.1),
        ("stall", Timeouts(total=0.1), "total", 0.1),
        ("stall_after_headers", Timeouts(first_byte=0.1, total=0.2), "total", 0.2),
        ("stall_after_headers", Timeouts(idle=0.1), "idle", 0.1),
        ("stall_mid_event", Timeouts(idle=0.1), "idle", 0.1),
        ("stall_mid_event", Timeouts(idle=5, total=0.1), "total", 0.1),
        ("stall_between_events", Timeouts(idle=0.1), "idle", 0.1),
    ],
)
async def test_timer(
    call: Call, server: LocalImagesServer, fault: str, timeouts: Timeouts, timer: str, seconds: float
) -> None:
    """A time-out says which timer it was, and is one POST that may have been billed."""
    server.always(fault)
    started = time.monotonic()
    async with client_of(server, timeouts=timeouts) as client:
        with pytest.raises(APITimeoutError) as caught:
            await call(client)
    error = caught.value
    assert isinstance(error, TimeoutError)
    assert isinstance(error, OutcomeUnknownError)
    assert (error.timer, error.seconds, error.attempts, server.posts) == (timer, seconds, 1, 1)
    assert f"Timeouts({timer}=…)" in str(error)
    assert seconds * 0.9 <= time.monotonic() - started < seconds + 5


@pytest.mark.parametrize(("life", "timer"), [(True, "total"), (False, "idle")])
async def test_comments(server: LocalImagesServer, *, life: bool, timer: str) -> None:
    """Comments keep the idle timer from running out, unless they are not to count as life."""
    server.always("comments_forever")
    timeouts = Timeouts(idle=0.15, total=0.4, comments_are_life=life)
    async with client_of(server, timeouts=timeouts) as client:
        with pytest.raises(APITimeoutError) as caught:
            await stream(client)
    assert caught.value.timer == timer


async def test_comments_between_events_do_not_add_up() -> None:
    """With comments that are no life, each event still starts the idle timer anew."""
    clock = Clock()
    gates = [asyncio.Event() for _ in range(3)]
    parts = [part for gate in gates for part in (gate, chunk(b": keepalive\n\n"), chunk(partial()))]
    timeouts = Timeouts(idle=10, comments_are_life=False)
    async with (
        RawServer([chunked(), *parts, chunk(COMPLETED), LAST_CHUNK]) as server,
        client_of(server, timeouts=timeouts, timing=clock.timing) as client,
        client.stream(PROMPT) as events,
    ):
        for gate in gates:
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0)
            clock.now += 8
            gate.set()
            assert isinstance(await waiting, PartialImage)
        await anext(events)


class Clock:
    """A monotonic clock moved by hand."""

    def __init__(self) -> None:
        """Start somewhere."""
        self.now = 1000.0

    @property
    def timing(self) -> Timing:
        """What a client takes."""
        return Timing(monotonic=lambda: self.now)


async def test_a_consumer_may_think() -> None:
    """Time the caller spends between two events counts against no timer."""
    clock, thought = Clock(), asyncio.Event()
    script = [chunked(partial()), thought, chunk(COMPLETED), LAST_CHUNK]
    async with RawServer(script) as server:
        timeouts = Timeouts(first_byte=5, idle=5, total=5)
        async with (
            client_of(server, timeouts=timeouts, timing=clock.timing) as client,
            client.stream(PROMPT) as events,
        ):
            await anext(events)
            clock.now += 1000
            thought.set()
            assert [event async for event in events]
    assert events.result.elapsed == 1000


async def test_waiting_adds_up() -> None:
    """Waiting for one event after the other counts against the total."""
    clock, first, never = Clock(), asyncio.Event(), asyncio.Event()
    script = [chunked(), first, chunk(partial()), never]
    async with RawServer(script) as server:
        timeouts = Timeouts(idle=50, total=10)
        async with (
            client_of(server, timeouts=timeouts, timing=clock.timing) as client,
            client.stream(PROMPT, partial_images=1) as events,
        ):
            waiting = asyncio.create_task(anext(events))
            await asyncio.sleep(0)
            clock.now += 11
            first.set()
            assert isinstance(await waiting, PartialImage)
            with pytest.raises(APITimeoutError) as caught:
                await anext(events)
    assert (caught.value.timer, caught.value.seconds, len(caught.value.partials)) == ("total", 10, 1)


async def test_queueing_does_not_count(server: LocalImagesServer) -> None:
    """Waiting for the limiter is neither connecting nor part of an attempt."""
    key_is_there = asyncio.Event()

    async def key() -> str:
        await key_is_there.wait()
        return server.api_key

    short = Timeouts(connect=0.1, first_byte=0.1, idle=0.1, total=0.1)
    async with client_of(server, api_key=key, timeouts=short, limits=Limits(concurrency=1)) as client:
        calls = [asyncio.create_task(generate(client)) for _ in range(2)]
        done, _ = await asyncio.wait(calls, timeout=0.2)
        assert not done
        key_is_there.set()
        assert [result.attempts for result in await asyncio.gather(*calls)] == [1, 1]


@BOTH
async def test_a_refusal_whose_body_stalls(call: Call) -> None:
    """The status is known: the rest of the refusal is waited for no longer than the timers allow."""
    script = [reply(b'{"error": {"mess', status=401, length=1000), STALL]
    async with RawServer(script) as server, client_of(server, timeouts=Timeouts(total=0.5)) as client:
        with pytest.raises(AuthenticationError):
            await asyncio.wait_for(call(client), 30)


async def elapsed(client: ImagesClient) -> tuple[ImageResult, float]:
    """A streamed result and how long it took."""
    started = time.monotonic()
    result = await stream(client)
    return result, time.monotonic() - started


@pytest.mark.parametrize(
    "script", [[chunked(COMPLETED), STALL], [chunked(COMPLETED), *[chunk(b": x\n\n")] * 50, STALL]]
)
async def test_a_stream_that_never_ends(script: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind the completed image nothing is waited for longer than a moment."""
    monkeypatch.setattr("openai_images.client.call._REST_SECONDS", 0.1)
    async with RawServer(script) as server, client_of(server) as client:
        result, seconds = await elapsed(client)
        assert (result.attempts, server.posts) == (1, 1)
        assert seconds < 30
        await asyncio.wait_for(server.left.wait(), 30)


async def test_two_streams_use_one_connection() -> None:
    """The end behind the completed image is read, so the next call needs no new connection."""
    script = [chunked(partial(), COMPLETED), chunk(b"data: [DONE]\n\n"), LAST_CHUNK]
    async with RawServer(script, script, [reply(JSON_ANSWER)]) as server, client_of(server) as client:
        for call in (stream, stream, generate):
            await call(client)
        assert (server.posts, server.connections) == (3, 1)
