"""A run of a batch whose folder is open: which item comes next, what is recorded, and what ends it all.

Rules: an item is started when its estimate fits into what is left of the budget; one that does not fit waits as long as
something under way may turn out cheaper. The first thing that concerns all items ends the run: nothing new is
sent, what was sent is awaited. What is known of the items is what the journal says, row by row.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from attrs import frozen

from openai_images.batch.caller import Caller
from openai_images.batch.circuit_breaker import Gate
from openai_images.batch.contact_sheet import write_page
from openai_images.batch.filesystem import Disk
from openai_images.batch.image_store import Saver
from openai_images.batch.item_runner import Sending
from openai_images.batch.journal import Journal, files_field, moment
from openai_images.batch.journal_reader import Row
from openai_images.batch.ledger import Budget
from openai_images.batch.models import BatchOptions, BatchSummary
from openai_images.batch.plan import Asked, End, Standing
from openai_images.batch.recorder import Means, Task
from openai_images.batch.recovery import Opened
from openai_images.batch.sheet_cards import cards_of, make_thumbnail
from openai_images.errors import (
    APIConnectionError,
    AuthenticationError,
    BatchFolderError,
    ConfigurationError,
    ImagesError,
    QuotaExhaustedError,
)
from openai_images.many.items import Item
from openai_images.many.outcomes import Options, Outcomes
from openai_images.models.cost import cost_of
from openai_images.models.outcomes import Failed, Outcome, Progress, Succeeded

if TYPE_CHECKING:
    from openai_images.catalog.prices import Prices
    from openai_images.http.watch import Watcher
    from openai_images.models.image import Image
    from openai_images.models.requests import GenerateRequest
    from openai_images.models.results import ImageResult

__all__ = ["Running", "Setting"]

_THREADS = 8
"""Pictures that are written at once: a disk syncs several in little more time than one."""

_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (QuotaExhaustedError, "quota"),
    (AuthenticationError, "key"),
    (ConfigurationError, "key"),
    (ImagesError, "server"),
)


@frozen(kw_only=True)
class Setting:
    """What a run is made of."""

    caller: Caller
    asked: Sequence[Asked]
    opened: Opened
    options: BatchOptions
    progress: Callable[[Progress], object] | None
    disk: Disk


class Running:
    """`next` outcomes until there are none; then `aclose`."""

    def __init__(self, setting: Setting) -> None:
        """Nothing is sent yet."""
        opened, options, caller = setting.opened, setting.options, setting.caller
        self.end = End()
        self.plan = opened.plan
        self.standing = Standing(opened.plan, opened.ledger)
        self._ledger = opened.ledger
        self._asked = {one.key: one for one in setting.asked}
        self._followers: dict[str, list[Asked]] = {}
        for key, leader in self.plan.same.items():
            if leader in opened.stems:
                self._followers.setdefault(leader, []).append(self._asked[key])
        self._tasks = _tasks(self._asked, opened, options.prices)
        self._opened = opened
        self._options = options
        self._timing = caller.timing
        self._images = opened.folder.paths.images
        self._journal = Journal(setting.disk, opened.journal.descriptor, opened.journal.size)
        self._threads = ThreadPoolExecutor(_THREADS, "openai_images batch")
        self._budget = Budget(options.budget, self._ledger.spending.at_most)
        self._settled = asyncio.Event()
        self._ready: deque[Outcome] = deque()
        self._started = False
        self._means = Means(
            generate=caller.generate,
            fetch=caller.fetch,
            record=self._record,
            halt=self._halt,
            settled=self._settled.set,
            root=opened.folder.paths.root,
            gate=Gate(options.max_outage, caller.timing),
            saver=Saver(setting.disk, opened.folder.paths.root),
            threads=self._threads,
            budget=self._budget,
            prices=options.prices,
        )

        self._outcomes = Outcomes(
            self._items(),
            self._work,
            Options(
                concurrency=options.concurrency or caller.concurrency,
                total=len(self._tasks),
                progress=setting.progress,
                cost=partial(_cost, options.prices),
                timing=caller.timing,
                wait_reason=caller.wait_reason,
                max_identical_failures=options.max_identical_failures,
            ),
        )

    async def next(self) -> Outcome:
        """The next outcome, which is on the disk. Raises StopAsyncIteration, and what ended the run."""
        if not self._started:
            self._started = True
            await self._outcomes.__aenter__()
        if not self._ready:
            try:
                outcome = await anext(self._outcomes)
            except StopAsyncIteration:
                error, self.end.error = self.end.error, None
                if error is None:
                    raise
                told = self._told(error)
                raise told from (None if told is error else error)
            except ImagesError:  # one identical failure too many
                self.end.reason = self.end.reason or "failures"
                raise
            self._ready.append(outcome)
            self._ready.extend(
                [await self._shared(one, outcome) for one in self._followers.get(outcome.key, ())]
            )
        return self._ready.popleft()

    def summary(self, elapsed: float) -> BatchSummary:
        """Where the batch stands."""
        return self.standing.summary(self._asked, self.end, elapsed)

    def stop(self) -> None:
        """Start nothing new."""
        self.end.reason = self.end.reason or "stopped"
        self._outcomes.stop()

    async def aclose(self, elapsed: Callable[[], float]) -> None:
        """Cancel what is under way, write down that nobody knows about it, and let go of the folder."""
        try:
            await self._outcomes.aclose()
        finally:
            await asyncio.to_thread(self._close, elapsed)

    def _close(self, elapsed: Callable[[], float]) -> None:
        folder = self._opened.folder
        try:
            self._threads.shutdown()
            self._journal.close()
            cards = cards_of(self._asked.values(), self.standing)
            write_page(folder.paths.root, cards, self.summary(elapsed()), self._options)
        finally:
            folder.release()

    # What comes next.

    async def _items(self) -> AsyncIterator[Item]:
        """What is to be fetched, as URLs end; then the items to send, as long as there is money for them."""
        for key, task in self._tasks.items():
            one = task.asked
            while task.estimate and not self._budget.reserve(task.estimate):
                if not self._budget.reserved:
                    self.end.reason = self.end.reason or "budget"
                    return
                self._settled.clear()
                await self._settled.wait()
            yield Item(one.index, key, self._asked[key].request)

    async def _work(self, item: Item, watcher: Watcher) -> ImageResult:
        sending = Sending(self._means, self._tasks[item.key], watcher)
        result = await sending.run()
        if self._options.thumbnail is not None:
            await asyncio.get_running_loop().run_in_executor(self._threads, self._make_thumbnails, item.key)
        return result

    def _make_thumbnails(self, key: str) -> None:
        """In a thread: the small copies of an item's pictures, as far as they can be made."""
        if self._options.thumbnail is not None:
            for file in self._ledger.of_key(key).files:
                with suppress(OSError):  # a full disk may not even let go of a half-written one
                    make_thumbnail(self._opened.folder.paths.root, file.name, self._options.thumbnail)

    # What is known.

    async def _record(self, row: Row, has_pictures: bool) -> None:
        """Have a row on the disk. Raises OSError."""
        row = {"state": row["state"], "key": row["key"], "at": moment(self._timing.wall()), **row}
        await self._journal.append(row, self._images if has_pictures else None)
        self._ledger.add(row)

    async def _shared(self, one: Asked, outcome: Outcome) -> Outcome:
        """What becomes of an item whose request was sent for another one."""
        if isinstance(outcome, Failed):
            return Failed(one.index, one.key, one.request, outcome.error)
        files = files_field(self._ledger.of_key(outcome.key).files)
        row = {"state": "done", "key": one.key, "request": one.digest, "same_as": outcome.key, "files": files}
        try:
            await self._record(row, has_pictures=False)
        except OSError as error:
            self._halt(error, ())
            return Failed(one.index, one.key, one.request, error)
        return Succeeded(one.index, one.key, one.request, outcome.result)

    # What ends it.

    def _halt(self, error: Exception, images: Sequence[Image]) -> None:
        """Send nothing more, because of this."""
        paths = [image.path for image in images if image.path is not None]
        away = [str(path) for path in paths if path.parent != self._images]
        self.end.elsewhere += [path for path in away if path not in self.end.elsewhere]
        if self.end.error is None:
            self.end.error = error
            self.end.reason = next((word for kind, word in _REASONS if isinstance(error, kind)), "folder")
        self._outcomes.stop()

    def _told(self, error: Exception) -> Exception:
        """What ended the run, and what to do."""
        root = str(self._opened.folder.paths.root)
        if isinstance(error, OSError) and not isinstance(error, ImagesError):  # an APITimeoutError is both
            msg = (
                f"the batch stopped because {root!r} could not be written ({error.strerror or error}); make room or "
                "see to the rights, and run it again to go on"
            )
            if self.end.elsewhere:
                places = "".join(f"\n  {path}" for path in self.end.elsewhere)
                msg += (
                    ". Pictures that were paid for and did not fit were saved elsewhere, and the next run fetches them "
                    f"(should it call their items unknown, move them to {str(self._images)!r}):{places}"
                )
            return BatchFolderError(msg)
        if isinstance(error, APIConnectionError):
            msg = f"the batch stopped, as the server stayed away: {error}; run it again to go on"
            return APIConnectionError(msg)
        return error


def _cost(prices: Prices, request: GenerateRequest, result: ImageResult) -> Decimal | None:
    fetched_only = not result.attempts  # it was paid for in an earlier run
    return Decimal(0) if fetched_only else cost_of(result, request.model, prices)


def _tasks(asked: Mapping[str, Asked], opened: Opened, prices: Prices) -> dict[str, Task]:
    """What a run does, in its order: what is away comes first."""
    away, to_send = {key: opened.ledger.of_key(key) for key in opened.plan.to_fetch}, set(opened.plan.to_send)
    tasks: dict[str, Task] = {}
    for key in (*away, *opened.plan.to_send):
        kept = opened.kept.get(key, ())
        tasks[key] = Task(
            asked=asked[key].rest(len(kept), prices) or asked[key],
            stem=opened.stems[key],
            away=away.get(key),
            may_send=key in to_send,
            kept=kept,
        )
    return tasks
