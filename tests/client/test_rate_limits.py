"""A 429 about the rate costs time and no attempt, holds everyone back, and is bounded by `max_rate_limit_wait`."""

# pyright: reportPrivateUsage=false

import asyncio
from datetime import datetime

import pytest

from openai_images import (
    GenerateRequest,
    ImagesError,
    InternalServerError,
    Limits,
    RateLimitError,
    RetryPolicy,
    Timing,
)
from openai_images.models.outcomes import CallObserver
from openai_images.ratelimit.limiter import Patience, Slot
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, JSON_ANSWER, Call, FakeTime, client_of, generate
from tests.helpers.raw_server import RawServer, reply


@BOTH
@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        ("retry_after_seconds:12", 12.0),
        ("retry_after_ms:0.534", 0.5),
        ("retry_after_date:30", 30.0),
        ("retry_after_message:51.8", 51.8),
        ("rate_limited:7", 7.0),
        ("rate_limited:0", 1.0),
    ],
)
async def test_waits_as_long_as_it_is_told(
    call: Call, server: LocalImagesServer, fault: str, seconds: float
) -> None:
    """The wait is read from the headers in every unit, or from the message."""
    server.script(fault)
    time = FakeTime()
    async with client_of(server, timing=time.timing) as client:
        result = await call(client)
    assert (time.slept, result.attempts, server.posts) == ([seconds], 2, 2)
    assert result.elapsed >= seconds


@BOTH
@pytest.mark.parametrize(
    ("fault", "longest", "waits"),
    [
        ("retry_after_seconds:50", 120.0, [50.0, 50.0]),
        ("retry_after_seconds:50", 49.0, []),
        ("retry_after_seconds:50", 50.0, [50.0]),
        ("retry_after_ms:0.001", 4.0, [0.0, 0.0, 0.5, 1.0, 2.0]),
        ("status:429", 8.0, [0.5, 1.0, 2.0, 4.0]),
        ("status:429", 0.0, []),
    ],
)
async def test_not_for_ever(
    call: Call, server: LocalImagesServer, fault: str, longest: float, waits: list[float]
) -> None:
    """All the waits of a call together stay within `max_rate_limit_wait`; then the 429 is raised."""
    server.always(fault)
    time = FakeTime()
    policy = RetryPolicy(max_retries=0, max_rate_limit_wait=longest)
    async with client_of(server, timing=time.timing, retry=policy) as client:
        with pytest.raises(RateLimitError) as caught:
            await call(client)
    error = caught.value
    assert [wait for wait in time.slept if wait] == [
        wait for wait in waits if wait
    ]  # a microsecond passes by itself
    assert server.posts == error.attempts == len(waits) + 1
    assert (error.maybe_billed, error.code) == (False, "rate_limit_exceeded")
    assert error.elapsed >= sum(waits)
    assert f"RetryPolicy(max_rate_limit_wait={longest:g})" in str(error)


async def test_uses_up_no_attempt(server: LocalImagesServer) -> None:
    """Refusals for the rate and failures that are safe to resend are counted apart."""
    server.script(
        "status:429",
        "should_retry_true:500",
        "status:429",
        "status:429",
        "should_retry_true:500",
        "status:429",
    )
    async with client_of(server) as client:
        assert (await generate(client)).attempts == 7
    server.script("status:429", *["should_retry_true:500"] * 3)
    async with client_of(server) as client:
        with pytest.raises(InternalServerError):
            await generate(client)
    assert server.posts == 7 + 4


async def test_pauses_every_waiter(server: LocalImagesServer) -> None:
    """One 429 holds back every other call of the client: nobody asks before it is over."""
    server.script("rate_limited:30")
    now, sleeping, over = 1000.0, asyncio.Semaphore(0), asyncio.Event()

    async def sleep(seconds: float) -> None:
        sleeping.release()
        await over.wait()

    timing = Timing(monotonic=lambda: now, sleep=sleep)
    async with client_of(server, timing=timing) as client, asyncio.TaskGroup() as group:
        first = group.create_task(generate(client))
        await sleeping.acquire()
        others = [group.create_task(generate(client)) for _ in range(5)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert server.posts == 1
        now += 30
        over.set()
        results = await asyncio.gather(first, *others)
    assert server.posts == 7
    assert [result.attempts for result in results] == [2, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("n", [1, 3])
async def test_a_call_that_waits_can_be_asked_why(server: LocalImagesServer, n: int) -> None:
    """The reason and the end, while it waits: of the stream that waits, and of whatever else the client sends."""
    server.script("rate_limited:30")
    sleeping, over = asyncio.Event(), asyncio.Event()
    now = 1000.0

    async def sleep(seconds: float) -> None:
        sleeping.set()
        await over.wait()

    timing = Timing(monotonic=lambda: now, wall=lambda: FakeTime.WALL, sleep=sleep)
    async with client_of(server, timing=timing) as client:
        with pytest.raises(RateLimitError):  # the server names a wait, which this call does not accept
            await client.generate("p", model="gpt-image-2", retry=RetryPolicy(max_rate_limit_wait=0))
        stream = client.stream("p", model="gpt-image-2", n=n)
        assert stream.wait_reason is None
        waiting = asyncio.create_task(stream.finish())
        await sleeping.wait()
        until = datetime.fromtimestamp(FakeTime.WALL + 30).astimezone()
        said = f"rate limited by the server, until {until:%H:%M:%S}, 30 s from now"
        assert str(stream.wait_reason).startswith(said)
        assert stream.wait_reason == client.wait_reason == client.with_options(timeout=9).wait_reason
        now += 30
        over.set()
        await waiting
        assert stream.wait_reason is None


async def test_a_stream_that_is_closed_while_it_waits_waits_no_more(server: LocalImagesServer) -> None:
    """What keeps the client from sending is nothing that the stream waits for any longer."""
    server.script("rate_limited:30")
    sleeping = asyncio.Event()

    async def sleep(seconds: float) -> None:
        sleeping.set()
        await asyncio.Event().wait()

    async with client_of(server, timing=Timing(sleep=sleep)) as client:
        stream = client.stream("p", model="gpt-image-2")
        waiting = asyncio.create_task(stream.finish())
        await sleeping.wait()
        assert stream.wait_reason is not None
        await stream.aclose()
        assert stream.wait_reason is None
        assert client.wait_reason is not None
        with pytest.raises(RuntimeError, match="closed"):
            await waiting


async def test_the_slot_is_free_while_it_waits(server: LocalImagesServer) -> None:
    """Waiting to send again after a failure leaves the slot to another call."""
    server.script("should_retry_true:500")
    asleep, over = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await over.wait()

    async with client_of(server, timing=Timing(sleep=sleep), limits=Limits(concurrency=1)) as client:
        waiting = asyncio.create_task(generate(client))
        await asleep.wait()
        assert (await generate(client)).attempts == 1
        over.set()
        assert (await waiting).attempts == 2


async def test_a_refusal_keeps_the_connection() -> None:
    """The request behind a 429 goes over the same connection."""
    refusal = reply(b'{"error":{"message":"slow down"}}', "Retry-After: 1", status=429)
    async with RawServer([refusal], [reply(JSON_ANSWER)]) as server, client_of(server) as client:
        assert (await generate(client)).attempts == 2
        assert server.connections == 1


async def test_a_call_ends_when_the_limiter_gives_up(server: LocalImagesServer) -> None:
    """Its error is not one to wait for, although nothing was sent."""
    asked = 0

    async def give_up(images: int, patience: Patience) -> Slot:
        nonlocal asked
        asked += 1
        error = RateLimitError("the pause is too long", status_code=429)
        error.safe_to_resend, error.retry_after = True, 1.0
        raise error

    async with client_of(server) as client:
        client._context.limiter.acquire = give_up  # type: ignore[method-assign, assignment]
        with pytest.raises(RateLimitError, match="the pause is too long"):
            await generate(client)
    assert (asked, server.posts) == (1, 0)


async def test_many_calls_end_when_nothing_succeeds_for_long(server: LocalImagesServer) -> None:
    """One 429 after the other for a quarter of an hour ends them, with the server's words and nothing lost."""
    server.always("rate_limited:20")
    time = FakeTime()
    async with (
        client_of(server, timing=time.timing) as client,
        client.generate_many(f"p {n}" for n in range(1000)) as outcomes,
    ):
        with pytest.raises(RateLimitError, match="Rate limit reached"):
            [outcome async for outcome in outcomes]
        assert outcomes.progress.failed < 10
    assert 900 < time.skipped < 1000


async def test_a_rejection_holds_the_others_back_before_it_is_written_down(server: LocalImagesServer) -> None:
    """A journal takes a while: the slot that became free meanwhile is not used to be rejected again."""
    server.script("rate_limited:30")
    writing, written, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    class Slow(CallObserver):
        async def on_not_executed(self, error: ImagesError) -> None:
            writing.set()
            await written.wait()

    timing = Timing(monotonic=lambda: 1000.0, sleep=lambda seconds: over.wait())
    async with (
        client_of(server, timing=timing, limits=Limits(concurrency=1)) as client,
        asyncio.TaskGroup() as group,
    ):
        calls = client._calls
        request = GenerateRequest(prompt="a cat", model="gpt-image-2")
        first = group.create_task(calls.new(request, observer=Slow()).result_or_raise())
        await writing.wait()
        second = group.create_task(generate(client))
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert server.posts == 1
        over.set()
        written.set()
        assert [(await call).attempts for call in (first, second)] == [2, 1]


async def test_call_that_gives_up_tells_the_others(server: LocalImagesServer) -> None:
    """A pause longer than the patience of the call that was rejected is no secret: nobody else sends before its end."""
    server.script("rate_limited:300")
    time = FakeTime()
    async with client_of(server, timing=time.timing) as client:
        with pytest.raises(RateLimitError):
            await generate(client)
        with pytest.raises(RateLimitError, match="nothing was sent") as caught:
            await generate(client)
        assert (server.posts, caught.value.attempts) == (1, 0)
        assert caught.value.retry_after == pytest.approx(300.0, abs=1.0)
        await time.timing.sleep(300.0)
        assert (await generate(client)).attempts == 1
    assert server.posts == 2
