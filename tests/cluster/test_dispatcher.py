"""`Dispatcher`: chunks for an engine, here one that tests hold in their hands."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from attrs import define, field

from openai_images import ClusterError, GenerateRequest
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.run.run_state import WorkItem
from openai_images.cluster.engine import Dispatcher
from openai_images.cluster.job import ItemSpec, Job, Row

JOB = Job(out="/nowhere", client=lambda: pytest.fail("an engine needs no client here"))


def spec(number: int) -> ItemSpec:
    """One item."""
    item = ResolvedItem(number, f"key{number}", GenerateRequest("otter"), "digest")
    return ItemSpec(f"id{number}", 0, WorkItem(item=item, stem="stem"))


@define
class HandEngine:
    """Answers a chunk when a test does so; notes what it was told. `running` are the ids of items that have begun."""

    chunk: int = 3
    in_flight: int = 4
    processes: int = 1
    window: int = 100
    chunks: list[tuple[Sequence[ItemSpec], asyncio.Future[list[Row]]]] = field(factory=list)
    stops: int = 0
    is_closed: bool = False
    running: set[str] | None = None

    async def start(self) -> None:
        """Nothing to look at."""

    async def run(self, job: Job, items: Sequence[ItemSpec]) -> Sequence[Row]:
        """Wait for the test."""
        answer: asyncio.Future[list[Row]] = asyncio.get_running_loop().create_future()
        self.chunks.append((items, answer))
        return await answer

    async def stop(self, job: Job) -> set[str] | None:
        """Count."""
        self.stops += 1
        return self.running

    async def aclose(self) -> None:
        """Note it."""
        self.is_closed = True

    def wait_reason(self) -> str | None:
        """None."""
        return None

    def answer(self, number: int, **fields: Any) -> None:
        """Answer a chunk with a row for each item, in the wrong order."""
        items, answer = self.chunks[number]
        answer.set_result([{"id": item.id, "state": "done", **fields} for item in reversed(items)])


@pytest.fixture
def engine() -> HandEngine:
    """One."""
    return HandEngine()


async def settle() -> None:
    """Let tasks run; the last chunk waits a twentieth of a second for more items."""
    await asyncio.sleep(0.08)


def ids(items: Sequence[ItemSpec]) -> list[str]:
    """Their ids."""
    return [item.id for item in items]


async def test_items_travel_in_chunks(engine: HandEngine) -> None:
    """As many as a chunk has; the rest after a moment; each gets its own row."""
    dispatcher = Dispatcher(engine, JOB)
    tasks = [asyncio.ensure_future(dispatcher.run(spec(number))) for number in range(7)]
    await settle()
    assert [len(items) for items, _ in engine.chunks] == [3, 3, 1]
    for number in (2, 0, 1):
        engine.answer(number)
    rows = await asyncio.gather(*tasks)
    assert [row["id"] for row in rows if row] == [f"id{number}" for number in range(7)]
    await dispatcher.aclose()


async def test_a_stop_withdraws_what_was_not_handed_out(engine: HandEngine) -> None:
    """The engine is told, again and again while it has chunks; what comes of those still counts."""
    dispatcher = Dispatcher(engine, JOB)
    tasks = [asyncio.ensure_future(dispatcher.run(spec(number))) for number in range(4)]
    await asyncio.sleep(0)
    dispatcher.stop()
    dispatcher.stop()
    assert await tasks[3] is None
    assert await dispatcher.run(spec(9)) is None
    await settle()
    assert (len(engine.chunks), engine.stops) == (1, 1)
    await asyncio.sleep(1)
    assert engine.stops == 2
    engine.answer(0)
    assert all([await task for task in tasks[:3]])
    await dispatcher.aclose()
    assert engine.is_closed


async def test_a_stop_withdraws_chunks_that_have_not_begun(engine: HandEngine) -> None:
    """At the second announcement, as rows may be on their way; those that have begun are awaited."""
    dispatcher = Dispatcher(engine, JOB)
    tasks = [asyncio.ensure_future(dispatcher.run(spec(number))) for number in range(9)]
    await asyncio.sleep(0)
    engine.running = {"id1"}
    dispatcher.stop()
    await settle()
    assert (len(engine.chunks), engine.stops) == (3, 1)
    engine.answer(2)
    assert all([await task for task in tasks[6:]])
    assert [await task for task in tasks[3:6]] == [None] * 3
    assert engine.stops == 2
    assert engine.chunks[1][1].cancelled()
    engine.answer(0)
    assert all([await task for task in tasks[:3]])
    await dispatcher.aclose()


async def test_closing_waits_for_no_chunk(engine: HandEngine) -> None:
    """What nobody waits for is dropped; the engine is told to stop, and closed."""
    dispatcher = Dispatcher(engine, JOB)
    task = asyncio.ensure_future(dispatcher.run(spec(1)))
    await settle()
    task.cancel()
    async with asyncio.timeout(60):
        await dispatcher.aclose()
    assert engine.chunks[0][1].cancelled()
    assert engine.stops >= 1
    assert engine.is_closed
    await dispatcher.aclose()


async def test_a_failure_of_the_engine_is_that_of_its_items(engine: HandEngine) -> None:
    """And of no others; an item without a row was withdrawn."""
    dispatcher = Dispatcher(engine, JOB)
    tasks = [asyncio.ensure_future(dispatcher.run(spec(number))) for number in range(6)]
    await settle()
    engine.chunks[0][1].set_exception(ClusterError("lost"))
    engine.chunks[1][1].set_result([{"id": "id3", "state": "done"}])
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["ClusterError"] * 3 + ["dict"] + ["NoneType"] * 2
    await dispatcher.aclose()


@pytest.mark.parametrize("error", [TypeError("cannot pickle 'x'"), asyncio.CancelledError()])
async def test_any_error_of_an_engine_ends_its_items(engine: HandEngine, error: BaseException) -> None:
    """A bug of it, an item that cannot be pickled, a task that others cancelled: it is the cluster's error."""
    dispatcher = Dispatcher(engine, JOB)
    tasks = [asyncio.ensure_future(dispatcher.run(spec(number))) for number in range(3)]
    await settle()
    engine.chunks[0][1].set_exception(error) if isinstance(error, Exception) else engine.chunks[0][1].cancel()
    async with asyncio.timeout(60):
        results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, ClusterError) for result in results)
    assert type(error).__name__ in str(results[0])
    await dispatcher.aclose()


async def test_closing_answers_everybody(engine: HandEngine) -> None:
    """Who still awaits an item of a chunk that is given up learns that it was withdrawn."""
    dispatcher = Dispatcher(engine, JOB)
    task = asyncio.ensure_future(dispatcher.run(spec(1)))
    await settle()
    await dispatcher.aclose()
    async with asyncio.timeout(60):
        assert await task is None
