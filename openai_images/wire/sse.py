"""The framing of `text/event-stream`, on bytes.

Rules: the WHATWG standard: CR, LF and CRLF end lines wherever they are cut, one leading BOM is dropped, comments
are skipped, an event without its blank line is never dispatched. What follows `data:` is handed on before its line
has ended (a line may be a 30 MB picture), joined by LF as the standard says, so nothing here grows with the data.
It refuses nothing: limits on the data are its reader's. It keeps no `retry`: a paid POST is not sent again.
Source: html.spec.whatwg.org, 9.2.5 and 9.2.6.
"""

from __future__ import annotations

from enum import Enum, auto

from attrs import frozen

_BOM = b"\xef\xbb\xbf"
_LF, _SPACE = 0x0A, 0x20
_LONGEST_NAME = len(b"event")
_MAX_VALUE = 4096
"""How much of an event's name or id is kept; the API's longest name has 30 characters."""


@frozen
class SSEEventEnd:
    """The blank line that ends an event: its name ("" where none was given) and the last id seen."""

    event: str
    id: str


class _In(Enum):
    """Which part of a line comes next."""

    NAME = auto()
    SPACE = auto()
    DATA = auto()
    VALUE = auto()
    NOTHING = auto()


class SSEFramer:
    """Feed it bytes; it gives each event's data in pieces, then its `SSEEventEnd`.

    `has_data` says whether an event is open (at the end of the body it will never be dispatched), `event` its name.
    """

    def __init__(self) -> None:
        """Start at the beginning of a stream."""
        self.has_data = False
        self.event = ""
        self._id = ""
        self._start: bytes | None = b""  # what has come, until it is clear whether a BOM begins the stream
        self._after_cr = False
        self._in = _In.NAME
        self._name = b""
        self._value = b""

    @property
    def in_data(self) -> bool:
        """Whether the next bytes belong to a `data:` line."""
        return self._in is _In.DATA

    def feed(self, chunk: bytes) -> list[bytes | SSEEventEnd]:
        """Frame the next bytes."""
        if self._start is not None:
            chunk = self._after_bom(self._start + chunk)
        out: list[bytes | SSEEventEnd] = []
        at, end = 0, len(chunk)
        lf = (
            cr
        ) = -1  # where the next ones are, sought again only when passed: linear in many short lines, too
        while at < end:
            if self._after_cr:
                self._after_cr = False
                if chunk[at] == _LF:
                    at += 1
                    continue
            if lf < at:
                lf = _find(chunk, b"\n", at)
            if cr < at:
                cr = _find(chunk, b"\r", at)
            stop = min(lf, cr)
            if at < stop:
                self._read(out, chunk, at, stop)
            if stop < end:
                self._end_line(out)
                self._after_cr = stop == cr
            at = stop + 1
        return out

    def _read(self, out: list[bytes | SSEEventEnd], chunk: bytes, at: int, stop: int) -> None:
        """Take a piece of a line, without its end."""
        if self._in is _In.NAME:
            colon = chunk.find(b":", at, stop)
            self._name += chunk[at : min(stop if colon < 0 else colon, at + _LONGEST_NAME + 1)]
            if colon >= 0:
                self._begin_value(out)
            elif len(self._name) > _LONGEST_NAME:
                self._in = _In.NOTHING
            at = stop if colon < 0 else colon + 1
        if self._in is _In.SPACE and at < stop:
            self._in = _In.DATA if self._name == b"data" else _In.VALUE
            at += chunk[at] == _SPACE
        if at == stop:
            return
        if self._in is _In.DATA:
            out.append(chunk if stop - at == len(chunk) else chunk[at:stop])
        elif self._in is _In.VALUE:
            self._value += chunk[at : min(stop, at + _MAX_VALUE - len(self._value))]

    def _begin_value(self, out: list[bytes | SSEEventEnd]) -> None:
        """The line's name is complete."""
        name = self._name
        if name == b"data":
            if self.has_data:
                out.append(b"\n")
            self.has_data = True
        self._in = _In.SPACE if name in (b"data", b"event", b"id") else _In.NOTHING

    def _end_line(self, out: list[bytes | SSEEventEnd]) -> None:
        """The line is complete: a blank one ends the event."""
        if self._in is _In.NAME:
            if not self._name:
                self._end_event(out)
                return
            self._begin_value(out)
        if self._name == b"event" and self._in is not _In.NOTHING:
            self.event = self._value.decode("utf-8", "replace")
        elif self._name == b"id" and self._in is not _In.NOTHING and b"\0" not in self._value:
            self._id = self._value.decode("utf-8", "replace")
        self._in = _In.NAME
        self._name = b""
        self._value = b""

    def _end_event(self, out: list[bytes | SSEEventEnd]) -> None:
        if self.has_data:
            out.append(SSEEventEnd(self.event, self._id))
        self.has_data = False
        self.event = ""

    def _after_bom(self, start: bytes) -> bytes:
        """Drop a BOM; give nothing while it is not clear whether there is one."""
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(_BOM)


def _find(chunk: bytes, byte: bytes, at: int) -> int:
    """Where the byte is next, the chunk's end where it is not."""
    found = chunk.find(byte, at)
    return len(chunk) if found < 0 else found
