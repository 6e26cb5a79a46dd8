"""What `-` stands for: all of stdin.

Invariants: a stdin that is absent, closed or cannot be read is a usage error, raised before anything is sent.
Must not: trust the encoding that Python guessed: text is UTF-8, or UTF-16 with its mark, or else what the locale says.
"""

from __future__ import annotations

import codecs
import sys
from typing import Any

import click

__all__ = ["is_fed", "read_bytes", "read_text"]


def is_fed() -> bool:
    """Whether there is a stdin that nobody would have to type."""
    try:
        return sys.stdin is not None and not sys.stdin.isatty()
    except ValueError:  # closed
        return False


def read_bytes(what: str) -> bytes:
    """All of stdin, which is `what` is read. Raises click.UsageError."""
    stdin: Any = sys.stdin
    if stdin is None:
        raise click.UsageError(f"- reads {what} from stdin, which is closed; use < FILE or a pipe.")
    try:
        data: Any = getattr(stdin, "buffer", stdin).read()  # a test's may be text
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise click.UsageError(f"- reads {what} from stdin, which cannot be read: {why}.") from None
    return data.encode(errors="surrogatepass") if isinstance(data, str) else data or b""


def read_text(what: str) -> str:
    """All of stdin as text. Raises click.UsageError."""
    data = read_bytes(what)
    marked = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    encodings = ["utf-16"] if marked else ["utf-8-sig", getattr(sys.stdin, "encoding", None) or "utf-8"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
    raise click.UsageError(f"- reads {what} from stdin, and what is there is not UTF-8; convert it.")
