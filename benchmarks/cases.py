"""A case, its goals, and what its server does with it, as values.

Rules: a case is one number for each contender and round, and several cases may share one turn; a goal compares this
client's number with a bound, or with another contender's number of the same round. Times are seconds.
"""

import math
from enum import Enum
from typing import Literal

from attrs import evolve, frozen

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


@frozen(kw_only=True)
class Case:
    """One number: how it is taken, of whom, and what it should be.

    `probe` names the function that takes it in the contender's process, `parallel` and `batches` how many calls at once
    and how often, `shape` the answer (`larger` another one for growth), `plot` the image it belongs to. With a `pace`
    the answer comes as over a network, with `tls` encrypted. A case with a `load` of many prompts has a server for
    that; `part` names which of its turn's numbers is meant, if not the value. `rounds` are the most that it gets.
    """

    key: str
    title: str
    unit: str
    probe: str
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
