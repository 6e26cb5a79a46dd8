"""The two streams a command writes to, as one value. It imports nothing that would slow `--help`."""

from __future__ import annotations

from typing import NamedTuple, TextIO

__all__ = ["Streams"]


class Streams(NamedTuple):
    """Where results and everything else go."""

    out: TextIO
    err: TextIO
