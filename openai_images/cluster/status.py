"""The state of items in shared storage: its listing, the rows of claims and records, and the images.

Invariants: claims are listed before records, and records before images, so no finished item looks open; a claim without
a record is a request of unknown outcome; an open item whose images are all stored is adopted as done, because they were
paid for. Reading is concurrent and blocks.
Must not: decide by a time; delete anything.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from itertools import chain, count, takewhile
from pathlib import Path
from typing import Final, NamedTuple

from attrs import define, evolve, field

from openai_images._util.filenames import image_stems, stem_of
from openai_images._util.filesystem import Disk
from openai_images.batch.folder.image_files import file_name, remove_saved
from openai_images.batch.items.models import BatchPlan
from openai_images.batch.items.plan import FolderFindings
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import dated_row, done_row, encode_row
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile, parse_line
from openai_images.batch.journal.ledger import ItemRecord, Ledger
from openai_images.cluster.claim_store import StorageImages, stored_file
from openai_images.cluster.records import (
    CLAIMS,
    IMAGES,
    RECORDS,
    add_row,
    attempt_name,
    claim_name,
    parse_record,
    read_lines,
    record_name,
)
from openai_images.cluster.storage import FolderStorage, Storage
from openai_images.errors import DecodeError
from openai_images.models.completeness import flaw_of
from openai_images.models.image import Image

_READERS: Final = 16
_AHEAD: Final = 1_000
"""The most attempts to read ahead, which limits the memory."""


class Attempt(NamedTuple):
    """One attempt at an item: its number, whether it has a record, the number of `added` rows, the bytes of both."""

    number: int
    has_record: bool
    added: int = 0
    nbytes: int = 0


@define
class Listing:
    """The names in a batch's storage: the attempts of each id in order, and the images with their sizes."""

    attempts: dict[str, list[Attempt]] = field(factory=dict[str, list[Attempt]])
    images: dict[str, int] = field(factory=dict[str, int])

    def last_attempt(self, id_: str) -> int:
        """Return the number of the last attempt at an item; 0 if there was none."""
        attempts = self.attempts.get(id_)
        return attempts[-1].number if attempts else 0


def list_storage(storage: Storage) -> Listing:
    """List claims first, then records, then images. Raises OSError."""
    found: dict[tuple[str, int], Attempt] = {}
    for folder in (CLAIMS, RECORDS):
        for entry in storage.list(folder):
            if (name := parse_record(entry.name)) is not None:
                before = found.get(name[:2], Attempt(name.number, has_record=False))
                is_record = folder == RECORDS
                found[name[:2]] = Attempt(
                    name.number,
                    has_record=before.has_record or (is_record and not name.added),
                    added=max(before.added, name.added),
                    nbytes=before.nbytes + (entry.nbytes if is_record else 0),
                )
    attempts: dict[str, list[Attempt]] = {}
    for (id_, _), attempt in sorted(found.items()):
        attempts.setdefault(id_, []).append(attempt)
    return Listing(attempts, {entry.name: entry.nbytes for entry in storage.list(IMAGES)})


class RowLine(NamedTuple):
    """A row of an attempt: its validated fields, and the whole row as a journal line."""

    row: JournalRow
    text: bytes


def read_attempts(
    storage: Storage,
    listing: Listing,
    keys: Mapping[str, str],
    known: Mapping[str, Sequence[bytes]] | None = None,
) -> Iterator[RowLine]:
    """Yield the rows of the items with the ids in `keys`, under the key given there, or, if that is "", their own.

    A record with the same length as its `known` lines is not read again. Raises OSError.
    """
    known = known or {}
    wanted = [(id_, attempt) for id_ in keys for attempt in listing.attempts.get(id_, ())]

    def lines_of(each: tuple[str, Attempt]) -> Sequence[RowLine]:
        id_, attempt = each
        texts = known.get(attempt_name(id_, attempt.number), ())
        is_known = attempt.has_record and sum(map(len, texts)) == attempt.nbytes
        lines = list(map(_parse, texts)) if is_known else _read_attempt(storage, id_, attempt)
        return [_with_key(line, keys[id_]) for line in lines] if keys[id_] else lines

    with ThreadPoolExecutor(_READERS, "openai_images storage") as threads:
        for start in range(0, len(wanted), _AHEAD):
            for lines in threads.map(lines_of, wanted[start : start + _AHEAD]):
                yield from lines


def _read_attempt(storage: Storage, id_: str, attempt: Attempt) -> list[RowLine]:
    """Return the rows of a record, or else of its claim; an unreadable attempt counts as sent."""
    # Without a record in the listing, look for it: a listing may be old on NFS.
    added = attempt.added if attempt.has_record else None
    lines = read_lines(storage, record_name(id_, attempt.number), added)
    if not any(
        json.loads(line)["state"] == "sent" for line in lines
    ):  # only added rows; attempt 0 has no claim
        lines = read_lines(storage, claim_name(id_, attempt.number)) + lines
    name = attempt_name(id_, attempt.number)
    return [_parse(line) for line in lines or [encode_row({"state": "sent", "key": id_, "record": name})]]


def _parse(line: bytes) -> RowLine:
    [row] = parse_line(line, ("record", "worker", "at")).rows
    return RowLine(row, line)


def _with_key(line: RowLine, key: str) -> RowLine:
    if line.row["key"] == key:
        return line
    return RowLine({**line.row, "key": key}, encode_row({**json.loads(line.text), "key": key}))


def make_ledger(lines: Iterable[RowLine], estimates: Mapping[str, Decimal | None] | None = None) -> Ledger:
    """Return the ledger of these rows; open requests become unknown."""
    ledger = Ledger(estimates=estimates or {})
    for line in lines:
        ledger.add(line.row)
    ledger.close_open()
    return ledger


class Images:
    """The images of a listing: verifies, adopts and moves them."""

    def __init__(self, storage: Storage, listing: Listing, at: str) -> None:
        """Write new rows with the time `at`."""
        self.at = at
        self._storage = storage
        self._store = StorageImages(storage, Disk())
        self._listing = listing

    def adopt(self, ids: Mapping[str, str], ledger: Ledger) -> int:
        """Record as done all open items whose images are all stored; return their number. Raises OSError."""
        adopted = 0
        done = {
            file.name for record in ledger.records.values() if record.state == "done" for file in record.files
        }
        records = {key: ledger.get(key) for key in ids}
        records = {
            key: each for key, each in records.items() if each.state in ("unknown", "away") and each.stem
        }
        if records:
            self._finish_parts()
        by_stem = {stem_of(name): name for name in self._listing.images if name not in done}
        for key, record in records.items():
            stems = image_stems(record.stem, record.image_count)
            found = (self._find_complete(stem, by_stem) for stem in stems)
            complete = [file for file in found if file is not None]
            if len(complete) == len(stems):
                self._extend(ids[key], ledger, done_row(key, record.request, complete, adopted=True))
                adopted += 1
        return adopted

    def move_back(self, ids: Mapping[str, str], ledger: Ledger) -> list[str]:
        """Move images from fallback folders of this machine to the storage; return notes about the others."""
        notes: list[str] = []
        for key, id_ in ids.items():
            record = ledger.get(key)
            if record.state != "done" or not any(file.is_outside for file in record.files):
                continue
            try:
                files = [self._move(file) if file.is_outside else file for file in record.files]
            except OSError:
                places = ", ".join(file.name for file in record.files if file.is_outside)
                worker = self._find_saver(id_)
                notes.append(f"{key[:60]!r} is done, but its images are on the machine of {worker}: {places}")
            else:
                self._extend(id_, ledger, done_row(key, record.request, files, moved=True))
                remove_saved(Disk(), record.files, ledger)
        return notes

    def share(
        self, items: Iterable[ResolvedItem], ids: Mapping[str, str], plan: BatchPlan, ledger: Ledger
    ) -> None:
        """Record items that share the request of an item that is done. Raises OSError."""
        for item in items:
            other = ledger.get(plan.same.get(item.key, ""))
            if other.state == "done":
                row = done_row(item.key, item.digest, other.files, same_as=plan.same[item.key])
                self._extend(ids[item.key], ledger, row)

    def findings(self, ids: Mapping[str, str], ledger: Ledger, notes: Sequence[str]) -> FolderFindings:
        """Return which done items have missing or altered images."""
        states = {key: self._verify(record) for key in ids if (record := ledger.get(key)).state == "done"}
        return FolderFindings(
            missing={key for key, state in states.items() if state == "missing"},
            altered={key for key, state in states.items() if state == "altered"},
            notes=notes,
        )

    def present_files(self, record: ItemRecord) -> tuple[StoredFile, ...]:
        """Return the stored images of an incomplete item."""
        return tuple(file for file in record.kept_files if file.name in self._listing.images)

    def _verify(self, record: ItemRecord) -> str:
        sizes = [
            (file.nbytes, file.nbytes if file.is_outside else self._listing.images.get(file.name))
            for file in record.files
        ]
        if not sizes or any(found is None for _, found in sizes):
            return "missing"
        return "there" if all(nbytes == found for nbytes, found in sizes) else "altered"

    def _extend(self, id_: str, ledger: Ledger, row: JournalRow) -> None:
        number = self._listing.last_attempt(id_)
        row = {**dated_row(row, self.at), "record": attempt_name(id_, number)}
        add_row(self._storage, id_, number, row)
        ledger.add(row)

    def _find_saver(self, id_: str) -> str:
        """Return the worker ("host:pid") that saved an item's images on its own machine."""
        name = record_name(id_, self._listing.last_attempt(id_))
        rows = [json.loads(line) for line in read_lines(self._storage, name)]
        workers = (str(row["worker"]) for row in reversed(rows) if "worker" in row and "files" in row)
        return next(workers, "the worker that saved them")

    def _finish_parts(self) -> None:
        """Store complete images from part files of processes that were killed before renaming them.

        They are copied: a process that still runs finds its image under the final name. On a file system without hard
        links there may be an empty file of that name; then the next name is used.
        """
        if not isinstance(self._storage, FolderStorage):
            return
        for name, part in self._storage.parts(IMAGES):
            with suppress(FileNotFoundError, DecodeError):  # it was renamed in the meantime, or is truncated
                data = self._storage.read(part)
                if flaw_of([data]) is None:
                    file = self._store.create(name.removeprefix(f"{IMAGES}/"), Image.from_bytes(data))
                    self._listing.images[file.name] = file.nbytes

    def _find_complete(self, stem: str, by_stem: Mapping[str, str]) -> StoredFile | None:
        """Return the first complete image of a name; several attempts may have stored one."""
        names = chain([stem], (f"{stem}.{number}" for number in count(2)))
        for name in takewhile(lambda each: each is not None, map(by_stem.get, names)):
            if name is not None and (file := self._describe(name)) is not None:
                return file
        return None

    def _describe(self, name: str) -> StoredFile | None:
        """Return an image's fields in a row; None if it is not complete."""
        data = self._storage.read(name)
        if flaw_of([data]) is not None:
            return None
        try:
            image = Image.from_bytes(data)
        except DecodeError:
            return None
        return stored_file(name, image)

    def _move(self, file: StoredFile) -> StoredFile:
        path = Path(file.name)
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != file.sha256:
            raise FileNotFoundError(file.name)  # a file of the same name, from another machine
        image = Image.from_bytes(data)
        moved = self._store.create(file_name(path.stem, image), image)
        self._listing.images[moved.name] = moved.nbytes
        return evolve(moved, width=file.width, height=file.height)
