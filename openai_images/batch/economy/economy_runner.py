"""A run in economy: sends items in batches to the provider, polls the batches until one has ended, and collects it.

Invariants: a batch that was created is collected after its end, by this run or a later one; stopping, an error or a
crash does not change it; a batch that cannot be polled or collected is left to another run, and its error is raised
after the others are collected; status requests become rarer with a batch's age; a short outage is tolerated; files with
missing lines are read again for an hour; each wait is bounded and shows its reason and end.
Must not: decide what a response means (`SubmittedItem`), or what is sent (`plan.py`); give up a batch that was just
created (the provider may not list it yet).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime
from typing import TypeVar

from attrs import define, field

from openai_images._util.stop_signal import StoppedError
from openai_images.batch.economy.collector import Collector
from openai_images.batch.economy.economy_run import EconomyRun
from openai_images.batch.economy.submitter import Submitter
from openai_images.batch.folder.image_files import Downloads
from openai_images.batch.journal.ledger import SubmittedBatch
from openai_images.batch.provider.provider_batch import WINDOW, ProviderBatch, poll_delay
from openai_images.batch.provider.service import BatchService
from openai_images.errors import (
    APIConnectionError,
    APIStatusError,
    ImagesError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
)
from openai_images.http.retry import describe_failure

_log = logging.getLogger("openai_images")

_ENDED_ALREADY = (400, 404, 409)
"""Statuses of cancelling a batch that has ended, or is already being cancelled."""

_LONGEST = WINDOW + 6 * 3600.0
"""Seconds after its creation for which a batch is watched: after the provider's window, finalizing takes time."""

_NEW = 600.0
"""Seconds after its creation within which the provider may not know a batch yet."""

_LATE = 3600.0
"""Seconds for which the files of an ended batch with missing lines are read again."""

_FIRST_REREAD = 15.0
"""Seconds before the first repeated read; later waits double, as files may have gigabytes."""

_TRANSIENT = (APIConnectionError, InternalServerError, RateLimitError)

_T = TypeVar("_T")


class EconomyRunner(EconomyRun):
    """Downloads remote images as any run does; then sends items in batches, waits for them, and collects them."""

    async def _main(self) -> None:
        await super()._main()
        downloads = Downloads(self.state.root)
        try:
            await asyncio.to_thread(downloads.clear)
            if not self.is_stopping:
                await self._run_batches(self.state.caller.batch_service(self.stopping))
        except StoppedError:
            pass
        except (ImagesError, OSError) as error:
            self.state.halt(error)
        finally:
            with suppress(OSError):
                await asyncio.to_thread(downloads.clear)
        if self.error is not None:
            self.state.halt(self.error)

    async def _run_batches(self, service: BatchService) -> None:
        """Resume the batches of earlier runs, send the planned items, and collect all batches. Raises `ImagesError`."""
        submitter, watcher = Submitter(self, service), Watcher(self, service)
        options, batches = self.state.options, self.state.ledger.batches
        for batch in list(batches.values()):
            for key in batch.keys:
                self.start_item(key)
        submitter.queue.extend(self.keys_to_send())
        for batch in [batch for batch in batches.values() if not batch.id]:
            try:
                if not await submitter.resolve(batch):
                    await submitter.release(batch)
            except ImagesError as error:  # left to another run; the others are collected
                self.error = self.error or error
        if options.budget is not None and (count := self.state.ledger.submitted_unpriceable):
            _log.warning(
                "%d requests at the provider have no estimate: this run only collects, and sends nothing more",
                count,
            )
            submitter.lacks_budget, submitter.is_closed = bool(submitter.queue), True
        if options.cancel:
            submitter.queue.clear()
            await self._cancel(service)
        try:
            await self._collect_all(submitter, watcher)
        finally:
            self.error = self.error or watcher.error or submitter.refusal
        if submitter.lacks_budget and not self.is_stopping:
            self.state.stop_reason.set("budget")

    async def _collect_all(self, submitter: Submitter, watcher: Watcher) -> None:
        """Send the queue, and collect batches until there are none. Raises `ImagesError` and OSError."""
        batches, is_queue_full = self.state.ledger.batches, False
        have_room: set[str] = set()  # tags of batches after whose creation another batch has ended
        while not self.is_stopping:
            if self.error is None and not is_queue_full:
                try:
                    await submitter.submit()
                except ImagesError as error:  # raised at the end
                    self.error = error
            found = await watcher.next_ended()
            self.end_wait()
            if found is None:
                break
            batch, ended = found
            has_room = batch.tag in have_room
            if ended.is_queue_full and (has_room or len(batches) > 1):
                codes = "; ".join(ended.codes)
                _log.warning("the provider accepts no more requests now: %s", codes)
                await submitter.release(batch, status=ended.status)
                is_queue_full = not has_room  # sent again after another batch has ended
            elif await watcher.collect(batch, ended):
                have_room.update(batches)
                is_queue_full = False

    async def _cancel(self, service: BatchService) -> None:
        """Cancel all existing batches. Raises the first `ImagesError` after trying each of them."""
        failure: ImagesError | None = None
        for batch in [batch for batch in self.state.ledger.batches.values() if batch.id]:
            try:
                await service.cancel(batch.id)
            except ImagesError as error:
                if isinstance(error, APIStatusError) and error.status_code in _ENDED_ALREADY:
                    continue
                _log.warning("batch %s could not be cancelled: %s", batch.id, error)
                failure = failure or error
        if failure is not None:
            raise failure


@define
class _WatchState:
    """The state of a watched batch; times are monotonic, as the clock of the wall may be set while it waits.

    `down_since` has the start of an outage for each operation, `trouble` its cause, or that of repeated reads.
    """

    created_at: float
    due: float = 0.0
    seen: ProviderBatch | None = None
    late_since: float | None = None
    down_since: dict[str, float] = field(factory=dict[str, float])
    trouble: str = ""
    is_left_out: bool = False


class Watcher:
    """Watches batches: `next_ended` returns one to `collect`; `error` is the error of the first one left out."""

    def __init__(self, run: EconomyRun, service: BatchService) -> None:
        self._run = run
        self._service = service
        self._collector = Collector(run, service)
        self._batches = run.state.ledger.batches
        self._timing = run.state.caller.timing
        self._watched: dict[str, _WatchState] = {}
        self._taken_over = frozenset(self._batches)
        self.error: ImagesError | None = None

    @property
    def batches(self) -> list[SubmittedBatch]:
        """The batches that certainly exist and are not left out."""
        return [batch for batch in self._batches.values() if batch.id and not self._of(batch).is_left_out]

    async def next_ended(self) -> tuple[SubmittedBatch, ProviderBatch] | None:
        """Poll the batches in turn until one has ended; None if there are none, or the run is stopped.

        Raises as `EconomyRun.wait_for` does.
        """
        while batches := self.batches:
            for batch in batches:
                if self._of(batch).due <= self._timing.monotonic():
                    ended = await self._tried(batch, "polled", self._look(batch))
                    if ended is not None:
                        return batch, ended
                    if self._run.is_stopping:
                        return None
            if batches := self.batches:
                due = min(self._of(batch).due for batch in batches)
                await self._run.wait_for(max(0.0, due - self._timing.monotonic()), self._describe())
        return None

    async def collect(self, batch: SubmittedBatch, ended: ProviderBatch) -> bool:
        """Collect a batch; return False if it must be tried again, or is left out. Raises OSError."""
        watched, now, count = self._of(batch), self._timing.monotonic(), len(batch.keys)
        is_last = not ended.is_ended or (watched.late_since is not None and now >= watched.late_since + _LATE)
        is_collected = await self._tried(batch, "collected", self._collector.collect(batch, ended, is_last))
        if len(batch.keys) < count:
            watched.down_since = dict.fromkeys(watched.down_since, self._timing.monotonic())
        if is_collected is False:
            now = self._timing.monotonic()
            watched.late_since = since = now if watched.late_since is None else watched.late_since
            watched.due = min(now + max(_FIRST_REREAD, now - since), since + _LATE)
            watched.trouble = "lines are missing in the provider's files, which are read again"
        return is_collected is True

    async def _tried(self, batch: SubmittedBatch, done: str, attempt: Awaitable[_T]) -> _T | None:
        """Return the result of an attempt; None if it must be tried again, or the batch is left out."""
        watched = self._of(batch)
        try:
            result = await attempt
        except _TRANSIENT as error:
            now, longest = self._timing.monotonic(), self._run.state.options.max_outage
            since = watched.down_since.setdefault(done, now)
            if now >= since + longest:
                self._leave_out(batch, error)
            else:
                watched.due = min(now + poll_delay(now - since), since + longest)
                watched.trouble = f"a batch could not be {done} ({describe_failure(error)}): retrying"
                _log.warning("batch %s could not be %s, retrying: %s", batch.id, done, error)
        except ImagesError as error:
            self._leave_out(batch, error)
        else:
            watched.down_since.pop(done, None)
            watched.trouble = ""
            return result
        return None

    def _leave_out(self, batch: SubmittedBatch, error: ImagesError) -> None:
        _log.warning("batch %s is left to another run: %s", batch.id, error)
        self._of(batch).is_left_out = True
        self.error = self.error or error

    async def _look(self, batch: SubmittedBatch) -> ProviderBatch | None:
        """Get the state of a batch; return it if it has ended. Raises `ImagesError`."""
        watched = self._of(batch)
        try:
            seen = await self._service.retrieve(batch.id)
        except NotFoundError as error:
            if self._timing.monotonic() < watched.created_at + _NEW:
                seen = ProviderBatch(id=batch.id, status="unknown")
            elif self._run.gives_up and batch.tag in self._taken_over:
                return ProviderBatch(id=batch.id, status="gone")
            else:
                raise _not_known(error) from None
        watched.seen = seen
        if seen.is_ended:
            return seen
        now, end = self._timing.monotonic(), watched.created_at + _LONGEST
        if now >= end:
            msg = f"batch {seen.id} should have ended hours ago, but is still {seen.status[:40]!r}; ask the provider"
            raise ImagesError(f"{msg}, or run this again later")
        watched.due = min(now + poll_delay(now - watched.created_at), end)
        return None

    def _of(self, batch: SubmittedBatch) -> _WatchState:
        if batch.tag not in self._watched:
            age = max(0.0, self._timing.wall() - batch.since)
            self._watched[batch.tag] = _WatchState(created_at=self._timing.monotonic() - age)
        return self._watched[batch.tag]

    def _end(self, batch: SubmittedBatch) -> float:
        """Return the monotonic time at which the batch is left to another run, or collected, at the latest."""
        watched = self._of(batch)
        if watched.down_since:
            return min(watched.down_since.values()) + self._run.state.options.max_outage
        return watched.created_at + _LONGEST if watched.late_since is None else watched.late_since + _LATE

    def _describe(self) -> str:
        """Return the reason and the end of the wait."""
        batches = self.batches
        watched = [self._of(batch) for batch in batches]
        left = min(_LONGEST, max(map(self._end, batches), default=0.0) - self._timing.monotonic())
        end = datetime.fromtimestamp(self._timing.wall() + left).astimezone()
        until = f"until {end:%d %b %H:%M} at the latest"
        if watched and all(each.trouble for each in watched):
            return f"{watched[0].trouble}, {until}"
        done = sum((each.seen.completed or 0) + (each.seen.failed or 0) for each in watched if each.seen)
        total = sum(len(batch.keys) for batch in batches)
        number = f"{len(batches):,} batches" if len(batches) > 1 else "a batch"
        return f"waiting for {number} at the provider ({done:,} of {total:,} done), {until}"


def _not_known(error: NotFoundError) -> NotFoundError:
    msg = (
        f"{error}. This key does not know the batch: use the key and project of its creation; "
        "retry_unknown gives up a batch of an earlier run, and counts its items as unknown"
    )
    return NotFoundError(msg, status_code=error.status_code, code=error.code)
