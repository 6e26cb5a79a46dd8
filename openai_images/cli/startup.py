"""The standard streams of a command, made so that no failure of theirs ends paid work.

Invariants: a `ResilientStream` never raises: what its encoding lacks is written as escapes; one that is closed, full,
absent or without a reader discards the rest and keeps the error. All commands write through it.
Must not: import anything that slows `--help`.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final, NamedTuple, TextIO, TypeVar, cast

_T = TypeVar("_T")


class ResilientStream:
    """A text stream that cannot fail; `is_lost` once nothing more can be written, `error` is why."""

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
        """Write, with escapes for what the encoding lacks; discard if lost."""
        if not isinstance(cast("Any", text), str):
            raise TypeError  # click's test for a binary stream
        for encoding in ("", self.encoding, "ascii"):
            with suppress(UnicodeError, LookupError):
                shown = text.encode(encoding, "backslashreplace").decode(encoding) if encoding else text
                self._attempt(partial(_write, text=shown))
                break
        return len(text)

    def flush(self) -> None:
        """Flush; do nothing if lost."""
        self._attempt(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Return whether it is a terminal, and not lost."""
        return bool(self._attempt(lambda stream: stream.isatty()))

    def fileno(self) -> int:
        """Return the descriptor. Raises OSError if there is none."""
        if self.stream is None or self.is_lost:
            raise OSError(errno.EBADF, "nothing can be written")
        return self.stream.fileno()

    def release(self) -> None:
        """If lost, keep the interpreter from writing to it, and complaining, at exit."""
        if self.error is not None and self._first in (sys.__stdout__, sys.__stderr__):
            with suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), cast("TextIO", self._first).fileno())

    def _attempt(self, action: Callable[[TextIO], _T]) -> _T | None:
        if self.stream is None or self.error is not None:
            return None
        try:
            return action(self.stream)
        except UnicodeError:
            raise
        except (OSError, ValueError) as error:  # ValueError: it was closed
            self.error = error
            return None


def resilient(stream: TextIO | ResilientStream | None) -> ResilientStream:
    """Wrap the stream, unless it is wrapped."""
    return stream if isinstance(stream, ResilientStream) else ResilientStream(stream)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)


class Streams(NamedTuple):
    """stdout and stderr."""

    out: ResilientStream
    err: ResilientStream


def prepare_descriptors() -> None:
    """Reserve descriptors 0 to 2 for the standard streams, and make them blocking."""
    with suppress(OSError):
        # One that the shell closed (`>&-`) would go to the next file or socket, and Python itself writes to 2.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(descriptor)
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            os.set_blocking(cast("TextIO", stream).fileno(), True)  # else input is truncated, output lost


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
