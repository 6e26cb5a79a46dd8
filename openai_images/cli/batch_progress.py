"""The progress of a batch on stderr: plain lines, or on a terminal a bar and status fields below all other output.

Invariants: at most ten failures are printed in 10 s, a line counts the rest; rows are narrower than the terminal.
Must not: raise: progress never stops a paid call.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from attrs import evolve

from openai_images import Progress
from openai_images.cli.console import Console, dollars, duration, images_per_minute, plural
from openai_images.cli.live_region import LiveRegion
from openai_images.cli.progress import Display

if TYPE_CHECKING:
    from rich.text import Text

_PERIOD = 10.0
_HEARTBEAT = 60.0
_MAX_FAILURES = 10
_TICK = 0.2
_MAX_BAR_LENGTH = 100
_LINES, _LINES_ASCII = ("━", "╍", "─", " · "), ("#", ">", "-", ", ")


class StatusField(NamedTuple):
    """A text about a batch, and its style."""

    text: str
    style: str = ""


def status_fields(progress: Progress) -> list[StatusField]:
    """List the fields that are not zero and not unknown, the most important first."""
    failed = progress.failed - progress.blocked - progress.unknown
    counts = (
        (progress.done, "done", "green"),
        (failed, "failed", "red"),
        (progress.blocked, "blocked by moderation", "yellow"),
        (progress.unknown, "unknown, may be billed", "magenta"),
        (progress.in_flight, "in flight", "cyan"),
        (progress.waiting, "waiting to be sent", ""),
    )
    fields = [StatusField(f"{number:,} {words}", style) for number, words, style in counts if number]
    if progress.images:
        fields.append(StatusField(images_per_minute(progress.images_per_minute)))
    if progress.spent is not None:
        more = f" and {progress.unpriced:,} of unknown cost" if progress.unpriced else ""
        fields.append(StatusField(f"{dollars(progress.spent)} spent{more}"))
    if progress.eta is not None and progress.in_flight:
        fields.append(StatusField(f"{duration(progress.eta)} left"))
    if progress.wait_reason is not None:
        fields.append(StatusField(progress.wait_reason, "yellow"))
    return fields


class BatchDisplay(Display):
    """Shows only failures; `wait_reason` returns why the batch waits now."""

    period = _PERIOD

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self.progress = Progress()
        self.wait_reason: Callable[[], str | None] = lambda: self.progress.wait_reason
        self._updated = self._failures_since = self._started
        self._failures = 0

    def update(self, progress: Progress) -> None:
        """Store the progress for the next tick."""
        self.progress, self._updated = progress, self.clock()

    def failure(self, text: str, style: str = "red") -> None:
        """Print a failure, unless too many were printed recently."""
        self._count_the_rest()
        self._failures += 1
        if self._failures <= _MAX_FAILURES:
            self.console.print_message(text, style)

    def tick(self) -> None:
        """Do what is due."""
        self._count_the_rest()

    def close(self) -> None:
        """End the display."""
        self._count_the_rest(now=True)

    def _count_the_rest(self, *, now: bool = False) -> None:
        """Print, every 10 s, how many failures were not printed."""
        if not now and self.clock() - self._failures_since < _PERIOD:
            return
        if (unprinted := self._failures - _MAX_FAILURES) > 0:
            self.console.print_message(f"and {plural(unprinted, 'more failure')}", "red")
        self._failures, self._failures_since = 0, self.clock()


class PlainDisplay(BatchDisplay):
    """Prints a line every 10 or 60 seconds."""

    _printed: tuple[Sequence[StatusField], bool] = ([], False)
    _printed_at = 0.0

    def tick(self) -> None:
        """Print a line if one is due."""
        super().tick()
        reason, now = self.wait_reason(), self.clock()
        # The seconds in a reason change all the time.
        state = (status_fields(evolve(self.progress, wait_reason=None)), reason is not None)
        shown = status_fields(evolve(self.progress, wait_reason=reason))
        if not shown or (state == self._printed and now - self._printed_at < _HEARTBEAT):
            return
        self._printed, self._printed_at = state, now
        of = "" if self.progress.total is None else f" of {self.progress.total:,}"
        first = f"{self.progress.done:,}{of} done"
        others = (each.text for each in (shown[1:] if self.progress.done else shown))
        self.console.print_note(f"{duration(self.elapsed):>12}  {', '.join([first, *others])}")


def rows(progress: Progress, elapsed: float, width: int, *, is_unicode: bool = True) -> list[Text]:
    """Lay out the region in rows narrower than `width`: a bar if the total is known, then the fields."""
    full, begun, empty, between = _LINES if is_unicode else _LINES_ASCII
    room = max(1, width - 1)
    bar = _bar(progress, room, (full, begun, empty)) if progress.total else []
    shown = [*status_fields(progress), StatusField(f"{duration(elapsed)} so far", "dim")]
    return bar + _flow(shown, room, between)


def _bar(progress: Progress, room: int, marks: tuple[str, str, str]) -> list[Text]:
    """Return one row: done, failed and in flight in their colours, then the count; none if it does not fit."""
    from rich.text import Text

    total = progress.total or 1
    ended = min(total, progress.done + progress.failed)
    label = f" {ended:,}/{total:,} {100 * ended // total}%"
    length = min(_MAX_BAR_LENGTH, room - len(label))
    if length < 4:
        return []
    # Rounded up, so that one failure among thousands is visible.
    failed = min(length, math.ceil(progress.failed * length / total))
    done = min(length - failed, length * (ended - progress.failed) // total)
    begun = min(length - failed - done, math.ceil(progress.in_flight * length / total))
    rest = length - done - failed - begun
    parts = ((0, done, "green"), (0, failed, "red"), (1, begun, "cyan"), (2, rest, "dim"))
    return [Text.assemble(*((marks[mark] * count, style) for mark, count, style in parts), (label, "bold"))]


def _flow(shown: list[StatusField], room: int, between: str) -> list[Text]:
    """Return fields in rows, broken between fields; a field that is too long for a row is truncated."""
    from rich.text import Text

    flowed: list[Text] = []
    for each in shown:
        piece = Text(each.text, style=each.style)
        piece.truncate(room)
        if flowed and flowed[-1].cell_len + len(between) + piece.cell_len <= room:
            flowed[-1].append(between, style="dim").append_text(piece)
        else:
            flowed.append(Text().append_text(piece))
    return flowed


class LiveBatchDisplay(BatchDisplay):
    """Redraws its region five times a second while it is entered."""

    period = _TICK

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(console, clock)
        self.region = LiveRegion(console)

    def open(self) -> None:
        """Draw the region."""
        self.region.open()
        self.tick()

    def tick(self) -> None:
        """Redraw the region."""
        super().tick()
        progress = evolve(self.progress, wait_reason=self.wait_reason())
        if progress.eta is not None:  # less the time since the update
            progress = evolve(progress, eta=max(0.0, progress.eta - (self.clock() - self._updated)))
        width, is_unicode = self.console.rich.width, self.console.is_unicode
        self.region.show(rows(progress, self.elapsed, width, is_unicode=is_unicode))

    def close(self) -> None:
        """Erase the region."""
        super().close()
        self.region.close()


def make_batch_display(console: Console) -> BatchDisplay:
    """Choose the display: a region on a terminal without a log, lines elsewhere, failures only if quiet."""
    if console.quiet:
        return BatchDisplay(console)
    return LiveBatchDisplay(console) if console.is_terminal and not console.verbose else PlainDisplay(console)
