"""Where items stand by shared storage alone: its listing, the rows of their claims and records, and their images.

Invariants: claims are listed before records, and those before images, so that nothing that has ended looks open. A
claim without a record is a `sent` row without an end, which is unknown. An open item whose images are all there is
adopted as done: they were paid for. Reading is concurrent and blocks.
Must not: decide by a time; remove anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Final, NamedTuple

from attrs import define, evolve, field

from openai_images._util.filenames import image_stems, stem_of
from openai_images.batch.image_files import file_name
from openai_images.batch.items import ResolvedItem
from openai_images.batch.journal import dated_row, done_row, encode_row
from openai_images.batch.journal_reader import JournalRow, StoredFile, parse_line
from openai_images.batch.ledger import ItemRecord, Ledger
from openai_images.batch.models import BatchPlan
from openai_images.batch.plan import FolderFindings
from openai_images.cluster.claim_store import extend_record, row_lines
from openai_images.cluster.names import (
    CLAIMS,
    IMAGES,
    RECORDS,
    attempt_name,
    claim_name,
    parse_attempt,
    record_name,
)
from openai_images.cluster.storage import FolderStorage, Storage
from openai_images.errors import DecodeError
from openai_images.models.completeness import flaw_of
from openai_images.models.image import Image

_READERS: Final = 16


class Attempt(NamedTuple):
    """One attempt at an item: its number, and whether it has a record."""

    number: int
    has_record: bool


@define
class Listing:
    """The names in a batch's storage: the attempts of each id in their order, and the images with their sizes."""

    attempts: dict[str, list[Attempt]] = field(factory=dict[str, list[Attempt]])
    images: dict[str, int] = field(factory=dict[str, int])

    def last_attempt(self, id_: str) -> int:
        """The number of the last attempt at an item; 0 where there was none."""
        attempts = self.attempts.get(id_)
        return attempts[-1].number if attempts else 0


def list_storage(storage: Storage) -> Listing:
    """Claims first, then records, then images. Raises OSError."""
    claims = _attempts(storage, CLAIMS)
    records = _attempts(storage, RECORDS)
    attempts: dict[str, list[Attempt]] = {}
    for id_, number in sorted(claims | records):
        attempts.setdefault(id_, []).append(Attempt(number, (id_, number) in records))
    return Listing(attempts, {entry.name: entry.nbytes for entry in storage.list(IMAGES)})


def _attempts(storage: Storage, folder: str) -> set[tuple[str, int]]:
    parsed = (parse_attempt(entry.name) for entry in storage.list(folder))
    return {attempt for attempt in parsed if attempt is not None}


class RowLine(NamedTuple):
    """A row of an attempt: its checked fields, and the whole of it as a journal's line."""

    row: JournalRow
    text: bytes


def read_attempts(
    storage: Storage,
    listing: Listing,
    keys: Mapping[str, str],
    known: Mapping[str, Sequence[bytes]] | None = None,
) -> Iterator[RowLine]:
    """The rows of the items with these ids, each under its key here, or under its own where that is "".

    Those `known` of an attempt are not read again. Raises OSError.
    """
    known = known or {}
    wanted = [(id_, attempt) for id_ in keys for attempt in listing.attempts.get(id_, ())]

    def lines_of(each: tuple[str, Attempt]) -> Sequence[RowLine]:
        id_, attempt = each
        lines = [_parse(line) for line in known.get(attempt_name(id_, attempt.number), ())]
        if not (attempt.has_record and _is_final(lines)):
            lines = _read_attempt(storage, id_, attempt)
        return [_with_key(line, keys[id_]) for line in lines] if keys[id_] else lines

    with ThreadPoolExecutor(_READERS, "openai_images storage") as threads:
        for lines in threads.map(lines_of, wanted):
            yield from lines


def _is_final(lines: Sequence[RowLine]) -> bool:
    """Whether a record with these rows never gets another one."""
    if not lines:
        return False
    last = lines[-1].row
    return last["state"] in ("done", "failed", "refused") and "adopted" not in last


def _read_attempt(storage: Storage, id_: str, attempt: Attempt) -> list[RowLine]:
    """The rows of a record, or of a claim where there is none; one that cannot be read may have been sent."""
    lines: list[bytes] = []
    with suppress(FileNotFoundError):  # also looked for where the listing has none, which may be old on NFS
        lines = row_lines(storage.read(record_name(id_, attempt.number)))
    if not lines:
        with suppress(FileNotFoundError):  # attempt 0: an item that shares the images of another one
            lines = row_lines(storage.read(claim_name(id_, attempt.number)))
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
    """Where the items of these rows stand, nothing of them being in flight."""
    ledger = Ledger(estimates=estimates or {})
    for line in lines:
        ledger.add(line.row)
    ledger.close_open()
    return ledger


class Images:
    """The images of a listing: complete, adopted, brought back, or missing."""

    def __init__(self, storage: Storage, listing: Listing, at: str) -> None:
        """New rows have the time `at`."""
        self.at = at
        self._storage = storage
        self._listing = listing

    def adopt(self, ids: Mapping[str, str], ledger: Ledger) -> int:
        """Record and count open items whose images are all there, by key and id; how many. Raises OSError."""
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
            names = [by_stem.get(stem) for stem in image_stems(record.stem, record.image_count)]
            files = [self._describe(name) for name in names if name is not None]
            complete = [file for file in files if file is not None]
            if len(complete) == len(names):
                self._extend(ids[key], ledger, done_row(key, record.request, complete, adopted=True))
                adopted += 1
        return adopted

    def move_back(self, ids: Mapping[str, str], ledger: Ledger) -> list[str]:
        """Bring images here that are in a fallback folder of this machine; notes about those that are elsewhere."""
        notes: list[str] = []
        for key, id_ in ids.items():
            record = ledger.get(key)
            if record.state != "done" or not any(file.is_outside for file in record.files):
                continue
            try:
                files = [self._move(file) if file.is_outside else file for file in record.files]
            except OSError:
                places = ", ".join(file.name for file in record.files if file.is_outside)
                notes.append(
                    f"{key[:60]!r} is done, and its images are on the machine that saved them: {places}"
                )
            else:
                self._extend(id_, ledger, done_row(key, record.request, files, moved=True))
        return notes

    def share(
        self, items: Iterable[ResolvedItem], ids: Mapping[str, str], plan: BatchPlan, ledger: Ledger
    ) -> None:
        """Record items that share the request of another one that is done. Raises OSError."""
        for item in items:
            other = ledger.get(plan.same.get(item.key, ""))
            if other.state == "done":
                row = done_row(item.key, item.digest, other.files, same_as=plan.same[item.key])
                self._extend(ids[item.key], ledger, row)

    def findings(self, ids: Mapping[str, str], ledger: Ledger, notes: Sequence[str]) -> FolderFindings:
        """Which done items have lost images, or have others."""
        states = {key: self._verify(record) for key in ids if (record := ledger.get(key)).state == "done"}
        return FolderFindings(
            missing={key for key, state in states.items() if state == "missing"},
            altered={key for key, state in states.items() if state == "altered"},
            notes=notes,
        )

    def present_files(self, record: ItemRecord) -> tuple[StoredFile, ...]:
        """The images of an incomplete item that are there."""
        return tuple(file for file in record.files if file.name in self._listing.images)

    def _verify(self, record: ItemRecord) -> str:
        sizes = [
            (file.nbytes, file.nbytes if file.is_outside else self._listing.images.get(file.name))
            for file in record.files
        ]
        if not sizes or any(found is None for _, found in sizes):
            return "missing"
        return "there" if all(nbytes == found for nbytes, found in sizes) else "altered"

    def _extend(self, id_: str, ledger: Ledger, row: JournalRow) -> None:
        attempt = next(iter(self._listing.attempts.get(id_, ())[-1:]), None)
        number = 0 if attempt is None else attempt.number
        row = {**dated_row(row, self.at), "record": attempt_name(id_, number)}
        is_open = attempt is not None and not attempt.has_record
        lines = _read_attempt(self._storage, id_, attempt) if attempt and is_open else []
        earlier = [json.loads(line.text) for line in lines]
        extend_record(self._storage, record_name(id_, number), [*earlier, row])
        ledger.add(row)

    def _finish_parts(self) -> None:
        """Give complete images their names whose process was killed before it could.

        They are copied: where their process still runs, it finds that the image has its name already.
        """
        if not isinstance(self._storage, FolderStorage):
            return
        for name, part in self._storage.parts(IMAGES):
            if name not in self._listing.images:
                with suppress(FileNotFoundError):  # it was finished meanwhile
                    data = self._storage.read(part)
                    if flaw_of([data]) is None and self._storage.create(name, data):
                        self._listing.images[name] = len(data)

    def _describe(self, name: str) -> StoredFile | None:
        """What a row says of an image; None where it is not complete."""
        data = self._storage.read(name)
        if flaw_of([data]) is not None:
            return None
        try:
            image = Image.from_bytes(data)
        except DecodeError:
            return None
        return _stored(name, image)

    def _move(self, file: StoredFile) -> StoredFile:
        path = Path(file.name)
        image = Image.from_bytes(path.read_bytes())
        name = f"{IMAGES}/{file_name(path.stem, image)}"
        if not self._storage.create(name, image.data) and self._storage.read(name) != image.data:
            name = f"{IMAGES}/{file_name(f'{path.stem}.{file.sha256[:8]}', image)}"
            self._storage.create(name, image.data)
        self._listing.images[name] = image.nbytes
        return evolve(_stored(name, image), width=file.width, height=file.height)


def _stored(name: str, image: Image) -> StoredFile:
    return StoredFile(name, image.nbytes, image.sha256, 0, image.width, image.height, image.media_type)
