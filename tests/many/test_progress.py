"""What the progress callback is told, and what the property says, step by step."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from openai_images import ImageResult, ImagesError, Progress, Timing
from tests.helpers.fake_send import Desk, outcomes_of, rest, settle

PROMPTS = ["a", "b", "c"]


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        """Start somewhere."""
        self.now = 5000.0

    @property
    def timing(self) -> Timing:
        """What Options take."""
        return Timing(monotonic=lambda: self.now)


async def test_each_change_is_told() -> None:
    """Started, waiting, sent, refused, sent again, finished."""
    desk, seen = Desk(), list[Progress]()
    timing = Clock().timing
    async with outcomes_of(["a"], desk, progress=seen.append, total=1, timing=timing) as outcomes:
        await settle()
        observer = desk.observers[0]
        observer.on_wait()
        await observer.before_send(1)
        await observer.on_not_executed(ImagesError("429"))
        observer.on_wait()
        await observer.before_send(2)
        desk.end(0)
        await rest(outcomes)
    assert [(now.in_flight, now.waiting, now.done) for now in seen] == [
        (1, 0, 0),
        (0, 1, 0),
        (1, 0, 0),
        (0, 1, 0),
        (0, 1, 0),
        (1, 0, 0),
        (0, 0, 1),
    ]
    assert outcomes.progress == seen[-1]


async def test_time_speed_and_what_is_left() -> None:
    """By the clock of Timing, from the start to the end."""
    desk, clock = Desk(), Clock()
    async with outcomes_of(PROMPTS, desk, 1, total=3, timing=clock.timing) as outcomes:
        for index in range(3):
            step = asyncio.ensure_future(anext(outcomes))
            await settle()
            clock.now += 20.0
            desk.end(index)
            await step
            now = outcomes.progress
            assert (now.total, now.done, now.images, now.elapsed) == (
                3,
                index + 1,
                index + 1,
                20.0 * (index + 1),
            )
            assert now.images_per_minute == pytest.approx(3.0)
            assert now.eta == pytest.approx(20.0 * (2 - index))
        assert await rest(outcomes) == []
        clock.now += 1000.0
        assert outcomes.progress.elapsed == 60.0


async def test_the_total_of_an_endless_source() -> None:
    """It is not known until the source has ended."""
    desk = Desk()
    async with outcomes_of(iter(PROMPTS), desk, 2) as outcomes:
        await settle()
        assert (outcomes.progress.total, outcomes.progress.eta) == (None, None)
        desk.end(0, 1)
        await anext(outcomes)
        await anext(outcomes)
        await settle()
        desk.end(2)
        await rest(outcomes)
        assert outcomes.progress.total == 3


async def test_money() -> None:
    """`cost` is asked for each result, with its request; None is counted and not added."""
    desk, asked = Desk(), []

    def cost(request: Any, paid: ImageResult) -> Decimal | None:
        asked.append((request.prompt, len(paid.images)))
        return None if request.prompt == "b" else Decimal("0.04")

    async with outcomes_of(PROMPTS, desk, 3, cost=cost) as outcomes:
        await settle()
        assert (outcomes.progress.spent, outcomes.progress.unpriced) == (None, 0)
        desk.end(1)
        await settle()
        assert (outcomes.progress.spent, outcomes.progress.unpriced) == (None, 1)
        desk.end(0)
        desk.fail(2, ImagesError("no"))
        await settle()
        assert (outcomes.progress.spent, outcomes.progress.unpriced) == (Decimal("0.04"), 1)
    assert asked == [("b", 1), ("a", 1)]


async def test_without_a_cost_nothing_has_a_price() -> None:
    """It is not taken for free."""
    outcomes = outcomes_of(PROMPTS, Desk(at_once=True))
    await rest(outcomes)
    assert (outcomes.progress.spent, outcomes.progress.unpriced) == (None, 3)


async def test_a_callback_may_stop() -> None:
    """The callback is called on the loop and may act on what it is told."""
    desk = Desk()

    def enough(now: Progress) -> None:
        if now.done == 1:
            outcomes.stop()

    outcomes = outcomes_of(PROMPTS, desk, 2, progress=enough)
    async with outcomes:
        await settle()
        desk.end(0)
        await settle()
        desk.end(1)
        assert await rest(outcomes) == [(0, "ok"), (1, "ok")]
    assert desk.begun == [0, 1]
