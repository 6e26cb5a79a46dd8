"""Opens a batch in shared storage: writes the input, reads the state of its items, and makes the plan.

Invariants: nothing is sent; several processes may open one batch at the same time, each with its own run id; the folder
of a batch on one machine is rejected, because its journal has no claims. The shard of an item does not depend on the
order of the input; shards communicate only by claims. Blocks; called in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import define, evolve, field, frozen

from openai_images._util.filesystem import Disk
from openai_images._version import __version__
from openai_images.batch.items.models import BatchOptions, BatchPlan
from openai_images.batch.items.plan import make_plan, reject_unsendable_items
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import encode_row, timestamp
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.run.caller import Caller
from openai_images.batch.run.run_state import WorkItem
from openai_images.cluster.claim_store import Claimant, ClaimStore
from openai_images.cluster.job import ItemSpec, new_run_id
from openai_images.cluster.records import (
    CLAIMS,
    INPUTS,
    RECORDS,
    RUNS,
    item_id,
    item_ids,
    item_stem,
    write_input,
)
from openai_images.cluster.status import Images, Listing, list_storage, make_ledger, read_attempts
from openai_images.cluster.storage import FolderStorage, Storage, open_storage
from openai_images.errors import BatchFolderError, ConfigurationError
from openai_images.models.results import ImageResult

_OWN_NAMES: Final = frozenset({CLAIMS, RECORDS, INPUTS, RUNS, "batch.lock"})


@define(kw_only=True)
class SharedBatch:
    """An open batch in shared storage; `ids` are the ids of its items, by key."""

    storage: Storage
    claimant: Claimant
    ids: Mapping[str, str] = field(repr=False)
    listing: Listing = field(repr=False)
    ledger: Ledger = field(repr=False)
    plan: BatchPlan
    stems: Mapping[str, str] = field(repr=False)
    kept_files: Mapping[str, tuple[StoredFile, ...]] = field(repr=False)
    items: Sequence[ResolvedItem] = field(repr=False)
    root: Path | None
    writes_page: bool = False

    def spec(self, work: WorkItem) -> ItemSpec:
        """Return an item in the form for workers."""
        id_ = self.ids[work.item.key]
        return ItemSpec(id_, self.listing.last_attempt(id_), work)

    def new_store(self, disk: Disk) -> ClaimStore:
        """Return the store of a run in this process."""
        store = ClaimStore(self.storage, self.claimant, disk)
        for key, id_ in self.ids.items():
            is_remote = self.ledger.get(key).state == "away"
            store.begin(key, id_, self.listing.last_attempt(id_), is_owner=is_remote)
        return store

    def deliver(self, key: str, result: ImageResult) -> ImageResult:
        """Return the result; in an object store, its images have a URL instead of their bytes."""
        if self.root is not None:
            return result
        files = self.ledger.get(key).files
        return evolve(
            result,
            images=tuple(
                evolve(image, data=None, path=None, url=self.storage.url(file.name))
                for image, file in zip(result.images, files, strict=False)
            ),
        )

    def close(self) -> None:
        """Nothing is locked."""

    def release(self) -> None:
        """Nothing is locked."""


@define(kw_only=True)
class SharedInput:
    """The input of a run: all items and its own ones; `about` has facts for people, such as its shard.

    With `plan_only`, only findings are written.
    """

    all_items: Sequence[ResolvedItem] = field(repr=False)
    items: Sequence[ResolvedItem] = field(repr=False)
    about: JournalRow = field(factory=dict[str, object])
    plan_only: bool = False


def open_shared(
    storage: Storage, run: SharedInput, options: BatchOptions, caller: Caller, claimant: Claimant
) -> SharedBatch:
    """Open a batch and plan a run of these items.

    Raises `BatchFolderError`, `BatchInputError`, `ConfigurationError` and OSError.
    """
    claim_folder(storage, plan_only=run.plan_only)
    all_ids, items = item_ids(run.all_items), run.items
    ids = {item.key: all_ids[item.key] for item in items}
    listing = list_storage(storage)
    lines = read_attempts(storage, listing, {id_: key for key, id_ in ids.items()})
    ledger = make_ledger(lines, {item.key: item.estimate for item in items})
    images = Images(storage, listing, timestamp(caller.timing.wall()))
    images.adopt(ids, ledger)
    notes = images.move_back(ids, ledger)
    plan = make_plan(items, ledger, images.findings(ids, ledger, notes), options)
    reject_unsendable_items(items, plan, ledger, options, caller.check)
    images.share(items, ids, plan, ledger)
    kept_files = _find_kept_files(items, plan, ledger, images, options)
    if not run.plan_only:
        name = write_input(storage, run.all_items, all_ids, options)
        about: JournalRow = {
            "run": claimant.run,
            "version": __version__,
            "at": images.at,
            "worker": claimant.worker,
            "earlier": sum(1 for _ in storage.list(RUNS)),
        }
        about |= {**run.about, "input": name, "items": len(items), "to_send": len(plan.to_send)}
        storage.create(f"{RUNS}/{claimant.run}.json", encode_row(about))
    return SharedBatch(
        storage=storage,
        claimant=claimant,
        ids=ids,
        listing=listing,
        ledger=ledger,
        plan=plan,
        stems={
            key: ledger.get(key).stem or item_stem(key, ids[key]) for key in (*plan.to_send, *plan.to_fetch)
        },
        kept_files=kept_files,
        items=items,
        root=storage.root if isinstance(storage, FolderStorage) else None,
    )


def claim_folder(storage: Storage, *, plan_only: bool = False) -> None:
    """Create the folder of claims; reject the folder of a batch without. Raises `BatchFolderError` and OSError."""
    if not isinstance(storage, FolderStorage):
        return
    root, claims = storage.root, storage.root / CLAIMS
    if not claims.is_dir():
        foreign = list(root.iterdir()) if root.exists() else []
        if (root / "journal.jsonl").exists():
            raise BatchFolderError(_single_machine(storage))
        if any(path.name not in _OWN_NAMES and not path.name.startswith(".") for path in foreign):
            msg = (
                f"{storage.place!r} is not empty and has no folder 'claims', so it is not the folder of a batch; "
                "nothing in it was changed. Use a new or an empty folder"
            )
            raise BatchFolderError(msg)
    if not plan_only:
        Disk().make_folder(claims)
    # A batch on one machine checks for claims after it has created this file, so one of the two sees the other.
    if (root / "batch.lock").exists():
        with suppress(OSError):  # it has claims
            claims.rmdir()
        raise BatchFolderError(_single_machine(storage))


def _single_machine(storage: FolderStorage) -> str:
    return (
        f"{storage.place!r} is the folder of a batch on one machine, whose journal other machines do not use: they "
        "would pay for its images again; nothing was sent. Finish it without --shard, or use another folder"
    )


def _find_kept_files(
    items: Sequence[ResolvedItem],
    plan: BatchPlan,
    ledger: Ledger,
    images: Images,
    options: BatchOptions,
) -> dict[str, tuple[StoredFile, ...]]:
    """Return the stored images of items whose other images are requested."""
    kept_files: dict[str, tuple[StoredFile, ...]] = {}
    only_sent = set(plan.to_send) - set(plan.to_fetch)
    for item in items:
        record = ledger.get(item.key)
        if item.key in only_sent and record.stem:
            files = images.present_files(record)
            if item.rest(len(files), options) is not None:
                kept_files[item.key] = files
    return kept_files


@frozen
class Shard:
    """Number `index`, from 1, of `count` processes that run one batch: `Batch(…, shard=Shard(3, 16))`.

    All processes need the same items and the same `out`. Each has its own options: divide a budget and configured
    limits by `count`. With `plan_only`, only findings are written. Raises `ConfigurationError`.
    """

    index: int = 1
    count: int = 1
    plan_only: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigurationError(
                f"there is no shard {self.index} of {self.count}: shards are numbered from 1"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard of a `text` such as "3/16". Raises `ConfigurationError`."""
        index, slash, count = text.partition("/")
        if not (slash and index.strip().isdecimal() and count.strip().isdecimal()):
            raise ConfigurationError(
                f"{text[:40]!r} is not a shard such as 3/16: its number, from 1, and the number of shards"
            )
        return cls(int(index), int(count))

    def open(
        self, out: str, items: Sequence[ResolvedItem], options: BatchOptions, caller: Caller
    ) -> SharedBatch:
        """Plan this part of the `items` in `out`. Blocks. Raises the errors of entering a `Batch`.

        `options` are those of the batch; `caller` is its client.
        """
        run = SharedInput(
            all_items=items,
            items=self.select(items, dedupe=options.dedupe),
            about={"shard": f"{self.index}/{self.count}"},
            plan_only=self.plan_only,
        )
        return open_shared(open_storage(out), run, options, caller, Claimant(new_run_id()))

    def select(self, items: Sequence[ResolvedItem], *, dedupe: bool) -> list[ResolvedItem]:
        """Return the `items` of this shard; with `dedupe`, items that share an image are in one shard."""
        ids = item_ids(items)
        return [
            item
            for item in items
            if int(item_id(item.digest, 0) if dedupe else ids[item.key], 16) % self.count == self.index - 1
        ]
