"""What tests of many calls share: work that ends when the test says so, and the loop turned until nothing moves."""

import asyncio
from collections.abc import AsyncIterable, Iterable
from typing import Any

from openai_images import Failed, Image, ImageResult, Outcome, Outcomes, Succeeded
from openai_images.many.items import RequestItem, RunOptions
from openai_images.models.outcomes import CallObserver
from tests.helpers.clients import PNG


def result() -> ImageResult:
    """An image of one pixel."""
    return ImageResult(images=(Image.from_bytes(PNG),))


async def settle() -> None:
    """Let the loop turn until whatever can happen without waiting has happened."""
    for _ in range(30):
        await asyncio.sleep(0)


class Desk:
    """Work whose calls are open until they are ended; `begun`, `cancelled` and `observers` tell what happened."""

    def __init__(self, *, at_once: bool = False) -> None:
        """Give every call its result `at_once`, or when the test says so."""
        self.at_once = at_once
        self.begun: list[int] = []
        self.prompts: list[str] = []
        self.cancelled: list[int] = []
        self.observers: dict[int, CallObserver] = {}
        self.most = 0
        self._open: dict[int, asyncio.Future[ImageResult]] = {}

    async def __call__(self, item: RequestItem, observer: CallObserver) -> ImageResult:
        """Work on one item."""
        self.begun.append(item.index)
        self.prompts.append(item.request.prompt)
        self.observers[item.index] = observer
        if self.at_once:
            await asyncio.sleep(0)
            return result()
        self._open[item.index] = asyncio.get_running_loop().create_future()
        self.most = max(self.most, len(self._open))
        try:
            return await self._open[item.index]
        except asyncio.CancelledError:
            self.cancelled.append(item.index)
            raise
        finally:
            del self._open[item.index]

    @property
    def open(self) -> list[int]:
        """What is being worked on."""
        return sorted(self._open)

    def end(self, *indices: int) -> None:
        """These have their images."""
        for index in indices:
            self._open[index].set_result(result())

    def fail(self, index: int, error: BaseException) -> None:
        """This one fails."""
        self._open[index].set_exception(error)


def outcomes_of(
    given: Iterable[object] | AsyncIterable[object], work: Any, concurrency: int = 2, **options: Any
) -> Outcomes:
    """Outcomes of this work."""
    return Outcomes(given, work, RunOptions(concurrency=concurrency, **options))


def told(outcome: Outcome) -> tuple[int, str]:
    """An outcome as its place and "ok" or the kind of its error."""
    match outcome:
        case Succeeded():
            return outcome.index, "ok"
        case Failed():
            return outcome.index, type(outcome.error).__name__


async def rest(outcomes: Outcomes) -> list[tuple[int, str]]:
    """What is still to come, each as `told`."""
    return [told(outcome) async for outcome in outcomes]
