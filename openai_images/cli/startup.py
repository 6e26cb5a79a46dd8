"""The standard streams of a command, made so that nothing that happens to them ends paid work.

Invariants: a `ResilientStream` takes every text and never raises: what its encoding lacks is written as escapes, and
one that is closed, full, absent or without a reader swallows the rest and remembers why. All commands write through it.
Must not: import anything that would slow `--help`.
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
        """What it is encoded as, as far as it says so."""
        return getattr(self.stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write, with escapes for what the encoding lacks, or not at all."""
        if not isinstance(cast("Any", text), str):
            raise TypeError  # click finds out in this way that it is no binary stream
        for encoding in ("", self.encoding, "ascii"):
            with suppress(UnicodeError, LookupError):
                shown = text.encode(encoding, "backslashreplace").decode(encoding) if encoding else text
                self._attempt(partial(_write, text=shown))
                break
        return len(text)

    def flush(self) -> None:
        """Flush, or not."""
        self._attempt(lambda stream: stream.flush())

    def isatty(self) -> bool:
        """Whether it is a terminal that still takes something."""
        return bool(self._attempt(lambda stream: stream.isatty()))

    def fileno(self) -> int:
        """The descriptor. Raises OSError where there is none."""
        if self.stream is None or self.is_lost:
            raise OSError(errno.EBADF, "nothing can be written")
        return self.stream.fileno()

    def release(self) -> None:
        """Where it is lost, keep the interpreter from trying, and complaining about it, when it ends."""
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
        except (OSError, ValueError) as error:  # Python raises ValueError where it was closed
            self.error = error
            return None


def resilient(stream: TextIO | ResilientStream | None) -> ResilientStream:
    """The stream, made resilient where it is not."""
    return stream if isinstance(stream, ResilientStream) else ResilientStream(stream)


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)


class Streams(NamedTuple):
    """Where results and everything else go."""

    out: ResilientStream
    err: ResilientStream


def prepare_descriptors() -> None:
    """Keep the three standard descriptors for their streams, and have their reads and writes wait."""
    with suppress(OSError):
        # One that the shell closed (`>&-`) would be given to the next file or socket, and Python itself writes to 2.
        while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:
            pass
        os.close(descriptor)
    for stream in (sys.__stdin__, sys.__stdout__, sys.__stderr__):
        with suppress(OSError, ValueError, AttributeError):
            os.set_blocking(cast("TextIO", stream).fileno(), True)  # else input is cut, and output lost


async def wait_writable(stream: ResilientStream) -> None:
    """Wait until a pipe takes a line more: a reader that pauses must not stop the event loop."""
    import asyncio

    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    try:
        descriptor = stream.fileno()
        loop.add_writer(descriptor, ready.set)
    except (
        OSError,
        ValueError,
        AttributeError,
        NotImplementedError,
    ):  # no descriptor, a file, or the loop of Windows
        return
    try:
        await ready.wait()
    finally:
        loop.remove_writer(descriptor)


DEFAULT_MODEL: Final = "gpt-image-2"
"""Sent by every command; a client from Python sends none by itself."""
