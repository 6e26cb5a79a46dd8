"""Parses a multipart/form-data body while it arrives, and the values of its text parts.

Invariants: pure; linear in the body for chunks of any size; at most a delimiter or the headers of a part are buffered;
a malformed body is a `MalformedFormError`.
Must not: read after the last delimiter, or undo a transfer encoding.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from itertools import count, islice
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
        self._events = self._parse()
        self.done = False

    def feed(self, chunk: bytes) -> Iterator[PartEvent]:
        """Yield the events that this chunk completes."""
        if not self.done:
            self._buffer += chunk
        for event in self._events:
            if event is None:
                return
            yield event

    def close(self) -> None:
        """Raise `MalformedFormError` if the body is incomplete."""
        if not self.done:
            raise MalformedFormError("it ends before its last boundary")

    def _parse(self) -> Iterator[PartEvent | None]:
        """Yield the events of the body; None if more bytes are needed."""
        yield from (event for event in self._data() if event is None)  # the preamble is dropped
        for part in count():
            while (line := self._line_of_delimiter()) is None:
                yield None
            if line == b"--":
                self.done = True
                return
            # The line break before the first header is kept: a part may have no headers.
            while (end := self._buffer.find(b"\r\n\r\n", 0, HEAD_BYTES)) < 0:
                if len(self._buffer) > HEAD_BYTES:
                    raise MalformedFormError(f"the headers of a part are longer than {HEAD_BYTES} bytes")
                yield None
            lines = self._take(end)[2:].decode("utf-8", "replace").split("\r\n") if end else []
            if part == MAX_PARTS:
                raise MalformedFormError(f"it has more than {MAX_PARTS} parts")
            yield PartStart(_headers(lines))
            # The second line break may belong to the delimiter of a part without data.
            self._take(2)
            while len(self._buffer) < len(self._delimiter):
                yield None
            if not self._buffer.startswith(self._delimiter):
                self._take(2)
            yield from self._data()
            yield PartEnd()

    def _line_of_delimiter(self) -> bytes | None:
        """Take and return the rest of a delimiter's line, "--" for the last one; None if it is incomplete."""
        if self._buffer.startswith(b"--"):
            return self._take(2)
        line, end, _ = bytes(self._buffer[:_LINE_BYTES]).partition(b"\r\n")
        if end and not line.strip(b" \t"):
            return self._take(len(line))
        if len(self._buffer) > 2 and (line.strip(b" \t\r-") or len(line) == _LINE_BYTES):
            raise MalformedFormError("a boundary is followed by text in its line")
        return None

    def _data(self) -> Iterator[bytes | None]:
        """Yield the data before a delimiter, and take the delimiter; None if more bytes are needed."""
        while (index := self._buffer.find(self._delimiter)) < 0:
            if (sure := len(self._buffer) - len(self._delimiter) + 1) > 0:
                yield self._take(sure)
            yield None
        if index:
            yield self._take(index)
        self._take(len(self._delimiter))

    def _take(self, nbytes: int) -> bytes:
        """Remove and return the first bytes of the buffer."""
        data = bytes(self._buffer[:nbytes])
        del self._buffer[:nbytes]
        return data


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
