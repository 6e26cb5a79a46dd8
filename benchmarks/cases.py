"""A case, its goals, what its server does with it, and what the rounds gave; no I/O but one JSON file.

Rules: a case is one number for each contender and round, and several cases may share one turn; a goal compares this
client's number with a bound, or with another contender's number of the same round. It is judged by the median of the
comparisons of each round, never by comparing medians; what could not be measured is not met. Times are seconds.
"""

import json
import math
import statistics
from collections.abc import Awaitable, Callable
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from attrs import Factory, asdict, define, evolve, frozen

from benchmarks.contenders import CONTENDERS, FLOOR, OURS
from benchmarks.payloads import SHAPES, Shape


class Compare(Enum):
    """How a contender's number is held against another's."""

    VALUE = "the number itself"
    RATIO = "the number divided by the other's"
    ABOVE = "the number minus the other's"


@frozen
class Goal:
    """At most `limit`; `text` says the same in the table."""

    text: str
    limit: float
    compare: Compare = Compare.VALUE
    versus: str = FLOOR
    of: str = OURS


Hint = Literal["exact", "seconds"]
"""How a refusal says when to come back: to the millisecond, or in whole seconds."""


@frozen(kw_only=True)
class Load:
    """So many `prompts`, `concurrency` of them at once, each of which takes `seconds` to answer.

    `per_minute` images are let through, after the first `burst`; a client that is `told` knows that number.
    """

    prompts: int
    concurrency: int
    seconds: float = 0.0
    per_minute: int | None = None
    burst: int = 5
    told: bool = False
    hint: Hint = "exact"

    @property
    def ideal(self) -> float:
        """The least number of seconds in which all images can be there."""
        if self.per_minute is None:
            return math.ceil(self.prompts / self.concurrency) * self.seconds
        return (self.prompts - self.burst) * 60 / self.per_minute

    @property
    def small(self) -> "Load":
        """The same in a second or two."""
        if self.per_minute is None:
            return evolve(self, prompts=self.prompts // 20, seconds=self.seconds / 4)
        return evolve(self, prompts=20, per_minute=1_200)

    @property
    def arguments(self) -> list[str]:
        """What its server is told, as `benchmarks.rate_limit_server` reads it."""
        return [str(self.per_minute or 0), str(self.burst), self.hint, str(self.seconds)]


@frozen
class Pace:
    """How fast an answer comes: bytes a second (0: as fast as it is read), in pieces of so many bytes (0: any)."""

    rate: int = 0
    piece: int = 0


Probe = Callable[[Any], Awaitable[float]]  # of a `Turn`, which has a `Case`


@frozen(kw_only=True)
class Case:
    """One number: how it is taken, of whom, and what it should be.

    `probe` takes it in the contender's process, `parallel` and `batches` how many calls at once
    and how often, `shape` the answer (`larger` another one for growth), `plot` the image it belongs to. With a `pace`
    the answer comes as over a network, with `tls` encrypted. A case with a `load` of many prompts has a server for
    that; `part` names which of its turn's numbers is meant, if not the value. `rounds` are the most that it gets.
    """

    key: str
    title: str
    unit: str
    probe: Probe
    shape: str = "json-1kb"
    larger: str | None = None
    parallel: int = 1
    batches: int = 1
    contenders: tuple[str, ...] = tuple(CONTENDERS)
    goals: tuple[Goal, ...] = ()
    plot: str | None = None
    pace: Pace | None = None
    tls: bool = False
    load: Load | None = None
    rounds: int = 1_000
    part: str | None = None

    @property
    def server(self) -> list[str]:
        """The module that serves it, with its arguments."""
        if self.load is not None:
            return ["benchmarks.rate_limit_server", *self.load.arguments]
        if self.pace is not None or self.tls:
            pace = self.pace or Pace()
            security = "tls" if self.tls else "plain"
            return ["benchmarks.paced_server", str(pace.rate), str(pace.piece), security, *self.shapes]
        return ["benchmarks.server", *self.shapes]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The answers its server must have: its own, and small ones to warm up with."""
        names = [self.shape, self.larger or self.shape, "json-1kb", "stream-1kb"]
        return {name: SHAPES[name] for name in names}

    @property
    def small(self) -> "Case":
        """The same with small images and one batch, or few prompts: it shows that everything works, and no more."""
        if self.load is not None:
            return evolve(self, load=self.load.small)
        shape = f"{self.shape}-small"
        larger = self.larger and f"{self.larger}-small"
        parallel = SHAPES[shape].crowd or min(self.parallel, 8)
        return evolve(self, shape=shape, larger=larger, parallel=parallel, batches=1)


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
        return name not in self.missing and name not in self.broken

    def note(self, name: str, texts: list[str]) -> None:
        """Keep what a turn said, once."""
        known = self.notes.setdefault(name, [])
        known.extend(text for text in dict.fromkeys(texts) if text not in known)

    def median(self, name: str) -> float | None:
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
    stored = {key: asdict(outcome) for key, outcome in outcomes.items()}
    path.write_text(json.dumps(stored, indent=1) + "\n")
