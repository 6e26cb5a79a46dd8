"""Progress of one call on stderr: plain lines, or on a terminal one changing line below the images.

Invariants: images are drawn into lines that were freed before, so nothing scrolls, and never over a text; no line is as
wide as the terminal; at the end all lines are complete.
Must not: raise: progress never stops a paid call.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import Self

from attrs import define, frozen

from openai_images import Image
from openai_images.cli.console import Console, plural
from openai_images.cli.live_region import LiveRegion
from openai_images.cli.preview import Drawing, Preview, TerminalProtocol, detect_protocol

_TICK = 0.1
_MAX_ROWS = 30
_MAX_DOTS = 40
_SPINNER, _SPINNER_ASCII = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "|/-\\"
_DOTS, _DOTS_ASCII = ("●", "○"), ("*", ".")
_TEXT_LINES = 3  # lines left for text


@frozen(kw_only=True)
class ProgressStep:
    """The progress of a call: `received` of `expected` partial images; the image of this step has `nbytes`."""

    stage: str
    received: int = 0
    expected: int = 0
    nbytes: int = 0
    is_last: bool = False

    def __str__(self) -> str:
        return ", ".join(filter(None, [self.stage, format_bytes(self.nbytes) if self.nbytes else ""]))


def format_bytes(number: int) -> str:
    """Format a size: `999 bytes`, `205 kB`, `1.8 MB`."""
    if number < 1000:
        return f"{number} bytes"
    return f"{number / 1000:.0f} kB" if number < 1_000_000 else f"{number / 1_000_000:.1f} MB"


class Display:
    """While entered, calls `tick` every `period` seconds (None: never), between `open` and `close`."""

    period: float | None = None
    _ticker: asyncio.Task[None] | None = None
    _is_open = False

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self.clock = clock
        self._started = clock()

    @property
    def elapsed(self) -> float:
        """Seconds since it was made or entered."""
        return self.clock() - self._started

    async def __aenter__(self) -> Self:
        self._started, self._is_open = self.clock(), True
        self.open()
        if self.period is not None:
            self._ticker = asyncio.create_task(self._keep_ticking(self.period))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
            await asyncio.wait([self._ticker])
        self.end()

    def end(self) -> None:
        """Close it, if it is open."""
        if self._is_open:
            self._is_open = False
            self.close()

    def open(self) -> None:
        """Begin; called on entry."""

    def tick(self) -> None:
        """Do what is due."""

    def close(self) -> None:
        """End; called once."""

    async def _keep_ticking(self, period: float) -> None:
        while True:
            await asyncio.sleep(period)
            self.tick()


class ProgressDisplay(Display):
    """Shows nothing; `wait_reason` returns why the call waits, which replaces the step."""

    wait_reason: Callable[[], str | None] = staticmethod(lambda: None)

    def advance(self, step: ProgressStep) -> None:
        """Show a step."""

    async def show(self, image: Image, *, anew: bool = False) -> None:
        """Show an image in place of the last one; if `anew`, below it."""


class PlainProgress(ProgressDisplay):
    """Prints a line for each step, without control codes; images only with `--preview`."""

    def __init__(
        self, console: Console, preview: Preview | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(console, clock)
        self.preview = preview

    def advance(self, step: ProgressStep) -> None:
        """Print a line."""
        self.console.print_note(f"{self.elapsed:6.1f} s  {step}")

    async def show(self, image: Image, *, anew: bool = False) -> None:  # noqa: ARG002  always below the last
        """Print the image as lines."""
        drawing = await self.draw(image)
        self.console.err.write("" if drawing is None else drawing.text)

    async def draw(self, image: Image) -> Drawing | None:
        """Draw the image in a thread; None if it cannot be shown."""
        if self.preview is None:
            return None
        try:
            return await asyncio.to_thread(self.preview.draw, await image.read())
        except OSError:
            return None


def make_preview(console: Console, wish: bool | None) -> Preview | None:
    """Make the preview if `wish` or the terminal allows it; None without one. Raises ModuleNotFoundError."""
    if wish is False or console.quiet or not (wish or console.is_terminal):
        return None
    protocol = detect_protocol(os.environ)
    if protocol is None or not console.is_unicode:
        return None
    if find_spec("PIL") is None:
        if wish:
            raise ModuleNotFoundError(name="PIL")
        return None
    if not console.is_terminal and protocol in (TerminalProtocol.KITTY, TerminalProtocol.ITERM2):
        protocol = TerminalProtocol.BLOCKS_24_BIT
    columns, lines = shutil.get_terminal_size()
    return Preview(protocol, max(8, columns - 1), max(4, min(_MAX_ROWS, lines - _TEXT_LINES)))


@define
class CallProgress:
    """Counts the images of a call and their partial images; each method returns the step to show."""

    image_count: int
    partials_per_image: int
    partials: int = 0
    done: int = 0

    @property
    def has_several_images(self) -> bool:
        """Whether images are counted instead of partial images."""
        return self.image_count > 1

    def step(self, stage: str, image: Image | None = None) -> ProgressStep:
        """Make a step with the current counts, and the size of its image."""
        received, expected = self.partials, self.partials_per_image
        if self.has_several_images:
            expected = self.image_count if self.image_count <= _MAX_DOTS else 0
            received = min(self.done, expected)
        nbytes = 0 if image is None else image.nbytes
        return ProgressStep(stage=stage, received=received, expected=expected, nbytes=nbytes)

    def send(self, stage: str, attempts: int) -> ProgressStep:
        """Count a request."""
        if attempts > 1 and self.has_several_images:
            stage += f" ({attempts} requests sent)"
        elif attempts > 1:  # whether it connects this time is not known yet
            stage = f"retrying (attempt {attempts})"
        return self.step(stage)

    def add_partial(self, image: Image) -> ProgressStep:
        """Count a partial image."""
        self.partials += 1
        total = self.partials_per_image * self.image_count
        return self.step(f"partial image {self.partials} of {total}", image)

    def add_image(self, image: Image) -> ProgressStep | None:
        """Count a finished image; return None for a single image, which `finish` reports."""
        self.done += 1
        stage = f"image {self.done} of {self.image_count}"
        return self.step(stage, image) if self.has_several_images else None

    def finish(self, nbytes: int) -> ProgressStep:
        """Make the last step; all images together have `nbytes`."""
        after = f" after {plural(self.partials, 'partial image')}" if self.partials else ""
        return ProgressStep(stage=f"done{after}", nbytes=nbytes, is_last=True)


class LiveProgress(PlainProgress):
    """Redraws one line ten times a second while it is entered."""

    period = _TICK
    _step = ProgressStep(stage="starting")
    _rows = 0
    _texts_above = 0

    def __init__(
        self, console: Console, preview: Preview | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(console, preview, clock)
        self._region = LiveRegion(console)

    def open(self) -> None:
        """Draw the line."""
        self._region.open()
        self.tick()

    def close(self) -> None:
        """Clear the line, or leave the last step on it."""
        self._region.close()
        if self._step.is_last:
            super().advance(self._step)
        self.console.err.flush()

    def advance(self, step: ProgressStep) -> None:
        """Change the line."""
        self._step = step
        self.tick()

    async def show(self, image: Image, *, anew: bool = False) -> None:
        """Draw the image above the line: over the last one, unless text was written below that."""
        drawing = await self.draw(image)
        if drawing is None:
            return
        texts_above = self._region.texts_above
        is_in_place = not anew and (drawing.rows, texts_above) == (self._rows, self._texts_above)
        self._rows, self._texts_above = drawing.rows, texts_above
        free = "" if is_in_place else "\n" * drawing.rows
        self._region.write(f"{free}\x1b[{drawing.rows}A{drawing.text}")

    def tick(self) -> None:
        """Draw the line."""
        from rich.text import Text

        step, seconds = self._step, self.elapsed
        spinner, (full, empty) = (
            (_SPINNER, _DOTS) if self.console.is_unicode else (_SPINNER_ASCII, _DOTS_ASCII)
        )
        line = Text().append(spinner[int(seconds / _TICK) % len(spinner)] + " ", "cyan")
        if step.expected:
            dots = full * step.received + empty * (step.expected - step.received)
            line.append(dots + " ", style="magenta")
        line.append(self.wait_reason() or str(step))
        line.append(f"  {seconds:.1f} s", style="dim")
        line.truncate(max(1, self.console.rich.width - 1))
        self._region.show([line])


def make_progress_display(console: Console, wish: bool | None) -> ProgressDisplay:
    """Choose the display; `wish` is True for `--preview`, False for `--no-preview`, else None."""
    if console.quiet:
        return ProgressDisplay(console)
    preview = make_preview(console, wish)
    if console.is_terminal and not console.verbose:
        return LiveProgress(console, preview)
    return PlainProgress(console, preview)
