"""The two streams of a command: results on stdout, words for people on stderr.

Rules: stdout gets whole lines, flushed at once; stderr gets colours only where it is a terminal and NO_COLOR is not
set; `quiet` leaves out everything but errors; a stderr that nobody reads any more stops nothing. It refuses to pass
control characters on: a server's text is a stranger's.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from attrs import define, field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import rich.console

__all__ = ["Console", "Unbreakable", "printable"]

_T = TypeVar("_T")


def printable(text: str) -> str:
    """The text without control characters, which a terminal would obey."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


class Unbreakable:
    """A text stream that goes silent when nobody reads it any more: the picture on its way is paid for."""

    def __init__(self, stream: TextIO) -> None:
        """Write to `stream` as long as that works."""
        self.stream = stream
        self.encoding = stream.encoding
        self._is_broken = False

    def write(self, text: str) -> int:
        """Write, or not."""
        return self._try(lambda: self.stream.write(text)) or 0

    def flush(self) -> None:
        """Flush, or not."""
        self._try(self.stream.flush)

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self.stream.isatty()

    def _try(self, action: Callable[[], _T]) -> _T | None:
        if not self._is_broken:
            try:
                return action()
            except OSError:
                self._is_broken = True
        return None


@define(slots=False, eq=False)
class Console:
    """Where a command writes; `verbose` adds the client's log and tracebacks."""

    out: TextIO
    err: Unbreakable = field(converter=Unbreakable)
    quiet: bool = field(default=False, kw_only=True)
    verbose: bool = field(default=False, kw_only=True)
    as_json: bool = field(default=False, kw_only=True)

    @cached_property
    def is_terminal(self) -> bool:
        """Whether stderr is a terminal that understands control codes."""
        return self.err.isatty() and os.environ.get("TERM", "") not in ("", "dumb")

    @cached_property
    def is_unicode(self) -> bool:
        """Whether stderr can be given more than ASCII."""
        try:
            "▀●○⠋".encode(self.err.encoding or "utf-8")
        except UnicodeEncodeError:
            return False
        return True

    @cached_property
    def rich(self) -> rich.console.Console:
        """stderr, with styles where they can be shown."""
        from rich.console import Console as RichConsole

        return RichConsole(
            file=cast("TextIO", self.err),
            force_terminal=self.is_terminal,
            force_interactive=self.is_terminal,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def result(self, line: str) -> None:
        """One line on stdout."""
        self.out.write(line + "\n")
        self.out.flush()

    def record(self, record: Mapping[str, Any]) -> None:
        """One JSON line on stdout."""
        self.result(json.dumps(record))

    def note(self, text: str, style: str = "") -> None:
        """A line on stderr, unless quiet."""
        if not self.quiet:
            self.always(text, style)

    def always(self, text: str, style: str = "") -> None:
        """A line on stderr, quiet or not."""
        self.rich.print(printable(text), style=style or None, soft_wrap=True)
        self.err.flush()
