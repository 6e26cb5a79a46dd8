"""The rows of a live display at the bottom of a terminal.

Invariants: while it is open, all text that any thread writes to stderr, or to a stdout that is a terminal, appears on
separate lines above the rows; rows are smaller than the terminal, so that they can be erased; `close` erases them and
makes the cursor visible.
Must not: raise: a display never stops a paid call.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO, cast

from openai_images.cli.console import Console, ResilientStream

if TYPE_CHECKING:
    from rich.text import Text

_ERASE_LINE, _ERASE_LINE_ABOVE = "\r\x1b[2K", "\x1b[1A\x1b[2K"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
_STYLE = re.compile(r"\x1b\[[0-9;]*m")


class LiveRegion:
    """Rows that are redrawn in place; `texts_above` counts the texts that other code wrote meanwhile."""

    def __init__(self, console: Console) -> None:
        self.texts_above = 0
        self._console = console
        self._previous = console.out.stream, console.err.stream
        self._terminal = ResilientStream(console.err.stream)
        self._drawn = ""
        self._widths: list[int] = []
        self._is_shown = False
        self._is_line_open = False
        self._lock = threading.RLock()

    def open(self) -> None:
        """Redirect both streams to write above the rows."""
        console = self._console
        console.err.stream = cast("TextIO", _StreamAbove(cast("TextIO", self._terminal), self))
        if console.out.isatty() and console.out.stream is not None:
            console.out.stream = cast("TextIO", _StreamAbove(console.out.stream, self))
        self._terminal.write(_HIDE_CURSOR)

    def show(self, rows: Sequence[Text]) -> None:
        """Replace the rows; wait while a line above them is unfinished."""
        with self._lock:
            if not self._is_line_open:
                self.erase()
                self._drawn = self._render(rows)
                self._draw()

    def write(self, text: str) -> None:
        """Write lines of the display itself above the rows."""
        self._write_above(cast("TextIO", self._terminal), text)

    def write_foreign(self, stream: TextIO, text: str) -> int:
        """Write other code's text above the rows."""
        self.texts_above += 1
        return self._write_above(stream, text)

    def close(self) -> None:
        """Erase the rows and restore the streams."""
        with self._lock:
            self.erase()
            self._console.out.stream, self._console.err.stream = self._previous
            self._terminal.write(_SHOW_CURSOR)
            self._terminal.flush()

    def erase(self) -> None:
        """Erase the rows, so that text can replace them."""
        if self._is_shown:
            # If the terminal was made narrower, it has wrapped the rows.
            width = max(1, self._console.rich.width)
            lines = sum(max(1, math.ceil(row / width)) for row in self._widths)
            self._terminal.write(_ERASE_LINE + _ERASE_LINE_ABOVE * (lines - 1))
            self._terminal.flush()
            self._is_shown = False

    def _write_above(self, stream: TextIO, text: str) -> int:
        with self._lock:
            self.erase()
            try:
                count = stream.write(text)
                stream.flush()
            finally:
                # Before version 15, rich ends the style after the line feed.
                self._is_line_open = not _STYLE.sub("", text).endswith("\n")
                self._draw()
        return count

    def _draw(self) -> None:
        if self._drawn and not self._is_line_open:
            self._terminal.write(self._drawn)
            self._terminal.flush()
            self._is_shown = True

    def _render(self, rows: Sequence[Text]) -> str:
        rich = self._console.rich
        shown = rows[: max(1, rich.size.height - 1)]
        self._widths = [row.cell_len for row in shown]
        with rich.capture() as capture:
            for number, row in enumerate(shown, 1):
                rich.print(row, end="" if number == len(shown) else "\n", no_wrap=True, overflow="ignore")
        return capture.get()


class _StreamAbove:
    """A stream to the same terminal that writes above the rows."""

    def __init__(self, stream: TextIO, region: LiveRegion) -> None:
        self._stream = stream
        self._region = region
        self.encoding = stream.encoding

    def write(self, text: str) -> int:
        return self._region.write_foreign(self._stream, text) if text else 0

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return True
