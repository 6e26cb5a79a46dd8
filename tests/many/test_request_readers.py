"""Where requests come from: read lazily, closed when left, slow ones holding up nobody."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from openai_images import GenerateRequest, Outcomes, QuotaExhaustedError
from tests.helpers.fake_send import Desk, outcomes_of, rest, settle, told
from tests.helpers.leaks import nothing_left


class Queue:
    """A source that gives what it is given, when it is given it."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.asked = 0
        self.closed = 0
        self.ready: asyncio.Queue[Any] = asyncio.Queue()

    def __aiter__(self) -> "Queue":
        return self

    async def __anext__(self) -> Any:
        """The next thing, as soon as it is there."""
        self.asked += 1
        given = await self.ready.get()
        if given is None:
            raise StopAsyncIteration
        return given

    async def aclose(self) -> None:
        """Count."""
        self.closed += 1


async def test_a_slow_source_holds_up_nobody() -> None:
    """What is finished comes while the source is still waited for."""
    desk, queue = Desk(), Queue()
    async with nothing_left(), outcomes_of(queue, desk, 3) as outcomes:
        queue.ready.put_nowait("a")
        await settle()
        desk.end(0)
        assert told(await anext(outcomes)) == (0, "ok")
        queue.ready.put_nowait({"prompt": "b"})
        queue.ready.put_nowait(GenerateRequest("c"))
        await settle()
        desk.end(2)
        assert told(await anext(outcomes)) == (2, "ok")
        queue.ready.put_nowait(None)
        desk.end(1)
        assert await rest(outcomes) == [(1, "ok")]
    assert (desk.prompts, queue.asked) == (["a", "b", "c"], 4)
    assert queue.closed > 0


async def test_it_is_asked_only_when_there_is_room() -> None:
    """An async source too is read no further than `concurrency` ahead."""
    desk, queue = Desk(), Queue()
    for number in range(10):
        queue.ready.put_nowait(str(number))
    async with outcomes_of(queue, desk, 3) as outcomes:
        await settle()
        assert queue.asked == 3
        desk.end(0, 1, 2)
        await anext(outcomes)
        await settle()
        assert queue.asked == 3
        await anext(outcomes)
        await settle()
        assert queue.asked == 4


async def test_stop_while_the_source_is_waited_for() -> None:
    """The wait for a source that says nothing ends, and what is in flight comes."""
    desk, queue = Desk(), Queue()
    async with nothing_left(), outcomes_of(queue, desk, 3) as outcomes:
        queue.ready.put_nowait("a")
        await settle()
        outcomes.stop()
        await settle()
        assert queue.closed == 1
        desk.end(0)
        assert await rest(outcomes) == [(0, "ok")]
    assert desk.cancelled == []


@pytest.mark.parametrize("last", ["b", 5])
async def test_a_source_that_heeds_no_stop(last: object) -> None:
    """One that swallows the interruption and gives another request all the same: that one is not started."""
    desk = Desk()

    async def prompts() -> AsyncIterator[object]:
        yield "a"
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield last

    async with nothing_left(), outcomes_of(prompts(), desk) as outcomes:
        await settle()
        outcomes.stop()
        desk.end(0)
        assert await rest(outcomes) == [(0, "ok")]
    assert desk.begun == [0]


def generator(log: list[str], count: int) -> Iterator[str]:
    """Prompts, and a `finally`."""
    try:
        yield from map(str, range(count))
    finally:
        log.append("closed")


async def async_generator(log: list[str], count: int) -> AsyncIterator[str]:
    """The same, with a clean-up that waits."""
    try:
        for number in range(count):
            yield str(number)
    finally:
        await asyncio.sleep(0)
        log.append("closed")


async def use(outcomes: Outcomes, how: str) -> None:
    """Iterate, and leave behind the third outcome in this way."""
    async with outcomes:
        if how == "closed at once":
            await settle()
            return
        async for outcome in outcomes:
            match how if outcome.index == 2 else "":
                case "break":
                    break
                case "stop":
                    outcomes.stop()
                case "mistake":
                    raise LookupError
                case "cancel":
                    await asyncio.Event().wait()


@pytest.mark.parametrize("how", ["end", "break", "stop", "cancel", "mistake", "closed at once"])
@pytest.mark.parametrize("kind", [generator, async_generator])
async def test_a_generator_is_closed(kind: Any, how: str) -> None:
    """Its own `finally` has run when nothing is left of the iteration, however that ended."""
    log: list[str] = []
    async with nothing_left():
        source = kind(log, 3 if how == "end" else 1000)
        task = asyncio.ensure_future(use(outcomes_of(source, Desk(at_once=True)), how))
        await settle()
        if how == "cancel":
            task.cancel()
        await asyncio.wait([task])
        assert log == ["closed"]
    assert task.cancelled() == (how == "cancel")
    assert task.cancelled() or (task.exception() is not None) == (how == "mistake")


async def test_it_is_read_and_closed_by_one_task() -> None:
    """A source may hold what belongs to a task, such as a time-out around its `yield`."""
    tasks = []

    async def prompts() -> AsyncIterator[str]:
        tasks.append(asyncio.current_task())
        try:
            while True:
                yield "a"
                tasks.append(asyncio.current_task())
        finally:
            tasks.append(asyncio.current_task())

    async with nothing_left(), outcomes_of(prompts(), Desk(at_once=True), 1) as outcomes:
        await anext(outcomes)
        await anext(outcomes)
        outcomes.stop()
        await rest(outcomes)
    assert len(tasks) >= 3
    assert len(set(tasks)) == 1


async def test_a_generator_that_was_begun_elsewhere() -> None:
    """It goes on where it stands, and is closed, also where nothing was read from it."""
    for entered in (True, False):
        log = []

        async def prompts(log: list[str] = log) -> AsyncIterator[str]:
            try:
                yield "a"
                yield "b"
            finally:
                log.append("closed")

        source, desk = prompts(), Desk(at_once=True)
        await anext(source)
        outcomes = outcomes_of(source, desk)
        if entered:
            await outcomes.__aenter__()
            await outcomes.aclose()
            assert desk.begun == []
        else:
            assert await rest(outcomes) == [(0, "ok")]
            assert desk.prompts == ["b"]
        assert log == ["closed"]


@pytest.mark.parametrize(
    "make", [list, tuple, deque, iter, dict.fromkeys, lambda prompts: (p for p in prompts)]
)
async def test_any_iterable(make: Any) -> None:
    """Lists, iterators, views, generators."""
    given = make(["a", "b"])
    source = given.keys() if isinstance(given, dict) else given
    desk = Desk(at_once=True)
    assert await rest(outcomes_of(source, desk, ordered=True)) == [(0, "ok"), (1, "ok")]
    assert desk.prompts == ["a", "b"]


async def test_one_that_is_both() -> None:
    """Of an object that can do both, the async half is used."""

    class Both:
        def __iter__(self) -> Iterator[str]:
            raise AssertionError

        async def __aiter__(self) -> AsyncIterator[str]:
            yield "a"

    desk = Desk(at_once=True)
    assert await rest(outcomes_of(Both(), desk)) == [(0, "ok")]


async def test_stopping_twice_while_a_source_cleans_up() -> None:
    """The second stop changes nothing, also that of a failure; what is in flight is kept."""
    desk, cleaned = Desk(), asyncio.Event()

    async def source() -> AsyncIterator[str]:
        yield "a"
        yield "b"
        try:
            await asyncio.Event().wait()
        finally:
            await cleaned.wait()

    async with nothing_left(), outcomes_of(source(), desk, 3) as outcomes:
        await settle()
        outcomes.stop()
        await settle()
        outcomes.stop()
        desk.fail(0, QuotaExhaustedError("nothing left", status_code=429))
        await settle()
        desk.end(1)
        cleaned.set()
        assert told(await anext(outcomes)) == (0, "QuotaExhaustedError")
        assert told(await anext(outcomes)) == (1, "ok")
        with pytest.raises(QuotaExhaustedError):
            await anext(outcomes)
