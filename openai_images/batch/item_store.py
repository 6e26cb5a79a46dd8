"""Where the rows and images of items go: the interface, and its form on one machine, a journal and a folder.

Invariants: an image is stored whole before its row, and a row is on disk before anybody acts on it.
Must not: decide what a row says; `cluster/claim_store.py` is the form for many machines.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from openai_images.batch.caller import Caller
from openai_images.batch.filesystem import Disk
from openai_images.batch.folder import OpenJournal, Paths
from openai_images.batch.image_files import ImageStore, StoredImages
from openai_images.batch.items import ResolvedItem
from openai_images.batch.journal import Journal
from openai_images.batch.journal_reader import JournalRow, StoredFile
from openai_images.batch.ledger import Ledger
from openai_images.batch.models import BatchOptions, BatchPlan
from openai_images.models.image import Image
from openai_images.models.results import ImageResult


class ItemStore(Protocol):
    """Where a run writes rows and images: `place`, and for its images `images_place`, as people know them."""

    place: str
    images_place: str

    @property
    def images_folder(self) -> Path | None:
        """Where images are stored; None where that is no folder. Images elsewhere are in a fallback folder."""
        ...

    async def append(self, row: JournalRow, *, has_images: bool) -> None:
        """Have a row on disk, after the names of its images. Raises OSError.

        A `sent` row is there before the request's first byte, or raises `ItemTakenError`.
        """
        ...

    def save(self, stem: str, images: Sequence[Image], expected: int, before: int = 0) -> StoredImages:
        """Store these images of an item that asks for `expected`, `before` of which are stored already; blocks.

        Raises `ImageNotStoredError`.
        """
        ...

    def close(self) -> None:
        """Finish writing; blocks."""
        ...


class ItemTakenError(Exception):
    """Another worker has claimed the item since this run was planned: nothing was sent."""


class OpenBatch(Protocol):
    """A batch that was opened: what is to be sent, and where it goes.

    `root` is its folder, None for a batch behind a URL; `stems` are the names of the files to write, `kept_files` the
    images of items whose other images are requested, both by key. Only with `writes_page` its run writes the contact
    sheet and the records of its images in the end.
    """

    items: Sequence[ResolvedItem]
    root: Path | None
    plan: BatchPlan
    ledger: Ledger
    stems: Mapping[str, str]
    kept_files: Mapping[str, tuple[StoredFile, ...]]
    writes_page: bool

    def new_store(self, disk: Disk) -> ItemStore:
        """Where its run writes."""
        ...

    def deliver(self, key: str, result: ImageResult) -> ImageResult:
        """The result of an item as its caller gets it: each image has a path, or the URL where it is stored."""
        ...

    def close(self) -> None:
        """Close what its run does not, and unlock it; blocks."""
        ...

    def release(self) -> None:
        """Unlock it after its run; blocks."""
        ...


class Opener(Protocol):
    """Opens batches elsewhere than in a folder of this machine: `Shard` is one."""

    def open(
        self, out: str, items: Sequence[ResolvedItem], options: BatchOptions, caller: Caller
    ) -> OpenBatch:
        """Open the batch of these items, or of some of them; blocks.

        Raises `BatchFolderError`, `BatchInputError`, `ConfigurationError` and OSError.
        """
        ...


class JournalStore:
    """A journal, and a folder of images."""

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
        """Write what is queued, and close the journal; blocks."""
        self._journal.close()
