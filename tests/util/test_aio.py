"""The timer of many waits does what `asyncio.timeout` does, with fewer timers; megabytes are freed one by one."""

import asyncio
import contextlib
import weakref
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from openai_images._util.aio import WaitTimer, free_gradually

Limit = Callable[[float | None], AbstractAsyncContextManager[Any]]
LATE = 10.0  # seconds by which the clock jumps, so that all that is due comes in one turn of the loop


class Clock:
    """The loop's clock, moved by hand, and the timers that were set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the loop's clock in hand."""
        self.now = 1000.0
        self.set: list[float] = []
        original = loop.call_at

        def call_at(when: float, *args: Any, **options: Any) -> asyncio.TimerHandle:
            self.set.append(when - self.now)
            return original(when, *args, **options)

        monkeypatch.setattr(loop, "time", lambda: self.now)
        monkeypatch.setattr(loop, "call_at", call_at)


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clock]:
    """The running loop's clock; the loop gets its own back before it ends."""
    with monkeypatch.context() as patch:
        yield Clock(asyncio.get_running_loop(), patch)


@contextlib.asynccontextmanager
async def ours(seconds: float | None) -> AsyncIterator[None]:
    """A wait with a timer of its own."""
    with WaitTimer().within(seconds):
        yield


def this_task() -> asyncio.Task[Any]:
    """The running task."""
    task = asyncio.current_task()
    assert task is not None
    return task


async def forever() -> None:
    """Never end."""
    await asyncio.get_running_loop().create_future()


async def runs_out(limit: Limit, clock: Clock) -> None:
    """The time is over."""
    async with limit(1):
        clock.now += LATE
        await forever()


async def is_in_time(limit: Limit, clock: Clock) -> str:
    """The wait ends before it."""
    async with limit(1):
        await asyncio.sleep(0)
    clock.now += LATE
    await asyncio.sleep(0)
    return "done"


async def has_no_limit(limit: Limit, clock: Clock) -> str:
    """None is for ever."""
    async with limit(None):
        clock.now += LATE
        await asyncio.sleep(0)
    return "done"


async def is_over_already(limit: Limit, clock: Clock) -> None:
    """A time in the past."""
    async with limit(-1):
        await forever()


async def is_cancelled(limit: Limit, clock: Clock) -> None:
    """Somebody cancels before it."""
    asyncio.get_running_loop().call_soon(this_task().cancel)
    async with limit(1):
        await forever()


async def is_cancelled_just_before(limit: Limit, clock: Clock) -> None:
    """Somebody cancels in the turn in which the time is over, first."""
    asyncio.get_running_loop().call_at(clock.now + 0.5, this_task().cancel)
    async with limit(1):
        clock.now += LATE
        await forever()


async def is_cancelled_just_behind(limit: Limit, clock: Clock) -> None:
    """Somebody cancels in the turn in which the time is over, second."""
    asyncio.get_running_loop().call_at(clock.now + 2, this_task().cancel)
    async with limit(1):
        clock.now += LATE
        await forever()


async def is_cancelled_while_it_ends(limit: Limit, clock: Clock) -> None:
    """Somebody cancels when the time is over and the wait has not ended yet."""
    async with limit(1):
        clock.now += LATE
        try:
            await forever()
        finally:
            this_task().cancel()


async def swallows(limit: Limit, clock: Clock) -> str:
    """What is awaited takes the cancellation for its own."""
    async with limit(1):
        clock.now += LATE
        with contextlib.suppress(asyncio.CancelledError):
            await forever()
    await asyncio.sleep(0)
    return "done"


async def raises_another(limit: Limit, clock: Clock) -> None:
    """What is awaited raises something else when it is cancelled."""
    async with limit(1):
        clock.now += LATE
        try:
            await forever()
        finally:
            raise ValueError


async def fails(limit: Limit, clock: Clock) -> None:
    """What is awaited fails before it."""
    async with limit(1):
        await asyncio.sleep(0)
        raise ValueError


async def was_cancelled_before(limit: Limit, clock: Clock) -> None:
    """A cancellation that was swallowed earlier is still counted."""
    this_task().cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await forever()
    async with limit(1):
        clock.now += LATE
        await forever()


async def has_an_outer_limit(limit: Limit, clock: Clock) -> None:
    """A limit around it is over in the same turn, first."""
    async with asyncio.timeout(0.5), limit(1):
        clock.now += LATE
        await forever()


async def has_an_outer_limit_later(limit: Limit, clock: Clock) -> None:
    """A limit around it is over in the same turn, second."""
    async with asyncio.timeout(2), limit(1):
        clock.now += LATE
        await forever()


async def has_an_inner_limit(limit: Limit, clock: Clock) -> None:
    """A limit within it is over in the same turn, first."""
    async with limit(2), asyncio.timeout(1):
        clock.now += LATE
        await forever()


async def is_caught_and_goes_on(limit: Limit, clock: Clock) -> str:
    """The time is over, and the caller waits for something else."""
    with contextlib.suppress(TimeoutError):
        async with limit(1):
            clock.now += LATE
            await forever()
    async with limit(1):
        await asyncio.sleep(0)
    return "done"


async def is_nested_in_itself(limit: Limit, clock: Clock) -> None:
    """Two of them, of which the outer one is over first."""
    async with limit(1), limit(2):
        clock.now += LATE
        await forever()


STEPS: dict[Callable[[Limit, Clock], Awaitable[Any]], Any] = {
    runs_out: (TimeoutError, 0),
    is_in_time: ("done", 0),
    has_no_limit: ("done", 0),
    is_over_already: (TimeoutError, 0),
    is_cancelled: (asyncio.CancelledError, 1),
    is_cancelled_just_before: (asyncio.CancelledError, 1),
    is_cancelled_just_behind: (asyncio.CancelledError, 1),
    is_cancelled_while_it_ends: (asyncio.CancelledError, 1),
    swallows: ("done", 0),
    raises_another: (ValueError, 0),
    fails: (ValueError, 0),
    was_cancelled_before: (TimeoutError, 1),
    has_an_outer_limit: (TimeoutError, 0),
    has_an_outer_limit_later: (TimeoutError, 0),
    has_an_inner_limit: (TimeoutError, 0),
    is_caught_and_goes_on: ("done", 0),
    is_nested_in_itself: (TimeoutError, 0),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("limit", [ours, asyncio.timeout])
async def test_as_asyncio_does(limit: Limit, step: Callable[..., Any], clock: Clock) -> None:
    """Each way in which a wait may end: the same exception, and as many cancellations still to be answered."""
    task = asyncio.create_task(step(limit, clock))
    await asyncio.wait([task])
    ended: Any = asyncio.CancelledError if task.cancelled() else type(task.exception())
    found = task.result() if ended is type(None) else ended
    assert (found, task.cancelling()) == STEPS[step]


async def test_one_timer_for_many_waits(clock: Clock) -> None:
    """A later deadline sets no timer before the earlier one has passed; the last one holds."""
    timer = WaitTimer()
    for _ in range(100):
        with timer.within(5):
            await asyncio.sleep(0)
        clock.now += 0.01
    assert clock.set == [5.0]
    with timer.within(5):
        clock.now += 4.5
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert clock.set == [5.0, 0.5]
        clock.now += 0.6
        with pytest.raises(asyncio.CancelledError):
            await forever()
        assert timer.expired


async def test_an_earlier_deadline_is_kept(clock: Clock) -> None:
    """Moving it forward sets the timer anew, also while somebody waits."""
    timer = WaitTimer()
    with timer.within(600):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError), timer.within(None):  # noqa: PT012  the block is what is tested
        timer.move(600)
        timer.move(1)
        clock.now += 2
        await forever()
    assert timer.expired
    assert [round(seconds) for seconds in clock.set] == [600, 1]


async def test_nobody_waits(clock: Clock) -> None:
    """Between two waits it cancels nothing, and is not set; after `cancel` and after an exception it is gone."""
    timer = WaitTimer()
    with timer.within(1):
        await asyncio.sleep(0)
    clock.now += LATE
    timer.move(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (clock.set, timer._handle, timer.expired) == ([1.0], None, False)
    with timer.within(1):
        await asyncio.sleep(0)
    timer.cancel()
    timer.cancel()
    assert timer._handle is None
    with pytest.raises(LookupError), timer.within(1):
        raise LookupError
    assert timer._handle is None


async def test_it_needs_a_task(clock: Clock) -> None:
    """A callback of the loop has none that could be cancelled."""
    timer, caught = WaitTimer(), []

    def enter() -> None:
        try:
            with timer.within(1):
                pass
        except RuntimeError as error:
            caught.append(error)

    asyncio.get_running_loop().call_soon(enter)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(caught) == 1


class Image:
    """Something that can be seen to be freed."""


async def test_one_in_each_turn() -> None:
    """All are gone after as many turns."""
    images = deque([Image(), Image(), Image()])
    alive = weakref.WeakSet(images)
    counts = []
    free_gradually(images)
    for _ in range(4):
        counts.append(len(alive))
        await asyncio.sleep(0)
    assert counts == [2, 1, 0, 0]
