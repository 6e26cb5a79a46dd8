"""What people see on stderr while a picture is painted.

Rules: a terminal gets one line that changes, with the pictures above it (`LiveProgress`); everything else gets plain
lines, one for each thing that happens; quiet gets nothing. It refuses to fail: progress never stops a call that is
paid for.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

from attrs import define, frozen

from openai_images.cli.preview import Preview, Way, find_way

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from openai_images import Image
    from openai_images.cli.console import Console
    from openai_images.cli.preview import Drawing

_TALLEST = 30
_BESIDE = 3  # lines of the terminal that are left for text


@frozen(kw_only=True)
class Step:
    """How far a call has come: `seen` of `wanted` partial images, `nbytes` of pictures received."""

    stage: str
    seen: int = 0
    wanted: int = 0
    nbytes: int = 0
    is_last: bool = False

    def __str__(self) -> str:
        """In words."""
        return ", ".join(filter(None, [self.stage, in_bytes(self.nbytes) if self.nbytes else ""]))


def in_bytes(number: int) -> str:
    """A size as people read it."""
    if number < 1000:
        return f"{number} bytes"
    return f"{number / 1000:.0f} kB" if number < 1_000_000 else f"{number / 1_000_000:.1f} MB"


class Progress:
    """Shows nothing."""

    async def __aenter__(self) -> Self:
        """Begin."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End, well or not."""

    def advance(self, step: Step) -> None:
        """Something happened."""

    async def show(self, image: Image, *, anew: bool = False) -> None:
        """Show a picture in the place of the last one, or, `anew`, below it."""


class PlainProgress(Progress):
    """A line for each step, and no control codes; pictures only if `--preview` asked for them."""

    def __init__(
        self, console: Console, preview: Preview | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Write to the console's stderr."""
        self.console = console
        self.preview = preview
        self._clock = clock
        self._started = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._started

    def advance(self, step: Step) -> None:
        """A line."""
        self.console.note(f"{self.elapsed:6.1f} s  {step}")

    async def show(self, image: Image, *, anew: bool = False) -> None:  # noqa: ARG002  every picture is below the last
        """The picture in lines."""
        if self.preview is not None:
            try:
                drawing = await asyncio.to_thread(self.preview.draw, await image.read())
            except OSError:
                return
            self.console.err.write("" if drawing is None else drawing.text)


def make_preview(console: Console, wish: bool | None) -> Preview | None:
    """How to show pictures: as `--preview` or `--no-preview` say; by itself only where stderr is a terminal."""
    if wish is False or console.quiet or not (wish or console.is_terminal):
        return None
    way = find_way(os.environ)
    if way is None or not console.is_unicode:
        return None
    if find_spec("PIL") is None:
        if wish:
            raise ModuleNotFoundError(name="PIL")
        return None
    if not console.is_terminal and way in (Way.KITTY, Way.ITERM2):
        way = Way.BLOCKS_24_BIT
    columns, lines = shutil.get_terminal_size()
    return Preview(way, max(8, columns - 1), max(4, min(_TALLEST, lines - _BESIDE)))


_MOST_DOTS = 40


@define
class Seen:
    """Of so many `pictures`, with up to `each` partial images each: how many of both have come, and their bytes."""

    pictures: int
    each: int
    partial: int = 0
    done: int = 0
    nbytes: int = 0

    @property
    def is_several(self) -> bool:
        """Whether pictures are counted."""
        return self.pictures > 1

    def step(self, stage: str) -> Step:
        """A step with the dots of what has come."""
        if not self.is_several:
            return Step(stage=stage, seen=self.partial, wanted=self.each, nbytes=self.nbytes)
        dots = self.pictures if self.pictures <= _MOST_DOTS else 0
        return Step(stage=stage, seen=min(self.done, dots), wanted=dots, nbytes=self.nbytes)

    def sending(self, stage: str, attempts: int) -> Step:
        """One more request goes out."""
        if attempts > 1:
            stage += f" ({attempts} requests sent)" if self.is_several else f" (attempt {attempts})"
        return self.step(stage)

    def partial_image(self, image: Image) -> Step:
        """A partial image has come."""
        self.partial += 1
        self.nbytes += image.nbytes
        return self.step(f"partial image {self.partial} of {self.each * self.pictures}")

    def completed(self, image: Image) -> Step | None:
        """A finished picture has come; of one alone that is the end, and told there."""
        self.done += 1
        self.nbytes += image.nbytes
        return self.step(f"picture {self.done} of {self.pictures}") if self.is_several else None

    def end(self, nbytes: int) -> Step:
        """All is here, so many bytes of finished pictures."""
        after = (
            f" after {self.partial} partial image{'s' if self.partial > 1 else ''}" if self.partial else ""
        )
        return Step(stage=f"done{after}", nbytes=nbytes, is_last=True)


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
