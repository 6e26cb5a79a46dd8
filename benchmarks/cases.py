"""A case and its goals, as values.

Rules: a case is one number for each contender and round, and several cases may share one turn; a goal compares this
client's number with a bound, or with another contender's number of the same round.
"""

from enum import Enum

from attrs import evolve, frozen

from benchmarks.contenders import CONTENDERS, FLOOR, OURS
from benchmarks.loads import Load
from benchmarks.payloads import SHAPES, Shape

__all__ = ["Case", "Compare", "Goal"]


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


@frozen(kw_only=True)
class Case:
    """One number: how it is taken, of whom, and what it should be.

    `probe` names the function that takes it in the contender's process, `parallel` and `batches` how many calls at once
    and how often, `shape` the answer (`larger` another one for growth), `plot` the picture it belongs to. A case with
    a `load` of many prompts has a server for that; `part` names which of its turn's numbers is meant, if not the value.
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
    load: Load | None = None
    part: str | None = None

    @property
    def server(self) -> list[str]:
        """The module that serves it, with its arguments."""
        if self.load is not None:
            return ["benchmarks.rate_limit_server", *self.load.arguments]
        return ["benchmarks.server", *self.shapes]

    @property
    def shapes(self) -> dict[str, Shape]:
        """The answers its server must have: its own, and small ones to warm up with."""
        names = [self.shape, self.larger or self.shape, "json-1kb", "stream-1kb"]
        return {name: SHAPES[name] for name in names}

    @property
    def small(self) -> "Case":
        """The same with small pictures and one batch, or few prompts: it shows that everything works, and no more."""
        if self.load is not None:
            return evolve(self, load=self.load.small)
        shape = f"{self.shape}-small"
        larger = self.larger and f"{self.larger}-small"
        parallel = SHAPES[shape].crowd or min(self.parallel, 8)
        return evolve(self, shape=shape, larger=larger, parallel=parallel, batches=1)
