"""Opens a batch: locks its folder, repairs its journal, checks every image, and makes the plan.

Invariants: nothing is sent; changed items are rejected before anything except the repair is written; a crash after any
step loses nothing. Blocks; called in a thread.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from attrs import define, field

from openai_images._util.filenames import NameAllocator
from openai_images._util.filesystem import Disk
from openai_images._version import __version__
from openai_images.batch.folder.folder import BatchFolder, Paths
from openai_images.batch.folder.image_files import ImageStore, remove_saved
from openai_images.batch.folder.image_inventory import ImageInventory
from openai_images.batch.items.models import BatchOptions, BatchPlan
from openai_images.batch.items.plan import (
    FolderFindings,
    make_plan,
    reject_changed_items,
    reject_lost_rows,
    reject_unsendable_items,
)
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import FORMAT, PLAIN_FORMAT, Journal, dated_row, done_row, timestamp
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.run.caller import Caller
from openai_images.models.results import ImageResult


class JournalStore:
    """The `ItemStore` of one machine: a journal and a folder of images."""

    def __init__(self, disk: Disk, paths: Paths, journal: Journal) -> None:
        self.place, self.images_place = str(paths.root), str(paths.images)
        self.images_folder: Path | None = paths.images
        self.save = ImageStore(disk, paths.root).save
        self.close = journal.close
        self._journal = journal

    async def append(self, row: JournalRow, *, has_images: bool) -> None:
        """Append to the journal. Raises OSError."""
        await self._journal.append(row, self.images_folder if has_images else None)


@define
class OpenedBatch:
    """A batch whose folder is locked."""

    folder: BatchFolder
    journal: Journal
    ledger: Ledger
    plan: BatchPlan
    stems: Mapping[str, str] = field(repr=False)
    kept_files: Mapping[str, tuple[StoredFile, ...]] = field(repr=False)
    items: Sequence[ResolvedItem] = field(repr=False)
    root: Path | None
    writes_page: bool = True

    def new_store(self, disk: Disk) -> JournalStore:
        """Return the journal and the images folder."""
        return JournalStore(disk, self.folder.paths, self.journal)

    def deliver(self, key: str, result: ImageResult) -> ImageResult:  # noqa: ARG002  as the protocol has it
        """Return the result unchanged: its images have paths."""
        return result

    @property
    def submitted(self) -> list[str]:
        """The keys of items at the provider, including those no longer in the input."""
        return [key for batch in self.ledger.batches.values() for key in batch.keys]

    def close(self) -> None:
        """Close the journal and unlock the folder."""
        self.journal.close()
        self.folder.release()

    def release(self) -> None:
        """Unlock the folder; the run has closed the journal."""
        self.folder.release()


def open_batch(
    disk: Disk, root: Path, items: Sequence[ResolvedItem], options: BatchOptions, caller: Caller
) -> OpenedBatch:
    """Lock the folder and make the plan.

    Raises `BatchFolderError`, `BatchInputError`, `ConfigurationError` and OSError.
    """
    folder = BatchFolder(disk, Paths(root))
    try:
        folder.claim()
        journal, contents = folder.open_journal()
        try:
            ledger = Ledger.from_journal(contents, {item.key: item.estimate for item in items})
            notes = list(contents.notes)
            del contents  # there may be many rows
            return _Recovery(folder, journal, ledger, notes, items, options, caller).run()
        except BaseException:
            journal.close()
            raise
    except BaseException:
        folder.release()
        raise


@define
class _Recovery:
    folder: BatchFolder
    journal: Journal
    ledger: Ledger
    notes: list[str]
    items: Sequence[ResolvedItem]
    options: BatchOptions
    caller: Caller
    now: str = field(init=False)
    inventory: ImageInventory = field(init=False)
    plan: BatchPlan = field(init=False)

    def run(self) -> OpenedBatch:
        self.now = timestamp(self.caller.timing.wall())
        reject_changed_items(self.items, self.ledger)
        self.inventory = ImageInventory(self.folder.disk, self.folder.paths)
        findings = self._account_for_images()
        self.plan = make_plan(self.items, self.ledger, findings, self.options)
        lost_images = self.inventory.lost_images(self.plan.to_send, self.ledger)
        reject_lost_rows(lost_images, str(self.folder.paths.images))
        check = self.caller.check_economy if self.options.economy else self.caller.check
        reject_unsendable_items(self.items, self.plan, self.ledger, self.options, check)
        kept_files = self._find_kept_files()
        stems = self._assign_stems(kept_files)
        self._write_rows([*self._duplicate_rows(), self._begun_row()])
        found = (self.folder, self.journal, self.ledger, self.plan, stems, kept_files)
        return OpenedBatch(*found, self.items, self.folder.paths.root)

    def _account_for_images(self) -> FolderFindings:
        notes = self.notes
        self._write_rows(self.inventory.adopt_orphans(self.items, self.ledger))
        try:
            rows = self.inventory.move_back(self.items, self.ledger)
            saved = [file for row in rows for file in self.ledger.get(row["key"]).files]
            self._write_rows(rows)
            remove_saved(self.folder.disk, saved, self.ledger)
        except OSError as error:
            notes.append(
                f"images in a fallback folder could not be moved to this folder yet ({error.strerror})"
            )
        notes += self.inventory.clean_up(self.ledger)
        records = {item.key: self.ledger.get(item.key) for item in self.items}
        states = {
            key: self.inventory.verify(record) for key, record in records.items() if record.state == "done"
        }
        return FolderFindings(
            missing={key for key, state in states.items() if state == "missing"},
            altered={key for key, state in states.items() if state == "altered"},
            notes=notes,
        )

    def _write_rows(self, rows: Sequence[JournalRow]) -> None:
        rows = [row if "at" in row else dated_row(row, self.now) for row in rows]
        self.journal.write(rows)
        for row in rows:
            self.ledger.add(row)

    def _begun_row(self) -> JournalRow:
        number = FORMAT if self.options.economy or self.ledger.batches else PLAIN_FORMAT
        row = {"state": "begun", "key": None, "format": number, "at": self.now, "version": __version__}
        return {**row, "items": self.plan.total, "to_send": len(self.plan.to_send)}

    def _duplicate_rows(self) -> list[JournalRow]:
        """Return rows of items that share the request of an item that is done."""
        rows: list[JournalRow] = []
        for item in self.items:
            representative = self.plan.same.get(item.key)
            if representative is not None and self.ledger.get(representative).state == "done":
                files = self.ledger.get(representative).files
                rows.append(done_row(item.key, item.digest, files, same_as=representative))
        return rows

    def _find_kept_files(self) -> dict[str, tuple[StoredFile, ...]]:
        """Return the images of items whose other images are requested."""
        kept_files: dict[str, tuple[StoredFile, ...]] = {}
        only_sent = set(self.plan.to_send) - set(self.plan.to_fetch)
        for item in self.items:
            record = self.ledger.get(item.key)
            if item.key in only_sent and record.stem and record.request == item.digest:
                files = self.inventory.present_files(record)
                if item.rest(len(files), self.options) is not None:
                    kept_files[item.key] = files
        return kept_files

    def _assign_stems(self, kept_files: Collection[str]) -> dict[str, str]:
        """Return the names of the files to write: those in the journal if they are free."""
        plan, ledger = self.plan, self.ledger
        submitted = [key for batch in ledger.batches.values() for key in batch.keys]
        to_write = {*plan.to_send, *plan.to_fetch, *submitted}
        if not to_write:
            return {}
        names = NameAllocator(self.inventory.stems)
        for key, record in ledger.records.items():
            if key not in to_write and record.stem:
                names.reserve(record.stem, record.image_count)
        stems: dict[str, str] = {}
        for key in (*plan.to_fetch, *submitted, *kept_files):  # some of its images may have this name
            record = ledger.get(key)
            if record.stem:
                stems[key] = record.stem
                names.reserve(record.stem, record.image_count)
        open_items = [item for item in self.items if item.key in to_write and item.key not in stems]
        for item in open_items:
            stem = ledger.get(item.key).stem
            if stem and names.is_free(stem, item.image_count):
                names.reserve(stem, item.image_count)
                stems[item.key] = stem
        for item in open_items:
            if item.key not in stems:
                stems[item.key] = names.new(item.key, item.image_count)
        return stems
