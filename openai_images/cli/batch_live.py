"""How far a batch is, on a terminal: a bar and status fields, below everything else that is written.

Invariants: a write to either stream appears above the region, which is erased for it and drawn again; no row is as
wide as the terminal, no more rows are drawn than it has; `close` leaves nothing of it and the cursor visible.
Must not: print a line for each image.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, TextIO, cast

from attrs import evolve

from openai_images import Progress
from openai_images.cli.batch_progress import BatchDisplay, Clock, PlainDisplay, StatusField, status_fields
from openai_images.cli.console import Console
from openai_images.cli.startup import ResilientStream
from openai_images.cli.text import duration

if TYPE_CHECKING:
    from rich.text import Text

_TICK = 0.2
_WIDEST_BAR = 100
_ERASE_LINE, _ERASE_LINE_ABOVE = "\r\x1b[2K", "\x1b[1A\x1b[2K"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_LINES, _LINES_ASCII = ("━", "╍", "─", " · "), ("#", ">", "-", ", ")


def rows(progress: Progress, elapsed: float, width: int, *, is_unicode: bool = True) -> list[Text]:
    """Lay out the region in rows narrower than `width`: a bar if the total is known, then the fields."""
    full, begun, empty, between = _LINES if is_unicode else _LINES_ASCII
    room = max(1, width - 1)
    made = _bar(progress, room, (full, begun, empty)) if progress.total else []
    return made + _flowed(
        [*status_fields(progress), StatusField(f"{duration(elapsed)} so far", "dim")], room, between
    )


def _bar(progress: Progress, room: int, marks: tuple[str, str, str]) -> list[Text]:
    """One row: done, failed and in flight in their colours, then the count; none without room."""
    from rich.text import Text

    total = progress.total or 1
    ended = min(total, progress.done + progress.failed)
    label = f" {ended:,}/{total:,} {100 * ended // total}%"
    length = min(_WIDEST_BAR, room - len(label))
    if length < 4:
        return []
    # Every share that is not zero has a mark, so that a failure among thousands shows.
    failed = _share(progress.failed, total, length)
    done = min(length - failed, length * (ended - progress.failed) // total)
    begun = min(length - failed - done, _share(progress.in_flight, total, length))
    bar = Text().append(marks[0] * done, style="green")
    bar.append(marks[0] * failed, style="red")
    bar.append(marks[1] * begun, style="cyan")
    bar.append(marks[2] * (length - done - failed - begun), style="dim")
    bar.append(label, style="bold")
    return [bar]


def _share(number: int, total: int, length: int) -> int:
    return min(length, math.ceil(number * length / total))


def _flowed(said: list[StatusField], room: int, between: str) -> list[Text]:
    """Fields in rows, broken between fields; one too long for a row is cut."""
    from rich.text import Text

    made: list[Text] = []
    for fact in said:
        piece = Text(fact.text, style=fact.style)
        piece.truncate(room)
        if made and made[-1].cell_len + len(between) + piece.cell_len <= room:
            made[-1].append(between, style="dim").append_text(piece)
        else:
            made.append(Text().append_text(piece))
    return made


class LiveBatchDisplay(BatchDisplay):
    """Redraws its region five times a second while it is entered."""

    period = _TICK

    def __init__(self, console: Console, clock: Clock = Clock()) -> None:  # noqa: B008  frozen
        super().__init__(console, clock)
        self._before = console.out.stream, console.err.stream
        self._terminal = ResilientStream(console.err.stream)
        self._drawn = ""
        self._widths: list[int] = []
        self._is_shown = False
        self._is_line_open = False
        self._updated = self._started

    def open(self) -> None:
        """Draw the region and divert both streams to write above it."""
        console = self.console
        console.err.stream = cast("TextIO", _Above(cast("TextIO", self._terminal), self))
        if console.out.isatty() and console.out.stream is not None:
            console.out.stream = cast("TextIO", _Above(console.out.stream, self))
        self._terminal.write(_HIDE_CURSOR)
        self.tick()

    def update(self, progress: Progress) -> None:
        """Take the progress, for the next tick."""
        self._updated = self.clock.now()
        super().update(progress)

    def tick(self) -> None:
        """Redraw the region."""
        super().tick()
        if not self._is_line_open:
            self.erase()
            self._draw_anew()
            self.draw()

    def close(self) -> None:
        """Erase the region and restore the streams."""
        super().close()
        self.erase()
        self.console.out.stream, self.console.err.stream = self._before
        self._terminal.write(_SHOW_CURSOR)
        self._terminal.flush()

    def erase(self) -> None:
        """Erase the region, to write in its place."""
        if self._is_shown:
            # A terminal that was made narrower since has wrapped the rows.
            width = max(1, self.console.rich.width)
            lines = sum(max(1, math.ceil(row / width)) for row in self._widths)
            self._terminal.write(_ERASE_LINE + _ERASE_LINE_ABOVE * (lines - 1))
            self._terminal.flush()
            self._is_shown = False

    def draw(self, after: str = "\n") -> None:
        """Write the region again, below the text `after` which it is due; not after an unfinished line."""
        # rich before 15 ends the style after the line feed.
        self._is_line_open = not _STYLE.sub("", after).endswith("\n")
        if self._drawn and not self._is_line_open:
            self._terminal.write(self._drawn)
            self._terminal.flush()
            self._is_shown = True

    def _draw_anew(self) -> None:
        size = self.console.rich.size
        shown = rows(self._now(), self.elapsed, size.width, is_unicode=self.console.is_unicode)
        shown = shown[: max(1, size.height - 1)]
        self._widths = [row.cell_len for row in shown]
        with self.console.rich.capture() as capture:
            for number, row in enumerate(shown, 1):
                self.console.rich.print(row, end="" if number == len(shown) else "\n", no_wrap=True)
        self._drawn = capture.get()

    def _now(self) -> Progress:
        """The progress, its ETA reduced by the time since the update."""
        eta = self.progress.eta
        if eta is None:
            return self.progress
        return evolve(self.progress, eta=max(0.0, eta - (self.clock.now() - self._updated)))


class _Above:
    """A stream to the same terminal that writes above the region."""

    def __init__(self, stream: TextIO, display: LiveBatchDisplay) -> None:
        self._stream = stream
        self._display = display
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        if not text:
            return 0
        self._display.erase()
        try:
            count = self._stream.write(text)
            self._stream.flush()
        finally:
            self._display.draw(after=text)
        return count

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return True


def make_batch_display(console: Console) -> BatchDisplay:
    """Choose the display: a region on a terminal without a log, lines elsewhere, failures only if quiet."""
    if console.quiet:
        return BatchDisplay(console)
    return LiveBatchDisplay(console) if console.is_terminal and not console.verbose else PlainDisplay(console)
