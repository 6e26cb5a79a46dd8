"""Claims and records instead of a journal: one object with the rows of each attempt at an item.

Invariants: before the first byte of a request is sent, this process has created its claim, which only one process can
do; only the process that claimed an attempt writes its record, others add rows under other names; an image is stored
before its row, under the item's name, and replaces none. Failed operations are retried for a minute.
Must not: decide what a row contains, or whether an item is sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path

from attrs import define, evolve, field, frozen

from openai_images._util.aio import run_to_completion
from openai_images._util.filenames import stem_of
from openai_images._util.filesystem import Disk
from openai_images.batch.folder.image_files import ImageStore, StoredImages, file_name
from openai_images.batch.journal.journal import encode_row
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile, parse_line
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.run.run_state import ItemTakenError
from openai_images.cluster.retrier import Retrier
from openai_images.cluster.storage import FolderStorage, Storage
from openai_images.cluster.storage_names import (
    IMAGES,
    RECORDS,
    added_name,
    attempt_name,
    claim_name,
    parse_record,
    record_name,
)
from openai_images.models.image import Image

_THREADS = 16
"""The most concurrent writes of claims and records: each waits for a disk or a network."""


@frozen
class Claimant:
    """The owner of claims: a run, and a worker's name for people."""

    run: str
    worker: str = field(factory=lambda: f"{socket.gethostname()}:{os.getpid()}")


@define
class _Item:
    """An item of this process: its last attempt, and whether this process may record its end.

    `rows` are those of the attempt until its end, if this process `has_claimed` it; `new_rows` are all rows written for
    the item.
    """

    id: str
    attempt: int
    is_owner: bool
    rows: list[JournalRow] = field(factory=list[JournalRow])
    new_rows: list[JournalRow] = field(factory=list[JournalRow])
    has_claimed: bool = False


class ClaimStore:
    """Writes claims and records: `begin` an item before its first row, `take` its rows after the last one."""

    def __init__(
        self,
        storage: Storage,
        claimant: Claimant,
        disk: Disk,
        *,
        keeps_rows: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Keep the rows of items for `take` if `keeps_rows`; `sleep` blocks a thread."""
        self._storage = storage
        self._retrier = Retrier(storage.place, sleep)
        self._keeps_rows = keeps_rows
        self._claimant = claimant
        self._items: dict[str, _Item] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "openai_images storage")
        self.place, self.images_place = storage.place, storage.url(IMAGES)
        self.images_folder: Path | None = (
            storage.root / IMAGES if isinstance(storage, FolderStorage) else None
        )
        self.save = StorageImages(storage, disk, self._retrier).save

    def begin(self, key: str, id_: str, attempt: int, *, is_owner: bool = False) -> None:
        """Register an item after `attempt` attempts; `is_owner` if its images are downloaded, not requested."""
        self._items[key] = _Item(id_, attempt, is_owner)

    def take(self, key: str) -> list[JournalRow]:
        """Forget an item; return the rows that this process wrote for it, in the journal's form."""
        item = self._items.pop(key, None)
        return [] if item is None else item.new_rows

    async def append(self, row: JournalRow, *, has_images: bool) -> None:  # noqa: ARG002  images are stored
        """Create the claim for a `sent` row, or write the record with this row. Raises OSError and `ItemTakenError`."""
        item = self._items[row["key"]]
        if row["state"] == "sent":
            await self._in_thread(lambda: self._claim(item, row))
        elif item.is_owner or "same_as" in row:
            await self._in_thread(lambda: self._record(item, row))

    def close(self) -> None:
        """Wait for the last write; blocks."""
        self._threads.shutdown()

    async def _in_thread(self, call: Callable[[], None]) -> None:
        """Run to the end even if the caller is cancelled: it must be known whether the claim exists."""
        await run_to_completion(asyncio.get_running_loop().run_in_executor(self._threads, call))

    def _claim(self, item: _Item, row: JournalRow) -> None:
        if not item.has_claimed:
            fetches, item.is_owner = item.is_owner, False  # later rows are not about that attempt
            settled = partial(read_settled, self._storage, item.id, item.attempt, fetches=fetches)
            if self._retrier.run(settled):
                raise _taken_error(row)
        attempt = item.attempt + 1
        row = {**row, "record": attempt_name(item.id, attempt)}
        about = {"run": self._claimant.run, "worker": self._claimant.worker, "token": os.urandom(8).hex()}
        name, data = claim_name(item.id, attempt), encode_row({**row, **about})
        try:
            is_created = self._retrier.run(partial(self._storage.create, name, data))
        except OSError:
            with suppress(OSError):
                if (
                    self._storage.read(name) == data
                ):  # the claim exists after all; its record will say that nothing was sent
                    self._own(item, attempt, row)
            raise
        if not is_created:
            raise _taken_error(row)
        self._own(item, attempt, row)

    def _own(self, item: _Item, attempt: int, row: JournalRow) -> None:
        item.attempt, item.is_owner, item.has_claimed, item.rows = attempt, True, True, [row]
        if self._keeps_rows:
            item.new_rows.append(row)

    def _record(self, item: _Item, row: JournalRow) -> None:
        row = {**row, "record": attempt_name(item.id, item.attempt)}
        if any(StoredFile.from_row(file).is_outside for file in row.get("files", ())):
            row["worker"] = self._claimant.worker
        rows = [*item.rows, row]
        if item.rows:
            name = record_name(item.id, item.attempt)
            self._retrier.run(partial(self._storage.put, name, _encode(rows)))
        else:  # another process has claimed it and its images are downloaded here, or it shares another item's images
            self._retrier.run(partial(add_row, self._storage, item.id, item.attempt, row))
        if self._keeps_rows:
            item.new_rows.append(row)
        if row["state"] == "refused":
            item.is_owner = False
        if item.rows:
            item.rows = rows if row["state"] == "away" else []  # otherwise no more rows follow


def _taken_error(row: JournalRow) -> ItemTakenError:
    return ItemTakenError(f"another worker has claimed {row['key'][:60]!r}; nothing was sent by this one")


def add_row(storage: Storage, id_: str, attempt: int, row: JournalRow) -> None:
    """Store a row about an attempt that this process has not claimed; no rows are replaced. Raises OSError."""
    data = encode_row(row)
    for number in count(1):
        if storage.create(added_name(id_, attempt, number), data):
            return


def read_lines(storage: Storage, name: str, added: int | None = None) -> list[bytes]:
    """Return the lines of a claim, or of a record and its `added` rows (None: look for them). Raises OSError.

    Lines with the state "done" come last: no row of another process overrides them.
    """
    lines: list[bytes] = []
    with suppress(FileNotFoundError):
        lines += row_lines(storage.read(name))
    attempt = parse_record(name) if name.startswith(RECORDS) else None
    if attempt is not None:
        with suppress(FileNotFoundError):
            for number in count(1) if added is None else range(1, added + 1):
                lines += row_lines(storage.read(added_name(attempt.id, attempt.number, number)))
    return sorted(lines, key=_is_done) if added != 0 else lines


def read_rows(storage: Storage, name: str) -> list[JournalRow]:
    """Return the rows of a claim, or of a record with its added rows. Raises FileNotFoundError if there are none."""
    lines = read_lines(storage, name)
    if not lines:
        raise FileNotFoundError(name)
    return [json.loads(line) for line in lines]


def read_settled(storage: Storage, id_: str, attempt: int, *, fetches: bool) -> list[JournalRow]:
    """Return the rows of an attempt whose images exist, so that nothing must be sent; otherwise none. Raises OSError.

    The images are stored, or remote; with `fetches`, remote images do not count: the caller knows of them.
    """
    if not attempt:
        return []
    rows = [json.loads(line) for line in read_lines(storage, record_name(id_, attempt))]
    ledger = Ledger()
    for row in rows:
        ledger.add({**row, "key": ""})
    record = ledger.get("")
    is_stored = record.state == "done" and all(
        file.is_outside or storage.exists(file.name) for file in record.files
    )
    return rows if is_stored or (record.state == "away" and not fetches) else []


def row_lines(data: bytes) -> list[bytes]:
    """Return the lines of a claim, a record or a journal that contain exactly one row."""
    return [line for line in data.splitlines(keepends=True) if len(parse_line(line).rows) == 1]


def _is_done(line: bytes) -> bool:
    return bool(json.loads(line)["state"] == "done")


def _encode(rows: Sequence[JournalRow]) -> bytes:
    return b"".join(map(encode_row, rows))


class StorageImages(ImageStore):
    """Stores images under their item's name; a paid image that cannot be stored goes to a fallback folder."""

    def __init__(self, storage: Storage, disk: Disk, retrier: Retrier | None = None) -> None:
        super().__init__(disk, Path(os.devnull))
        self._storage = storage
        self._retrier = retrier or Retrier(storage.place, time.sleep)

    @property
    def place(self) -> str:
        """The place of the images, for messages."""
        return self._storage.url(IMAGES)

    def _store(self, images_by_stem: Sequence[tuple[str, Image]]) -> StoredImages:
        pairs = [(image, self.create(file_name(stem, image), image)) for stem, image in images_by_stem]
        if isinstance(self._storage, FolderStorage):
            root = self._storage.root
            images = [evolve(image, data=None, path=root / file.name) for image, file in pairs]
        else:
            images = [image for image, _ in pairs]
        return StoredImages(tuple(images), tuple(file for _, file in pairs))

    def create(self, name: str, image: Image) -> StoredFile:
        """Store an image under its first free name, or find it there already. Raises OSError."""
        stem, suffix = stem_of(name), Path(name).suffix
        for number in count(2):
            if self._retrier.run(partial(self._storage.create, f"{IMAGES}/{name}", image.data)):
                break
            name = f"{stem}.{number}{suffix}"
        return stored_file(f"{IMAGES}/{name}", image)


def stored_file(name: str, image: Image) -> StoredFile:
    """Return an image's fields in a row."""
    return StoredFile(name, image.nbytes, image.sha256, 0, image.width, image.height, image.media_type)
