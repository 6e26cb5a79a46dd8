"""The state that the items of a run share (storage, budget, stop reason), and the work of one item.

Invariants: a row is on disk before it counts; after the first error that concerns all items, nothing is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import evolve, frozen

from openai_images._util.filesystem import Disk
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.plan import StopReason
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import dated_row, timestamp
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.ledger import ItemRecord
from openai_images.batch.run.budget import Budget, BudgetGate, RequestCost, Reservation
from openai_images.batch.run.caller import Caller, CircuitBreaker
from openai_images.batch.run.item_store import OpenBatch
from openai_images.errors import (
    APIConnectionError,
    AuthenticationError,
    BatchFolderError,
    ClusterError,
    ConfigurationError,
    ImagesError,
    QuotaExhaustedError,
)
from openai_images.models.image import Image
from openai_images.models.outcomes import Progress

_THREADS = 8
"""The most concurrent writes of images: a disk syncs several in little more time than one."""

_STOP_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (QuotaExhaustedError, "quota"),
    (AuthenticationError, "key"),
    (ConfigurationError, "key"),
    (ClusterError, "cluster"),
    (ImagesError, "server"),
)


@frozen(kw_only=True)
class RunSettings:
    """The parts of a run."""

    caller: Caller
    items: Sequence[ResolvedItem]
    opened: OpenBatch
    options: BatchOptions
    progress: Callable[[Progress], object] | None
    disk: Disk
    start_time: float


class RunState:
    """The state that all items of a run share; `stop` is called when nothing more shall be sent."""

    def __init__(self, settings: RunSettings, stop: Callable[[], None]) -> None:
        opened, options = settings.opened, settings.options
        self.caller = settings.caller
        self.prices = options.prices
        self.root = opened.root or Path()
        self.ledger = opened.ledger
        self._has_max_cost = options.max_image_cost is not None
        self.submitted: dict[str, Reservation] = {}  # in economy: of the items that an earlier run has sent
        self.budget = BudgetGate(self._new_budget(settings))
        self.breaker = CircuitBreaker(options.max_outage, settings.caller.timing)
        self.threads = ThreadPoolExecutor(_THREADS, "openai_images batch")
        self.stop_reason = StopReason()
        self.has_reported_missing = False
        self.store = opened.new_store(settings.disk)
        self._stop = stop

    def cost(self, item: ResolvedItem) -> RequestCost:
        """Return the possible cost of an item."""
        return RequestCost.of(item.request, item.estimate, item.image_count, is_certain=self._has_max_cost)

    def _new_budget(self, settings: RunSettings) -> Budget:
        """Return the budget, with the costs of earlier runs, in total and per kind of image."""
        limit, spent = settings.options.budget, self.ledger.spending.upper_bound
        is_collected = settings.options.economy  # then the costs of the items at the provider will be known
        budget = Budget(limit, spent if is_collected else spent + self.ledger.submitted_estimate)
        items = {} if limit is None else {item.key: item for item in settings.items}
        for key, item in items.items():
            record = self.ledger.get(key)
            if record.cost is not None and record.files and record.request == item.digest:
                budget.learn(self.cost(item), record.cost, len(record.files))
        submitted = self.ledger.submitted_estimates if limit is not None and is_collected else {}
        for key, estimate in submitted.items():
            known = items.get(key)
            cost = RequestCost(estimate) if known is None else evolve(self.cost(known), worst=estimate)
            self.submitted[key] = budget.hold(cost)
        return budget

    async def record(self, row: JournalRow, *, has_images: bool) -> None:
        """Write a row after syncing the names of its images, and count it. Raises OSError."""
        row = dated_row(row, timestamp(self.caller.timing.wall()))
        await self.store.append(row, has_images=has_images)
        self.ledger.add(row)

    def halt(self, error: Exception, images: Sequence[Image] = ()) -> None:
        """Send nothing more after this error; `images` may have been saved outside of the folder."""
        paths = [image.path for image in images if image.path is not None]
        outside = [str(path) for path in paths if path.parent != self.store.images_folder]
        reason = self.stop_reason
        reason.saved_elsewhere += [path for path in outside if path not in reason.saved_elsewhere]
        if reason.error is None:
            reason.error = error
            reason.reason = next((name for cls, name in _STOP_REASONS if isinstance(error, cls)), "folder")
        self._stop()

    def pop_error(self) -> Exception | None:
        """Return the error that ended the run, with advice, and forget it."""
        error, self.stop_reason.error = self.stop_reason.error, None
        root = self.store.place
        if isinstance(error, OSError) and not isinstance(error, ImagesError):  # APITimeoutError is both
            remedy = "free disk space or fix the permissions"
            if isinstance(error, FileNotFoundError):
                remedy = "if the folder was renamed, use its new name"
            msg = (
                f"the batch stopped because {root!r} could not be written ({error.strerror or error}); {remedy}, "
                "then run it again to continue"
            )
            if self.stop_reason.saved_elsewhere:
                places = "".join(f"\n  {path}" for path in self.stop_reason.saved_elsewhere)
                msg += (
                    ". Paid images that could not be written were saved elsewhere, and the next run copies them here "
                    f"(if it reports their items as unknown, move them to {self.store.images_place!r}):{places}"
                )
            return BatchFolderError(msg)
        if isinstance(error, APIConnectionError):
            msg = (
                f"the batch stopped because the server stayed unreachable: {error}; run it again to continue"
            )
            return APIConnectionError(msg)
        return error

    def close(self) -> None:
        """Wait for the last write. Blocks."""
        self.threads.shutdown()
        self.store.close()


@frozen(kw_only=True)
class WorkItem:
    """The work of an item.

    `remote` is the record of an item with remote images: these are downloaded, and the item is sent only if that fails
    and `can_send`. An item that can be sent has a reservation, if there is a budget. `kept_files` are images of earlier
    runs; `item` requests the others.
    """

    item: ResolvedItem
    stem: str
    remote: ItemRecord | None = None
    can_send: bool = True
    kept_files: tuple[StoredFile, ...] = ()
    reservation: Reservation | None = None

    @property
    def image_count(self) -> int:
        """The number of images when the item is done."""
        return len(self.kept_files) + self.item.image_count


def planned_work(opened: OpenBatch, item: ResolvedItem, options: BatchOptions, *, can_send: bool) -> WorkItem:
    """Return the work of an item of an open batch."""
    record = opened.ledger.get(item.key)
    kept_files = record.files if record.state == "submitted" else opened.kept_files.get(item.key, ())
    return WorkItem(
        item=item.rest(len(kept_files), options) or item,
        stem=opened.stems[item.key],
        remote=record if record.state == "away" else None,
        can_send=can_send,
        kept_files=kept_files,
    )
