"""What is held: at most `concurrency` results beside the one in hand, however long the run and its failures."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from openai_images import Image, ImageResult, ImagesError, Succeeded
from openai_images.many.items import RequestItem
from tests.helpers.clients import PNG
from tests.helpers.fake_send import outcomes_of, settle


class Alive:
    """Work that counts how many of its results are still alive, and how many at most were."""

    def __init__(self) -> None:
        """None yet."""
        self.now = self.most = 0

    async def __call__(self, item: RequestItem, _: Any) -> ImageResult:
        """A result that is watched."""
        await asyncio.sleep(0)
        made = Image.from_bytes(PNG + item.index.to_bytes(4, "big"))
        result = ImageResult(images=(made,))
        self.now += 1
        self.most = max(self.most, self.now)
        weakref.finalize(result, self._gone)
        return result

    def _gone(self) -> None:
        self.now -= 1


class MistakeError(Exception):
    """A mistake in the code."""


def endless() -> Iterator[str]:
    """Prompts without end."""
    while True:
        yield "an otter"


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("concurrency", [1, 5])
async def test_results_in_memory(concurrency: int, ordered: bool) -> None:
    """No more than `concurrency` while one is looked at, and the last one besides while the next is waited for."""
    alive, taken = Alive(), 0
    gc.disable()  # reference counting must do
    try:
        async with outcomes_of(endless(), alive, concurrency, ordered=ordered) as outcomes:
            async for outcome in outcomes:
                assert isinstance(outcome, Succeeded)
                await settle()
                assert alive.now <= concurrency
                taken += 1
                if taken == 100:
                    break
        del outcome
        assert alive.now == 0
    finally:
        gc.enable()
    assert alive.most <= concurrency + 1


async def test_failures_do_not_gather() -> None:
    """An outcome that was let go of is gone, its exception too, without the garbage collector."""
    seen: list[weakref.ref[ImagesError]] = []

    async def work(item: RequestItem, _: Any) -> ImageResult:
        error = ImagesError("no")
        seen.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    taken = 0
    gc.disable()
    try:
        async with outcomes_of(endless(), work, 3) as outcomes:
            async for _ in outcomes:
                taken += 1
                if taken == 50:
                    break
        del _, outcomes
        await settle()
        assert sum(ref() is not None for ref in seen) == 0
    finally:
        gc.enable()


async def test_what_was_raised_is_let_go_of() -> None:
    """The exception of the whole is gone with whoever caught it, without the garbage collector."""
    seen: list[weakref.ref[MistakeError]] = []

    async def work(item: RequestItem, _: Any) -> ImageResult:
        error = MistakeError()
        seen.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    async def run() -> None:
        async with outcomes_of(endless(), work, 1) as outcomes:
            await anext(outcomes)

    gc.disable()
    try:
        with contextlib.suppress(MistakeError):
            await run()
        await settle()
        assert [ref() for ref in seen] == [None]
    finally:
        gc.enable()


async def test_nothing_grows() -> None:
    """After thousands of requests without keys the run holds what it held after a few."""

    async def work(item: RequestItem, _: Any) -> ImageResult:
        return ImageResult(images=(Image.from_bytes(PNG),))

    sizes = []
    async with outcomes_of(endless(), work, 10) as outcomes:
        for _ in range(3):
            for _ in range(2000):
                await anext(outcomes)
            gc.collect()
            sizes.append(len(gc.get_objects()))
        outcomes.stop()
    assert sizes[2] - sizes[1] < 500
