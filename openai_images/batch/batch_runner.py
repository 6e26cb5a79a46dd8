"""One run of an open batch: sends the planned items as budget and limits allow, and yields their outcomes.

Invariants: an outcome is yielded after its images and its row are on disk; an item starts only with a reservation in
the budget; closing cancels in-flight requests, whose outcome is recorded as unknown.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from functools import partial

from attrs import evolve

from openai_images.batch.items.models import BatchSummary
from openai_images.batch.items.plan import BatchStatus
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.run.caller import run_cost
from openai_images.batch.run.item_runner import ItemRunner
from openai_images.batch.run.recorder import images_from_files, share_outcome
from openai_images.batch.run.remote_runner import RemoteBatch, RemoteItemRunner, RemoteRun
from openai_images.batch.run.run_state import ItemTakenError, RunState, WorkItem, planned_work
from openai_images.batch.sheet.contact_sheet import write_page
from openai_images.batch.sheet.image_records import write_records
from openai_images.batch.sheet.sheet_entries import make_thumbnail
from openai_images.errors import ImagesError
from openai_images.many.failure_streaks import FailureStreak
from openai_images.many.items import RequestItem, RunOptions
from openai_images.many.outcomes import Outcomes
from openai_images.many.runner import Runner
from openai_images.models.outcomes import CallObserver, Outcome, Progress, Succeeded
from openai_images.models.results import ImageResult


class BatchRunner:
    """Runs a batch: call `next` until it raises, then `aclose`."""

    def __init__(
        self,
        run: RunState,
        remote: RemoteBatch | None,
        progress: Callable[[Progress], object] | None,
        start_time: float,
    ) -> None:
        """Run the items in this process, or, with a `remote` batch, in a cluster; `start_time` is monotonic."""
        opened, options = run.opened, run.options
        self.plan, self._opened = opened.plan, opened
        self.status = BatchStatus(opened.plan, opened.ledger)
        self._run = run
        self._timing = run.caller.timing
        self._start_time = start_time
        self._end_time: float | None = None
        self._options = options
        self._items = {item.key: item for item in opened.items}
        self._duplicates: dict[str, list[ResolvedItem]] = {}
        for key, representative in self.plan.same.items():
            if representative in opened.stems:
                self._duplicates.setdefault(representative, []).append(self._items[key])
        self._to_send = dict.fromkeys(() if options.economy else opened.plan.to_send)
        self._order = dict.fromkeys((*opened.plan.to_fetch, *self._to_send))  # URLs expire
        self._work: dict[str, WorkItem] = {}  # started items
        self._pending: deque[Outcome] = deque()
        self._yielded = set[str]()
        self._started = False
        self._progress = progress
        self._remote = remote
        self._streak = FailureStreak(options.max_identical_failures)  # of items that run in a cluster
        self._outcomes = Outcomes(
            self._requests(), self._run_item, self._run_options(progress), self._new_runner()
        )
        run.on_stop = self._outcomes.stop

    def _new_runner(self) -> Callable[..., Runner]:
        if self._remote is not None:
            return partial(RemoteRun, remote=self._remote)
        if not self._options.economy:
            return Runner
        from openai_images.batch.economy.economy_runner import EconomyRunner  # noqa: PLC0415  other batches never load it

        return partial(EconomyRunner, state=self._run, make_thumbnails=self._make_thumbnails)

    def _run_options(self, progress: Callable[[Progress], object] | None) -> RunOptions:
        options, caller, remote = self._options, self._run.caller, self._remote
        return RunOptions(
            concurrency=remote.window if remote else options.concurrency or caller.concurrency,
            total=len(self._order),
            progress=progress,
            cost=partial(run_cost, options.prices),
            timing=caller.timing,
            wait_reason=self._run.wait_reason,
            show_prompts=caller.show_prompts and options.record_prompts,
            max_identical_failures=options.max_identical_failures,
            observer=caller.run_observer(),
        )

    async def next(self) -> Outcome:
        """Return the next outcome, which is on disk. Raises StopAsyncIteration, and the error that ended the run."""
        if not self._started:
            self._started = True
            await self._outcomes.__aenter__()
        if not self._pending:
            try:
                outcome = await anext(self._outcomes)
            except StopAsyncIteration:
                error = self._run.stop_reason.error
                final = self._run.pop_error()
                if final is None:
                    raise
                raise final from (None if final is error else error)
            except ImagesError:  # one identical failure too many
                self._run.stop_reason.set("failures")
                raise
            self._pending.append(outcome)
            same = self._duplicates.get(outcome.key, ())
            self._pending.extend([await share_outcome(self._run, item, outcome) for item in same])
        outcome = self._pending.popleft()
        self._yielded.add(outcome.key)
        return outcome

    def summary(self) -> BatchSummary:
        """Return the current status."""
        end_time = self._timing.monotonic() if self._end_time is None else self._end_time
        summary = self.status.summary(self._items, self._run.stop_reason, end_time - self._start_time)
        return evolve(summary, assumed_cost=self._run.budget.assumption)

    def unknown(self) -> tuple[str, ...]:
        """Return the keys whose outcome is unknown."""
        return tuple(key for key in self._items if self.status.state(key) == "unknown")

    def wait_reason(self) -> str | None:
        """Return why nothing is sent, if nothing is sent."""
        return self._outcomes.progress.wait_reason

    def unread(self) -> tuple[Succeeded, ...]:
        """Return the outcomes of items that this run has finished and not yielded; the results have only images."""
        known = self._yielded.union(self.plan.done)
        items = [item for key, item in self._items.items() if key not in known]
        return tuple(
            Succeeded(item.index, item.key, item.request, self._stored_result(item.key))
            for item in items
            if self.status.state(item.key) == "done"
        )

    def _stored_result(self, key: str) -> ImageResult:
        images = images_from_files(self._run.ledger.get(key).files, self._run.root)
        return self._opened.deliver(key, ImageResult(images=tuple(images)))

    def stop(self) -> None:
        """Send no new requests."""
        self._run.stop_reason.set("stopped")
        self._outcomes.stop()

    async def aclose(self) -> None:
        """Cancel in-flight requests, which become unknown, and unlock the folder; requests in a cluster continue."""
        try:
            await self._outcomes.aclose()
        finally:
            try:
                if self._remote is not None:
                    await self._remote.end()
            finally:
                await asyncio.to_thread(self._close)

    def _close(self) -> None:
        try:
            self._run.close()
            self._end_time = self._timing.monotonic()
            root, items = self._opened.root, self._items.values()
            if root is not None and self._opened.writes_page:
                write_records(root, items, self._run.ledger, self._options)
                write_page(root, items, self.status, self.summary(), self._options)
        finally:
            self._opened.release()

    async def _requests(self) -> AsyncIterator[RequestItem]:
        """Yield the items to download first, then the items to send, as the budget allows."""
        for key in self._order:
            can_send = key in self._to_send
            work = planned_work(self._opened, self._items[key], self._options, can_send=can_send)
            if work.can_send and self._options.budget is not None:
                reservation = await self._run.budget.reserve(self._run.cost(work.item), self._report)
                if reservation is None:
                    self._run.stop_reason.set("budget")
                    return
                work = evolve(work, reservation=reservation)
            self._work[key] = work
            yield RequestItem(work.item.index, key, self._items[key].request)

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(self._outcomes.progress)

    async def _run_item(self, item: RequestItem, observer: CallObserver) -> ImageResult:
        work, remote = self._work.pop(item.key), self._remote
        try:
            if remote is None:
                result = await ItemRunner(self._run, work, observer).run()
            else:
                result = await RemoteItemRunner(self._run, work, remote, self._streak, observer).run()
        except ItemTakenError as error:
            raise ImagesError(str(error)) from None
        if remote is None:
            await self._make_thumbnails(item.key)
        return self._opened.deliver(item.key, result)

    async def _make_thumbnails(self, key: str) -> None:
        root, make = self._opened.root, self._options.thumbnail
        if root is None or make is None:
            return
        loop = asyncio.get_running_loop()
        for file in self._run.ledger.get(key).files:
            with suppress(OSError):  # on a full disk, even removing a part file may fail
                await loop.run_in_executor(self._run.threads, make_thumbnail, root, file.name, make)
