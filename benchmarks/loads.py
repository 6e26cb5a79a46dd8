"""Many prompts for a server that lets only so many through: the load, as a value.

Rules: times are seconds; the ideal is what nobody can beat, as a token bucket or the number of slots allows no less.
"""

import math
from typing import Literal

from attrs import evolve, frozen

__all__ = ["Hint", "Load"]

Hint = Literal["exact", "seconds"]
"""How a refusal says when to come back: to the millisecond, or in whole seconds."""


@frozen(kw_only=True)
class Load:
    """So many `prompts`, `concurrency` of them at once, each of which takes `seconds` to answer.

    `per_minute` pictures are let through, after the first `burst`; a client that is `told` knows that number.
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
        """The least number of seconds in which all pictures can be there."""
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
