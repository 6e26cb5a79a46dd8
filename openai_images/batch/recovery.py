"""Opens a batch: claims its folder, repairs its journal, accounts for every image, and makes the plan.

Invariants: nothing is sent; changed items are rejected before anything but the repair is written; a crash after any
step loses nothing. Blocks, and is called in a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from attrs import define, field, frozen

from openai_images._version import __version__
from openai_images.batch.filesystem import Disk
from openai_images.batch.folder import BatchFolder, OpenJournal, Paths
from openai_images.batch.inventory import ImageInventory
from openai_images.batch.journal import FORMAT, files_field
from openai_images.batch.journal_reader import JournalRow, StoredFile
from openai_images.batch.ledger import Ledger
from openai_images.batch.models import BatchOptions, BatchPlan
from openai_images.batch.naming import Names
from openai_images.batch.plan import (
    FolderFindings,
    ResolvedItem,
    make_plan,
    reject_changed_items,
    reject_lost_rows,
)
from openai_images.catalog.prices import PUBLISHED_PRICES
from openai_images.errors import ConfigurationError


@define
class OpenedBatch:
    """A batch whose folder is claimed."""

    folder: BatchFolder
    journal: OpenJournal
    ledger: Ledger
    plan: BatchPlan
    stems: Mapping[str, str] = field(repr=False)
    kept_files: Mapping[str, tuple[StoredFile, ...]] = field(repr=False)

    def close(self) -> None:
        """Close the journal and unlock the folder."""
        self.journal.close()
        self.folder.release()


@frozen
class _OpenContext:
    disk: Disk
    paths: Paths
    options: BatchOptions
    timestamp: str


def open_batch(
    disk: Disk, root: Path, items: Sequence[ResolvedItem], options: BatchOptions, timestamp: str
) -> OpenedBatch:
    """Claim the folder and make the plan. Raises `BatchFolderError`, `ConfigurationError` and OSError."""
    context = _OpenContext(disk, Paths(root), options, timestamp)
    folder = BatchFolder(disk, context.paths)
    try:
        folder.claim()
        journal = folder.open_journal()
        try:
            return _recover(context, folder, journal, items)
        except BaseException:
            journal.close()
            raise
    except BaseException:
        folder.release()
        raise


def _recover(
    context: _OpenContext, folder: BatchFolder, journal: OpenJournal, items: Sequence[ResolvedItem]
) -> OpenedBatch:
    ledger = Ledger.from_journal(journal.contents, {item.key: item.estimate for item in items})
    journal.drop_rows()
    reject_changed_items(items, ledger)
    inventory = ImageInventory(context.disk, context.paths)
    notes = list(journal.contents.notes)
    _write_rows(journal, ledger, inventory.adopt_orphans(items, ledger, context.timestamp))
    try:
        _write_rows(journal, ledger, inventory.move_back(items, ledger, context.timestamp))
    except OSError as error:
        notes.append(f"pictures that were saved elsewhere could not be brought here yet ({error.strerror})")
    notes += inventory.clean_up(ledger)
    verdicts = {
        item.key: inventory.verify(ledger.get(item.key))
        for item in items
        if ledger.get(item.key).state == "done"
    }
    findings = FolderFindings(
        missing={key for key, state in verdicts.items() if state == "missing"},
        altered={key for key, state in verdicts.items() if state == "altered"},
        notes=notes,
    )
    plan = make_plan(items, ledger, findings, context.options)
    reject_lost_rows(inventory.lost_images(plan.to_send, ledger), str(context.paths.images))
    _reject_unknown_costs(items, plan, ledger, context.options)
    kept_files = _find_kept_files(items, plan, ledger, inventory)
    stems = _assign_stems(items, plan, ledger, inventory, kept_files)
    rows = _duplicate_rows(items, plan, ledger, context.timestamp)
    _write_rows(journal, ledger, [*rows, _begun_row(plan, context.timestamp)])
    return OpenedBatch(folder, journal, ledger, plan, stems, kept_files)


def _write_rows(journal: OpenJournal, ledger: Ledger, rows: Sequence[JournalRow]) -> None:
    journal.add(rows)
    for row in rows:
        ledger.add(row)


def _begun_row(plan: BatchPlan, timestamp: str) -> JournalRow:
    row = {"state": "begun", "key": None, "format": FORMAT, "at": timestamp, "version": __version__}
    return {**row, "items": plan.total, "to_send": len(plan.to_send)}


def _duplicate_rows(
    items: Sequence[ResolvedItem], plan: BatchPlan, ledger: Ledger, timestamp: str
) -> list[JournalRow]:
    """Rows of items that share the request of another one that is done."""
    rows: list[JournalRow] = []
    for item in items:
        representative = plan.same.get(item.key)
        if representative is not None and ledger.get(representative).state == "done":
            files = files_field(ledger.get(representative).files)
            row = {
                "state": "done",
                "key": item.key,
                "at": timestamp,
                "request": item.digest,
                "same_as": representative,
            }
            rows.append({**row, "files": files})
    return rows


def _find_kept_files(
    items: Sequence[ResolvedItem], plan: BatchPlan, ledger: Ledger, inventory: ImageInventory
) -> dict[str, tuple[StoredFile, ...]]:
    """The images of items whose other images are requested."""
    kept_files: dict[str, tuple[StoredFile, ...]] = {}
    to_send, to_fetch = set(plan.to_send), set(plan.to_fetch)
    for item in items:
        record = ledger.get(item.key)
        if item.key in to_send and item.key not in to_fetch and record.stem and record.request == item.digest:
            files = inventory.present_files(record) if record.partial else ()
            if item.rest(len(files), PUBLISHED_PRICES) is not None:
                kept_files[item.key] = files
    return kept_files


def _assign_stems(
    items: Sequence[ResolvedItem],
    plan: BatchPlan,
    ledger: Ledger,
    inventory: ImageInventory,
    kept_files: Collection[str],
) -> dict[str, str]:
    """The names of the files to write: those in the journal where they are free."""
    to_send = {*plan.to_send, *plan.to_fetch}
    names = Names(inventory.stems)
    for key, record in ledger.records.items():
        if key not in to_send and record.stem:
            names.take(record.stem, record.image_count)
    stems: dict[str, str] = {}
    for key in (*plan.to_fetch, *kept_files):  # some of its images may have this name
        if ledger.get(key).stem:
            stems[key] = ledger.get(key).stem
            names.take(stems[key], ledger.get(key).image_count)
    for item in items:
        stem = ledger.get(item.key).stem
        is_open = item.key in to_send and item.key not in stems
        if is_open and stem and names.is_free(stem, item.image_count):
            names.take(stem, item.image_count)
            stems[item.key] = stem
    for item in items:
        if item.key in to_send and item.key not in stems:
            stems[item.key] = names.give(item.key, item.image_count)
    return stems


def _reject_unknown_costs(
    items: Sequence[ResolvedItem], plan: BatchPlan, ledger: Ledger, options: BatchOptions
) -> None:
    """Reject a budget where costs cannot be estimated."""
    if options.budget is None:
        return
    to_send: Collection[str] = set(plan.to_send)
    unknown = [item for item in items if item.key in to_send and item.estimate is None]
    if unknown:
        models = ", ".join(sorted({repr(item.request.model)[:60] for item in unknown})[:3])
        msg = (
            f"a budget needs prices, and what {len(unknown):,} of the requests may cost is not known (model {models}); "
            "nothing was sent. Name a model, size and quality with a published price, give prices, or leave the budget "
            "out"
        )
        raise ConfigurationError(msg)
    if ledger.spending.unpriceable:
        msg = (
            f"a budget needs to know what was spent, and {ledger.spending.unpriceable:,} earlier requests of this "
            "folder have neither a cost nor an estimate; nothing was sent. Use another folder, or leave the budget out"
        )
        raise ConfigurationError(msg)
