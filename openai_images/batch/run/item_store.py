"""The storage of an item's rows and images: the interface, and its implementation by a journal and a folder.

Invariants: an image is stored completely before its row; a row is on disk before its effects (`cluster/claim_store.py`
is the implementation for many machines).
Must not: decide what a row contains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from openai_images._util.filesystem import Disk
from openai_images.batch.folder.folder import OpenJournal, Paths
from openai_images.batch.folder.image_files import ImageStore, StoredImages
from openai_images.batch.items.models import BatchOptions, BatchPlan
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import Journal
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.run.caller import Caller
from openai_images.models.image import Image
from openai_images.models.results import ImageResult


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


class JournalStore:
    """A journal and a folder of images."""

    def __init__(self, disk: Disk, paths: Paths, journal: OpenJournal) -> None:
        self.place, self.images_place = str(paths.root), str(paths.images)
        self.images_folder: Path | None = paths.images
        self.save = ImageStore(disk, paths.root).save
        self._images = paths.images
        self._journal = Journal(disk, journal.descriptor, journal.size)

    async def append(self, row: JournalRow, *, has_images: bool) -> None:
        """Append to the journal. Raises OSError."""
        await self._journal.append(row, self._images if has_images else None)

    def close(self) -> None:
        """Write queued rows and close the journal. Blocks."""
        self._journal.close()
