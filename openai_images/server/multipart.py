"""Takes a multipart/form-data body apart while it arrives.

Rules: pure: chunks go in, the heads, data and ends of parts come out, in time linear in the body whatever its chunks;
what is held back is no longer than a delimiter or a head. A body that is not what it says is a `MalformedError`.
It refuses to guess: nothing is read behind the last delimiter, and no transfer encoding is undone.
"""

from collections.abc import Iterator, Mapping
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Final, TypeAlias

import attrs

HEAD_BYTES: Final = 16 * 1024


class MalformedError(Exception):
    """Raised where a body is no multipart/form-data; says what is wrong."""


@attrs.frozen
class Opened:
    """A part begins; `headers` have small names."""

    headers: Mapping[str, str]

    @property
    def name(self) -> str | None:
        """The name of its field."""
        return _parameter(self.headers.get("content-disposition", ""), "name")

    @property
    def filename(self) -> str | None:
        """The name of its file; None if it is none."""
        return _parameter(self.headers.get("content-disposition", ""), "filename")


@attrs.frozen
class Closed:
    """The part is complete."""


Found: TypeAlias = Opened | bytes | Closed
_Step: TypeAlias = tuple[list[Found], bool]


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type header tells."""
    boundary = _parameter(content_type, "boundary")
    if not boundary or len(boundary) > 70:
        raise MalformedError("the Content-Type header has no boundary of 1 to 70 characters")
    return boundary.encode("utf-8", "surrogateescape")


class FormParser:
    """Takes one body apart; `done` once its last delimiter has come."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # So that the delimiter at the very start is one like all others.
        self._buffer = bytearray(b"\r\n")
        self._step = self._preamble
        self.done = False

    def feed(self, chunk: bytes) -> Iterator[Found]:
        """What this chunk completes."""
        if self.done:
            return
        self._buffer += chunk
        more = True
        while more and not self.done:
            found, more = self._step()
            yield from found

    def close(self) -> None:
        """Says that the body is over."""
        if not self.done:
            raise MalformedError("it ends before its last boundary")

    def _preamble(self) -> _Step:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            del self._buffer[: -len(self._delimiter)]
            return [], False
        del self._buffer[: at + len(self._delimiter)]
        self._step = self._after_delimiter
        return [], True

    def _after_delimiter(self) -> _Step:
        if self._buffer.startswith(b"--"):
            self.done = True
            return [], False
        line, end, _ = bytes(self._buffer[:80]).partition(b"\r\n")
        if end and not line.strip(b" \t"):
            del self._buffer[: len(line)]
            self._step = self._head
            return [], True
        if len(self._buffer) > 2 and line.strip(b" \t\r-"):
            raise MalformedError("a boundary is followed by something else than the end of its line")
        return [], False

    def _head(self) -> _Step:
        # The line break before the first header is still there: a part may have none at all.
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_BYTES)
        if end < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise MalformedError(f"the headers of a part are longer than {HEAD_BYTES} bytes")
            return [], False
        lines = bytes(self._buffer[2:end]).decode("utf-8", "replace").split("\r\n") if end > 2 else []
        # The last line break stays: it may belong to the delimiter of a part without data.
        del self._buffer[: end + 2]
        self._step = self._first_data
        return [Opened(_headers(lines))], True

    def _first_data(self) -> _Step:
        if len(self._buffer) < len(self._delimiter):
            return [], False
        if not self._buffer.startswith(self._delimiter):
            del self._buffer[:2]
        self._step = self._data
        return [], True

    def _data(self) -> _Step:
        at = self._buffer.find(self._delimiter)
        if at >= 0:
            piece = bytes(self._buffer[:at])
            del self._buffer[: at + len(self._delimiter)]
            self._step = self._after_delimiter
            return [piece, Closed()] if piece else [Closed()], True
        sure = len(self._buffer) - len(self._delimiter) + 1
        if sure <= 0:
            return [], False
        piece = bytes(self._buffer[:sure])
        del self._buffer[:sure]
        return [piece], False


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise MalformedError("a part has a header line without a colon")
        headers[name.strip().lower()] = value.strip()
    return headers


def _parameter(value: str, name: str) -> str | None:
    """A parameter of a header such as `form-data; name="image[]"`."""
    message = Message()
    message["content-type"] = f"x/x;{value.partition(';')[2]}".replace("\r", " ").replace("\n", " ")
    found = message.get_param(name)
    return None if found is None else collapse_rfc2231_value(found)
