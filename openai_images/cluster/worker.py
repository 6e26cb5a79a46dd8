"""Runs items in a worker process of any engine: `run_items`, with one client per process and event loop.

Invariants: an item is sent only with a claim that this process created; attempts claimed after the plan are not sent
again unless they were certainly not executed; a failed item raises nothing; a client is closed only when nothing is in
flight; a stopped run stays stopped; rows contain no images.
Must not: know the engine; decide what is sent (the driver has the plan).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from openai_images._util.aio import run_to_completion
from openai_images._util.filesystem import Disk
from openai_images._util.stop_signal import StopSignal
from openai_images.batch.items.models import BatchPlan
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.run.caller import Caller
from openai_images.batch.run.item_runner import ItemRunner
from openai_images.batch.run.run_state import ItemTakenError, RunState
from openai_images.cluster.claim_store import Claimant, ClaimStore
from openai_images.cluster.item_tasks import ItemTasks
from openai_images.cluster.job import ItemSpec, Job, Row, RunReport, make_row
from openai_images.cluster.records import find_taken
from openai_images.cluster.storage import Storage, open_storage
from openai_images.errors import ImagesError, StoppedBeforeSendError
from openai_images.models.outcomes import CallObserver
from openai_images.models.results import ImageResult

_MAX_ROUNDS: Final = 100
"""How often other workers may claim an item without executing it, before this worker leaves it to another run."""

_MAX_STOPPED_RUNS: Final = 256
_MAX_IDLE_WORKERS: Final = 4
"""Idle workers above this number, least recently used first, are closed: their drivers may have died."""

_log = logging.getLogger("openai_images")


async def run_items(job: Job, items: Sequence[ItemSpec]) -> list[Row]:
    """Run these items concurrently; return a row for each, in order.

    Raises `ConfigurationError` if the client or the storage of the job cannot be used, and OSError. When cancelled,
    such as by the end of a process, it sends nothing more, and waits 25 seconds for requests in flight, as they are
    paid for.
    """
    workers = _workers.setdefault(asyncio.get_running_loop(), {})
    if job.run in _stopped_runs and job.run not in workers:
        return [make_row(item, error=_stopped_runs[job.run], stops=True) for item in items]
    worker = await _open_worker(job, workers)
    try:
        return await worker.run_all(items)
    finally:
        await _close_if_over(job.run, worker)
        while len(idle := [run for run, other in workers.items() if _is_idle(other)]) > _MAX_IDLE_WORKERS:
            await run_to_completion(_close(workers.pop(idle[0])))


async def report_run(run: str) -> RunReport:
    """Return what this process does for a run."""
    opening = _workers.get(asyncio.get_running_loop(), {}).get(run)
    if opening is not None and not opening.done():
        return RunReport(wait_reason="the storage is not open yet")
    is_open = opening is not None and not opening.cancelled() and opening.exception() is None
    return opening.result().report() if opening is not None and is_open else RunReport()


async def stop_run(run: str) -> RunReport:
    """Start no more items of a run in this process; its client is closed when no request is in flight."""
    _note_stopped(run)
    opening = _workers.get(asyncio.get_running_loop(), {}).get(run)
    if opening is not None:
        with suppress(Exception):  # its callers get the error
            worker = await asyncio.shield(opening)
            worker.stop()
            await _close_if_over(run, worker)
    return await report_run(run)


async def close_workers() -> None:
    """Close the clients of this event loop when no request is in flight, after 25 seconds at most. Idempotent."""
    await asyncio.gather(*map(_close, _workers.pop(asyncio.get_running_loop(), {}).values()))


_workers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Task[Worker]]] = WeakKeyDictionary()
"""By run, in the order of their last use."""

_stopped_runs: dict[str, Exception | None] = {}


def _note_stopped(run: str, error: Exception | None = None) -> None:
    _stopped_runs.setdefault(run, error)
    while len(_stopped_runs) > _MAX_STOPPED_RUNS:
        del _stopped_runs[next(iter(_stopped_runs))]


async def _open_worker(job: Job, workers: dict[str, asyncio.Task[Worker]]) -> Worker:
    """Return the worker of this job in this event loop. Raises as `run_items` does."""
    opening = workers.pop(job.run, None) or asyncio.create_task(Worker.open(job))
    workers[job.run] = opening
    try:
        return await asyncio.shield(opening)
    except Exception:
        if workers.get(job.run) is opening:
            del workers[job.run]
        raise


def _is_idle(opening: asyncio.Task[Worker]) -> bool:
    return opening.done() and (opening.exception() is not None or not opening.result().tasks)


async def _close(opening: asyncio.Task[Worker]) -> None:
    with suppress(Exception):  # its callers get the error
        await (await opening).close()


async def _close_if_over(run: str, worker: Worker) -> None:
    workers = _workers.get(asyncio.get_running_loop(), {})
    if worker.is_over and workers.pop(run, None) is not None:
        await worker.close()


class Worker:
    """The client, limits and storage of a job in one event loop."""

    def __init__(self, job: Job, storage: Storage) -> None:
        self._client = job.client()
        caller = Caller(self._client)
        self._storage = storage
        self._run_id = job.run
        self._store = ClaimStore(storage, Claimant(job.run), Disk(), keeps_rows=True)
        self._run_state = RunState(caller, WorkerBatch(self._store), job.options, Disk())
        self._run_state.on_stop = self._halt
        self._slots = asyncio.Semaphore(job.in_flight or caller.concurrency)
        self.tasks = ItemTasks(self._run)
        self.stop_signal = StopSignal(StoppedBeforeSendError)
        self.stop_signal.is_set = job.run in _stopped_runs

    @classmethod
    async def open(cls, job: Job) -> Worker:
        """Return a worker with open storage. Raises `ConfigurationError` and OSError."""
        return cls(job, await asyncio.to_thread(open_storage, job.out))

    async def run_all(self, items: Sequence[ItemSpec]) -> list[Row]:
        """Run these items; return their rows."""
        rows = await self.tasks.run_all(items)
        # A task that was cancelled before its first step has no row.
        return [row or self._row(item) for item, row in zip(items, rows, strict=True)]

    @property
    def is_over(self) -> bool:
        """Whether it was stopped and has no tasks."""
        return self.stop_signal.is_set and not self.tasks

    def report(self) -> RunReport:
        """Return what it does."""
        reason = self._store.wait_reason or self._run_state.wait_reason()
        return RunReport(tuple(self.tasks.ids), reason if self.tasks else None)

    def stop(self) -> None:
        """Send nothing more: cancel the items that are not in flight."""
        self.tasks.end_waiting()
        self.stop_signal.set()

    async def close(self) -> None:
        """Stop, wait for requests in flight, finish writing, and close the client."""
        self.stop()
        await self.tasks.end()
        try:
            await asyncio.to_thread(self._run_state.close)
        finally:
            await self._client.aclose()

    async def _run(self, item: ItemSpec) -> Row:
        try:
            async with self._slots:
                for _ in range(_MAX_ROUNDS):
                    with suppress(ItemTakenError):
                        return await self._run_once(item)
                return self._row(
                    item,
                    message="other workers claimed it again and again without executing it; run the batch again",
                )
        except asyncio.CancelledError:
            if not self.stop_signal.is_set:
                raise
            return self._row(item, self._store.take(item.key))
        except Exception as error:  # an unexpected error, or one of the storage  # noqa: BLE001
            rows = self._store.take(item.key)
            if not isinstance(error, OSError):
                _log.exception("%r could not be run", item.key[:60])
            return self._row(item, rows, error)

    async def _run_once(self, item: ItemSpec) -> Row:
        """Run an item unless it is taken. Raises `ItemTakenError` if another worker claims it now, and OSError."""
        if self.stop_signal.is_set:
            return self._row(item)
        taken = await asyncio.to_thread(find_taken, self._storage, item)
        if taken.rows:
            return self._row(item, taken.rows, is_taken=True)
        self._store.begin(item.key, item.id, taken.attempt, is_owner=item.work.remote is not None)
        error: Exception | None = None
        try:
            await ItemRunner(self._run_state, item.work, _Observer(self)).run()
        except StoppedBeforeSendError:
            pass
        except (ImagesError, OSError) as failure:
            error = failure
        finally:
            self._forget(item.key)
            self.tasks.in_flight.discard(asyncio.current_task())
        return self._row(item, self._store.take(item.key), error)

    def _halt(self) -> None:
        """Stop after an error that concerns all items: later chunks of this run are not sent either."""
        _note_stopped(self._run_id, self._run_state.stop_reason.error)
        self.stop()

    def _forget(self, key: str) -> None:
        """Remove an item: the ledger of a worker that runs for days must not grow."""
        self._run_state.ledger.records.pop(key, None)
        self._run_state.ledger.stems.clear()

    def _row(
        self,
        item: ItemSpec,
        rows: Sequence[JournalRow] = (),
        error: Exception | None = None,
        *,
        is_taken: bool = False,
        message: str = "",
    ) -> Row:
        """Return the row of an item; without an `error`, that of the run is used."""
        reason = self._run_state.stop_reason
        stops = reason.error is not None  # otherwise the driver has stopped it
        saved = [path for path in reason.saved_elsewhere if Path(path).name.startswith(item.work.stem)]
        error = error or reason.error
        return make_row(item, rows, error, is_taken=is_taken, stops=stops, message=message, saved=saved)


class _Observer(CallObserver):
    """Ends waiting items when the job is stopped."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._task = asyncio.current_task()

    def on_wait(self) -> None:
        self._worker.tasks.in_flight.discard(self._task)
        self._worker.stop_signal.check()

    def waiting(self) -> AbstractContextManager[object]:
        return self._worker.stop_signal.waiting()

    async def before_send(self, attempt: int) -> None:  # noqa: ARG002  all attempts are treated alike
        self._worker.stop_signal.check()
        self._worker.tasks.in_flight.add(self._task)


class WorkerBatch:
    """An `OpenBatch` without items."""

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
        """Return the store of claims and records."""
        return self._store

    def deliver(self, key: str, result: ImageResult) -> ImageResult:  # noqa: ARG002  rows have no images
        """Return the result unchanged."""
        return result

    def close(self) -> None:
        """Nothing is locked."""

    def release(self) -> None:
        """Nothing is locked."""
