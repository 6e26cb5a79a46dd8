"""What the rounds gave: medians, ratios within a round, and whether the goals are met. No I/O but one JSON file.

Rules: a goal is judged by the median of the comparisons of each round, never by comparing medians; what could not be
measured is not met and says why.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from attrs import Factory, asdict, define, frozen

from benchmarks.cases import Case, Compare, Goal


@frozen
class Verdict:
    """A goal, what was measured (None where it could not be), and whether that is enough."""

    goal: Goal
    measured: float | None
    met: bool
    failures: int = 0


@define
class Outcome:
    """What one case gave: each contender's numbers in the order of the rounds, or why there are none."""

    rounds: dict[str, list[float]] = Factory(dict[str, list[float]])
    missing: dict[str, str] = Factory(dict[str, str])
    broken: dict[str, str] = Factory(dict[str, str])
    failures: dict[str, int] = Factory(dict[str, int])
    notes: dict[str, list[str]] = Factory(dict[str, list[str]])
    conditions: str = ""
    late: float = 0.0
    """The share of a paced server's pieces that were late."""

    def is_measured(self, name: str) -> bool:
        """Whether the contender can still be measured."""
        return name not in self.missing and name not in self.broken

    def note(self, name: str, texts: list[str]) -> None:
        """Keep what a turn said, once."""
        known = self.notes.setdefault(name, [])
        known.extend(text for text in dict.fromkeys(texts) if text not in known)

    def median(self, name: str) -> float | None:
        """The median of the contender's numbers."""
        numbers = self.rounds.get(name) if self.is_measured(name) else None
        return statistics.median(numbers) if numbers else None

    def compared(self, name: str, versus: str, compare: Compare) -> float | None:
        """The median of a contender's numbers, each held against another's of the same round."""
        own, other = self.rounds.get(name, []), self.rounds.get(versus, [])
        if compare is Compare.VALUE:
            return self.median(name)
        if not own or len(own) != len(other) or not (self.is_measured(name) and self.is_measured(versus)):
            return None
        pairs = zip(own, other, strict=True)
        if compare is Compare.ABOVE:
            return statistics.median(one - two for one, two in pairs)
        return statistics.median(one / two for one, two in pairs)

    def judge(self, case: Case) -> list[Verdict]:
        """The case's goals."""
        verdicts: list[Verdict] = []
        for goal in case.goals:
            measured = self.compared(goal.of, goal.versus, goal.compare)
            failures = self.failures.get(goal.of, 0)
            met = measured is not None and measured <= goal.limit and not failures
            verdicts.append(Verdict(goal, measured, met, failures))
        return verdicts


def load(path: Path) -> dict[str, Outcome]:
    """The outcomes of earlier runs by their case's key; none where there is no file."""
    if not path.exists():
        return {}
    stored: dict[str, dict[str, Any]] = json.loads(path.read_text())
    return {key: Outcome(**fields) for key, fields in stored.items()}


def save(path: Path, outcomes: dict[str, Outcome]) -> None:
    """Write the outcomes."""
    stored = {key: asdict(outcome) for key, outcome in outcomes.items()}
    path.write_text(json.dumps(stored, indent=1) + "\n")
