"""Outcomes of work that ends when the test says so: order, room, the one iteration, and stopping."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from openai_images import ConfigurationError, Failed, GenerateRequest, ImagesError, Outcomes, Succeeded
from openai_images.errors import StoppedBeforeSendError
from openai_images.many.items import RequestItem, RunOptions
from tests.helpers.fake_send import Desk, outcomes_of, rest, result, settle, told
from tests.helpers.leaks import nothing_left

PROMPTS = ["a", "b", "c", "d", "e", "f"]


async def test_as_they_finish() -> None:
    """The first to finish is the first to come."""
    desk = Desk()
    async with outcomes_of(PROMPTS[:3], desk, 3) as outcomes:
        await settle()
        desk.end(2, 0)
        await settle()
        desk.end(1)
        assert await rest(outcomes) == [(2, "ok"), (0, "ok"), (1, "ok")]
    assert desk.prompts == PROMPTS[:3]


async def test_in_order() -> None:
    """With ordered=True an early one waits for its turn, and takes room meanwhile."""
    desk = Desk()
    async with outcomes_of(PROMPTS, desk, 3, ordered=True) as outcomes:
        await settle()
        desk.end(1, 2)
        first = asyncio.ensure_future(anext(outcomes))
        await settle()
        assert not first.done()
        assert desk.begun == [0, 1, 2]
        desk.end(0)
        assert told(await first) == (0, "ok")
        desk.at_once = True
        assert await rest(outcomes) == [(index, "ok") for index in range(1, 6)]


async def test_what_an_outcome_holds() -> None:
    """Its place, its key, its request, and the result or the error."""
    desk, request = Desk(), GenerateRequest("b", size="1024x1024")
    async with outcomes_of([{"prompt": "a", "key": "k"}, request], desk, ordered=True) as outcomes:
        await settle()
        desk.end(0)
        error = ImagesError("no")
        desk.fail(1, error)
        found = [outcome async for outcome in outcomes]
    assert found == [
        Succeeded(0, "k", GenerateRequest("a"), result()),
        Failed(1, "00001", request, error),
    ]


async def test_one_failure_is_one_outcome() -> None:
    """An error of ours or of the disk, and what is no request, fail alone."""
    desk = Desk()
    rows: list[object] = ["a", {"prompt": 7, "key": "bad"}, "c", {"prompt": "d", "key": "../"}, 5]
    async with outcomes_of(rows, desk, 5, ordered=True) as outcomes:
        await settle()
        desk.fail(0, OSError("disk full"))
        desk.end(2)
        found = [outcome async for outcome in outcomes]
    assert [told(outcome) for outcome in found] == [
        (0, "OSError"),
        (1, "RequestInvalidError"),
        (2, "ok"),
        (3, "RequestInvalidError"),
        (4, "RequestInvalidError"),
    ]
    assert [outcome.key for outcome in found] == ["00000", "bad", "00002", "00003", "00004"]
    assert [outcome.request for outcome in found if isinstance(outcome, Failed)][1:] == [None] * 3


async def test_a_key_that_clashes() -> None:
    """The later one fails, with its request, and is not worked on."""
    desk = Desk(at_once=True)
    rows = [
        {"prompt": "a", "key": "Otter"},
        {"prompt": "b", "key": "otter.png"},
        {"prompt": "c", "key": "raft"},
    ]
    found = [outcome async for outcome in outcomes_of(rows, desk, ordered=True)]
    assert [told(outcome) for outcome in found] == [(0, "ok"), (1, "RequestInvalidError"), (2, "ok")]
    assert found[1].request == GenerateRequest("b")
    assert "request 1: its key names the same file as" in str(getattr(found[1], "error", ""))
    assert desk.prompts == ["a", "c"]


async def test_items_keep_their_numbers() -> None:
    """Items that were made elsewhere come through as they are, whatever their keys."""
    items = [RequestItem(41, "x", GenerateRequest("a")), RequestItem(7, "x", GenerateRequest("b"))]
    found = [outcome async for outcome in outcomes_of(items, Desk(at_once=True), ordered=True)]
    assert [(outcome.index, outcome.key) for outcome in found] == [(41, "x"), (7, "x")]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_consumer_that_takes_its_time(ordered: bool) -> None:
    """What runs, is ready and is in hand is never more than `concurrency`; the source is read as far as that."""
    desk, read = Desk(), 0

    def prompts() -> Iterator[str]:
        nonlocal read
        for prompt in PROMPTS:
            read += 1
            yield prompt

    async with outcomes_of(prompts(), desk, 2, ordered=ordered) as outcomes:
        await settle()
        desk.end(0, 1)
        await settle()
        assert (desk.begun, read) == ([0, 1], 2)
        assert told(await anext(outcomes)) == (0, "ok")
        await settle()
        assert (desk.begun, read) == ([0, 1], 2)
        assert told(await anext(outcomes)) == (1, "ok")
        await settle()
        assert (desk.begun, read) == ([0, 1, 2], 3)


async def test_nothing_happens_before_it_is_entered() -> None:
    """Neither the source nor the work is touched, and one that was never started leaves no trace."""
    desk, read = Desk(), []

    def prompts() -> Iterator[str]:
        read.append(1)
        yield "a"

    async with nothing_left():
        outcomes = outcomes_of(prompts(), desk)
        await settle()
        assert repr(outcomes) == "<Outcomes not started, 0 done, 0 failed, 0 in flight>"
        assert outcomes.progress.elapsed == 0.0
        del outcomes
        gc.collect()
        assert (read, desk.begun) == ([], [])


async def test_entering_starts() -> None:
    """Work begins when it is entered, before anybody asks for an outcome."""
    desk = Desk()
    async with outcomes_of(PROMPTS, desk) as outcomes:
        await settle()
        assert desk.begun == [0, 1]
        assert repr(outcomes) == "<Outcomes open, 0 done, 0 failed, 2 in flight>"


async def test_without_async_with() -> None:
    """A plain `async for` starts it and leaves nothing at its end."""
    async with nothing_left():
        outcomes = outcomes_of(PROMPTS, Desk(at_once=True))
        assert [outcome.index async for outcome in outcomes] == [0, 1, 2, 3, 4, 5]
        assert repr(outcomes) == "<Outcomes ended, 6 done, 0 failed, 0 in flight>"
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)
        await outcomes.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)


async def test_iterated_once() -> None:
    """A second iteration is refused, after the end and during the first."""
    outcomes = outcomes_of(PROMPTS[:1], Desk(at_once=True))
    assert await rest(outcomes) == [(0, "ok")]
    with pytest.raises(RuntimeError, match="iterated once"):
        aiter(outcomes)


async def test_by_one_task_at_a_time() -> None:
    """A second task that asks for the next outcome is told so; the first one is not disturbed."""
    desk = Desk()
    async with outcomes_of(PROMPTS[:1], desk) as outcomes:
        first = asyncio.ensure_future(anext(outcomes))
        await settle()
        with pytest.raises(RuntimeError, match="another task is waiting"):
            await anext(outcomes)
        desk.end(0)
        assert told(await first) == (0, "ok")


async def test_tasks() -> None:
    """At most `concurrency` tasks for work and one that reads."""
    before, most = len(asyncio.all_tasks()), 0

    async def work(item: RequestItem, _: Any) -> Any:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()) - before)
        await asyncio.sleep(0)
        return result()

    async with nothing_left():
        async for _ in outcomes_of((str(number) for number in range(500)), work, 7):
            most = max(most, len(asyncio.all_tasks()) - before)
    assert most == 8


async def test_an_endless_generator() -> None:
    """It is read as far as its outcomes are wanted, and stopped where one has enough."""
    read = 0

    def prompts() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"number {read}"

    taken = 0
    async with nothing_left(), outcomes_of(prompts(), Desk(at_once=True), 4) as outcomes:
        async for _ in outcomes:
            taken += 1
            assert read <= taken + 4
            if taken == 1000:
                outcomes.stop()
    assert 1000 <= taken <= 1004
    assert read <= taken + 4


async def test_stop() -> None:
    """Nothing new starts, what is in flight comes, then the iteration ends."""
    desk = Desk()
    async with nothing_left():
        outcomes = outcomes_of(PROMPTS, desk, 2)
        first = asyncio.ensure_future(anext(outcomes))
        await settle()
        outcomes.stop()
        desk.end(1)
        assert told(await first) == (1, "ok")
        second = asyncio.ensure_future(anext(outcomes))
        await settle()
        outcomes.stop()
        desk.end(0)
        assert told(await second) == (0, "ok")
        assert await rest(outcomes) == []
    assert (desk.begun, desk.cancelled) == ([0, 1], [])


async def test_stop_before_the_start() -> None:
    """Nothing is read and nothing is worked on."""
    desk = Desk()
    source = iter(PROMPTS)
    outcomes = outcomes_of(source, desk)
    outcomes.stop()
    assert await rest(outcomes) == []
    assert (desk.begun, list(source)) == ([], PROMPTS)


async def test_stop_drops_what_was_not_sent() -> None:
    """What waits for a limit is dropped without an outcome; what is on the wire comes."""
    desk = Desk()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 4) as outcomes:
        await settle()
        for index in range(4):
            desk.observers[index].on_wait()
        for index in (0, 1, 2):
            await desk.observers[index].before_send(1)
        await desk.observers[1].on_not_executed(ImagesError("429"))
        desk.observers[2].on_wait()
        assert (outcomes.progress.in_flight, outcomes.progress.waiting) == (1, 3)
        outcomes.stop()
        await settle()
        assert sorted(desk.cancelled) == [1, 3]
        assert (outcomes.progress.in_flight, outcomes.progress.waiting) == (1, 1)
        with pytest.raises(StoppedBeforeSendError):
            await desk.observers[2].before_send(2)
        desk.end(0, 2)
        assert await rest(outcomes) == [(0, "ok"), (2, "ok")]


async def test_what_is_dropped_holds_up_nobody() -> None:
    """In order, an outcome behind a dropped request comes at once, while others are still on the wire."""
    desk = Desk()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 3, ordered=True) as outcomes:
        step = asyncio.ensure_future(anext(outcomes))
        await settle()
        desk.observers[0].on_wait()
        await desk.observers[2].before_send(1)
        desk.end(1)
        await settle()
        assert not step.done()
        outcomes.stop()
        assert told(await step) == (1, "ok")
        assert desk.open == [2]
        desk.end(2)
        assert await rest(outcomes) == [(2, "ok")]


@pytest.mark.parametrize("asks", ["waiting", "sending"])
async def test_nothing_is_sent_after_a_stop(asks: str) -> None:
    """A call that was just about to send is ended by its observer, wherever it is."""
    go_on, sent = asyncio.Event(), []

    async def work(item: RequestItem, observer: Any) -> Any:
        await go_on.wait()
        if asks == "waiting":
            observer.on_wait()
        else:
            await observer.before_send(1)
        sent.append(item.index)
        return result()

    async with nothing_left(), outcomes_of(PROMPTS, work, 3) as outcomes:
        await settle()
        outcomes.stop()
        go_on.set()
        assert await rest(outcomes) == []
    assert sent == []


async def test_a_stop_between_start_and_first_step() -> None:
    """What was read and has not begun does not begin."""
    desk = Desk()

    def prompts() -> Iterator[str]:
        yield "a"
        outcomes.stop()
        yield "b"

    outcomes = outcomes_of(prompts(), desk, 5)
    assert await rest(outcomes) == []
    assert desk.begun == []


async def test_a_cancelled_step_loses_nothing_inside_async_with() -> None:
    """A wait for the next outcome may be cut short, by a time-out for one; what comes is there for the next."""
    desk = Desk()
    async with outcomes_of(PROMPTS[:2], desk) as outcomes:
        step = asyncio.ensure_future(anext(outcomes))
        await settle()
        step.cancel()
        await asyncio.wait([step])
        assert step.cancelled()
        desk.end(0, 1)
        assert await rest(outcomes) == [(0, "ok"), (1, "ok")]
    assert desk.cancelled == []


@pytest.mark.parametrize("ordered", [True, False])
async def test_results_that_nobody_reads(caplog: pytest.LogCaptureFixture, *, ordered: bool) -> None:
    """Images that are paid for and only in memory are not dropped without a word."""
    desk = Desk()
    async with outcomes_of(PROMPTS, desk, 4, ordered=ordered) as outcomes:
        await settle()
        desk.end(0, 2, 3)
        assert told(await anext(outcomes)) == (0, "ok")
        await settle()
    assert caplog.messages == [
        "outcomes were closed with 2 unread results, which are lost although they are paid for"
    ]


async def test_closed_is_closed() -> None:
    """After aclose, called twice, there is nothing more, and whoever waited is told so."""
    desk = Desk()
    async with nothing_left():
        outcomes = outcomes_of(PROMPTS, desk)
        step = asyncio.ensure_future(anext(outcomes))
        await settle()
        await outcomes.aclose()
        await outcomes.aclose()
        with pytest.raises(RuntimeError, match="closed before their end"):
            await step
        with pytest.raises(RuntimeError, match="closed before their end"):
            await anext(outcomes)
    assert sorted(desk.cancelled) == [0, 1]


async def test_closed_before_it_began() -> None:
    """Nothing is read any more."""
    outcomes = outcomes_of(PROMPTS, Desk())
    await outcomes.aclose()
    with pytest.raises(RuntimeError, match="closed before their end"):
        await rest(outcomes)


async def test_an_abandoned_one_is_aborted() -> None:
    """Dropped in the middle of a plain `async for`, it cancels its work, closes its source, and warns."""
    desk, log = Desk(), []

    def prompts() -> Iterator[str]:
        try:
            yield from PROMPTS
        finally:
            log.append("closed")

    source = prompts()

    async def begin() -> None:
        async for _ in outcomes_of(source, desk):
            return

    async with nothing_left():
        task = asyncio.ensure_future(begin())
        await settle()
        desk.end(0)
        with pytest.warns(ResourceWarning, match="unclosed <Outcomes open, 1 done, 0 failed, 1 in flight>"):
            await task
    assert desk.cancelled == [1]
    assert log == ["closed"]


async def test_abandoned_to_another_thread() -> None:
    """The garbage collector may run anywhere: the work is cancelled in its own loop."""
    desk = Desk()
    async with nothing_left():
        kept: list[Outcomes] = [outcomes_of(PROMPTS, desk)]
        step = asyncio.ensure_future(anext(kept[0]))
        await settle()
        desk.end(0)
        await step
        del step
        with pytest.warns(ResourceWarning, match="unclosed"):
            await asyncio.to_thread(kept.clear)
    assert desk.cancelled == [1]


@pytest.mark.parametrize("concurrency", [0, -1, 1.5, "8", True, None])
def test_a_concurrency_that_makes_no_sense(concurrency: Any) -> None:
    """It is refused when it is given."""
    with pytest.raises(ConfigurationError, match=r"concurrency=.*must be a whole number above 0"):
        RunOptions(concurrency=concurrency)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("an otter", "not one str; put it into a list"),
        (b"an otter", "not one bytes"),
        ({"prompt": "an otter"}, "not one dict"),
        (GenerateRequest("an otter"), "not one GenerateRequest"),
        (5, "must be an iterable or async iterable .* not int"),
        (None, "not NoneType"),
    ],
)
def test_what_is_not_many(given: Any, said: str) -> None:
    """A single prompt would be taken letter by letter: it is refused at once."""
    with pytest.raises(TypeError, match=said):
        outcomes_of(given, Desk())


async def test_an_empty_source() -> None:
    """No requests, no outcomes."""
    async with nothing_left():
        assert await rest(outcomes_of([], Desk())) == []
        async with outcomes_of([], Desk()) as outcomes:
            assert await rest(outcomes) == []


async def test_work_inherits_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Context variables of whoever started it are those of the work."""
    import contextvars

    who = contextvars.ContextVar("who", default="nobody")
    who.set("me")
    seen = []

    async def work(item: RequestItem, _: Any) -> Any:
        seen.append(who.get())
        return result()

    await rest(outcomes_of(PROMPTS[:2], work))
    assert seen == ["me", "me"]


async def test_an_eager_task_factory() -> None:
    """Tasks that run at once when they are made (Python 3.12) change nothing."""
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("this Python has no eager tasks")
    asyncio.get_running_loop().set_task_factory(factory)
    desk = Desk()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 2) as outcomes:
        await settle()
        assert desk.begun == [0, 1]
        desk.end(0, 1)
        await settle()
        desk.at_once = True
        assert sorted(await rest(outcomes)) == [(index, "ok") for index in range(6)]


async def test_async_iteration_of_a_generator_in_a_comprehension() -> None:
    """It is an async iterator as any other."""

    async def prompts() -> AsyncIterator[str]:
        for prompt in PROMPTS:
            yield prompt

    found = [outcome.index async for outcome in outcomes_of(prompts(), Desk(at_once=True), 1)]
    assert found == [0, 1, 2, 3, 4, 5]
