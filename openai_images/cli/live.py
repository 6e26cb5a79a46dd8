"""Progress on a terminal: one line that changes, and the pictures in place above it.

Rules: the cursor rests on the line that changes; pictures are drawn into lines made free before, so nothing
scrolls away under them; the end leaves whole lines behind and the cursor visible. It refuses to write more than the
terminal is wide.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Self

from openai_images.cli.progress import PlainProgress, Progress, Step, make_preview

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from openai_images import Image
    from openai_images.cli.console import Console
    from openai_images.cli.preview import Drawing, Preview

__all__ = ["LiveProgress", "make_progress"]

_TICK = 0.1
_SPINNER, _SPINNER_ASCII = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_DOTS, _DOTS_ASCII = ("●", "○"), ("*", ".")
_CLEAR = "\r\x1b[2K"
_HIDE_CURSOR, _SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"


class LiveProgress(PlainProgress):
    """Redraws its line ten times a second while it is entered."""

    def __init__(
        self, console: Console, preview: Preview | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to the console's stderr."""
        super().__init__(console, preview, clock)
        self._step = Step(stage="starting")
        self._rows = 0
        self._ticker: asyncio.Task[None] | None = None
        self._spinner = _SPINNER if console.is_unicode else _SPINNER_ASCII
        self._dots = _DOTS if console.is_unicode else _DOTS_ASCII

    async def __aenter__(self) -> Self:
        """Start to redraw."""
        self.console.err.write(_HIDE_CURSOR)
        self._draw_line()
        self._ticker = asyncio.create_task(self._tick())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clear the line, or leave the last step's words in it."""
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])
        self.console.err.write(_CLEAR + _SHOW_CURSOR)
        if self._step.is_last:
            super().advance(self._step)
        self.console.err.flush()

    def advance(self, step: Step) -> None:
        """Change the line."""
        self._step = step
        self._draw_line()

    async def show(self, image: Image, *, anew: bool = False) -> None:
        """Draw the picture above the line."""
        if self.preview is None:
            return
        try:
            drawing = await asyncio.to_thread(self.preview.draw, await image.read())
        except OSError:
            return
        if drawing is not None:
            self._place(drawing, anew=anew)

    def _place(self, drawing: Drawing, *, anew: bool) -> None:
        err = self.console.err
        if anew or drawing.rows != self._rows:
            err.write(_CLEAR + "\n" * drawing.rows)
            self._rows = drawing.rows
        err.write(f"{_CLEAR}\x1b[{self._rows}A{drawing.text}")
        self._draw_line()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK)
            self._draw_line()

    def _draw_line(self) -> None:
        from rich.text import Text

        step, seconds = self._step, self.elapsed
        line = Text()
        line.append(self._spinner[int(seconds / _TICK) % len(self._spinner)] + " ", style="cyan")
        if step.wanted:
            done, to_come = self._dots
            line.append(done * step.seen + to_come * (step.wanted - step.seen) + " ", style="magenta")
        line.append(str(step))
        line.append(f"  {seconds:.1f} s", style="dim")
        line.truncate(max(1, self.console.rich.width - 1))
        self.console.err.write(_CLEAR)
        self.console.rich.print(line, end="", no_wrap=True, overflow="ignore")
        self.console.err.flush()


def make_progress(console: Console, wish: bool | None) -> Progress:
    """The progress for this console; `wish` is `--preview`, `--no-preview` or None for neither."""
    if console.quiet:
        return Progress()
    preview = make_preview(console, wish)
    if console.is_terminal and not console.verbose:
        return LiveProgress(console, preview)
    return PlainProgress(console, preview)
