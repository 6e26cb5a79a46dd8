"""How far a batch is, on stderr, as lines of plain text, and what every display of a batch shares.

Invariants: a line every 10 s while something changes, every 60 s while nothing does; a failure is printed immediately,
quiet or not, but at most ten in 10 s: a line counts the rest.
Must not: raise: progress never stops a call that is paid for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self

from attrs import field, frozen

from openai_images import Progress
from openai_images.cli.console import Console
from openai_images.cli.text import dollars, duration, images_per_minute, plural

_PERIOD = 10.0
_HEARTBEAT = 60.0
_MOST_FAILURES = 10


@frozen
class Clock:
    """Time source and sleep."""

    now: Callable[[], float] = field(default=time.monotonic)
    sleep: Callable[[float], Awaitable[object]] = field(default=asyncio.sleep)


class StatusField(NamedTuple):
    """A text about a batch, and its style."""

    text: str
    style: str = ""


def status_fields(progress: Progress) -> list[StatusField]:
    """List what is not zero and not unknown, the most important first."""
    failed = progress.failed - progress.blocked - progress.unknown
    counts = (
        (progress.done, "done", "green"),
        (failed, "failed", "red"),
        (progress.blocked, "blocked by moderation", "yellow"),
        (progress.unknown, "unknown, may be billed", "magenta"),
        (progress.in_flight, "in flight", "cyan"),
        (progress.waiting, "waiting for limit or retry", ""),
    )
    said = [StatusField(f"{number:,} {words}", style) for number, words, style in counts if number]
    if progress.images:
        said.append(StatusField(images_per_minute(progress.images_per_minute)))
    if progress.spent is not None:
        more = f" and {progress.unpriced:,} of unknown cost" if progress.unpriced else ""
        said.append(StatusField(f"{dollars(progress.spent)} spent{more}"))
    if progress.eta is not None and progress.in_flight:
        said.append(StatusField(f"{duration(progress.eta)} left"))
    if progress.wait_reason is not None:
        said.append(StatusField(progress.wait_reason, "yellow"))
    return said


class BatchDisplay:
    """Shows failures, and nothing else."""

    period = _PERIOD

    def __init__(self, console: Console, clock: Clock = Clock()) -> None:
        self.console = console
        self.progress = Progress()
        self.clock = clock
        self._started = clock.now()
        self._ticker: asyncio.Task[None] | None = None
        self._failures = 0
        self._failures_since = self._started

    async def __aenter__(self) -> Self:
        self.open()
        self._ticker = asyncio.create_task(self._keep_ticking())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])
        self.close()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self.clock.now() - self._started

    def open(self) -> None:
        """Called before the first request."""

    def update(self, progress: Progress) -> None:
        """Take the progress."""
        self.progress = progress

    def failure(self, text: str, style: str = "red") -> None:
        """Print a failure, unless too many were printed recently."""
        self._count_the_rest()
        self._failures += 1
        if self._failures <= _MOST_FAILURES:
            self.console.print_message(text, style)

    def tick(self) -> None:
        """Called every `period` seconds."""
        self._count_the_rest()

    def close(self) -> None:
        """Called when nothing more will come."""
        self._count_the_rest(now=True)

    def _count_the_rest(self, *, now: bool = False) -> None:
        """Print, every 10 s, how many failures were not printed."""
        if not now and self.clock.now() - self._failures_since < _PERIOD:
            return
        if self._failures > _MOST_FAILURES:
            self.console.print_message(
                f"and {plural(self._failures - _MOST_FAILURES, 'more failure')}", "red"
            )
        self._failures, self._failures_since = 0, self.clock.now()

    async def _keep_ticking(self) -> None:
        while True:
            await self.clock.sleep(self.period)
            self.tick()


class PlainDisplay(BatchDisplay):
    """Prints a line every 10 or 60 seconds."""

    def __init__(self, console: Console, clock: Clock = Clock()) -> None:
        super().__init__(console, clock)
        self._said: list[StatusField] = []
        self._said_at = self._started

    def tick(self) -> None:
        """Print a line if one is due."""
        super().tick()
        said, now = status_fields(self.progress), self.clock.now()
        if not said or (said == self._said and now - self._said_at < _HEARTBEAT):
            return
        self._said, self._said_at = said, now
        of = "" if self.progress.total is None else f" of {self.progress.total:,}"
        first = f"{self.progress.done:,}{of} done"
        others = (fact.text for fact in (said[1:] if self.progress.done else said))
        self.console.print_note(f"{duration(self.elapsed):>12}  {', '.join([first, *others])}")
