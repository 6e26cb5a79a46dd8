"""Runs items in a worker process of any engine: `run_items`, with one client for each process and event loop.

Invariants: an item is sent only under a claim that this process created; attempts that were claimed since the item was
planned are never sent again here, unless they were provably not executed. One bad item raises nothing. Rows hold no
images.
Must not: know the engine; decide what is sent again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from openai_images.batch.caller import Caller
from openai_images.batch.filesystem import Disk
from openai_images.batch.item_runner import ItemRunner
from openai_images.batch.item_store import ItemTakenError
from openai_images.batch.items import ResolvedItem
from openai_images.batch.journal import error_fields
from openai_images.batch.journal_reader import JournalRow, StoredFile
from openai_images.batch.ledger import Ledger
from openai_images.batch.models import BatchPlan
from openai_images.batch.run_state import RunSettings, RunState
from openai_images.cluster.claim_store import Claimant, ClaimStore
from openai_images.cluster.job import ItemSpec, Job, Row
from openai_images.cluster.open_storage import open_storage
from openai_images.cluster.storage import Storage
from openai_images.cluster.taken import find_taken
from openai_images.errors import ImagesError
from openai_images.models.outcomes import CallObserver
from openai_images.models.results import ImageResult

_MAX_ROUNDS: Final = 100
"""How often an item may be claimed by others and not executed, before this worker leaves it to another run."""

_MAX_STOPPED_RUNS: Final = 256
_GRACE_SECONDS: Final = 25.0
"""Less than the 30 seconds that Dask and Kubernetes give to what they end."""

_RECORD_SECONDS: Final = 3.0
"""For the records of what has not ended by then."""

_log = logging.getLogger("openai_images")


async def run_items(job: Job, items: Sequence[ItemSpec]) -> list[Row]:
    """Run these items concurrently; a row for each, in their order. Raises where the job itself cannot be run.

    That is `ConfigurationError` for its client or its storage, and OSError. Cancelled, as where a process is ended, it
    sends nothing more, and gives what is in flight 25 seconds: it is paid for.
    """
    worker = await _open_worker(job)
    try:
        return await worker.run_all(items)
    finally:
        await _close_if_over(job.run, worker)


async def stop_run(run: str) -> None:
    """Start no more items of a run in this process; its client is closed when what is in flight has ended."""
    _stopped_runs.append(run)
    opening = _workers.get(asyncio.get_running_loop(), {}).get(run)
    if opening is not None:
        with suppress(Exception):  # its callers were told
            worker = await asyncio.shield(opening)
            worker.stop()
            await _close_if_over(run, worker)


async def close_workers() -> None:
    """Close the clients of this event loop, and finish writing; idempotent."""
    for opening in _workers.pop(asyncio.get_running_loop(), {}).values():
        with suppress(Exception):  # its callers were told
            await (await opening).close()


_workers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[Worker]]] = WeakKeyDictionary()
_stopped_runs: deque[str] = deque(maxlen=_MAX_STOPPED_RUNS)


async def _open_worker(job: Job) -> Worker:
    """The worker of this job in this event loop. Raises as `run_items`."""
    workers = _workers.setdefault(asyncio.get_running_loop(), {})
    if (opening := workers.get(job.run)) is None:
        opening = workers[job.run] = asyncio.create_task(Worker.open(job))
    try:
        return await asyncio.shield(opening)
    except Exception:
        workers.pop(job.run, None)
        raise


async def _close_if_over(run: str, worker: Worker) -> None:
    workers = _workers.get(asyncio.get_running_loop(), {})
    if worker.is_over and workers.pop(run, None) is not None:
        await worker.close()


class Worker:
    """The client, the limits and the storage of a job in one event loop."""

    def __init__(self, job: Job, storage: Storage) -> None:
        self._client = job.client()
        caller = Caller(self._client)
        self._storage = storage
        self._store = ClaimStore(storage, Claimant(job.run), Disk(), keeps_rows=True)
        settings = RunSettings(
            caller=caller,
            items=(),
            opened=_WorkerBatch(self._store),
            options=job.options,
            progress=None,
            disk=Disk(),
            start_time=caller.timing.monotonic(),
        )
        self._run_state = RunState(settings, stop=self.stop)
        self._slots = asyncio.Semaphore(job.in_flight or caller.concurrency)
        self._tasks: set[asyncio.Task[Row]] = set()
        self.in_flight: set[asyncio.Task[object] | None] = set()
        self._is_stopped = job.run in _stopped_runs

    @classmethod
    async def open(cls, job: Job) -> Worker:
        """Open the storage, too. Raises `ConfigurationError` and OSError."""
        return cls(job, await asyncio.to_thread(open_storage, job.out))

    async def run_all(self, items: Sequence[ItemSpec]) -> list[Row]:
        """Run these items; what came of each."""
        tasks = [asyncio.create_task(self._run(item)) for item in items]
        self._tasks.update(tasks)
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError:
            _cancel(task for task in tasks if task not in self.in_flight)
            await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
            _cancel(tasks)
            await asyncio.wait(tasks, timeout=_RECORD_SECONDS)
            raise
        finally:
            _cancel(tasks)
            self._tasks.difference_update(tasks)
        # One that was ended before its first step has run nothing: not even what catches that.
        return [
            self._row(item, []) if task.cancelled() else task.result()
            for item, task in zip(items, tasks, strict=True)
        ]

    @property
    def is_over(self) -> bool:
        """Whether it was stopped, and nothing is in flight."""
        return self._is_stopped and not self._tasks

    async def _run(self, item: ItemSpec) -> Row:
        try:
            async with self._slots:
                for _ in range(_MAX_ROUNDS):
                    with suppress(ItemTakenError):
                        return await self._run_once(item)
                return self._row(item, [], message="other workers keep claiming it")
        except asyncio.CancelledError:
            if not self._is_stopped:
                raise
            return self._row(item, self._store.take(item.key), self._run_state.stop_reason.error)
        except Exception as error:  # a bug, or the storage  # noqa: BLE001
            rows = self._store.take(item.key)
            if not isinstance(error, OSError):
                _log.exception("%r could not be run", item.key[:60])
            return self._row(item, rows, error)

    async def close(self) -> None:
        """Finish writing, and close the client."""
        try:
            await asyncio.to_thread(self._run_state.close)
        finally:
            await self._client.aclose()

    async def _run_once(self, item: ItemSpec) -> Row:
        """Raises `ItemTakenError` where another worker claims it in the meantime, and OSError."""
        if self._is_stopped:
            return self._row(item, [], self._run_state.stop_reason.error)
        taken = await asyncio.to_thread(find_taken, self._storage, item)
        if taken.rows:
            return self._row(item, taken.rows, is_taken=True)
        self._store.begin(item.key, item.id, taken.attempt, is_owner=item.work.remote is not None)
        error: Exception | None = None
        try:
            await ItemRunner(self._run_state, item.work, _Observer(self)).run()
        except _StoppedError:
            error = self._run_state.stop_reason.error
        except (ImagesError, OSError) as failure:
            error = failure
        finally:
            self._forget(item.key)
            self.in_flight.discard(asyncio.current_task())
        return self._row(item, self._store.take(item.key), error)

    def stop(self) -> None:
        """Send nothing more: items that are not in flight are ended."""
        self._is_stopped = True
        _cancel(self._tasks - self.in_flight - {asyncio.current_task()})

    def check(self) -> None:
        """Raise what ends an item that was not sent, once the job is stopped."""
        if self._is_stopped:
            raise _StoppedError

    def _forget(self, key: str) -> None:
        """The ledger of a worker that runs for days must not grow."""
        self._run_state.ledger.records.pop(key, None)
        self._run_state.ledger.stems.clear()

    def _row(
        self,
        item: ItemSpec,
        rows: Sequence[JournalRow],
        error: Exception | None = None,
        *,
        is_taken: bool = False,
        message: str = "",
    ) -> Row:
        last = rows[-1] if rows else {"state": "pending"}
        state = {"sent": "unknown", "refused": "pending"}.get(last["state"], last["state"])
        about = {} if error is None else error_fields(error)
        row = {"key": item.key, "id": item.id, "attempt": item.attempt, "state": state, "rows": list(rows)}
        if "record" in last:
            row["attempt"] = int(last["record"].rpartition(".")[2])
        kept = {name: value for name, value in {**last, **about}.items() if name in ("error", "message")}
        row |= {"message": message} if message else kept
        row |= {"taken": True} if is_taken else {}
        return row | ({"stops": True} if self._is_stopped else {})


def _cancel(tasks: Iterable[asyncio.Task[Row]]) -> None:
    for task in tasks:
        task.cancel()


class _StoppedError(Exception):
    """Ends an item that was not sent before the job was stopped."""


class _Observer(CallObserver):
    """Ends items that wait, once the job is stopped."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._task = asyncio.current_task()

    def on_wait(self) -> None:
        self._worker.in_flight.discard(self._task)
        self._worker.check()

    async def before_send(self, attempt: int) -> None:  # noqa: ARG002  all attempts are treated alike
        self._worker.check()
        self._worker.in_flight.add(self._task)


class _WorkerBatch:
    """What a worker knows of the batch: where its rows go."""

    def __init__(self, store: ClaimStore) -> None:
        self._store = store
        self.root: Path | None = store.images_folder.parent if store.images_folder else None
        self.items: Sequence[ResolvedItem] = ()
        self.plan = BatchPlan(total=0)
        self.ledger = Ledger(estimates={})
        self.stems: Mapping[str, str] = {}
        self.kept_files: Mapping[str, tuple[StoredFile, ...]] = {}
        self.writes_page = False

    def new_store(self, disk: Disk) -> ClaimStore:  # noqa: ARG002  it has one
        """Claims and records."""
        return self._store

    def deliver(self, key: str, result: ImageResult) -> ImageResult:  # noqa: ARG002  rows have no images
        """The result itself."""
        return result

    def close(self) -> None:
        """Nothing is locked."""

    def release(self) -> None:
        """Nothing is locked."""
