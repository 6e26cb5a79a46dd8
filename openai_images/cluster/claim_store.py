"""Claims and records instead of a journal: one object with the rows of each attempt at an item.

Invariants: before the first byte of a request is sent, this process has created its claim, which only one process can
do; only the process that claimed an attempt writes its record, others add rows under other names; an image is stored
before its row, under the item's name, and replaces none. A failed operation is retried for a minute, after one warning;
after a minute without success, operations are tried only once until one succeeds; lasting errors, such as a full
disk or no response for minutes, are raised immediately.
Must not: decide what a row contains, or whether an item is sent.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Final, TypeVar

from attrs import define, evolve, field, frozen

from openai_images._util.aio import run_to_completion
from openai_images._util.filenames import stem_of
from openai_images._util.filesystem import Disk
from openai_images.batch.folder.image_files import ImageStore, StoredImages, file_name
from openai_images.batch.journal.journal import encode_row
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.run.run_state import ItemTakenError
from openai_images.cluster.records import IMAGES, add_row, attempt_name, claim_name, read_settled, record_name
from openai_images.cluster.storage import FolderStorage, Storage
from openai_images.models.image import Image

_PAUSES: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds; a minute in total."""

_LASTING: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ETIMEDOUT}
)

_T = TypeVar("_T")
_log = logging.getLogger("openai_images")

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

    @property
    def wait_reason(self) -> str | None:
        """Why rows or images are not written, and for how long that is tried; None if they are."""
        return self._retrier.wait_reason

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
                # If the claim exists after all, its record will say that nothing was sent.
                if self._storage.read(name) == data:
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


@define
class Retrier:
    """Runs calls to a storage; `place` is its name in messages; `sleep` (seconds) blocks.

    `wait_reason` is why a call is retried; None if the last one succeeded or was given up.
    """

    place: str
    sleep: Callable[[float], None]
    wait_reason: str | None = None
    _has_explained: bool = False
    _is_down: bool = False

    def run(self, call: Callable[[], _T]) -> _T:
        """Return the call's result. Raises the OSError of the last attempt."""
        for seconds in (*(() if self._is_down else _PAUSES), None):
            try:
                answer = call()
            except OSError as error:
                if seconds is None or _lasts(error):
                    self._is_down, self.wait_reason = True, None
                    raise
                self._explain(error)
                self.sleep(seconds)
            else:
                self._is_down, self.wait_reason = False, None
                return answer
        raise AssertionError

    def _explain(self, error: OSError) -> None:
        why = error.strerror or type(error).__name__
        self.wait_reason = (
            f"{self.place} cannot be used ({why}): retrying for up to {sum(_PAUSES):.0f} s each time"
        )
        if not self._has_explained:
            self._has_explained = True
            _log.warning("%s (logged once)", self.wait_reason)


def _lasts(error: OSError) -> bool:
    return error.errno in _LASTING or isinstance(error, FileNotFoundError | PermissionError)
