"""Splits received bytes into pieces that are cheap to decode, whatever they contain.

Invariants: the pieces are the bytes, in order; one longer than `SLOW_BYTES` contains none of `_MARKS`, which
begin and end everything that costs Python code (lines, events, strings, escapes); linear.
Must not: know the format.
"""

from __future__ import annotations

from typing import Final

SLOW_BYTES: Final = 4 * 1024
"""Decoding costs up to 1.3 microseconds a byte (events of one digit each), so this is about 5 ms."""

_WINDOW: Final = 256 * 1024
"""How far to search for marks; without a limit a chunk of many pieces would take quadratic time."""

_MARKS: Final = (b"\n", b'"', b"\\", b"\r")


def chunk_end(data: bytes, start: int) -> int:
    """Return the index at which the piece that begins at `start` ends."""
    if len(data) - start <= SLOW_BYTES:
        return len(data)
    end = min(len(data), start + _WINDOW)
    for mark in _MARKS:
        found = data.find(mark, start, end)
        if found >= 0:
            end = found
            if end - start <= SLOW_BYTES:
                return start + SLOW_BYTES
    return end
