"""What a cluster's engine is to a batch, and the chunks in which items are handed to it.

Invariants: an item is in one chunk, and has one answer: its row, that it was withdrawn, or the engine's failure. The
engine carries no correctness: it may run a chunk twice, or never, as claims in the storage say what was sent. A failure
of the engine ends every chunk; nothing waits for one that is lost.
Must not: send requests, write to the storage, or keep an image.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol

from attrs import frozen

from openai_images.cluster.job import ItemSpec, Job, Row
from openai_images.errors import ClusterError, ImagesError

_log = logging.getLogger("openai_images")

_GATHER_SECONDS = 0.05
"""How long the first item of a chunk waits for more of them."""

_STOP_INTERVAL = 1.0
"""Seconds between two announcements of a stop: a worker that was restarted has not heard the one before."""

_CLOSE_SECONDS = 5.0
SENT_IS_RECORDED = "What was sent is recorded: run the same batch again to continue"


class Engine(Protocol):
    """Runs chunks of items in the processes of a cluster.

    `chunk` is the number of items that travel together, `in_flight` that of requests in flight in each process. Once it
    is started, so many `processes` run items, 0 where none has come yet, and so many items, its `window`, should be
    handed out at once for no process to wait for the driver.
    """

    chunk: int
    in_flight: int
    processes: int
    window: int

    async def start(self) -> None:
        """Look at the cluster, and watch it from now on. Raises `ClusterError`."""
        ...

    async def run(self, job: Job, items: Sequence[ItemSpec]) -> Sequence[Row]:
        """Run `run_items` in a process of the cluster and return its rows. Raises `ClusterError`."""
        ...

    async def stop(self, job: Job) -> None:
        """Have all processes start no more items of this job; called again while there are chunks."""
        ...

    async def aclose(self) -> None:
        """Stop watching the cluster, which goes on; idempotent."""
        ...

    def wait_reason(self) -> str | None:
        """Why chunks wait, if they do."""
        ...


@frozen
class _Handed:
    """An item and the future of its row, which is None for one that was withdrawn."""

    item: ItemSpec
    row: asyncio.Future[Row | None]

    def resolve(self, row: Row | None, error: BaseException | None = None) -> None:
        if self.row.done():  # nobody waits for it any more
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
        self._queue: list[_Handed] = []
        self._timer: asyncio.TimerHandle | None = None
        self._chunks: set[asyncio.Task[None]] = set()
        self._stopping: asyncio.Task[None] | None = None
        self._is_stopped = False

    async def run(self, item: ItemSpec) -> Row | None:
        """The row of an item; None where it was withdrawn before it was claimed. Raises `ClusterError`."""
        if self._is_stopped:
            return None
        loop = asyncio.get_running_loop()
        handed = _Handed(item, loop.create_future())
        self._queue.append(handed)
        if len(self._queue) >= self._engine.chunk:
            self._hand_out()
        elif self._timer is None:
            self._timer = loop.call_later(_GATHER_SECONDS, self._hand_out)
        return await handed.row

    def stop(self) -> None:
        """Withdraw what no process has started; what is in flight gets its row."""
        if self._is_stopped:
            return
        self._is_stopped = True
        self._cancel_timer()
        queue, self._queue = self._queue, []
        for handed in queue:
            handed.resolve(None)
        if self._chunks:
            self._stopping = asyncio.get_running_loop().create_task(self._announce_stop())

    async def aclose(self) -> None:
        """Withdraw what no process has started, and wait for nothing that is in flight; idempotent."""
        self.stop()
        with suppress(ClusterError, TimeoutError):
            await asyncio.wait_for(self._engine.stop(self._job), _CLOSE_SECONDS)
        tasks = [*self._chunks, *([self._stopping] if self._stopping else [])]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._engine.aclose()

    def _hand_out(self) -> None:
        """Start a chunk of all items that are there."""
        self._cancel_timer()
        chunk, self._queue = self._queue, []
        task = asyncio.get_running_loop().create_task(self._run_chunk(chunk))
        self._chunks.add(task)
        task.add_done_callback(self._chunks.discard)

    async def _run_chunk(self, chunk: Sequence[_Handed]) -> None:
        rows: dict[str, Row] = {}
        error: BaseException | None = None
        try:
            answer = await self._engine.run(self._job, [handed.item for handed in chunk])
            rows = {row["id"]: row for row in answer}
        except (ImagesError, OSError) as failure:
            error = failure
        except BaseException as failure:  # a bug of the engine, or a task of it that others cancelled
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            error = ClusterError(
                f"the engine failed ({type(failure).__name__}: {failure}). {SENT_IS_RECORDED}"
            )
            error.__cause__ = failure
            if not isinstance(failure, Exception | asyncio.CancelledError):
                raise
        finally:
            for handed in chunk:
                handed.resolve(rows.get(handed.item.id), error)

    async def _announce_stop(self) -> None:
        while self._chunks:
            try:
                await self._engine.stop(self._job)
            except ClusterError as error:
                _log.warning("the cluster could not be told to stop: %s", error)
                return
            await asyncio.wait(self._chunks, timeout=_STOP_INTERVAL)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
