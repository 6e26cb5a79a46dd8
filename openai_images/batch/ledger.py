"""What the journal's rows add up to: where each item stands, and what was spent; and what may still be spent.

Rules: pure and synchronous; rows count in the order of the file, never by their time. An item that was sent without an
end is unknown, and so is one whose row cannot be read: it is sent again only when asked for. Money is Decimal, in US
dollars: a `sent` row may have cost its estimate until a later row says what became of it; an unknown cost is never
zero. A budget sets an estimate aside before a request is sent, which gives way to its cost; nothing is set aside that
would take what is spent and set aside together over the limit, and what is set aside stays so until it is settled or
released.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import PurePath
from typing import Literal, TypeAlias

from attrs import define, evolve, field, frozen

from openai_images._util.attrs import safe_repr
from openai_images.batch.journal_reader import Read, Row, SavedFile, amount_of
from openai_images.batch.naming import folded

State: TypeAlias = Literal["pending", "done", "away", "failed", "unknown"]


@frozen
class Record:
    """Where one item stands.

    `request` is the digest of what was sent last, `stem` the name its files were to have, `pictures` how many were
    asked for; `files` are there, whatever the state, and `urls` lead to those that are away. `blocked` failures are
    the safety system's; of a `partial` one the other pictures can be asked for.
    """

    state: State = "pending"
    request: str = ""
    stem: str = ""
    pictures: int = 1
    files: tuple[SavedFile, ...] = ()
    reason: str = ""
    blocked: bool = False
    cost: Decimal | None = None
    seconds: float | None = None
    adopted: bool = False
    urls: tuple[str, ...] = field(default=(), repr=False)
    partial: bool = False

    @property
    def is_incomplete(self) -> bool:
        """Whether some of its pictures are there, and others are not."""
        return 0 < len(self.files) < self.pictures


@define
class Spending:
    """What was paid: `known` costs, None while there is none; how many have no known cost, and their estimates.

    `unpriceable` of these have not even an estimate.
    """

    known: Decimal | None = None
    unpriced: int = 0
    estimated: Decimal = Decimal(0)
    unpriceable: int = 0

    @property
    def at_most(self) -> Decimal:
        """Known costs, and estimates for the others."""
        return (self.known or Decimal(0)) + self.estimated

    def pay(self, cost: Decimal | None, estimate: Decimal | None) -> None:
        """Something was paid for, at a known cost or not."""
        if cost is not None:
            self.known = (self.known or Decimal(0)) + cost
            return
        self.unpriced += 1
        if estimate is None:
            self.unpriceable += 1
        else:
            self.estimated += estimate


@frozen
class _Open:
    """A request that was sent and has no end yet: what it may have cost, and where the item stood before."""

    estimate: Decimal | None
    before: Record


@define
class Ledger:
    """Records by key; `add` a row once it is in the journal.

    `stems` are the names of all files that any row knows, folded, and how many pictures are numbered behind each.
    """

    records: dict[str, Record] = field(factory=dict[str, Record])
    spending: Spending = field(factory=Spending)
    estimates: Mapping[str, Decimal | None] = field(factory=dict[str, "Decimal | None"], repr=False)
    stems: dict[str, int] = field(factory=dict[str, int], repr=False)
    _open: dict[str, _Open] = field(factory=dict[str, _Open], init=False)

    @classmethod
    def of(cls, journal: Read, estimates: Mapping[str, Decimal | None]) -> Ledger:
        """What a journal adds up to, nothing of which is under way any more; `estimates` where a row has none."""
        ledger = cls(estimates=estimates)
        lost = list(journal.doubtful)
        for number, row in enumerate(journal.rows):
            while lost and lost[0][0] <= number:
                ledger._doubt(lost.pop(0)[1])
            ledger.add(row)
        for _, key in lost:
            ledger._doubt(key)
        ledger._close()
        return ledger

    def of_key(self, key: str) -> Record:
        """Where an item stands; pending where the journal does not know it."""
        return self.records.get(key, _NEW)

    def add(self, row: Row) -> None:
        """Count a row."""
        state, key = row["state"], row.get("key")
        if isinstance(key, str) and state != "begun":
            for file in row.get("files", ()):
                self.stems.setdefault(folded(PurePath(file["name"]).stem), 1)
            if stem := folded(row.get("stem", "")):
                self.stems[stem] = max(row.get("pictures") or 1, self.stems.get(stem, 0))
            {
                "sent": self._sent,
                "refused": self._refused,
                "done": self._done,
                "away": self._away,
                "failed": self._failed,
                "unknown": self._unknown,
            }[state](key, row)

    def _sent(self, key: str, row: Row) -> None:
        was = self._open.get(key)
        if was is not None:  # sent again by choice, although nobody knows about the first time
            self.spending.pay(None, was.estimate)
        stated = amount_of(row.get("estimate"))
        estimate = self.estimates.get(key) if stated is None else stated
        before = self.of_key(key)
        self._open[key] = _Open(estimate, before)
        kept = tuple(map(SavedFile.of, row.get("files", ())))  # it asks for the others
        self.records[key] = Record(
            "unknown",
            str(row.get("request", "")),
            str(row.get("stem", "")),
            row.get("pictures") or 1,
            kept,
            reason="it was sent, and the run ended before its answer came",
            cost=before.cost if kept else None,
            partial=bool(kept),
        )

    def _refused(self, key: str, _: Row) -> None:
        """It did not run, so it stands where it stood: what was unknown before is not free to be sent again."""
        was = self._open.pop(key, None)
        if was is not None:
            self.records[key] = was.before

    def _done(self, key: str, row: Row) -> None:
        self._paid(key, row)
        self._put(key, row, "done")

    def _away(self, key: str, row: Row) -> None:
        """It was answered and paid for: where its pictures are is never forgotten."""
        self._paid(key, row)
        self._put(key, row, "away")

    def _failed(self, key: str, row: Row) -> None:
        if row.get("urls"):
            self._away(key, row)
            return
        if row.get("billed"):
            self._paid(key, row)
        self._open.pop(key, None)
        self._put(key, row, "failed")

    def _unknown(self, key: str, row: Row) -> None:
        if row.get("urls"):
            self._away(key, row)
            return
        if key in self._open:
            self.spending.pay(None, self._open.pop(key).estimate)
        self._put(key, row, "unknown")

    def _paid(self, key: str, row: Row) -> None:
        """Pay for what was open; what is not was paid for by an earlier row, unless this one has a cost."""
        was, cost = self._open.pop(key, None), amount_of(row.get("cost"))
        if was is not None or cost is not None:
            self.spending.pay(cost, was.estimate if was else None)

    def _put(self, key: str, row: Row, state: State) -> None:
        was, cost = self.of_key(key), amount_of(row.get("cost"))
        if "cost" not in row and (state != "unknown" or was.state == "away"):
            cost = was.cost
        elif (
            cost is not None and was.state == "unknown" and was.cost is not None
        ):  # its other pictures cost that
            cost += was.cost
        seconds = row.get("seconds")
        self.records[key] = Record(
            state,
            str(row.get("request", was.request)),
            str(row.get("stem", was.stem)),
            was.pictures,
            tuple(map(SavedFile.of, row["files"])) if "files" in row else was.files,
            str(row.get("message", "")),
            row.get("error") == "ModerationBlockedError",
            cost,
            float(seconds) if isinstance(seconds, int | float) else None,
            bool(row.get("adopted")),
            tuple(row.get("urls") or ()) if state == "away" else (),
            row.get("error") == "PartialResultError" or (was.partial and state != "done"),
        )

    def _doubt(self, key: str) -> None:
        """A row of this item cannot be read. It may have been the one that says it was sent."""
        if self.of_key(key).state != "done":
            files = self.of_key(key).files
            self._sent(key, {"request": self.of_key(key).request, "stem": self.of_key(key).stem})
            self.records[key] = evolve(self.of_key(key), files=files)

    def _close(self) -> None:
        """Nothing is under way: what has no end is unknown, and may have cost its estimate."""
        for was in self._open.values():
            self.spending.pay(None, was.estimate)
        self._open.clear()


_NEW = Record()

_NOTHING = Decimal(0)


@safe_repr
class Budget:
    """A limit in US dollars (None: no limit), what of it is spent, and what is set aside for requests under way."""

    def __init__(self, limit: Decimal | None, spent: Decimal = _NOTHING) -> None:
        """Start with what was spent before. Raises ValueError for an amount that is negative or no number."""
        self.limit = None if limit is None else _amount(limit)
        self.spent = _amount(spent)
        self.reserved = _NOTHING

    @property
    def left(self) -> Decimal | None:
        """What can still be set aside, never below 0; None without a limit."""
        return None if self.limit is None else max(self.limit - self.spent - self.reserved, _NOTHING)

    def reserve(self, estimate: Decimal) -> bool:
        """Set an estimate aside, or set nothing aside and say False where it does not fit. Raises ValueError."""
        if self.limit is not None and self.spent + self.reserved + _amount(estimate) > self.limit:
            return False
        self.reserved += _amount(estimate)
        return True

    def settle(self, estimate: Decimal, cost: Decimal | None) -> None:
        """Spend the cost in place of what was set aside for it, the estimate where the cost is not known.

        Raises ValueError where less than the estimate is set aside, and for a cost that is no amount.
        """
        spent = _amount(estimate if cost is None else cost)
        self.release(estimate)
        self.spent += spent

    def release(self, estimate: Decimal) -> None:
        """Set an estimate free: its request did not run. Raises ValueError where less than that is set aside."""
        if _amount(estimate) > self.reserved:
            msg = f"only {self.reserved} is set aside, not {estimate}: each estimate is settled or released once"
            raise ValueError(msg)
        self.reserved -= estimate

    def __repr__(self) -> str:
        """The three amounts."""
        limit = "no limit" if self.limit is None else f"limit {self.limit}"
        return f"<Budget {self.spent} spent, {self.reserved} set aside, {limit}>"


def _amount(value: Decimal) -> Decimal:
    """Refuse what is no amount of money: NaN would make every comparison fail, quietly."""
    if not value.is_finite() or value < 0:
        msg = f"an amount in US dollars is a finite number of 0 or more, not {value}"
        raise ValueError(msg)
    return value
