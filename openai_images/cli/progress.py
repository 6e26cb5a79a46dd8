"""What people see on stderr while a picture is painted.

Rules: a terminal gets one line that changes, with the pictures above it (`live.py`); everything else gets plain lines,
one for each thing that happens; quiet gets nothing. It refuses to fail: progress never stops a call that is paid for.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Self

from attrs import frozen

from openai_images.cli.preview import Preview, Way, find_way

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from openai_images import Image
    from openai_images.cli.console import Console

__all__ = ["PlainProgress", "Progress", "Step", "in_bytes", "make_preview"]

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
