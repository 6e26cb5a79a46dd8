"""Runs a command's coroutine and turns how it ended into an exit code.

Rules: `asyncio.run` is called once; every ending has its words (report.py) and its code; Ctrl-C cancels the
coroutine, which cleans up, and gives 130. It refuses to let an exception out as a traceback, unless `--verbose` asks
for it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from openai_images import ImagesError
from openai_images.cli.console import Console
from openai_images.cli.report import ErrorReport, exit_code, report_error, report_from

INTERRUPTED = 130


def run_command(
    console: Console,
    command: Callable[[], Coroutine[Any, Any, int]],
    interrupted: Callable[[], ErrorReport],
) -> int:
    """Run it to its end and give the exit code; `interrupted` says what Ctrl-C left behind."""
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
        except Exception as error:  # noqa: BLE001  the last line of defence: people get a sentence
            report_error(console, _unexpected_report(error), error)
            return 1


def _unexpected_report(error: Exception) -> ErrorReport:
    """A mistake of ours; its text may hold anything, so only its name is shown."""
    return ErrorReport(
        error_type=type(error).__name__,
        message=f"something unexpected happened ({type(error).__name__})",
        advice="Please report it with what --verbose shows.",
    )


@contextmanager
def _log_to_console(console: Console) -> Generator[None]:
    """The client's log on stderr: its warnings, and all of it with `--verbose`."""
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
    """Writes records as notes."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._console.print_note(f"{record.name}: {record.getMessage()}", "dim")
        except Exception:  # noqa: BLE001  a line of the log that cannot be made ends no call
            self.handleError(record)


_SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class InterruptHandler:
    """While entered, the first signal calls `stop` and the second `abandon`; `count` says how many there were."""

    def __init__(self, stop: Callable[[], object], abandon: Callable[[], object]) -> None:
        self._steps = (stop, abandon)
        self._loop = asyncio.get_running_loop()
        self._previous: dict[signal.Signals, Any] = {}
        self.count = 0

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)):
                # Whoever started this with a signal ignored, as nohup does, is obeyed; None is none of Python's.
                if signal.getsignal(number) not in (signal.SIG_IGN, None):
                    self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._restore()

    def _on_signal(self, *_: object) -> None:
        self.count += 1
        if self.count == len(self._steps):
            self._restore()
        # A handler runs between any two instructions of Python: what it calls had better wait for its turn.
        self._loop.call_soon_threadsafe(self._steps[self.count - 1])

    def _restore(self) -> None:
        while self._previous:
            number, handler = self._previous.popitem()
            signal.signal(number, handler)
