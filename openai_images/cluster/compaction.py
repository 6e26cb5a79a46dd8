"""The status, journal and contact sheet of a batch in shared storage, over all its processes.

Invariants: the journal is made only from claims and records; it is written as a whole under one name, so any process
may write it last. Blocks.
Must not: decide what is sent.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import define, evolve, field, frozen

from openai_images._version import __version__
from openai_images.batch.items.models import BatchOptions, BatchSummary
from openai_images.batch.items.plan import BatchStatus, StopReason, make_plan
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal import FORMAT, encode_row
from openai_images.batch.journal.journal_reader import JournalRow
from openai_images.batch.journal.ledger import Ledger
from openai_images.batch.sheet.contact_sheet import write_page
from openai_images.batch.sheet.image_records import write_records
from openai_images.cluster.records import CLAIMS, read_input, read_runs, row_lines
from openai_images.cluster.status import Images, Listing, RowLine, list_storage, make_ledger, read_attempts
from openai_images.cluster.storage import FolderStorage, Storage, open_storage
from openai_images.errors import BatchFolderError

_JOURNAL: Final = "journal.jsonl"
_PAGE: Final = "index.html"


@frozen(kw_only=True)
class OpenClaim:
    """A request whose outcome is unknown; it was sent at the time `at` by its process's clock.

    `key` is its item, `attempt` the number of its request. `worker` ("host:pid") claimed it and has recorded no end; if
    an end is recorded, `worker` is "" and `reason` is the cause.
    """

    key: str
    attempt: int
    worker: str = ""
    at: str = ""
    reason: str = field(default="", repr=False)


@frozen(kw_only=True)
class SharedStatus:
    """The status of a batch over all its processes.

    `summary` has the numbers. `unknown` are the requests whose outcome is unknown: each is in flight, or its process
    has ended, or it failed after it was sent. `runs` is the number of runs that were started. `page` is the path or URL
    of the contact sheet.
    """

    summary: BatchSummary
    unknown: tuple[OpenClaim, ...] = ()
    runs: int = 0
    page: str = ""


def read_batch_status(out: str, options: BatchOptions | None = None) -> SharedStatus:
    """Return the status of the batch in `out`, after writing its journal and contact sheet again. Blocks.

    Only `thumbnail`, `note` and `record_prompts` of the `options` are used. Raises `BatchFolderError` if there is no
    such batch, `ConfigurationError` for an unusable URL, and OSError.
    """
    storage = open_storage(out)
    if isinstance(storage, FolderStorage) and not (storage.root / CLAIMS).is_dir():
        raise BatchFolderError(f"{out!r} is not the folder of a shared batch: it has no folder 'claims'")
    return _Compaction(storage, options or BatchOptions()).run()


@define
class _Compaction:
    storage: Storage
    options: BatchOptions
    items: list[ResolvedItem] = field(init=False)
    ids: Mapping[str, str] = field(init=False)

    def run(self) -> SharedStatus:
        runs = read_runs(self.storage)
        name = runs[-1].get("input") if runs else None
        self.items, self.ids = read_input(self.storage, name) if isinstance(name, str) else ([], {})
        known = self._known_lines()
        listing, lines, ledger = self._read(known)
        images = Images(self.storage, listing, str(runs[-1].get("at", "")) if runs else "")
        if images.adopt(self.ids, ledger):
            listing, lines, ledger = self._read(known)
        plan = make_plan(self.items, ledger, images.findings(self.ids, ledger, ()), BatchOptions())
        status = BatchStatus(plan, ledger)
        summary = status.summary(self.ids, StopReason(), 0.0)
        self._write(lines, ledger, status, summary)
        return SharedStatus(
            summary=summary,
            unknown=tuple(self._open_claims(lines, status)),
            runs=len(runs),
            page=self.storage.url(_PAGE),
        )

    def _known_lines(self) -> dict[str, list[bytes]]:
        """Return the rows of the last journal, by attempt."""
        known: dict[str, list[bytes]] = {}
        with suppress(FileNotFoundError):
            for line in row_lines(self.storage.read(_JOURNAL)):
                record = json.loads(line).get("record")
                if isinstance(record, str):
                    known.setdefault(record, []).append(line)
        return known

    def _read(self, known: Mapping[str, Sequence[bytes]]) -> tuple[Listing, list[bytes], Ledger]:
        """Return the listing, the rows of all items (of the newest and of earlier inputs), and their ledger.

        Rows are kept as lines: parsed rows need several times the memory.
        """
        listing, lines = list_storage(self.storage), list[bytes]()
        keys = {id_: key for key, id_ in self.ids.items()}

        def read() -> Iterator[RowLine]:
            for line in read_attempts(self.storage, listing, keys, known):
                lines.append(line.text)
                yield line
            earlier = {id_: "" for id_ in listing.attempts if id_ not in keys}
            for line in read_attempts(self.storage, listing, earlier, known):
                if line.row["key"] not in self.ids:  # otherwise another item has this key now
                    lines.append(line.text)
                    yield line

        ledger = make_ledger(read())
        return listing, lines, ledger

    def _open_claims(self, lines: Iterable[bytes], status: BatchStatus) -> Iterator[OpenClaim]:
        unknown = {key for key in self.ids if status.state(key) == "unknown"}
        rows: Iterable[JournalRow] = map(json.loads, lines) if unknown else ()
        claims = {row["key"]: row for row in rows if row["key"] in unknown and row["state"] == "sent"}
        for key, row in claims.items():
            attempt = str(row.get("record", "")).rpartition(".")[2]
            yield OpenClaim(
                key=key,
                attempt=int(attempt) if attempt.isdecimal() else 1,
                worker=str(row.get("worker", "")),
                at=str(row.get("at", "")),
                reason="" if row.get("worker") else status.record(key).reason,
            )

    def _write(
        self, lines: Iterable[bytes], ledger: Ledger, status: BatchStatus, summary: BatchSummary
    ) -> None:
        begun = {
            "state": "begun",
            "key": None,
            "format": FORMAT,
            "version": __version__,
            "items": summary.total,
        }
        self.storage.put(_JOURNAL, b"".join([encode_row(begun), *lines]))
        if isinstance(self.storage, FolderStorage):
            write_records(self.storage.root, self.items, ledger, self.options)
            write_page(self.storage.root, self.items, status, summary, self.options)
            return
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / self.storage.place.rpartition("/")[2]
            root.mkdir()
            write_page(root, self.items, status, summary, evolve(self.options, thumbnail=None))
            with suppress(FileNotFoundError):  # a warning was logged
                self.storage.put(_PAGE, (root / _PAGE).read_bytes())
