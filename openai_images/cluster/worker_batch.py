"""`WorkerBatch`: the open batch of a worker, which has no plan (the driver has it).

Must not: decide what is sent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from openai_images._util.filesystem import Disk
from openai_images.batch.items.models import BatchPlan
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal_reader import StoredFile
from openai_images.batch.journal.ledger import Ledger
from openai_images.cluster.claim_store import ClaimStore
from openai_images.models.results import ImageResult


class WorkerBatch:
    """An `OpenBatch` without items."""

    def __init__(self, store: ClaimStore) -> None:
        self._store = store
        self.root: Path | None = store.images_folder.parent if store.images_folder else None
        self.items: Sequence[ResolvedItem] = ()
        self.plan = BatchPlan(total=0)
        self.ledger = Ledger(estimates={})
        self.stems: Mapping[str, str] = {}
        self.kept_files: Mapping[str, tuple[StoredFile, ...]] = {}
        self.writes_page = False

    def new_store(self, disk: Disk) -> ClaimStore:  # noqa: ARG002  it has one
        """Return the store of claims and records."""
        return self._store

    def deliver(self, key: str, result: ImageResult) -> ImageResult:  # noqa: ARG002  rows have no images
        """Return the result unchanged."""
        return result

    def close(self) -> None:
        """Nothing is locked."""

    def release(self) -> None:
        """Nothing is locked."""
