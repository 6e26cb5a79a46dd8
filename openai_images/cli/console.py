"""Where a command writes and reads: results on stdout, messages on stderr, `-` from stdin.

Invariants: stdout gets whole lines, each flushed; stderr gets colours only on a terminal without NO_COLOR; a stdin that
is absent or unreadable is a usage error before anything is sent; text is UTF-8, UTF-16 with its mark, or the locale's.
Must not: pass control characters of a server's text on to the terminal.
"""

from __future__ import annotations

import codecs
import json
import os
import sys
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO, cast

import click
from attrs import define, field

from openai_images.cli.startup import ResilientStream, resilient

if TYPE_CHECKING:
    import rich.console


def printable(text: str) -> str:
    """Replace control characters, which a terminal would obey."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def json_line(record: Mapping[str, Any]) -> str:
    """Encode the record; a value that JSON cannot hold becomes text."""
    try:
        return json.dumps(record, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(json.loads(json.dumps(record, default=str), parse_constant=str))


@define(slots=False, eq=False)
class Console:
    """The output of a command; `verbose` adds the log and tracebacks."""

    out: ResilientStream = field(converter=resilient)
    err: ResilientStream = field(converter=resilient)
    quiet: bool = field(default=False, kw_only=True)
    verbose: bool = field(default=False, kw_only=True)
    as_json: bool = field(default=False, kw_only=True)

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
        """stderr, with styles if they can be shown."""
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
        """Print a line on stderr, quiet or not."""
        self.rich.print(printable(text), style=style or None, soft_wrap=True)
        self.err.flush()


def has_piped_stdin() -> bool:
    """Return whether stdin is a file or a pipe."""
    try:
        return sys.stdin is not None and not sys.stdin.isatty()
    except ValueError:  # closed
        return False


def read_stdin_bytes(what: str) -> bytes:
    """Read all of stdin; `what` names it in errors. Raises click.UsageError."""
    stdin: Any = sys.stdin
    if stdin is None:
        raise click.UsageError(f"- reads {what} from stdin, which is closed; use < FILE or a pipe.")
    try:
        data: Any = getattr(stdin, "buffer", stdin).read()  # one in memory may be text
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise click.UsageError(f"- reads {what} from stdin, which cannot be read: {why}.") from None
    return data.encode(errors="surrogatepass") if isinstance(data, str) else data or b""


def read_stdin_text(what: str) -> str:
    """Read all of stdin as text. Raises click.UsageError."""
    data = read_stdin_bytes(what)
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encodings = ["utf-16"] if marked else ["utf-8-sig", getattr(sys.stdin, "encoding", None) or "utf-8"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    raise click.UsageError(f"- reads {what} from stdin, and what is there is not UTF-8; convert it.")
