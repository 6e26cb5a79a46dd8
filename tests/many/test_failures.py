"""What goes wrong for the whole: what was in flight is handed over first, then it is raised, and nothing is left."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from decimal import Decimal
from typing import Any

import pytest

from openai_images import (
    Failed,
    ImageResult,
    ImagesError,
    Outcomes,
    OutcomeUnknownError,
    Progress,
    QuotaExhaustedError,
)
from openai_images.many.items import RequestItem
from openai_images.models.outcomes import CallObserver
from tests.helpers.fake_send import Desk, outcomes_of, result, settle, told
from tests.helpers.leaks import nothing_left

PROMPTS = ["a", "b", "c", "d", "e", "f"]
SHOULD_RAISE = "the end came without an exception"


async def until_raised(outcomes: Outcomes) -> tuple[list[tuple[int, str]], Exception]:
    """The outcomes, and what is raised behind them; after that there is nothing more."""
    found = []
    try:
        async for outcome in outcomes:
            found.append(told(outcome))  # noqa: PERF401  an exception ends it
    except Exception as error:  # noqa: BLE001  given back
        with pytest.raises(RuntimeError if "closed before" in str(error) else StopAsyncIteration):
            await anext(outcomes)
        return found, error
    raise AssertionError(SHOULD_RAISE)


class OwnError(Exception):
    """An exception of the user's code."""


def failing() -> Iterator[str]:
    """A source that breaks."""
    yield from PROMPTS[:3]
    raise OwnError


async def failing_async() -> AsyncIterator[str]:
    """A source that breaks, asynchronously."""
    for prompt in PROMPTS[:3]:
        yield prompt
    raise OwnError


class FailingAtOnce:
    """A source that cannot even be opened."""

    def __iter__(self) -> Iterator[str]:
        raise OwnError


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize("source", [failing, failing_async])
async def test_a_source_that_breaks(source: Any, entered: bool, ordered: bool) -> None:
    """What it had given is worked on, also what was not sent yet; then its own exception comes."""
    desk = Desk()
    async with nothing_left():
        outcomes = outcomes_of(source(), desk, 10, ordered=ordered)
        if entered:
            await outcomes.__aenter__()
        collected = asyncio.ensure_future(until_raised(outcomes))
        await settle()
        assert desk.begun == [0, 1, 2]
        desk.observers[1].on_wait()
        await desk.observers[1].before_send(1)
        desk.end(0, 1, 2)
        found, error = await collected
        assert found == [(0, "ok"), (1, "ok"), (2, "ok")]
        assert type(error) is OwnError
        await outcomes.aclose()


async def test_a_source_that_cannot_be_opened() -> None:
    """Its exception comes, from the iteration and not from entering."""
    async with nothing_left(), outcomes_of(FailingAtOnce(), Desk()) as outcomes:
        found, error = await until_raised(outcomes)
    assert (found, type(error)) == ([], OwnError)


async def test_a_source_that_times_out_by_itself() -> None:
    """A TimeoutError of the source is the source's own, not ours."""

    async def prompts() -> AsyncIterator[str]:
        yield "a"
        async with asyncio.timeout(0):
            await asyncio.Event().wait()

    found, error = await until_raised(outcomes_of(prompts(), Desk(at_once=True)))
    assert (found, type(error)) == ([(0, "ok")], TimeoutError)


async def test_a_source_that_is_cancelled_by_itself() -> None:
    """A source that waited for a cancelled task says so, and cancels nobody."""

    async def prompts() -> AsyncIterator[str]:
        yield "a"
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        await gone

    found, error = await until_raised(outcomes_of(prompts(), Desk(at_once=True)))
    assert found == [(0, "ok")]
    assert str(error) == "the source of the requests was cancelled"


async def test_a_source_that_fails_while_it_is_closed() -> None:
    """What its own clean-up raises after a stop is raised at the end."""

    async def prompts() -> AsyncIterator[str]:
        try:
            while True:
                yield "a"
        finally:
            raise OwnError

    outcomes = outcomes_of(prompts(), Desk(at_once=True), 1)
    assert told(await anext(outcomes)) == (0, "ok")
    outcomes.stop()
    found, error = await until_raised(outcomes)
    assert (found, type(error)) == ([], OwnError)


def quota() -> QuotaExhaustedError:
    """No money left."""
    return QuotaExhaustedError("no money left", status_code=429)


async def test_quota() -> None:
    """Nothing new starts, what is on the wire comes, what waits is dropped; then the first such error is raised."""
    desk, first = Desk(), quota()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 4) as outcomes:
        collected = asyncio.ensure_future(until_raised(outcomes))
        await settle()
        for index in (0, 1, 2):
            await desk.observers[index].before_send(1)
        desk.observers[3].on_wait()
        desk.fail(1, first)
        await settle()
        desk.fail(0, quota())
        desk.end(2)
        found, error = await collected
    assert found == [(1, "QuotaExhaustedError"), (0, "QuotaExhaustedError"), (2, "ok")]
    assert error is first
    assert (desk.begun, desk.cancelled) == ([0, 1, 2, 3], [3])


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_mistake_in_the_code(ordered: bool) -> None:
    """Whatever is no ImagesError nor OSError cancels the rest; results that were there come before it."""
    desk = Desk()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 4, ordered=ordered) as outcomes:
        await settle()
        desk.end(1, 2)
        await settle()
        desk.fail(3, LookupError("a mistake"))
        await settle()
        assert desk.cancelled == [0]
        found, error = await until_raised(outcomes)
    assert found == [(1, "ok"), (2, "ok")]
    assert (type(error), str(error)) == (LookupError, "a mistake")
    assert desk.begun == [0, 1, 2, 3]


class Sterner(BaseException):
    """What frameworks raise past `except Exception`."""


async def test_what_is_no_exception_but_more() -> None:
    """From the work it is raised as it is; from the source in a group, as task groups do."""
    desk = Desk()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 2) as outcomes:
        await settle()
        desk.fail(0, Sterner())
        with pytest.raises(Sterner):
            await anext(outcomes)

    def prompts() -> Iterator[str]:
        yield "a"
        raise Sterner

    async with nothing_left(), outcomes_of(prompts(), desk, 2) as outcomes:
        with pytest.raises(BaseExceptionGroup) as caught:
            await anext(outcomes)
        assert caught.group_contains(Sterner)
    assert desk.open == []


async def test_a_call_that_is_cancelled_from_outside() -> None:
    """Nobody waits for ever for an outcome that cannot come."""
    desk = Desk()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 2) as outcomes:
        before = asyncio.all_tasks()
        collected = asyncio.ensure_future(until_raised(outcomes))
        await settle()
        mine = {asyncio.current_task(), collected}
        (asyncio.all_tasks() - before - mine).pop().cancel()
        found, error = await collected
    assert found == []
    assert "cancelled by other code" in str(error)
    assert sorted(desk.cancelled) == [0, 1]


async def test_a_reader_that_is_cancelled_from_outside() -> None:
    """What is finished still comes; then the iteration says that it was cut short."""
    desk = Desk()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 2) as outcomes:
        await settle()
        desk.end(0, 1)
        (reader,) = [task for task in asyncio.all_tasks() if task.get_name() == "openai_images: many calls"]
        reader.cancel()
        found, error = await until_raised(outcomes)
    assert found == [(0, "ok"), (1, "ok")]
    assert "closed before their end" in str(error)


class Fussy:
    """A progress callback that raises at its nth call."""

    def __init__(self, nth: int) -> None:
        """Count down."""
        self.nth = nth
        self.calls = 0
        self.sent: list[int] = []

    def __call__(self, progress: Progress) -> None:
        """Take note, or raise."""
        self.calls += 1
        if self.calls == self.nth:
            self.sent = [*SENT]
            raise OwnError


async def work_quickly(item: RequestItem, observer: CallObserver) -> ImageResult:
    """Work that tells the observer all there is to tell."""
    observer.on_wait()
    await observer.before_send(1)
    SENT.append(item.index)
    await asyncio.sleep(0)
    return result()


SENT: list[int] = []


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("nth", range(1, 25))
async def test_a_progress_callback_that_raises(nth: int, ordered: bool) -> None:
    """Whatever was sent is handed over, nothing more is sent, then it is raised; it is not called again."""
    SENT.clear()
    fussy = Fussy(nth)
    async with nothing_left():
        outcomes = outcomes_of(PROMPTS, work_quickly, 2, progress=fussy, ordered=ordered)
        if nth > 4 * len(PROMPTS):
            assert [told(outcome) async for outcome in outcomes] == [(index, "ok") for index in range(6)]
            return
        found, error = await until_raised(outcomes)
    assert type(error) is OwnError
    assert sorted(index for index, _ in found) == sorted(SENT)
    assert (fussy.calls, fussy.sent) == (nth, SENT)


async def test_a_cost_that_cannot_be_told() -> None:
    """A `cost` that raises does not lose its image; nothing new starts, and it is raised at the end."""

    def cost(request: Any, paid: Any) -> Decimal:
        raise OwnError

    desk = Desk()
    async with nothing_left(), outcomes_of(PROMPTS, desk, 2, cost=cost) as outcomes:
        collected = asyncio.ensure_future(until_raised(outcomes))
        await settle()
        desk.end(0)
        await settle()
        desk.end(1)
        found, error = await collected
    assert found == [(0, "ok"), (1, "ok")]
    assert type(error) is OwnError
    assert outcomes.progress.unpriced == 2


async def test_the_first_thing_that_went_wrong_is_told() -> None:
    """A source that breaks, and then a quota: the source's exception is raised, the quota is in the outcomes."""
    desk = Desk()
    async with nothing_left(), outcomes_of(failing(), desk, 10) as outcomes:
        await settle()
        desk.fail(0, quota())
        await settle()
        desk.end(1, 2)
        found, error = await until_raised(outcomes)
    assert found[0] == (0, "QuotaExhaustedError")
    assert len(found) == 3
    assert type(error) is OwnError


async def test_left_before_it_could_be_raised(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever leaves by `break` finds in the log what would have been raised, without its text."""
    desk = Desk()
    with caplog.at_level(logging.WARNING, "openai_images"):
        async with nothing_left(), outcomes_of(failing(), desk, 10) as outcomes:
            await settle()
            desk.end(0)
            async for _ in outcomes:
                break
    assert caplog.messages == ["outcomes were closed before OwnError could be raised"]


@pytest.mark.parametrize("asked_of", [lambda failed: failed, lambda failed: failed.error])
async def test_each_failure_tells_whether_it_may_have_cost_money(asked_of: Any) -> None:
    """An OSError of a file knows it as every error does: by whether its request was on its way."""
    desk = Desk()
    async with outcomes_of(PROMPTS[:5], desk, 5, ordered=True) as outcomes:
        await settle()
        for index in (1, 2):
            await desk.observers[index].before_send(1)
        await desk.observers[2].on_not_executed(ImagesError("refused"))
        for index in (0, 1, 2):
            desk.fail(index, OSError(28, "no space"))
        desk.fail(3, ImagesError("no"))
        desk.fail(4, OutcomeUnknownError("who knows"))
        failed = [outcome async for outcome in outcomes]
    assert [asked_of(outcome).maybe_billed for outcome in failed] == [False, True, False, False, True]
    assert outcomes.progress.unknown == 2


def test_a_failure_made_by_hand_is_not_taken_for_billed() -> None:
    """Its OSError was never on its way anywhere."""
    assert Failed(0, "0", None, OSError()).maybe_billed is False


async def test_an_error_does_not_hold_what_it_knows_for_ever() -> None:
    """A failure that is kept keeps neither tasks nor results alive."""
    import gc
    import weakref

    desk = Desk()
    async with outcomes_of(PROMPTS[:2], desk) as outcomes:
        await settle()
        error = ImagesError("no")
        desk.fail(0, error)
        kept = await anext(outcomes)
        desk.end(1)
        other = weakref.ref((await anext(outcomes)).result)  # type: ignore[union-attr]
    gc.collect()
    assert kept.error is error  # type: ignore[union-attr]
    assert other() is None
