"""Parses a multipart/form-data body while it arrives, and the values of its text parts.

Invariants: pure; linear in the body for chunks of any size; at most a delimiter or the headers of a part are buffered;
a malformed body is a `MalformedFormError`.
Must not: read after the last delimiter, or undo a transfer encoding.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import islice
from typing import Any, Final, TypeAlias, cast
from urllib.parse import unquote

import attrs

HEAD_BYTES: Final = 16 * 1024
MAX_PARTS: Final = 1000
MAX_HEADERS: Final = 32
MAX_PARAMETERS: Final = 32  # of one header; the rest is ignored
_NUMBERS: Final = {"n", "output_compression", "partial_images", "frame_count", "frame_duration_ms"}
_SWITCHES: Final = {"stream"}
_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\]){0,4})")
_LINE_BYTES: Final = 80  # allowed after a boundary in its line

# Possessive quantifiers read each character once; a quoted value without an end is taken literally.
_PARAMETER: Final = re.compile(r';\s*+([^\s=;"]++)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;]*+)', re.DOTALL)
_CHARSETS: Final = {"utf-8", "iso-8859-1", "us-ascii"}


class MalformedFormError(Exception):
    """The body is not valid multipart/form-data; the message is the reason."""


@attrs.frozen
class PartStart:
    """The headers of a part, their names in lower case."""

    headers: Mapping[str, str]

    @cached_property
    def _disposition(self) -> Mapping[str, str]:
        return _parameters(self.headers.get("content-disposition", ""))

    @property
    def name(self) -> str | None:
        """The name of its field."""
        return self._disposition.get("name")

    @property
    def filename(self) -> str | None:
        """The file name; None if the part is not a file."""
        return self._disposition.get("filename")


@attrs.frozen
class PartEnd:
    """The part is complete."""


PartEvent: TypeAlias = PartStart | bytes | PartEnd
_Step: TypeAlias = tuple[list[PartEvent], bool]


def parse_boundary(content_type: str) -> bytes:
    """Return the boundary in a Content-Type header."""
    boundary = _parameters(content_type).get("boundary")
    if not boundary or len(boundary) > 70:
        raise MalformedFormError("the Content-Type header has no boundary of 1 to 70 characters")
    return boundary.encode("utf-8", "surrogateescape")


class FormParser:
    """Parses one body; `done` after its last delimiter."""

    def __init__(self, boundary: bytes) -> None:
        self._delimiter = b"\r\n--" + boundary
        # With this line break the first delimiter is like all others.
        self._buffer = bytearray(b"\r\n")
        self._step = self._preamble
        self._parts = 0
        self.done = False

    def feed(self, chunk: bytes) -> Iterator[PartEvent]:
        """Yield the events that this chunk completes."""
        if self.done:
            return
        self._buffer += chunk
        more = True
        while more and not self.done:
            events, more = self._step()
            yield from events

    def close(self) -> None:
        """Raise `MalformedFormError` if the body is incomplete."""
        if not self.done:
            raise MalformedFormError("it ends before its last boundary")

    def _preamble(self) -> _Step:
        index = self._buffer.find(self._delimiter)
        if index < 0:
            del self._buffer[: -len(self._delimiter)]
            return [], False
        del self._buffer[: index + len(self._delimiter)]
        self._step = self._after_delimiter
        return [], True

    def _after_delimiter(self) -> _Step:
        if self._buffer.startswith(b"--"):
            self.done = True
            return [], False
        line, end, _ = bytes(self._buffer[:_LINE_BYTES]).partition(b"\r\n")
        if end and not line.strip(b" \t"):
            del self._buffer[: len(line)]
            self._step = self._head
            return [], True
        if len(self._buffer) > 2 and (line.strip(b" \t\r-") or len(line) == _LINE_BYTES):
            raise MalformedFormError("a boundary is followed by text in its line")
        return [], False

    def _head(self) -> _Step:
        # The line break before the first header is kept: a part may have no headers.
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_BYTES)
        if end < 0:
            if len(self._buffer) > HEAD_BYTES:
                raise MalformedFormError(f"the headers of a part are longer than {HEAD_BYTES} bytes")
            return [], False
        lines = bytes(self._buffer[2:end]).decode("utf-8", "replace").split("\r\n") if end > 2 else []
        # The last line break is kept: it may belong to the delimiter of a part without data.
        del self._buffer[: end + 2]
        self._step = self._first_data
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise MalformedFormError(f"it has more than {MAX_PARTS} parts")
        return [PartStart(_headers(lines))], True

    def _first_data(self) -> _Step:
        if len(self._buffer) < len(self._delimiter):
            return [], False
        if not self._buffer.startswith(self._delimiter):
            del self._buffer[:2]
        self._step = self._data
        return [], True

    def _data(self) -> _Step:
        index = self._buffer.find(self._delimiter)
        if index >= 0:
            piece = bytes(self._buffer[:index])
            del self._buffer[: index + len(self._delimiter)]
            self._step = self._after_delimiter
            return [piece, PartEnd()] if piece else [PartEnd()], True
        sure = len(self._buffer) - len(self._delimiter) + 1
        if sure <= 0:
            return [], False
        piece = bytes(self._buffer[:sure])
        del self._buffer[:sure]
        return [piece], False


def _headers(lines: list[str]) -> dict[str, str]:
    if len(lines) > MAX_HEADERS:
        raise MalformedFormError(f"a part has more than {MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise MalformedFormError("a part has a header line without a colon")
        headers[name.strip().lower()] = value.strip()
    return headers


def _parameters(value: str) -> dict[str, str]:
    """Return the parameters of a header such as `form-data; name="image[]"`, by their names in lower case."""
    parameters: dict[str, str] = {}
    for match in islice(_PARAMETER.finditer(value), MAX_PARAMETERS):
        name, text = match.groups()
        plain = re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL) if text[:1] == '"' == text[-1:] else text
        parameters.setdefault(name.lower(), plain.strip() if plain is text else plain)
    # RFC 8187: charset'language'percent-encoded
    for name in [name for name in parameters if name.endswith("*")]:
        charset, _, rest = parameters.pop(name).partition("'")
        encoding = charset.lower() if charset.lower() in _CHARSETS else "utf-8"
        parameters[name[:-1]] = unquote(rest.partition("'")[2], encoding, "replace")
    return parameters


def set_field(fields: dict[str, Any], name: str, value: Any) -> bool:
    """Set the value of a text part, nested for a name such as `svg[model]`; False if it is set already."""
    match = _NAME.fullmatch(name)
    path = [name] if match is None else [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
    if name in {"image[]", "mask", "markup"}:
        path = [name.removesuffix("[]")]
    for step in path[:-1]:
        inner = fields.setdefault(step, {})
        if not isinstance(inner, dict):
            return False
        fields = cast("dict[str, Any]", inner)
    if path[-1] in fields:
        return False
    fields[path[-1]] = value
    return True


def parse_text(name: str, text: str) -> Any:
    """Return the value of a text part; invalid numbers and booleans stay text, which the checks reject."""
    if name in _NUMBERS and re.fullmatch(r"-?[0-9]{1,100}", text.strip()):
        return int(text)
    if name in _SWITCHES and text.strip().lower() in {"true", "false"}:
        return text.strip().lower() == "true"
    return text
