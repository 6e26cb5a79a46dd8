"""Frames a `text/event-stream`, on bytes (html.spec.whatwg.org, 9.2.5 and 9.2.6).

Invariants: CR, LF and CRLF end lines, also across chunks; one leading BOM is dropped, comments are skipped; an event
without its blank line is never dispatched. Data is passed on before its line ends (a line may be a 30 MB image),
joined by LF as the standard requires, so memory does not grow with it.
Must not: limit the data (its decoder does), or keep `retry`: a paid POST is not sent again.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

_BOM = b"\xef\xbb\xbf"
_LF, _SPACE = 0x0A, 0x20
_LONGEST_NAME = len(b"event")
_MAX_VALUE = 4096
"""Bytes kept of an event's name or id; the API's longest name has 30."""


class SSEEventEnd(NamedTuple):
    """The blank line that ends an event: its name ("" if it has none) and the last id."""

    event: str
    id: str


class SSEFramer:
    """Splits a stream into each event's data, in pieces, and its `SSEEventEnd`.

    `has_data`: an event is open (at the end of the body it is never dispatched); `event` is its name.
    """

    def __init__(self) -> None:
        self.has_data = False
        self.event = ""
        self._id = ""
        self._start: bytes | None = b""  # buffered until it is clear whether the stream begins with a BOM
        self._after_cr = False
        # The part of a line that the next byte belongs to.
        self._part: Literal["name", "space", "data", "value", "nothing"] = "name"
        self._name = b""
        self._value = b""

    @property
    def in_data(self) -> bool:
        """Whether the next bytes belong to a `data:` line."""
        return self._part == "data"

    def feed(self, chunk: bytes) -> list[bytes | SSEEventEnd]:
        """Frame the next bytes."""
        if self._start is not None:
            chunk = self._after_bom(self._start + chunk)
        out: list[bytes | SSEEventEnd] = []
        offset, end = 0, len(chunk)
        lf = cr = -1  # the next ones, searched again only when passed: many short lines stay linear
        while offset < end:
            if self._after_cr:
                self._after_cr = False
                if chunk[offset] == _LF:
                    offset += 1
                    continue
            if lf < offset:
                lf = _find(chunk, b"\n", offset)
            if cr < offset:
                cr = _find(chunk, b"\r", offset)
            stop = min(lf, cr)
            if offset < stop:
                self._read(out, chunk, offset, stop)
            if stop < end:
                self._end_line(out)
                self._after_cr = stop == cr
            offset = stop + 1
        return out

    def _read(self, out: list[bytes | SSEEventEnd], chunk: bytes, offset: int, stop: int) -> None:
        """Read a piece of a line, without its end."""
        if self._part == "name":
            colon = chunk.find(b":", offset, stop)
            self._name += chunk[offset : min(stop if colon < 0 else colon, offset + _LONGEST_NAME + 1)]
            if colon >= 0:
                self._begin_value(out)
            elif len(self._name) > _LONGEST_NAME:
                self._part = "nothing"
            offset = stop if colon < 0 else colon + 1
        if self._part == "space" and offset < stop:
            self._part = "data" if self._name == b"data" else "value"
            offset += chunk[offset] == _SPACE
        if offset == stop:
            return
        if self._part == "data":
            out.append(chunk if stop - offset == len(chunk) else chunk[offset:stop])
        elif self._part == "value":
            self._value += chunk[offset : min(stop, offset + _MAX_VALUE - len(self._value))]

    def _begin_value(self, out: list[bytes | SSEEventEnd]) -> None:
        """Process the line's field name, which is complete."""
        name = self._name
        if name == b"data":
            if self.has_data:
                out.append(b"\n")
            self.has_data = True
        self._part = "space" if name in (b"data", b"event", b"id") else "nothing"

    def _end_line(self, out: list[bytes | SSEEventEnd]) -> None:
        """Process the complete line; a blank one ends the event."""
        if self._part == "name" and not self._name:
            if self.has_data:
                out.append(SSEEventEnd(self.event, self._id))
            self.has_data, self.event = False, ""
            return
        if self._part == "name":
            self._begin_value(out)
        if self._name == b"event" and self._part != "nothing":
            self.event = self._value.decode("utf-8", "replace")
        elif self._name == b"id" and self._part != "nothing" and b"\0" not in self._value:
            self._id = self._value.decode("utf-8", "replace")
        self._part = "name"
        self._name = b""
        self._value = b""

    def _after_bom(self, start: bytes) -> bytes:
        """Return `start` without a BOM; nothing while it is unclear whether there is one."""
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(_BOM)


def _find(chunk: bytes, byte: bytes, offset: int) -> int:
    """Return the index of the next such byte; the chunk's end if there is none."""
    found = chunk.find(byte, offset)
    return len(chunk) if found < 0 else found
