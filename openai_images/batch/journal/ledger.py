"""Adds up the journal's rows: the state of each item, and the costs.

Invariants: pure; rows count in the order of the file, not of their times; an item that was sent and has no later row,
or an unreadable one, is unknown, or submitted while its batch at the provider has not ended; costs are Decimal US
dollars: a `sent` row counts with its estimate until a later row has the cost; an unknown cost is never zero.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from decimal import Decimal
from typing import Literal, Self, TypeAlias

from attrs import define, evolve, field, frozen

from openai_images._util.filenames import casefold_name, stem_of
from openai_images.batch.journal.journal_reader import JournalContents, JournalRow, StoredFile
from openai_images.batch.journal.response_facts import NO_FACTS, ResponseFacts, parse_amount, response_facts

State: TypeAlias = Literal["pending", "submitted", "done", "away", "failed", "unknown"]

_ZERO = Decimal(0)


@frozen
class ItemRecord:
    """The state of one item.

    `request` is the digest of the last request, `stem` the name of its files, `image_count` the number of requested
    images; `files` are those stored, in any state, and `urls` those of remote images. `blocked`: the safety system
    blocked it; `is_unknown`: another part of it may have been billed. `facts` are those of the last response,
    `earlier_facts` those of earlier responses, by the stems of their files. `same_as` is the key of the item whose
    files it shares.
    """

    state: State = "pending"
    request: str = ""
    stem: str = ""
    image_count: int = 1
    files: tuple[StoredFile, ...] = ()
    reason: str = ""
    blocked: bool = False
    cost: Decimal | None = None
    seconds: float | None = None
    adopted: bool = False
    urls: tuple[str, ...] = field(default=(), repr=False)
    facts: ResponseFacts = NO_FACTS
    earlier_facts: tuple[tuple[str, ResponseFacts], ...] = ()
    same_as: str = ""
    is_unknown: bool = False

    def facts_of(self, file: StoredFile) -> ResponseFacts:
        """Return the facts of this file's response."""
        if not self.earlier_facts:
            return self.facts
        stem = stem_of(file.name)
        return next((facts for name, facts in self.earlier_facts if name == stem), self.facts)

    @property
    def kept_files(self) -> tuple[StoredFile, ...]:
        """The images that came before the failed or unknown item ended; only the others need be requested."""
        if self.state not in ("failed", "unknown"):
            return ()
        return tuple(file for file in self.files if not file.is_damaged)

    @property
    def is_incomplete(self) -> bool:
        """Whether it failed, or is unknown, with some of its images."""
        return 0 < len(self.kept_files) < self.image_count


@define
class Spending:
    """Costs: the sum of `known` costs (or None), the number of `unpriced` results, and the sum of their estimates.

    `unpriceable` is the number of unpriced results without an estimate.
    """

    known: Decimal | None = None
    unpriced: int = 0
    estimated: Decimal = Decimal(0)
    unpriceable: int = 0

    @property
    def upper_bound(self) -> Decimal:
        """The sum of known costs, and of estimates for the others."""
        return (self.known or _ZERO) + self.estimated

    def charge(self, cost: Decimal | None, estimate: Decimal | None) -> None:
        """Add a cost, or its estimate if it is unknown."""
        if cost is not None:
            self.known = (self.known or _ZERO) + cost
            return
        self.unpriced += 1
        if estimate is None:
            self.unpriceable += 1
        else:
            self.estimated += estimate


@frozen
class _OpenRequest:
    """A request without an outcome: its estimate, and the item's record before it."""

    estimate: Decimal | None
    standing: ItemRecord
    batch: str = ""


@define
class SubmittedBatch:
    """A batch at the provider that has not ended.

    `tag` identifies it in its metadata; `id` is "" until it is known; `since` is the Unix time, in seconds, of its
    creation from the file `input_file_id` (0 and "" if that row is lost). `keys` are those of its items without an
    outcome, in order, with their lines in that file, from 1 (0 if unknown).
    """

    tag: str
    since: float
    id: str = ""
    input_file_id: str = ""
    keys: dict[str, int] = field(factory=dict[str, int], repr=False)


@define
class Ledger:
    """The records of all items, by key; `add` a row after it is in the journal.

    `stems` are the casefolded names of all files in rows, with the number of images of each.
    """

    records: dict[str, ItemRecord] = field(factory=dict[str, ItemRecord])
    spending: Spending = field(factory=Spending)
    estimates: Mapping[str, Decimal | None] = field(factory=dict[str, "Decimal | None"], repr=False)
    stems: dict[str, int] = field(factory=dict[str, int], repr=False)
    batches: dict[str, SubmittedBatch] = field(factory=dict[str, SubmittedBatch], init=False)
    _open: dict[str, _OpenRequest] = field(factory=dict[str, _OpenRequest], init=False)

    @classmethod
    def from_journal(cls, journal: JournalContents, estimates: Mapping[str, Decimal | None]) -> Self:
        """Return the ledger of a journal without requests in flight; `estimates` are for rows without one."""
        ledger = cls(estimates=estimates)
        unreadable = deque(journal.unreadable_keys)
        for number, row in enumerate(journal.rows):
            while unreadable and unreadable[0][0] <= number:
                ledger._mark_unreadable(unreadable.popleft()[1])
            ledger.add(row)
        for _, key in unreadable:
            ledger._mark_unreadable(key)
        ledger.close_open()
        return ledger

    def get(self, key: str) -> ItemRecord:
        """Return the record of an item; pending if it is not in the journal."""
        return self.records.get(key, _NEVER_SENT)

    def add(self, row: JournalRow) -> None:
        """Count a row."""
        state, key = row["state"], row.get("key")
        if state == "provider_batch":
            self._add_batch(row)
        elif isinstance(key, str) and state != "begun":
            for file in row.get("files", ()):
                self.stems.setdefault(casefold_name(stem_of(file["name"])), 1)
            if stem := casefold_name(row.get("stem", "")):
                self.stems[stem] = max(row.get("pictures") or 1, self.stems.get(stem, 0))
            if state == "sent":
                self._add_sent(key, row)
            elif state == "refused":
                self._add_refused(key)
            else:
                self._add_end(key, row, state)

    @property
    def submitted_estimates(self) -> dict[str, Decimal | None]:
        """The most that each item at the provider may cost, by key."""
        keys = [key for batch in self.batches.values() for key in batch.keys]
        return {key: self._open[key].estimate for key in keys}

    @property
    def submitted_estimate(self) -> Decimal:
        """The most that the items at the provider may cost."""
        return sum(filter(None, self.submitted_estimates.values()), _ZERO)

    @property
    def submitted_unpriceable(self) -> int:
        """The number of items at the provider without an estimate."""
        return sum(estimate is None for estimate in self.submitted_estimates.values())

    def _add_batch(self, row: JournalRow) -> None:
        tag = row["tag"]
        if row["step"] == "creating":
            file_id = row.get("input_file_id", "")
            self.batches.setdefault(tag, SubmittedBatch(tag, row["since"], input_file_id=file_id))
        elif row["step"] == "created":
            created = self.batches.setdefault(tag, SubmittedBatch(tag, row["since"]))
            created.id, created.since = row["id"], row["since"]
        elif (batch := self.batches.pop(tag, None)) is not None:
            for key in batch.keys:  # none unless rows were lost
                self.records[key] = evolve(self.records[key], state="unknown", reason=_UNANSWERED)

    def _pop_open(self, key: str) -> _OpenRequest | None:
        request = self._open.pop(key, None)
        if request is not None and (batch := self.batches.get(request.batch)) is not None:
            batch.keys.pop(key, None)
        return request

    def _add_sent(self, key: str, row: JournalRow) -> None:
        earlier = self._pop_open(key)
        if earlier is not None:  # sent again by `retry_unknown`
            self._charge(key, None, earlier.estimate)
        recorded = parse_amount(row.get("estimate"))
        estimate = self.estimates.get(key) if recorded is None else recorded
        standing = self.get(key)
        tag = row.get("batch", "")  # the batch's row `creating` may be unreadable
        batch = self.batches.setdefault(tag, SubmittedBatch(tag, 0.0)) if tag else None
        self._open[key] = _OpenRequest(estimate, standing, "" if batch is None else batch.tag)
        if batch is not None:
            batch.keys[key] = row.get("line", 0)
        # The request is for the other images.
        kept_files = tuple(map(StoredFile.from_row, row.get("files", ())))
        self.records[key] = ItemRecord(
            "unknown" if batch is None else "submitted",
            str(row.get("request", "")),
            str(row.get("stem", "")),
            row.get("pictures") or 1,
            kept_files,
            reason=_UNANSWERED if batch is None else "it is in a batch at the provider",
            cost=standing.cost if kept_files else None,
            earlier_facts=tuple((stem_of(file.name), standing.facts_of(file)) for file in kept_files),
        )

    def _add_refused(self, key: str) -> None:
        """Restore the record from before the request: an unknown outcome stays unknown."""
        request = self._pop_open(key)
        if request is not None:
            self.records[key] = request.standing

    def _add_end(self, key: str, row: JournalRow, state: State) -> None:
        """Charge an open request; one that is not open was charged by an earlier row, unless this row has a cost."""
        if state != "done" and row.get("urls"):
            state = "away"
        request = self._pop_open(key)
        cost = None if state == "unknown" else parse_amount(row.get("cost"))
        is_billed = state != "failed" or row.get("billed")
        if is_billed and (request is not None or cost is not None):
            self._charge(key, cost, request.estimate if request else None)
        self._update(key, row, state)

    def _update(self, key: str, row: JournalRow, state: State) -> None:
        before, cost = self.get(key), parse_amount(row.get("cost"))
        other_cost = before.cost if before.state == "unknown" else None  # of its other images
        if "cost" not in row and (state != "unknown" or before.state == "away"):
            cost = before.cost
        elif cost is not None and other_cost is not None:
            cost += other_cost
        seconds = row.get("seconds")
        facts: ResponseFacts | None = row.get("facts") or response_facts(row)
        self.records[key] = ItemRecord(
            state,
            str(row.get("request", before.request)),
            str(row.get("stem", before.stem)),
            before.image_count,
            tuple(map(StoredFile.from_row, row["files"])) if "files" in row else before.files,
            str(row.get("message", "")),
            row.get("error") == "ModerationBlockedError",
            cost,
            float(seconds) if isinstance(seconds, int | float) else None,
            bool(row.get("adopted")),
            tuple(row.get("urls") or ()) if state == "away" else (),
            facts or before.facts,
            before.earlier_facts,
            row.get("same_as", "" if facts else before.same_as),
            row["state"] == "unknown" or (before.is_unknown and state == "away"),
        )

    def _mark_unreadable(self, key: str) -> None:
        """Mark an item with an unreadable row, which may have been its `sent` row."""
        if self.get(key).state != "done":
            files = self.get(key).files
            self._add_sent(key, {"request": self.get(key).request, "stem": self.get(key).stem})
            self.records[key] = evolve(self.get(key), files=files)

    def close_open(self) -> None:
        """Charge open requests with their estimates, as their outcome is unknown; not those at the provider."""
        live = {key: request for key, request in self._open.items() if request.batch in self.batches}
        for key, request in self._open.items():
            if key not in live:
                self._charge(key, None, request.estimate)
        self._open = live

    def _charge(self, key: str, cost: Decimal | None, estimate: Decimal | None) -> None:  # noqa: ARG002  `costs.py`
        self.spending.charge(cost, estimate)


_NEVER_SENT = ItemRecord()
_UNANSWERED = "it was sent, but the run ended before its response"
