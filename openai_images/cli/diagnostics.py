"""Prints log records and Python's warnings on the console of a command.

Invariants: all of them go through the console, so they appear above a live display; a line begins with `warning:` or
`error:`, with `--verbose` with the logger's name; `--quiet` prints only errors.
Must not: show a traceback without `--verbose`: it may contain secrets.
"""

from __future__ import annotations

import logging
import re
import traceback
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from openai_images.cli.console import Console

_PACKAGE = "openai_images"
_KEYWORDS = re.compile(r"\b(?:max_image_cost|retry_(?:failed|missing|unknown))\b")


@contextmanager
def diagnostics_to(console: Console) -> Generator[None]:
    """Print the log records of any library and Python's warnings; with `verbose` all records of the package."""
    root, log, handler = logging.getLogger(), logging.getLogger(_PACKAGE), ConsoleHandler(console)
    level, show = log.level, warnings.showwarning

    def show_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        console.print_note(f"warning: {message} ({category.__name__})", "yellow")

    root.addHandler(handler)
    log.setLevel(logging.DEBUG if console.verbose else logging.WARNING)
    warnings.showwarning = show_warning
    try:
        yield
    finally:
        warnings.showwarning = show
        root.removeHandler(handler)
        log.setLevel(level)


def name_options(text: str) -> str:
    """Return a message of the package with options in place of its keywords."""
    return _KEYWORDS.sub(lambda found: f"--{found[0].replace('_', '-')}", text)


class ConsoleHandler(logging.Handler):
    """Prints records on a console's stderr."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record."""
        try:
            self._print(record)
        except Exception:  # noqa: BLE001  logging must not end a call
            self.handleError(record)

    def _print(self, record: logging.LogRecord) -> None:
        console, text = self._console, record.getMessage()
        if record.levelno < logging.WARNING:
            console.print_note(f"{record.name}: {text}", "dim")
            return
        text = name_options(text) if record.name == _PACKAGE else f"{record.name}: {text}"
        if record.levelno < logging.ERROR:
            console.print_note(f"warning: {text}", "yellow")
        else:
            console.print_message(f"error: {text}", "red")
        if console.verbose and record.exc_info and record.exc_info[1] is not None:
            console.print_note("".join(traceback.format_exception(record.exc_info[1])))
