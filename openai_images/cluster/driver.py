"""The driver of a batch on a cluster: it plans, hands items out, and learns from small rows what came of them.

Invariants: it writes no claim and no record of an item that a worker runs; what it knows is in the storage before, so
that a driver that dies loses nothing. An item that another worker has claimed is waited for a little while, then
unknown. In the end the storage is read once more for what was recorded without the driver.
Must not: hold an image.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from attrs import define, evolve, field, fields_dict

from openai_images._util.filenames import image_stems
from openai_images.batch.caller import Caller
from openai_images.batch.filesystem import Disk
from openai_images.batch.items import ResolvedItem
from openai_images.batch.journal import timestamp
from openai_images.batch.journal_reader import JournalContents, JournalRow, StoredFile
from openai_images.batch.ledger import Ledger
from openai_images.batch.models import BatchOptions
from openai_images.batch.run_state import WorkItem
from openai_images.cluster.claim_store import Claimant, ClaimStore, read_rows
from openai_images.cluster.compaction import read_batch_status
from openai_images.cluster.engine import Dispatcher, Engine
from openai_images.cluster.job import Job, Row
from openai_images.cluster.names import IMAGES, record_name
from openai_images.cluster.open_storage import open_storage
from openai_images.cluster.opening import SharedBatch, SharedInput, open_shared
from openai_images.cluster.status import Attempt, Images, Listing, list_storage, read_attempts
from openai_images.errors import ImagesError
from openai_images.models.image import Image
from openai_images.models.media import SUFFIXES
from openai_images.models.options import Timing
from openai_images.models.outcomes import Progress

_CLAIM_SECONDS, _OWN_CLAIM_SECONDS = 15.0, 2.0
"""How long an item that was claimed is waited for: it may be in flight in a run that was left.

In this run an item is claimed and handed out again only where its worker has died, or is given up.
"""

_CLAIM_POLL: Final = 0.5

_log = logging.getLogger("openai_images")


class ClusterEngine(Engine, Protocol):
    """An engine that a batch is run by: `Batch(…, engine=engine)`."""

    def open(
        self, out: str, items: Sequence[ResolvedItem], options: BatchOptions, caller: Caller
    ) -> ClusterBatch:
        """Plan the batch of these `items` for `out`, as `Batch` does; blocks. Raises as `Batch` where it is entered.

        `options` are the batch's, `caller` is its client.
        """
        storage = open_storage(out)
        processes = max(1, self.processes)
        job = Job.from_client(
            *(caller.client, storage.place, options), in_flight=self.in_flight, processes=processes
        )
        run = SharedInput(all_items=items, items=items, about={"engine": type(self).__name__})
        shared = open_shared(storage, run, options, caller, Claimant(job.run))
        fields = {name: getattr(shared, name) for name in fields_dict(SharedBatch)}
        options = evolve(options, thumbnail=None)  # the driver of many workers has no time for them
        return ClusterBatch(**fields, engine=self, job=job, options=options, timing=caller.timing)


@define(kw_only=True)
class ClusterBatch(SharedBatch):
    """A batch whose items an engine runs."""

    engine: Engine
    job: Job
    options: BatchOptions = field(repr=False)
    timing: Timing
    _dispatcher: Dispatcher = field(init=False)
    _stopped: asyncio.Event = field(init=False, factory=asyncio.Event)
    _has_explained: bool = field(init=False, default=False)

    def __attrs_post_init__(self) -> None:
        self._dispatcher = Dispatcher(self.engine, self.job)

    def new_store(self, disk: Disk) -> ClaimStore:
        """The driver's: rows of workers are in the storage already."""
        store = _DriverStore(self.storage, self.claimant, disk)
        for key, id_ in self.ids.items():
            store.begin(key, id_, self.listing.last_attempt(id_))
        return store

    def release(self) -> None:
        """Write the journal and the contact sheet of all that is in the storage; blocks."""
        try:
            read_batch_status(self.storage.place, self.options)
        except (ImagesError, OSError) as error:
            _log.warning("the contact sheet was not written (openai-images batch-status does): %s", error)

    @property
    def window(self) -> int:
        """How many items should be handed out at once."""
        return self.engine.window

    async def run(self, work: WorkItem) -> Row | None:
        """What came of an item; None where it was withdrawn. Raises `ClusterError`."""
        while True:
            row = await self._dispatcher.run(self.spec(evolve(work, reservation=None)))
            if row is not None and row.get("taken") and row["state"] == "unknown":
                row = await self._wait_for_record(row)
                if row["state"] == "pending":  # it was not executed
                    continue
            return row

    def image(self, file: StoredFile) -> Image:
        """A stored image: with its path in a folder, with its URL elsewhere."""
        facts: dict[str, Any] = {"width": file.width, "height": file.height}
        if self.root is None:
            facts["url"] = self.storage.url(file.name)
        else:
            facts["path"] = self.root / file.name
        return Image(nbytes=file.nbytes, media_type=file.media_type, **facts)

    def stop(self) -> None:
        """Withdraw what is not in flight."""
        self._stopped.set()
        self._dispatcher.stop()

    async def end(self) -> None:
        """Withdraw what is not in flight, wait for nothing, and read what was recorded without this process."""
        self._stopped.set()
        await self._dispatcher.aclose()
        try:
            await asyncio.to_thread(self._refresh)
        except OSError as error:
            _log.warning("the storage could not be read once more: %s", error)

    def wait_reason(self) -> str | None:
        """Why the items wait, if they do."""
        return self.engine.wait_reason()

    def shown(self, progress: Progress) -> Progress:
        """The progress with what is probably in flight: of what was handed out, only so much fits into the cluster."""
        excess = max(0, progress.in_flight - self.engine.processes * self.engine.in_flight)
        return evolve(
            progress,
            in_flight=progress.in_flight - excess,
            waiting=progress.waiting + excess,
            wait_reason=self.wait_reason(),
        )

    async def _wait_for_record(self, row: Row) -> Row:
        """The row of an item that another worker has claimed, when that has recorded its end, or gave no sign."""
        seconds = _OWN_CLAIM_SECONDS if row["rows"][-1].get("run") == self.job.run else _CLAIM_SECONDS
        if seconds > _OWN_CLAIM_SECONDS and not self._has_explained:
            self._has_explained = True
            _log.warning(
                "another run has claimed %r and perhaps more: waiting up to %.0f s for its records (said once)",
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
        try:
            rows = read_rows(self.storage, record_name(row["id"], row["attempt"]))
        except FileNotFoundError:
            return []
        return [{**each, "key": row["key"]} for each in rows]

    def _adopt(self, row: Row) -> list[JournalRow]:
        """The rows of an item whose images are all there, although its worker has recorded no end."""
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
        """Count what was claimed and recorded since the plan, and not reported. Raises OSError."""
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
    """Records only items that share the images of another one."""

    async def append(self, row: JournalRow, *, has_images: bool) -> None:
        if "record" not in row:
            await super().append(row, has_images=has_images)
