"""Runs the coroutine of a command: `asyncio.run` once, exit codes, Ctrl-C in two steps.

Invariants: every way to end has a message (`report.py`) and a code; previous signal handlers are restored; outside the
main thread no signal is handled.
Must not: show a traceback unless `--verbose`; decide what stopping means.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from typing import Any, Self

from openai_images import ImagesError
from openai_images._util.heap import keep_freed
from openai_images.cli.console import Console
from openai_images.cli.report import ErrorReport, exit_code, report_error, report_from

INTERRUPTED = 130


def run_command(
    console: Console, command: Callable[[], Coroutine[Any, Any, int]], interrupted: Callable[[], ErrorReport]
) -> int:
    """Run the command and return its exit code; `interrupted` reports a Ctrl-C."""
    keep_freed(256 * 1024 * 1024)
    with _log_to_console(console):
        try:
            return asyncio.run(command())
        except KeyboardInterrupt:
            report_error(console, interrupted())
            return INTERRUPTED
        except ImagesError as error:
            report_error(console, report_from(error), error)
            return exit_code(error)
        except ModuleNotFoundError:
            raise
        except Exception as error:  # noqa: BLE001  a bug gets a message too
            report_error(console, _unexpected_report(error), error)
            return 1


def write_error_report(
    path: str, error: OSError, advice: str = "", *, maybe_billed: bool = False
) -> ErrorReport:
    """Make a report of a path that cannot be written."""
    kind = type(error).__name__
    message = f"cannot write to {path!r}: {error.strerror or kind}"
    return ErrorReport(error_type=kind, message=message, advice=advice, maybe_billed=maybe_billed)


def _unexpected_report(error: Exception) -> ErrorReport:
    """Report a bug; the text of the error may hold secrets, so only its name is shown."""
    return ErrorReport(
        error_type=type(error).__name__,
        message=f"something unexpected happened ({type(error).__name__})",
        advice="Please report it with what --verbose shows.",
    )


@contextmanager
def _log_to_console(console: Console) -> Generator[None]:
    """Write the package's log to stderr: warnings, and with `--verbose` everything."""
    log = logging.getLogger("openai_images")
    handler = _ConsoleHandler(console)
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG if console.verbose else logging.WARNING)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.print_note(f"{record.name}: {record.getMessage()}", "dim")
        except Exception:  # noqa: BLE001  logging ends no call
            self.handleError(record)


_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class InterruptHandler:
    """Calls `stop` in the event loop on the first signal and `abandon` on the second; a third is Python's own."""

    def __init__(self, stop: Callable[[], object], abandon: Callable[[], object]) -> None:
        self._steps = (stop, abandon)
        self._loop = asyncio.get_running_loop()
        self._previous: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
                # A signal that the parent ignores, as nohup does, stays so; None: not a handler of Python.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def _on_signal(self, *_: object) -> None:
        self.count += 1
        if self.count == len(self._steps):
            self._restore()
        # A handler runs between any two instructions: the loop calls the step when it is its turn.
        self._loop.call_soon_threadsafe(self._steps[self.count - 1])

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
