"""`ItemTasks`: one task per item, awaited by all its callers.

Invariants: an item never has two tasks that run concurrently; cancelling a caller ends only items that no other caller
awaits; requests in flight are paid for: they get time to finish before they are cancelled, and then time to be
recorded.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Final

from openai_images.cluster.job import ItemSpec, Row

_GRACE_SECONDS: Final = 25.0
"""Less than the 30 seconds that Dask and Kubernetes wait before they kill a process."""

_RECORD_SECONDS: Final = 3.0
"""For the records of requests that were cancelled after that."""


class ItemTasks:
    """Tasks of `run`; those in `in_flight`, which `run` itself adds and removes, are ended last."""

    def __init__(self, run: Callable[[ItemSpec], Coroutine[Any, Any, Row]]) -> None:
        self._run = run
        self._by_id: dict[str, asyncio.Task[Row]] = {}
        self._callers: Counter[asyncio.Task[Row]] = Counter()
        self._tasks: set[asyncio.Task[Row]] = set()
        self.in_flight: set[asyncio.Task[object] | None] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    @property
    def ids(self) -> Collection[str]:
        """The ids of the items that have a task."""
        return self._by_id.keys()

    async def run_all(self, items: Sequence[ItemSpec]) -> list[Row | None]:
        """Return the rows of these items; None for one that was cancelled before its first step."""
        tasks = [self._start(item) for item in items]
        own = set(tasks)
        self._callers.update(own)
        try:
            await _wait(own)
        except asyncio.CancelledError:
            await self._end(lambda: self._awaited_once(own))
            raise
        finally:
            _cancel(self._awaited_once(own))
            self._callers.subtract(own)
            self._callers = +self._callers
        return [None if task.cancelled() else task.result() for task in tasks]

    def end_waiting(self) -> None:
        """Cancel the tasks that are not in flight, except the calling one."""
        _cancel(self._tasks - self.in_flight - {asyncio.current_task()})

    async def end(self) -> None:
        """Cancel the tasks that are not in flight immediately, and the others after the grace period."""
        await self._end(lambda: self._tasks)

    def _start(self, item: ItemSpec) -> asyncio.Task[Row]:
        """Return the item's task; if that is being cancelled, start another one after it."""
        before = self._by_id.get(item.id)
        if before is not None and not before.cancelling():
            return before
        task = self._by_id[item.id] = asyncio.create_task(self._run_after(before, item))
        self._tasks.add(task)
        task.add_done_callback(lambda _: self._drop(item.id, task))
        return task

    async def _run_after(self, before: asyncio.Task[Row] | None, item: ItemSpec) -> Row:
        if before is not None:
            await asyncio.wait([before])
        return await self._run(item)

    def _drop(self, id_: str, task: asyncio.Task[Row]) -> None:
        self._tasks.discard(task)
        if self._by_id.get(id_) is task:
            del self._by_id[id_]

    def _awaited_once(self, tasks: Collection[asyncio.Task[Row]]) -> list[asyncio.Task[Row]]:
        return [task for task in tasks if self._callers[task] == 1]

    async def _end(self, tasks: Callable[[], Collection[asyncio.Task[Row]]]) -> None:
        _cancel([task for task in tasks() if task not in self.in_flight])
        await _wait(tasks(), _GRACE_SECONDS)
        _cancel(tasks())
        await _wait(tasks(), _RECORD_SECONDS)


def _cancel(tasks: Collection[asyncio.Task[Row]]) -> None:
    for task in tasks:
        task.cancel()


async def _wait(tasks: Collection[asyncio.Task[Row]], seconds: float | None = None) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=seconds)
