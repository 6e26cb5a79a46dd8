"""Runs a command: its signals, its log records and warnings, and the report of its end.

Invariants: every end has a message and a code. Ctrl-C, SIGTERM and a closed terminal are the same; a signal that the
parent process ignores stays ignored. Log records and Python's warnings go through the console, so they appear above a
live display; a line begins with `warning:` or `error:`, with `--verbose` with the logger's name; `--quiet` prints only
errors.
Must not: stop or cancel anything in a signal handler itself; show a traceback without `--verbose`, as it
may contain secrets.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

from attrs import frozen

from openai_images import ImagesError
from openai_images._util.heap import keep_freed
from openai_images.cli.console import Console, Streams
from openai_images.cli.error_report import (
    ErrorReport,
    interrupted_report,
    name_options,
    report_error,
    report_from,
)

_PACKAGE = "openai_images"
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


@frozen(kw_only=True)
class OutputOptions:
    """Options of every command but `serve`."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False

    def make_console(self, streams: Streams) -> Console:
        """Make the console for these options."""
        return Console(streams.out, streams.err, quiet=self.quiet, verbose=self.verbose, as_json=self.as_json)


def run_command(
    console: Console,
    command: Coroutine[Any, Any, int],
    interrupted: Callable[[], ErrorReport] = lambda: interrupted_report("interrupted"),
) -> int:
    """Run the command and return its exit code; `interrupted` reports a Ctrl-C, SIGTERM or a closed terminal."""
    keep_freed(256 * 1024 * 1024)
    with diagnostics_to(console), endings_interrupt():
        try:
            return asyncio.run(command)
        except KeyboardInterrupt:
            return report_error(console, interrupted())
        except ImagesError as error:
            return report_error(console, report_from(error), error)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # noqa: BLE001  a bug gets a message too
            # The error's text may contain secrets: only its name is shown.
            kind = type(error).__name__
            message = f"an unexpected error happened ({kind})"
            advice = "Please report it with the output of --verbose."
            return report_error(console, ErrorReport(error_type=kind, message=message, advice=advice), error)


@contextmanager
def endings_interrupt() -> Generator[None]:
    """Handle SIGTERM and a closed terminal as Ctrl-C, so that a command reports what it did and what may be billed."""
    previous = _install(_interrupt, _SIGNALS[1:])
    try:
        yield
    finally:
        _restore(previous)


def _interrupt(_: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)  # asyncio's while a loop runs
    (handler if callable(handler) else signal.default_int_handler)(signal.SIGINT, frame)


def _install(handler: Callable[..., Any], names: tuple[str, ...]) -> dict[signal.Signals, Any]:
    """Install a handler, and return the previous ones."""
    previous: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (getattr(signal, name) for name in names if hasattr(signal, name)):
            # A signal that the parent process ignores (nohup) stays ignored; None: not a Python handler.
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                previous[number] = signal.signal(number, handler)
    return previous


def _restore(previous: dict[signal.Signals, Any]) -> None:
    while previous:
        number, handler = previous.popitem()
        signal.signal(number, handler)


class InterruptHandler:
    """Calls `stop` in the event loop on the first signal, and cancels this task on the second; Python has the third."""

    def __init__(self, stop: Callable[[], object]) -> None:
        self._stop = stop
        self._task: Any = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self._previous: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        self._previous = _install(self._on_signal, _SIGNALS)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._previous)

    def _on_signal(self, *_: object) -> None:
        self.count += 1
        if self.count == 2:
            _restore(self._previous)
        # A handler may run between any two instructions, so the loop calls the step.
        self._loop.call_soon_threadsafe(self._stop if self.count == 1 else self._task.cancel)

    def end_cancellation(self) -> bool:
        """Return whether the second signal has cancelled the task, which then goes on."""
        if self.count < 2:
            return False
        self._task.uncancel()
        return True


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
