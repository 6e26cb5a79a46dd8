"""Rejections without a success in between: since when, and whether waiting on makes sense.

Invariants: pure; times are parameters, in seconds. Must not: wait.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import define

if TYPE_CHECKING:
    from openai_images.errors import RateLimitError

_SHORT_LIMIT = 3600.0
"""A server that asks for a longer pause speaks of a limit that no run waits for."""

_IDLE = 300.0
"""After a pause in which nothing was tried: that is no stall."""


@define
class Stall:
    """Since the first rejection after the last success; `math.inf` where the last answer was one."""

    since: float = math.inf
    reason: str = ""
    announced: float = 0.0

    def record_rejection(self, error: RateLimitError, now: float, resume_at: float) -> None:
        """A request was rejected; the pause before it ended at `resume_at`."""
        if self.since == math.inf or now - resume_at > _IDLE:
            self.since = now
        self.reason, self.announced = error.reason, error.retry_after or 0.0

    def seconds(self, now: float) -> float:
        """How long it has lasted."""
        return max(0.0, now - self.since)

    def is_hopeless(self, pause: float, max_stall: float, now: float) -> bool:
        """Whether waiting on for a pause makes no sense."""
        announced = self.announced if self.announced <= _SHORT_LIMIT else 0.0
        return max_stall < math.inf and (pause > _SHORT_LIMIT or self.seconds(now) > max_stall + announced)
