"""The state that the items of a run share (storage, budget, stop reason), and the work of one item.

Invariants: a row is on disk before it counts; an image is stored completely before its row; after the first error that
concerns all items, nothing is sent. `ItemStore` and `OpenBatch` are the storage: `recovery.py` implements them by a
journal and a folder, `cluster/` by objects that many machines share.
Must not: decide what a row contains.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from attrs import evolve, frozen

from openai_images._util.filesystem import Disk
from openai_images._util.waits import OpenWaits
from openai_images.batch.folder.image_files import StoredImages
from openai_images.batch.items.models import BatchOptions, BatchPlan
from openai_images.batch.items.plan import StopReason
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import dated_row, timestamp
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.ledger import ItemRecord, Ledger
from openai_images.batch.run.budget import Budget, BudgetGate, RequestCost, Reservation
from openai_images.batch.run.caller import Caller, CircuitBreaker
from openai_images.errors import (
    APIConnectionError,
    AuthenticationError,
    BatchFolderError,
    ClusterError,
    ConfigurationError,
    ImagesError,
    QuotaExhaustedError,
)
from openai_images.models.cost import estimate_cost_range
from openai_images.models.image import Image
from openai_images.models.results import ImageResult

_log = logging.getLogger("openai_images")

_THREADS = 8
"""The most concurrent writes of images: a disk syncs several in little more time than one."""

_STOP_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (QuotaExhaustedError, "quota"),
    (AuthenticationError, "key"),
    (ConfigurationError, "key"),
    (ClusterError, "cluster"),
    (ImagesError, "server"),
)


class ItemStore(Protocol):
    """The storage of a run; `place` and `images_place` name it and its images in messages."""

    place: str
    images_place: str

    @property
    def images_folder(self) -> Path | None:
        """The folder of the images; None if that is not a folder. Other folders are fallback folders."""
        ...

    async def append(self, row: JournalRow, *, has_images: bool) -> None:
        """Write a row to the disk, after the names of its images.

        Raises OSError, and `ItemTakenError` for a `sent` row of an item that another worker has claimed.
        """
        ...

    def save(self, stem: str, images: Sequence[Image], expected: int, before: int = 0) -> StoredImages:
        """Store images of an item for `expected` images, `before` of which are already stored. Blocks.

        Raises `ImageNotStoredError`.
        """
        ...

    def close(self) -> None:
        """Wait for the last write. Blocks."""
        ...


class ItemTakenError(Exception):
    """Another worker claimed the item after this run's plan; nothing was sent."""


class OpenBatch(Protocol):
    """An open batch: its plan and its storage.

    `root` is its folder, None for an object store. By key, `stems` are the names of the files to write, and
    `kept_files` the images of items whose other images are requested. If `writes_page`, the run writes the contact
    sheet and the image records at the end.
    """

    items: Sequence[ResolvedItem]
    root: Path | None
    plan: BatchPlan
    ledger: Ledger
    stems: Mapping[str, str]
    kept_files: Mapping[str, tuple[StoredFile, ...]]
    writes_page: bool

    def new_store(self, disk: Disk) -> ItemStore:
        """Return the storage of its run."""
        ...

    def deliver(self, key: str, result: ImageResult) -> ImageResult:
        """Return an item's result for the caller: each image has a path, or its URL in the storage."""
        ...

    def close(self) -> None:
        """Close and unlock a batch without a run. Blocks."""
        ...

    def release(self) -> None:
        """Unlock the batch after its run. Blocks."""
        ...


class Opener(Protocol):
    """Opens batches in shared storage: `Shard` is one."""

    def open(
        self, out: str, items: Sequence[ResolvedItem], options: BatchOptions, caller: Caller
    ) -> OpenBatch:
        """Open the batch of these items, or of some of them. Blocks.

        Raises `BatchFolderError`, `BatchInputError`, `ConfigurationError` and OSError.
        """
        ...


class RunState:
    """The state that all items of a run share; `on_stop` is called when nothing more shall be sent."""

    on_stop: Callable[[], None]

    def __init__(self, caller: Caller, opened: OpenBatch, options: BatchOptions, disk: Disk) -> None:
        self.caller = caller
        self.opened = opened
        self.options = options
        self.root = opened.root or Path()
        self.ledger = opened.ledger
        self.submitted: dict[str, Reservation] = {}  # in economy: of the items that an earlier run has sent
        self.budget = BudgetGate(self._new_budget())
        self.breaker = CircuitBreaker(options.max_outage, caller.timing)
        self.threads = ThreadPoolExecutor(_THREADS, "openai_images batch")
        self._writes = OpenWaits()
        self.stop_reason = StopReason()
        self.has_reported_missing = False
        self.store = opened.new_store(disk)

    def wait_reason(self) -> str | None:
        """Return why requests wait, if they do."""
        timing, cause = self.caller.timing, f"a write to {self.store.place!r} has not ended"
        write = self._writes.reason(cause, timing.monotonic(), timing.wall())
        return self.caller.wait_reason() or self.breaker.wait_reason or self.budget.wait_reason or write

    def writing(self) -> AbstractContextManager[None]:
        """Record a write, which lasts until the block is left, for `wait_reason`."""
        return self._writes.hold(self.caller.timing.monotonic())

    def cost(self, item: ResolvedItem) -> RequestCost:
        """Return the possible cost of an item."""
        options = self.options
        amounts = None if options.budget is None else estimate_cost_range(item.request, options.prices)
        return RequestCost.of(
            item.request,
            item.estimate,
            item.image_count,
            least=Decimal(0) if amounts is None else amounts[0],
            is_certain=options.max_image_cost is not None,
        )

    def _new_budget(self) -> Budget:
        """Return the budget, with the costs of earlier runs, in total and per kind of image."""
        limit, spent = self.options.budget, self.ledger.spending.upper_bound
        is_collected = self.options.economy  # then the costs of the items at the provider will be known
        budget = Budget(limit, spent if is_collected else spent + self.ledger.submitted_estimate)
        items = {} if limit is None else {item.key: item for item in self.opened.items}
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

    async def record(
        self, row: JournalRow, images: Sequence[Image] = (), *, has_images: bool = False
    ) -> None:
        """Write a row after syncing the names of its `images`, and count it.

        Raises OSError after it has stopped the run.
        """
        row = dated_row(row, timestamp(self.caller.timing.wall()))
        try:
            with self.writing():
                await self.store.append(row, has_images=has_images)
        except OSError as error:
            self.halt(error, images)
            raise
        self.ledger.add(row)

    def halt(self, error: Exception, images: Sequence[Image] = ()) -> None:
        """Send nothing more after this error; `images` may have been saved outside of the folder."""
        paths = [image.path for image in images if image.path is not None]
        outside = [str(path) for path in paths if path.parent != self.store.images_folder]
        reason = self.stop_reason
        if new := [path for path in outside if path not in reason.saved_elsewhere]:
            reason.saved_elsewhere += new
            _log.warning("paid images cannot be written to %s: saved as %s", self.store.place, ", ".join(new))
        if reason.error is None:
            reason.error = error
            reason.reason = next((name for cls, name in _STOP_REASONS if isinstance(error, cls)), "folder")
        self.on_stop()

    def pop_error(self) -> Exception | None:
        """Return the error that ended the run, with advice, and forget it."""
        error, self.stop_reason.error = self.stop_reason.error, None
        root = self.store.place
        if isinstance(error, OSError) and not isinstance(error, ImagesError):  # APITimeoutError is both
            remedy = "free disk space or fix the permissions"
            if isinstance(error, FileNotFoundError):
                remedy = "if the folder was renamed, use its new name"
            elif isinstance(error, TimeoutError):
                remedy = "check that it responds"
            msg = (
                f"the batch stopped because {root!r} could not be written ({error.strerror or error}); {remedy}, "
                "then run it again to continue"
            )
            if self.stop_reason.saved_elsewhere:
                places = "".join(f"\n  {path}" for path in self.stop_reason.saved_elsewhere)
                msg += (
                    ". Paid images that could not be written were saved elsewhere, and the next run moves them here "
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

    def without_download(self, record: ItemRecord, options: BatchOptions) -> WorkItem:
        """Return the work of requesting the images that could not be downloaded; `record` has the others."""
        kept_files = tuple(file for file in record.files if not file.is_damaged)
        rest = self.item.rest(len(kept_files), options)
        work = evolve(self, remote=None)
        return work if rest is None else evolve(work, item=rest, kept_files=kept_files)


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
