"""What became of a batch, in numbers.

Rules: frozen; counts are of all items, whatever run sent them; an unknown cost is None, never zero.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from attrs import define, field

from openai_images.batch.ledger import Ledger, Record
from openai_images.batch.models import BatchPlan, BatchSummary

__all__ = ["End", "Standing"]


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
