"""Runs a command: its signals, its log records and warnings, and the report of its end.

Invariants: every end has a message and a code. Ctrl-C, SIGTERM and a closed terminal are the same; a second one ends a
command within about a second, also if a thread of it never ends; a signal that the parent process ignores stays
ignored. Log records and Python's warnings go through the console, so they appear above a
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
from typing import Any, Self

from attrs import frozen

from openai_images import ImagesError
from openai_images._util.heap import keep_freed
from openai_images.cli.console import Console, Streams
from openai_images.cli.error_report import (
    INTERRUPTED,
    ErrorReport,
    interrupted_report,
    name_options,
    report_error,
    report_from,
)

_PACKAGE = "openai_images"
_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
_GRACE = 1.0
"""Seconds in which a command ends in order after a second signal."""
_PATIENCE = 2.0
"""Seconds after the first signal until a command that still runs prints a note."""
_STILL_WAITING = "still waiting for a file or for the network; press Ctrl-C again to end now"


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
    runner = asyncio.Runner()
    loop = runner.get_loop()
    task = loop.create_task(command)

    def stop() -> None:
        task.cancel()
        loop.call_later(_PATIENCE, console.print_message, _STILL_WAITING, "bold yellow")

    with diagnostics_to(console), InterruptHandler(stop, task) as interrupts:
        try:
            return _run(runner, task)
        except (KeyboardInterrupt, asyncio.CancelledError):
            interrupts.count = 0  # the next ones do not interrupt the report
            is_reported = task.done() and not task.cancelled() and task.exception() is None
            return INTERRUPTED if is_reported else report_error(console, interrupted())
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


def _ignore(*_: object) -> None:
    pass


def _run(runner: asyncio.Runner, task: asyncio.Task[int]) -> int:
    """Run the task and close the loop, unless it does not end after a second Ctrl-C."""
    loop = runner.get_loop()
    try:
        code = loop.run_until_complete(task)
    except _ForcedEndError:
        loop.set_exception_handler(_ignore)  # about tasks that never end
        raise
    except BaseException:
        runner.close()
        raise
    runner.close()
    return code


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


class _ForcedEndError(KeyboardInterrupt):
    """Ends a loop whose task does not end."""


class InterruptHandler:
    """Calls `stop` in the event loop on the first signal, and cancels the task on the second.

    A second after that the loop ends with a KeyboardInterrupt, whatever it waits for; after a third signal immediately.
    The task is by default the current one.
    """

    def __init__(self, stop: Callable[[], object], task: asyncio.Task[Any] | None = None) -> None:
        self._stop = stop
        current: Any = asyncio.current_task() if task is None else task
        self._task: asyncio.Task[Any] = current
        self._loop = self._task.get_loop()
        self._previous: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        self._previous = _install(self._on_signal, _SIGNALS)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._previous)

    def _on_signal(self, number: int, _: object) -> None:
        if self.count and signal.Signals(number).name == "SIGHUP":  # the shell and the kernel both send one
            return
        self.count += 1
        if self.count > 2:
            raise _ForcedEndError
        # A handler may run between any two instructions, so the loop calls the step.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._step, self.count)

    def _step(self, count: int) -> None:
        if count == 1 and not self._task.done():
            self._stop()
            return
        self._task.cancel()
        self._loop.call_later(_GRACE, _end_loop)

    def end_cancellation(self) -> bool:
        """Return whether the second signal has cancelled the task, which then goes on."""
        if self.count < 2:
            return False
        self._task.uncancel()
        return True


def _end_loop() -> None:
    raise _ForcedEndError


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
