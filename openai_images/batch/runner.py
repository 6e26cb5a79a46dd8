"""One run of a batch: which item is next, its outcome, and what ends the run.

Invariants: an item starts when its estimate fits into the budget; one that does not waits as long as an in-flight
request may turn out cheaper. The first error that concerns all items ends the run: nothing new is sent, in-flight
requests finish.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from decimal import Decimal
from functools import partial

from openai_images.batch.contact_sheet import write_page
from openai_images.batch.item_runner import ItemRunner
from openai_images.batch.journal import done_row
from openai_images.batch.models import BatchSummary
from openai_images.batch.plan import BatchStatus, ResolvedItem
from openai_images.batch.recorder import RunSettings, RunState, WorkItem
from openai_images.batch.sheet_cards import make_thumbnail, sheet_entries
from openai_images.catalog.prices import Prices
from openai_images.errors import APIConnectionError, BatchFolderError, ImagesError
from openai_images.many.items import RequestItem, RunOptions
from openai_images.many.outcomes import Outcomes
from openai_images.models.cost import cost_of
from openai_images.models.outcomes import CallObserver, Failed, Outcome, Succeeded
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult


class BatchRunner:
    """Call `next` until it raises; then `aclose`."""

    def __init__(self, settings: RunSettings) -> None:
        opened, options, caller = settings.opened, settings.options, settings.caller
        self.plan = opened.plan
        self.status = BatchStatus(opened.plan, opened.ledger)
        self._run = RunState(settings, stop=lambda: self._outcomes.stop())  # noqa: PLW0108  they are made below
        self._folder = opened.folder
        self._timing = caller.timing
        self._start_time = settings.start_time
        self._end_time: float | None = None
        self._options = options
        self._items = {item.key: item for item in settings.items}
        self._duplicates: dict[str, list[ResolvedItem]] = {}
        for key, representative in self.plan.same.items():
            if representative in opened.stems:
                self._duplicates.setdefault(representative, []).append(self._items[key])
        self._opened = opened
        self._to_send = frozenset(opened.plan.to_send)
        self._order = dict.fromkeys((*opened.plan.to_fetch, *opened.plan.to_send))  # URLs expire
        self._work: dict[str, WorkItem] = {}  # what was started
        self._pending: deque[Outcome] = deque()
        self._started = False
        self._outcomes = Outcomes(
            self._requests(),
            self._run_item,
            RunOptions(
                concurrency=options.concurrency or caller.concurrency,
                total=len(self._order),
                progress=settings.progress,
                cost=partial(_cost, options.prices),
                timing=caller.timing,
                wait_reason=caller.wait_reason,
                max_identical_failures=options.max_identical_failures,
            ),
        )

    async def next(self) -> Outcome:
        """The next outcome, which is on disk. Raises StopAsyncIteration, and the error that ended the run."""
        if not self._started:
            self._started = True
            await self._outcomes.__aenter__()
        if not self._pending:
            try:
                outcome = await anext(self._outcomes)
            except StopAsyncIteration:
                error, self._run.stop_reason.error = self._run.stop_reason.error, None
                if error is None:
                    raise
                final = self._final_error(error)
                raise final from (None if final is error else error)
            except ImagesError:  # one identical failure too many
                self._run.stop_reason.set("failures")
                raise
            self._pending.append(outcome)
            self._pending.extend(
                [await self._share_outcome(item, outcome) for item in self._duplicates.get(outcome.key, ())]
            )
        return self._pending.popleft()

    def summary(self) -> BatchSummary:
        """Where the batch stands."""
        end_time = self._timing.monotonic() if self._end_time is None else self._end_time
        return self.status.summary(self._items, self._run.stop_reason, end_time - self._start_time)

    def stop(self) -> None:
        """Send no new requests."""
        self._run.stop_reason.set("stopped")
        self._outcomes.stop()

    async def aclose(self) -> None:
        """Cancel in-flight requests, record them as unknown, and unlock the folder."""
        try:
            await self._outcomes.aclose()
        finally:
            await asyncio.to_thread(self._close)

    def _close(self) -> None:
        try:
            self._run.close()
            self._end_time = self._timing.monotonic()
            entries = sheet_entries(self._items.values(), self.status)
            write_page(self._run.paths.root, entries, self.summary(), self._options)
        finally:
            self._folder.release()

    async def _requests(self) -> AsyncIterator[RequestItem]:
        """What is to be fetched first; then the items to send, as the budget allows."""
        for key in self._order:
            work = self._work_item(key)
            while work.estimate and not self._run.budget.reserve(work.estimate):
                if not self._run.budget.reserved:
                    self._run.stop_reason.set("budget")
                    return
                self._run.budget_freed.clear()
                await self._run.budget_freed.wait()
            self._work[key] = work
            yield RequestItem(work.item.index, key, self._items[key].request)

    def _work_item(self, key: str) -> WorkItem:
        item, record = self._items[key], self._run.ledger.get(key)
        kept_files = self._opened.kept_files.get(key, ())
        return WorkItem(
            item=item.rest(len(kept_files), self._options.prices) or item,
            stem=self._opened.stems[key],
            remote=record if record.state == "away" else None,
            can_send=key in self._to_send,
            kept_files=kept_files,
        )

    async def _run_item(self, item: RequestItem, observer: CallObserver) -> ImageResult:
        result = await ItemRunner(self._run, self._work.pop(item.key), observer).run()
        if self._options.thumbnail is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._run.threads, self._make_thumbnails, item.key)
        return result

    def _make_thumbnails(self, key: str) -> None:
        if self._options.thumbnail is not None:
            for file in self._run.ledger.get(key).files:
                with suppress(OSError):  # on a full disk even the removal of a part file may fail
                    make_thumbnail(self._run.paths.root, file.name, self._options.thumbnail)

    async def _share_outcome(self, item: ResolvedItem, outcome: Outcome) -> Outcome:
        """The outcome of an item that shares the request of another one."""
        if isinstance(outcome, Failed):
            return Failed(item.index, item.key, item.request, outcome.error)
        files = self._run.ledger.get(outcome.key).files
        row = done_row(item.key, item.digest, files, same_as=outcome.key)
        try:
            await self._run.record(row, has_images=False)
        except OSError as error:
            self._run.halt(error)
            return Failed(item.index, item.key, item.request, error)
        return Succeeded(item.index, item.key, item.request, outcome.result)

    def _final_error(self, error: Exception) -> Exception:
        """The error that ended the run, with what to do."""
        root = str(self._run.paths.root)
        if isinstance(error, OSError) and not isinstance(error, ImagesError):  # an APITimeoutError is both
            msg = (
                f"the batch stopped because {root!r} could not be written ({error.strerror or error}); make room or "
                "see to the rights, and run it again to go on"
            )
            if self._run.stop_reason.saved_elsewhere:
                places = "".join(f"\n  {path}" for path in self._run.stop_reason.saved_elsewhere)
                msg += (
                    ". Pictures that were paid for and did not fit were saved elsewhere, and the next run fetches them "
                    f"(should it call their items unknown, move them to {str(self._run.paths.images)!r}):{places}"
                )
            return BatchFolderError(msg)
        if isinstance(error, APIConnectionError):
            msg = f"the batch stopped, as the server stayed away: {error}; run it again to go on"
            return APIConnectionError(msg)
        return error


def _cost(prices: Prices, request: GenerateRequest, result: ImageResult) -> Decimal | None:
    fetched_only = not result.attempts  # paid for in an earlier run
    return Decimal(0) if fetched_only else cost_of(result, request.model, prices)
