"""The output of a command: standard streams that cannot fail, the console, numbers and money as text.

Invariants: a `ResilientStream` never raises: characters that its encoding lacks are escaped; a stream that is closed,
full, absent or without a reader discards the rest and keeps the error. stdout gets complete lines, each flushed; stderr
gets colours only on a terminal without NO_COLOR; an amount that is not zero is never shown as zero; no line of a table
ends in white space.
Must not: import modules that slow `--help`, or write control characters of a server's text to the terminal.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from operator import methodcaller
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO, cast

if TYPE_CHECKING:
    from decimal import Decimal

    import rich.console


class ResilientStream:
    """A text stream that cannot fail; `is_lost`: nothing more can be written, `error` is the reason."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.error: Exception | None = None
        self._first = stream

    @property
    def is_lost(self) -> bool:
        """Whether nothing can be written."""
        return self.stream is None or self.error is not None

    @property
    def encoding(self) -> str:
        """Its encoding; UTF-8 if unknown."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write, with escapes for characters that the encoding lacks; discard if lost."""
        if not isinstance(cast("Any", text), str):
            raise TypeError  # click's test for a binary stream
        for encoding in ("", self.encoding, "ascii"):
            with suppress(UnicodeError, LookupError):
                shown = text.encode(encoding, "backslashreplace").decode(encoding) if encoding else text
                self._attempt(methodcaller("write", shown))
                break
        return len(text)

    @property
    def takes_bytes(self) -> bool:
        """Whether bytes can be written, not only text."""
        return not self.is_lost and hasattr(self.stream, "buffer")

    def write_bytes(self, data: bytes) -> bool:
        """Write bytes after the text so far; return whether all of them were written."""

        def write(stream: TextIO) -> None:
            stream.flush()
            rest = memoryview(data)
            while rest:  # without a buffer (PYTHONUNBUFFERED), a write may take only a part, or nothing
                if not (count := stream.buffer.write(rest)):
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                rest = rest[count:]
            stream.buffer.flush()

        self._attempt(write)
        return not self.is_lost

    def flush(self) -> None:
        """Flush; do nothing if lost."""
        self._attempt(methodcaller("flush"))

    def isatty(self) -> bool:
        """Return whether it is a terminal, and not lost."""
        return bool(self._attempt(methodcaller("isatty")))

    def fileno(self) -> int:
        """Return the descriptor. Raises OSError if there is none."""
        if self.stream is None or self.is_lost:
            raise OSError(errno.EBADF, "nothing can be written")
        return self.stream.fileno()

    def release(self) -> None:
        """If lost, keep the interpreter from writing to it at exit, which would print an error."""
        if self.error is not None and self._first in (sys.__stdout__, sys.__stderr__):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), cast("TextIO", self._first).fileno())

    def _attempt(self, action: Callable[[TextIO], Any]) -> Any:
        if self.stream is None or self.error is not None:
            return None
        try:
            return action(self.stream)
        except UnicodeError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self.error = error
            return None


class Streams(NamedTuple):
    """stdout and stderr."""

    out: ResilientStream
    err: ResilientStream


def prepare_descriptors() -> None:
    """Reserve descriptors 0 to 2 for the standard streams, and make them blocking."""
    with suppress(OSError):
        # The next file or socket would get a descriptor that the shell closed (`>&-`), and Python itself writes to 2.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(descriptor)
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            # Otherwise input is truncated and output lost.
            os.set_blocking(cast("TextIO", stream).fileno(), True)


async def wait_writable(stream: ResilientStream) -> None:
    """Wait until a pipe can be written: a slow reader must not block the event loop."""
    import asyncio

    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        descriptor = stream.fileno()
        loop.add_writer(descriptor, ready.set)
    # No descriptor, a file, or the loop of Windows.
    except (OSError, ValueError, AttributeError, NotImplementedError):
        return
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)


DEFAULT_MODEL: Final = "gpt-image-2"
"""Sent by every command; a client in Python sends none by default."""


def printable(text: str) -> str:
    """Replace control characters, which would control the terminal."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def json_line(record: Mapping[str, Any]) -> str:
    """Encode the record; a value that JSON cannot hold becomes text."""
    import json

    try:
        return json.dumps(record, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(json.loads(json.dumps(record, default=str), parse_constant=str))


class Console:
    """The output of a command; `verbose` adds the log and tracebacks."""

    def __init__(
        self,
        out: TextIO | ResilientStream,
        err: TextIO | ResilientStream,
        *,
        quiet: bool = False,
        verbose: bool = False,
        as_json: bool = False,
    ) -> None:
        self.out = out if isinstance(out, ResilientStream) else ResilientStream(out)
        self.err = err if isinstance(err, ResilientStream) else ResilientStream(err)
        self.quiet, self.verbose, self.as_json = quiet, verbose, as_json

    @cached_property
    def is_terminal(self) -> bool:
        """Whether stderr is a terminal that understands control codes."""
        return self.err.isatty() and os.environ.get("TERM", "") not in ("", "dumb")

    @cached_property
    def is_unicode(self) -> bool:
        """Whether stderr can encode more than ASCII."""
        try:
            "▀●○⠋".encode(self.err.encoding)
        except UnicodeEncodeError:
            return False
        return True

    @cached_property
    def rich(self) -> rich.console.Console:
        """The rich console on stderr, with styles if possible."""
        from rich.console import Console as RichConsole

        return RichConsole(
            file=cast("TextIO", self.err),
            force_terminal=self.is_terminal,
            force_interactive=self.is_terminal,
            highlight=False,
            markup=False,
            emoji=False,
        )

    def print_result(self, line: str) -> bool:
        """Print a line on stdout; return whether it was written."""
        self.out.write(line + "\n")
        self.out.flush()
        return not self.out.is_lost

    def print_record(self, record: Mapping[str, Any]) -> bool:
        """Print a JSON line on stdout; return whether it was written."""
        return self.print_result(json_line(record))

    def print_note(self, text: str, style: str = "") -> None:
        """Print a line on stderr, unless quiet."""
        if not self.quiet:
            self.print_message(text, style)

    def print_message(self, text: str, style: str = "") -> None:
        """Print a line on stderr, also if quiet."""
        self.rich.print(printable(text), style=style or None, soft_wrap=True)
        self.err.flush()


def plural(number: int, thing: str) -> str:
    """Format a count: `1 image`, `1,200 images`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Format the two largest units: `42 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _pair(whole // 60, "min", whole % 60, "s")
    minutes = round(whole / 60)
    if minutes < 1440:
        return _pair(minutes // 60, "h", minutes % 60, "min")
    hours = round(minutes / 60)
    return _pair(hours // 24, "d", hours % 24, "h")


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def dollars(amount: Decimal, rounding: str = "ROUND_HALF_UP") -> str:
    """Format US dollars with cents, below one dollar with up to four digits: `$12.30`, `$0.0412`, `$0.41`."""
    from decimal import Decimal

    cent, smallest = Decimal("0.01"), Decimal("0.0001")
    if amount >= 1 or not amount:
        return f"${amount.quantize(cent, rounding):,}"
    if amount < smallest:
        return f"under ${smallest}"
    fine = amount.quantize(smallest, rounding).normalize()
    cents = fine.quantize(cent)
    return f"${cents if cents == fine else fine}"


def decimal_text(amount: Decimal | None) -> str | None:
    """Return an amount for a JSON line, without an exponent."""
    return None if amount is None else f"{amount.normalize():f}"


def images_per_minute(rate: float) -> str:
    """Format a rate: `118 images/min`, `4.3 images/min`."""
    return f"{rate:,.{0 if rate >= 10 else 1}f} images/min"


def truncate(text: str, limit: int) -> str:
    """Return the text on one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def join_limited(names: Sequence[str], limit: int) -> str:
    """Join at most `limit` names: `a, b, c and 12 more`."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"


def table_lines(rows: Sequence[Sequence[str]], left: Collection[int] = (), indent: str = "") -> list[str]:
    """Return one line for each row; all rows have as many cells as the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent
        + "  ".join(
            cell.ljust(width) if number == 0 or number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
