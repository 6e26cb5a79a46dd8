"""The two streams of a command, as one value. It imports nothing that would slow `--help`."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple, TextIO

__all__ = ["Streams", "hush"]


class Streams(NamedTuple):
    """Where results and everything else go."""

    out: TextIO
    err: TextIO


def hush(out: TextIO) -> None:
    """Let go of a stdout that cannot be written: nothing more is said about it."""
    if out is sys.__stdout__:
        # What is still buffered would be tried again, and complained about, when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), out.fileno())
