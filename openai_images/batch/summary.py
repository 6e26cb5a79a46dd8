"""What became of a batch, in numbers.

Rules: frozen; counts are of all items, whatever run sent them; an unknown cost is None, never zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from attrs import define, field, frozen

from openai_images.batch.ledger import Ledger, Record
from openai_images.batch.plan import BatchPlan

__all__ = ["BatchSummary", "End", "Standing"]


@frozen(kw_only=True)
class BatchSummary:
    """Where a batch stands after a run, or in it.

    `done`, `away` (paid for, and behind a URL that could not be fetched), `failed`, `unknown`, `missing` and
    `not_started` are all items there are; `earlier` of the done were so before this run, `blocked` of the failed are
    the safety system's, and `incomplete` failed and unknown ones have some of their images, but not all. `reason` says
    what ended the run before all was sent: "" (nothing), "budget", "quota", "stopped" (`stop()`), "folder" (it could
    not be written), "server" (it could not be reached), "key" (it was not accepted) or "failures" (too many identical
    ones in a row). `spent` US dollars went in all runs, None where no cost is known; `unpriced` results, and requests
    that may have been billed, are not in it. `saved_elsewhere` are pictures that the folder did not take. `elapsed`
    seconds are this run's.
    """

    total: int
    done: int = 0
    away: int = 0
    failed: int = 0
    blocked: int = 0
    unknown: int = 0
    missing: int = 0
    not_started: int = 0
    earlier: int = 0
    reason: str = ""
    spent: Decimal | None = None
    unpriced: int = 0
    saved_elsewhere: tuple[str, ...] = ()
    elapsed: float = 0.0
    incomplete: int = 0


@define
class End:
    """Why a run ends before all is sent: a word, the error, and pictures that had to be saved elsewhere."""

    reason: str = ""
    error: Exception | None = None
    elsewhere: list[str] = field(factory=list[str])


class Standing:
    """Where the items of a batch stand: by its plan at first, by the journal's rows from then on."""

    def __init__(self, plan: BatchPlan, ledger: Ledger) -> None:
        """Start with the plan."""
        self._plan = plan
        self._ledger = ledger
        self._done = frozenset(plan.done)
        self._missing = {key: ledger.of_key(key) for key in plan.missing}
        self._changed = {key: ledger.of_key(key) for key in plan.changed}

    def record(self, key: str) -> Record:
        """What is known of an item, or of the one whose pictures it shares."""
        record = self._ledger.of_key(key)
        leader = self._plan.same.get(key)
        return record if leader is None or record.state == "done" else self._ledger.of_key(leader)

    def state(self, key: str) -> str:
        """One of "pending", "done", "away", "failed", "unknown" and "missing"."""
        record = self.record(key)
        if record is self._missing.get(key):
            return "missing"
        return "pending" if record is self._changed.get(key) else record.state

    def summary(self, keys: Iterable[str], end: End, elapsed: float) -> BatchSummary:
        """The numbers."""
        states = {key: self.state(key) for key in keys}
        counts = Counter(states.values())
        blocked = sum(state == "failed" and self.record(key).blocked for key, state in states.items())
        return BatchSummary(
            total=len(states),
            done=counts["done"],
            away=counts["away"],
            failed=counts["failed"],
            blocked=blocked,
            unknown=counts["unknown"],
            missing=counts["missing"],
            not_started=counts["pending"],
            earlier=len(self._done),
            reason=end.reason,
            spent=self._ledger.spending.known,
            unpriced=self._ledger.spending.unpriced,
            saved_elsewhere=tuple(end.elsewhere),
            elapsed=elapsed,
            incomplete=sum(
                state in ("failed", "unknown") and self.record(key).is_incomplete
                for key, state in states.items()
            ),
        )
