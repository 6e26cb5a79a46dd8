"""`Batch`: a folder, its items, and an async iterator over the outcomes of those that are sent.

Invariants: entering claims the folder and makes the plan, and sends nothing; an outcome is yielded when its images
and its row are on disk; an error that stops the whole batch is raised after the last outcome, and another run
continues; leaving cancels in-flight requests, whose outcome the journal then has as unknown. An item starts when the
budget has a reservation for it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import evolve

from openai_images._util.aio import run_to_completion
from openai_images._util.attrs import safe_repr
from openai_images.batch.caller import Caller, run_cost
from openai_images.batch.contact_sheet import write_page
from openai_images.batch.filesystem import Disk
from openai_images.batch.image_records import write_records
from openai_images.batch.item_runner import ItemRunner
from openai_images.batch.items import ResolvedItem, resolve_items
from openai_images.batch.models import BatchItem, BatchOptions, BatchPlan, BatchSummary
from openai_images.batch.plan import BatchStatus
from openai_images.batch.recorder import share_outcome
from openai_images.batch.recovery import open_batch
from openai_images.batch.run_state import RunSettings, RunState, WorkItem
from openai_images.batch.sheet_cards import make_thumbnail
from openai_images.client.client import ImagesClient
from openai_images.errors import ImagesError
from openai_images.many.items import RequestItem, RunOptions
from openai_images.many.outcomes import Outcomes
from openai_images.models.notebook import table_of_fields
from openai_images.models.outcomes import CallObserver, Outcome, Progress
from openai_images.models.results import ImageResult


@safe_repr
class Batch:
    """Runs each item once in the folder `out`: enter it with `async with`, look at its `plan`, iterate it.

    It yields an outcome for each item that is sent in this run, once that is on disk; all images of a result have a
    path. `stop()` ends it early: no new requests, in-flight ones finish and are yielded. Leaving the block cancels
    in-flight requests, although they may have been billed. `progress` is called with the counts of this run.

    `client` sends the requests, with its limits and retries; `items` have unique keys; `options` say what it may cost
    and what is sent again.
    """

    def __init__(  # noqa: PLR0913  the last is for tests
        self,
        client: ImagesClient,
        items: Sequence[BatchItem],
        out: str | os.PathLike[str],
        *,
        options: BatchOptions = BatchOptions(),  # noqa: B008  frozen
        progress: Callable[[Progress], object] | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._caller = Caller(client)
        self._items = tuple(items)
        self._root = Path(os.path.abspath(out))  # noqa: PTH100  Path.resolve would follow a link the user made
        self._options = options
        self._progress = progress
        self._disk = disk or Disk()
        self._runner: BatchRunner | None = None
        self._is_iterated = self._is_closed = False

    @property
    def plan(self) -> BatchPlan:
        """What was found in the folder, and what this run sends. Raises RuntimeError before it is entered."""
        return self._entered_runner.plan

    @property
    def summary(self) -> BatchSummary:
        """Where the batch stands now. Raises RuntimeError before it is entered."""
        return self._entered_runner.summary()

    async def __aenter__(self) -> Self:
        """Claim the folder and make the plan; nothing is sent.

        Raises `BatchFolderError` where another process uses the folder, where it is not a batch's, and where the
        request of an item that may have been billed has changed; `BatchInputError` for items that cannot be sent;
        `ConfigurationError` for a budget that cannot be kept; OSError where the folder cannot be written.
        """
        if self._runner is not None or self._is_closed:
            raise RuntimeError("a batch is entered once; make a new one to run it again")
        self._runner = BatchRunner(await self._open_settings())
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        if self._is_iterated:
            raise RuntimeError("a batch can be iterated once; make a new one to run it again")
        self._is_iterated = True
        return self

    async def __anext__(self) -> Outcome:
        """The next outcome.

        After the last one it raises the error that stopped the whole batch: `QuotaExhaustedError`,
        `AuthenticationError`, `BatchFolderError` where the folder could no longer be written, `APIConnectionError`
        where the server stayed unreachable, the last of too many identical failures. Another run continues.
        """
        return await self._entered_runner.next()

    def stop(self) -> None:
        """Send no new requests; in-flight ones finish and are yielded, then the iteration ends."""
        self._entered_runner.stop()

    async def aclose(self) -> None:
        """Cancel in-flight requests, write records and contact sheet, and unlock the folder; idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._runner is not None:
            await run_to_completion(self._runner.aclose())

    def __repr__(self) -> str:
        state = "not entered" if self._runner is None else "closed" if self._is_closed else "open"
        return f"<Batch of {len(self._items):,} items in {str(self._root)!r}, {state}>"

    def _repr_html_(self) -> str:
        return table_of_fields(repr(self)[1:-1], None if self._runner is None else self.summary)

    @property
    def _entered_runner(self) -> BatchRunner:
        if self._runner is None:
            raise RuntimeError("enter the batch first: async with Batch(...) as batch")
        return self._runner

    async def _open_settings(self) -> RunSettings:
        """Open the folder in a thread, and close it again if that is cancelled."""
        opening = asyncio.ensure_future(asyncio.to_thread(self._open))
        try:
            return await run_to_completion(opening)
        except asyncio.CancelledError:
            if opening.done() and not opening.cancelled() and opening.exception() is None:
                await run_to_completion(asyncio.to_thread(opening.result().opened.close))
            raise

    def _open(self) -> RunSettings:
        caller, options, start_time = self._caller, self._options, self._caller.timing.monotonic()
        items = resolve_items(self._items, caller.model, options)
        opened = open_batch(self._disk, self._root, items, options, caller)
        return RunSettings(
            caller=caller,
            items=items,
            opened=opened,
            options=options,
            progress=self._progress,
            disk=self._disk,
            start_time=start_time,
        )


class BatchRunner:
    """Call `next` until it raises; then `aclose`."""

    def __init__(self, settings: RunSettings) -> None:
        opened, options, caller = settings.opened, settings.options, settings.caller
        self.plan, self._opened = opened.plan, opened
        self.status = BatchStatus(opened.plan, opened.ledger)
        self._run = RunState(settings, stop=lambda: self._outcomes.stop())  # noqa: PLW0108  they are made below
        self._timing = caller.timing
        self._start_time = settings.start_time
        self._end_time: float | None = None
        self._options = options
        self._items = {item.key: item for item in settings.items}
        self._duplicates: dict[str, list[ResolvedItem]] = {}
        for key, representative in self.plan.same.items():
            if representative in opened.stems:
                self._duplicates.setdefault(representative, []).append(self._items[key])
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
                cost=partial(run_cost, options.prices),
                timing=caller.timing,
                wait_reason=caller.wait_reason,
                show_prompts=caller.show_prompts and options.record_prompts,
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
                error = self._run.stop_reason.error
                final = self._run.pop_error()
                if final is None:
                    raise
                raise final from (None if final is error else error)
            except ImagesError:  # one identical failure too many
                self._run.stop_reason.set("failures")
                raise
            self._pending.append(outcome)
            self._pending.extend(
                [
                    await share_outcome(self._run, item, outcome)
                    for item in self._duplicates.get(outcome.key, ())
                ]
            )
        return self._pending.popleft()

    def summary(self) -> BatchSummary:
        """Where the batch stands."""
        end_time = self._timing.monotonic() if self._end_time is None else self._end_time
        summary = self.status.summary(self._items, self._run.stop_reason, end_time - self._start_time)
        return evolve(summary, assumed_cost=self._run.budget.assumption)

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
            root, items = self._run.paths.root, self._items.values()
            write_records(root, items, self._run.ledger, self._options)
            write_page(root, items, self.status, self.summary(), self._options)
        finally:
            self._opened.folder.release()

    async def _requests(self) -> AsyncIterator[RequestItem]:
        """What is to be fetched first; then the items to send, as the budget allows."""
        for key in self._order:
            work = self._work_item(key)
            if work.can_send and self._options.budget is not None:
                reservation = await self._run.budget.reserve(self._run.cost(work.item))
                if reservation is None:
                    self._run.stop_reason.set("budget")
                    return
                work = evolve(work, reservation=reservation)
            self._work[key] = work
            yield RequestItem(work.item.index, key, self._items[key].request)

    def _work_item(self, key: str) -> WorkItem:
        item, record = self._items[key], self._run.ledger.get(key)
        kept_files = self._opened.kept_files.get(key, ())
        return WorkItem(
            item=item.rest(len(kept_files), self._options) or item,
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
