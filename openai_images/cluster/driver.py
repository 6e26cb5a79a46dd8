"""The driver of a batch on a cluster: plans, sends items to workers, and receives small rows with the outcomes.

Invariants: workers write the claims and records of their items before the driver receives a row, so nothing is lost if
the driver dies; for an item that another worker has claimed, it waits for a few seconds, then the outcome is unknown;
at the end it reads the storage again for records that it has not received.
Must not: hold an image.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, Protocol

from attrs import Factory, asdict, define, evolve, field

from openai_images._util.filenames import image_stems
from openai_images._util.filesystem import Disk
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import timestamp
from openai_images.batch.journal.journal_reader import JournalContents, JournalRow, StoredFile
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.run.caller import Caller
from openai_images.batch.run.run_state import WorkItem
from openai_images.cluster.claim_store import Claimant, ClaimStore
from openai_images.cluster.compaction import read_batch_status
from openai_images.cluster.engine import Dispatcher, Engine
from openai_images.cluster.job import Job, Row
from openai_images.cluster.records import IMAGES, read_rows, record_name
from openai_images.cluster.shared_batch import SharedBatch, SharedInput, open_shared
from openai_images.cluster.status import Attempt, Images, Listing, list_storage, read_attempts
from openai_images.cluster.storage import open_storage
from openai_images.errors import ImagesError
from openai_images.models.image import Image
from openai_images.models.media import SUFFIXES
from openai_images.models.options import Timing
from openai_images.models.outcomes import Progress

_CLAIM_SECONDS, _OWN_CLAIM_SECONDS = 15.0, 2.0
"""Seconds to wait for the record of a claimed item, which may be in flight in a run that has ended.

In this run, a claimed item is sent to a worker again only if its first worker has died or is lost.
"""

_CLAIM_POLL: Final = 0.5
_REASON_INTERVAL: Final = 1.0

_log = logging.getLogger("openai_images")


class ClusterEngine(Engine, Protocol):
    """An engine that runs a batch: `Batch(…, engine=engine)`."""

    def open(
        self, out: str, items: Sequence[ResolvedItem], options: BatchOptions, caller: Caller
    ) -> ClusterBatch:
        """Plan the batch of these `items` in `out`. Blocks. Raises the errors of entering a `Batch`.

        `options` are those of the batch; `caller` is its client.
        """
        storage = open_storage(out)
        processes = max(1, self.processes)
        job = Job.from_client(
            *(caller.client, storage.place, options), in_flight=self.in_flight, processes=processes
        )
        run = SharedInput(all_items=items, items=items, about={"engine": type(self).__name__})
        shared = open_shared(storage, run, options, caller, Claimant(job.run))
        options = evolve(options, thumbnail=None)  # too slow for a driver of many workers
        return ClusterBatch(
            **asdict(shared, recurse=False), engine=self, job=job, options=options, timing=caller.timing
        )


@define(kw_only=True)
class ClusterBatch(SharedBatch):
    """A batch whose items are run by an engine."""

    engine: Engine
    job: Job
    options: BatchOptions = field(repr=False)
    timing: Timing
    _dispatcher: Dispatcher = field(
        init=False, default=Factory(lambda self: Dispatcher(self.engine, self.job), takes_self=True)
    )
    _stopped: asyncio.Event = field(init=False, factory=asyncio.Event)
    _has_explained: bool = field(init=False, default=False)

    def new_store(self, disk: Disk) -> ClaimStore:
        """Return the store of the driver; the rows of workers are already in the storage."""
        store = _DriverStore(self.storage, self.claimant, disk)
        for key, id_ in self.ids.items():
            store.begin(key, id_, self.listing.last_attempt(id_))
        return store

    def release(self) -> None:
        """Write the journal and the contact sheet from the storage. Blocks."""
        try:
            read_batch_status(self.storage.place, self.options)
        except (ImagesError, OSError) as error:
            _log.warning(
                "the contact sheet was not written (openai-images batch-status writes it): %s", error
            )

    @property
    def window(self) -> int:
        """The number of items to send to the engine concurrently."""
        return self.engine.window

    async def run(self, work: WorkItem) -> Row | None:
        """Run an item; return its row, or None if it was withdrawn. Raises `ClusterError`."""
        while True:
            row = await self._dispatcher.run(self.spec(evolve(work, reservation=None)))
            if row is not None and row.get("taken") and row["state"] == "unknown":
                row = await self._wait_for_record(row)
                if row["state"] == "pending":  # it was not executed
                    continue
            return row

    def image(self, file: StoredFile) -> Image:
        """Return a stored image with its path, or, in an object store, with its URL."""
        return Image(
            nbytes=file.nbytes,
            media_type=file.media_type,
            width=file.width,
            height=file.height,
            url=self.storage.url(file.name) if self.root is None else None,
            path=None if self.root is None else self.root / file.name,
        )

    def stop(self) -> None:
        """Withdraw the items that are not in flight."""
        self._stopped.set()
        self._dispatcher.stop()

    async def end(self) -> None:
        """Withdraw the items that are not in flight, and read the records that this process has not received."""
        self._stopped.set()
        await self._dispatcher.aclose()
        try:
            await asyncio.to_thread(self._refresh)
        except OSError as error:
            _log.warning("the storage could not be read at the end of the run: %s", error)

    def shown(self, progress: Progress) -> Progress:
        """Return the progress with the probable number in flight: at most the capacity of the cluster."""
        excess = max(0, progress.in_flight - self.engine.processes * self.engine.in_flight)
        return evolve(
            progress,
            in_flight=progress.in_flight - excess,
            waiting=progress.waiting + excess,
            wait_reason=self.engine.wait_reason() or progress.wait_reason,
        )

    async def watch(self, changed: Callable[[], object]) -> NoReturn:
        """Call `changed` whenever the reason for which items wait has changed, until cancelled."""
        reason: str | None = None
        while True:
            await self.timing.sleep(_REASON_INTERVAL)
            before, reason = reason, self.engine.wait_reason()
            if reason != before:
                changed()

    async def _wait_for_record(self, row: Row) -> Row:
        """Wait for the record of an item that another worker has claimed; return the item's row with or without it."""
        seconds = _OWN_CLAIM_SECONDS if row["rows"][-1].get("run") == self.job.run else _CLAIM_SECONDS
        if seconds > _OWN_CLAIM_SECONDS and not self._has_explained:
            self._has_explained = True
            _log.warning(
                "another run has claimed %r and perhaps more: waiting up to %.0f s for its records (logged once)",
                *(row["key"][:60], seconds),
            )
        end = self.timing.monotonic() + seconds
        rows: list[JournalRow] = []
        while not (rows or self._stopped.is_set()) and self.timing.monotonic() < end:
            await self.timing.sleep(_CLAIM_POLL)
            rows = await asyncio.to_thread(self._read_record, row)
        rows = rows or await asyncio.to_thread(self._adopt, row)
        if not rows:
            return row
        state = {"refused": "pending"}.get(rows[-1]["state"], rows[-1]["state"])
        return {**row, "state": state, "rows": rows}

    def _read_record(self, row: Row) -> list[JournalRow]:
        rows = read_rows(self.storage, record_name(row["id"], row["attempt"]))
        return [{**each, "key": row["key"]} for each in rows]

    def _adopt(self, row: Row) -> list[JournalRow]:
        """Return the rows of an item whose images are all stored although its worker recorded no end."""
        claim = row["rows"][-1]
        stems = image_stems(str(claim.get("stem", "")), claim.get("pictures") or 1)
        names = [f"{IMAGES}/{stem}{suffix}" for stem in stems for suffix in SUFFIXES]
        found = {name: 0 for name in names if self.storage.exists(name)}
        listing = Listing({row["id"]: [Attempt(row["attempt"], has_record=False)]}, found)
        ledger = Ledger.from_journal(JournalContents([claim]), {})
        return self._read_record(row) if self._adopt_all({row["key"]: row["id"]}, listing, ledger) else []

    def _adopt_all(self, ids: Mapping[str, str], listing: Listing, ledger: Ledger) -> int:
        return Images(self.storage, listing, timestamp(self.timing.wall())).adopt(ids, ledger)

    def _refresh(self) -> None:
        """Add claims and records that were written after the plan and not received. Raises OSError."""
        listing, before = list_storage(self.storage), self.listing.attempts
        states = {key: self.ledger.get(key).state for key in self.ids}
        keys = {id_: key for key, id_ in self.ids.items() if states[key] in ("unknown", "pending")}
        new = {
            id_: [attempt for attempt in listing.attempts.get(id_, ()) if attempt not in before.get(id_, ())]
            for id_ in keys
        }
        for line in read_attempts(self.storage, Listing(new), keys):
            if line.row["state"] != "sent" or states[line.row["key"]] != "unknown":
                self.ledger.add(line.row)
        unknown = {key: id_ for key, id_ in self.ids.items() if self.ledger.get(key).state == "unknown"}
        self._adopt_all(unknown, listing, self.ledger)


class _DriverStore(ClaimStore):
    """Records only items that share another item's images."""

    async def append(self, row: JournalRow, *, has_images: bool) -> None:
        if "record" not in row:
            await super().append(row, has_images=has_images)
