"""The interface of a cluster's engine, and the dispatcher that sends items to it in chunks.

Invariants: each item is in one chunk and has one outcome: its row, withdrawn, or the engine's error; correctness does
not depend on the engine, which may run a chunk twice or never (claims in the storage tell what was sent); an error of
the engine ends every chunk, so nothing waits for a lost one; a stop waits only for chunks that a process has started.
Must not: send requests, write to the storage, or keep an image.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Protocol

from attrs import frozen

from openai_images.cluster.job import ItemSpec, Job, Row
from openai_images.errors import ClusterError, ImagesError

_log = logging.getLogger("openai_images")

_GATHER_SECONDS = 0.05
"""Seconds for which the first item of a chunk waits for others."""

_STOP_INTERVAL = 1.0
"""Seconds between two announcements of a stop: a restarted worker has not received the earlier ones."""

_CLOSE_SECONDS = 5.0
SENT_IS_RECORDED = "What was sent is recorded: run the same batch again to continue"


class Engine(Protocol):
    """Runs chunks of items in the processes of a cluster.

    `chunk` is the number of items in a chunk, `in_flight` the number of requests in flight in each process. After
    `start`, `processes` is the number of processes (0 if none has connected yet), and `window` the number of items to
    send to it concurrently, so that no process waits for the driver.
    """

    chunk: int
    in_flight: int
    window: int

    @property
    def processes(self) -> int:
        """The number of processes."""
        ...

    async def start(self) -> None:
        """Find the processes and start to watch the cluster. Raises `ClusterError`."""
        ...

    async def run(self, job: Job, items: Sequence[ItemSpec]) -> Sequence[Row]:
        """Run `run_items` in a process of the cluster and return its rows. Raises `ClusterError`."""
        ...

    async def stop(self, job: Job) -> Collection[str] | None:
        """Tell all processes to start no more items of this job; called repeatedly while there are chunks.

        Return the ids of the items that a process has started and not ended; None if that is unknown.
        """
        ...

    async def aclose(self) -> None:
        """Stop watching the cluster, which continues to run. Idempotent."""
        ...

    def wait_reason(self) -> str | None:
        """Return why chunks wait, if they do."""
        ...


@frozen
class _PendingItem:
    """An item and the future of its row, which is None for a withdrawn item."""

    item: ItemSpec
    row: asyncio.Future[Row | None]

    def resolve(self, row: Row | None, error: BaseException | None = None) -> None:
        if self.row.done():  # no task awaits it any more
            return
        if error is None:
            self.row.set_result(row)
        else:
            self.row.set_exception(error)


class Dispatcher:
    """`run` items in an engine, in chunks; `aclose` it at the end."""

    def __init__(self, engine: Engine, job: Job) -> None:
        self._engine = engine
        self._job = job
        self._queue: list[_PendingItem] = []
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: dict[asyncio.Task[None], frozenset[str]] = {}  # with the ids of their items
        self._stopping: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def run(self, item: ItemSpec) -> Row | None:
        """Run an item; return its row, or None if it was withdrawn before it was claimed. Raises `ClusterError`."""
        if self._is_stopped:
            return None
        loop = asyncio.get_running_loop()
        pending = _PendingItem(item, loop.create_future())
        self._queue.append(pending)
        if len(self._queue) >= self._engine.chunk:
            self._start_chunk()
        elif self._timer is None:
            self._timer = loop.call_later(_GATHER_SECONDS, self._start_chunk)
        return await pending.row

    def stop(self) -> None:
        """Withdraw the items that no process has started; items in flight still return their rows."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._cancel_timer()
        queue, self._queue = self._queue, []
        for pending in queue:
            pending.resolve(None)
        if self._chunks:
            self._stopping = asyncio.get_running_loop().create_task(self._announce_stop())

    async def aclose(self) -> None:
        """Withdraw the items that no process has started, without waiting for items in flight. Idempotent."""
        self.stop()
        with suppress(ClusterError, TimeoutError):
            await asyncio.wait_for(self._engine.stop(self._job), _CLOSE_SECONDS)
        tasks = [*self._chunks, *([self._stopping] if self._stopping else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._engine.aclose()

    def _start_chunk(self) -> None:
        """Start a chunk of all queued items."""
        self._cancel_timer()
        chunk, self._queue = self._queue, []
        task = asyncio.get_running_loop().create_task(self._run_chunk(chunk))
        self._chunks[task] = frozenset(pending.item.id for pending in chunk)
        task.add_done_callback(self._chunks.pop)

    async def _run_chunk(self, chunk: Sequence[_PendingItem]) -> None:
        rows: dict[str, Row] = {}
        error: BaseException | None = None
        try:
            answer = await self._engine.run(self._job, [pending.item for pending in chunk])
            rows = {row["id"]: row for row in answer}
        except (ImagesError, OSError) as failure:
            error = failure
        except BaseException as failure:  # an unexpected error of the engine, or a cancelled task of it
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            error = ClusterError(
                f"the engine failed ({type(failure).__name__}: {failure}). {SENT_IS_RECORDED}"
            )
            error.__cause__ = failure
            if not isinstance(failure, Exception | asyncio.CancelledError):
                raise
        finally:
            for pending in chunk:
                pending.resolve(rows.get(pending.item.id), error)

    async def _announce_stop(self) -> None:
        """Announce the stop until all chunks have ended, and withdraw those that no process has started.

        A chunk is withdrawn at the second announcement, as the rows of one that has just ended may be in transit.
        """
        idle = set[asyncio.Task[None]]()
        while self._chunks:
            try:
                started = await self._engine.stop(self._job)
            except ClusterError as error:
                _log.warning("the stop could not be sent to the cluster: %s", error)
                return
            before, idle = idle, set[asyncio.Task[None]]()
            if started is not None:
                idle = {chunk for chunk, ids in self._chunks.items() if ids.isdisjoint(started)}
            for chunk in idle & before:
                chunk.cancel()
            if self._chunks:
                await asyncio.wait(self._chunks, timeout=_STOP_INTERVAL)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
