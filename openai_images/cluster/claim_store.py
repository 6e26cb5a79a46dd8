"""Claims and records in place of a journal: the rows of each attempt at an item are an object of their own.

Invariants: before a request's first byte its claim was created by this process, which nobody else can have done; only
who claimed an attempt records its end; an image is stored before its row, under the item's name, and replaces none.
Must not: decide what a row says, or whether an item is sent.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from attrs import define, evolve, field, frozen

from openai_images._util.aio import run_to_completion
from openai_images._util.filenames import stem_of
from openai_images.batch.filesystem import Disk
from openai_images.batch.image_files import ImageStore, StoredImages, file_name
from openai_images.batch.item_store import ItemTakenError
from openai_images.batch.journal import encode_row
from openai_images.batch.journal_reader import JournalRow, StoredFile, parse_line
from openai_images.cluster.names import IMAGES, attempt_name, claim_name, record_name
from openai_images.cluster.storage import FolderStorage, Storage
from openai_images.models.image import Image

_THREADS = 16
"""Claims and records that are written concurrently: each waits for a disk or a network."""


@frozen
class Claimant:
    """Who claims: a run, and a worker of it, for people."""

    run: str
    worker: str = field(factory=lambda: f"{socket.gethostname()}:{os.getpid()}")


@define
class _Item:
    """An item of this process: its last attempt, and whether this process may record the end of that.

    `rows` are all of that attempt's if this process has claimed it; `new_rows` are what was written for the item.
    """

    id: str
    attempt: int
    is_owner: bool
    rows: list[JournalRow] = field(factory=list[JournalRow])
    new_rows: list[JournalRow] = field(factory=list[JournalRow])
    has_record: bool = False


class ClaimStore:
    """`begin` an item before its first row, and `take` its rows after the last one."""

    def __init__(self, storage: Storage, claimant: Claimant, disk: Disk, *, keeps_rows: bool = False) -> None:
        """Only with `keeps_rows` the rows of an item can be taken."""
        self._storage = storage
        self._keeps_rows = keeps_rows
        self._claimant = claimant
        self._items: dict[str, _Item] = {}
        self._threads = ThreadPoolExecutor(_THREADS, "openai_images storage")
        self.place, self.images_place = storage.place, storage.url(IMAGES)
        self.images_folder: Path | None = (
            storage.root / IMAGES if isinstance(storage, FolderStorage) else None
        )
        self.save = StorageImages(storage, disk).save

    def begin(self, key: str, id_: str, attempt: int, *, is_owner: bool = False) -> None:
        """An item with so many attempts before; `is_owner` where its images are to be fetched, not requested."""
        self._items[key] = _Item(id_, attempt, is_owner)

    def take(self, key: str) -> list[JournalRow]:
        """The rows of an item that this process wrote, as a journal has them; it is forgotten."""
        item = self._items.pop(key, None)
        return [] if item is None else item.new_rows

    async def append(self, row: JournalRow, *, has_images: bool) -> None:  # noqa: ARG002  images are stored
        """Create the claim of a `sent` row, or put the record with this row. Raises OSError and `ItemTakenError`."""
        item = self._items[row["key"]]
        if row["state"] == "sent":
            await self._in_thread(lambda: self._claim(item, row))
        elif item.is_owner or "same_as" in row:
            await self._in_thread(lambda: self._record(item, row))

    def close(self) -> None:
        """Finish writing; blocks."""
        self._threads.shutdown()

    async def _in_thread(self, call: Callable[[], None]) -> None:
        """To its end, although its caller is cancelled: whether a claim is there must be known."""
        await run_to_completion(asyncio.get_running_loop().run_in_executor(self._threads, call))

    def _claim(self, item: _Item, row: JournalRow) -> None:
        attempt = item.attempt + 1
        row = {**row, "record": attempt_name(item.id, attempt)}
        about = {"run": self._claimant.run, "worker": self._claimant.worker, "token": os.urandom(8).hex()}
        if not self._storage.create(claim_name(item.id, attempt), encode_row({**row, **about})):
            msg = f"another worker has claimed {row['key'][:60]!r}: nothing was sent here"
            raise ItemTakenError(msg)
        item.attempt, item.is_owner, item.rows, item.has_record = attempt, True, [row], False
        if self._keeps_rows:
            item.new_rows.append(row)

    def _record(self, item: _Item, row: JournalRow) -> None:
        row = {**row, "record": attempt_name(item.id, item.attempt)}
        name = record_name(item.id, item.attempt)
        rows = [*item.rows, row]
        if item.has_record:
            self._storage.put(name, _encode(rows))
        else:
            extend_record(self._storage, name, rows)
        if self._keeps_rows:
            item.new_rows.append(row)
        if item.rows:  # otherwise another process has claimed it, and its images are fetched here
            item.rows, item.has_record = rows, True
        if row["state"] == "refused":
            item.is_owner = False
        if row["state"] != "away":  # nothing more is expected
            item.rows = []


def extend_record(storage: Storage, name: str, rows: Sequence[JournalRow]) -> None:
    """Store the rows of an attempt; of a record that is there already only the last one is added. Raises OSError."""
    data = _encode(rows)
    if not storage.create(name, data):
        earlier = storage.read(name)
        if not earlier.endswith(data.splitlines(keepends=True)[-1]):
            storage.put(name, earlier + encode_row(rows[-1]))


def read_rows(storage: Storage, name: str) -> list[JournalRow]:
    """The rows of a claim or of a record, as they were written. Raises FileNotFoundError and OSError."""
    return [json.loads(line) for line in row_lines(storage.read(name))]


def row_lines(data: bytes) -> list[bytes]:
    """The lines of a claim, a record or a journal that are one row each."""
    return [line for line in data.splitlines(keepends=True) if len(parse_line(line).rows) == 1]


def _encode(rows: Sequence[JournalRow]) -> bytes:
    return b"".join(map(encode_row, rows))


class StorageImages(ImageStore):
    """Stores images under their item's name; a paid image that the storage does not take goes to a fallback folder."""

    def __init__(self, storage: Storage, disk: Disk) -> None:
        super().__init__(disk, Path(os.devnull))
        self._storage = storage

    @property
    def place(self) -> str:
        """Where images go, for people."""
        return self._storage.url(IMAGES)

    def _store(self, images_by_stem: Sequence[tuple[str, Image]]) -> StoredImages:
        pairs = [(image, self._create(file_name(stem, image), image)) for stem, image in images_by_stem]
        if isinstance(self._storage, FolderStorage):
            root = self._storage.root
            images = [evolve(image, data=None, path=root / file.name) for image, file in pairs]
        else:
            images = [image for image, _ in pairs]
        return StoredImages(tuple(images), tuple(file for _, file in pairs))

    def _create(self, name: str, image: Image) -> StoredFile:
        """Store under the first free one of the names; an image that is there already is this one."""
        data = image.data
        stem, suffix = stem_of(name), Path(name).suffix
        number = 1
        while not self._storage.create(f"{IMAGES}/{name}", data):
            number += 1
            name = f"{stem}.{number}{suffix}"
        facts = (image.nbytes, image.sha256, 0, image.width, image.height, image.media_type)
        return StoredFile(f"{IMAGES}/{name}", *facts)
