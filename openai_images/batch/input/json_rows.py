"""Rows of JSON and JSON Lines with their line numbers, also in the format of the Batch API.

Invariants: pure; a malformed row is reported and skipped; no value is repeated in a report, as it may be a prompt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from openai_images._util.json import is_object
from openai_images.batch.input.columns import KNOWN_NAMES, ColumnOptions, Problems, missing_key_problem
from openai_images.batch.input.text_rows import RawRow, RowReader, numbered_lines

_ENVELOPE = ("custom_id", "method", "url", "body")
_ENDPOINT = re.compile(r"(?:/[\w.-]+)*/images/(?:generations|edits)")
_SPACE = re.compile(r"[ \t\n]*")


def read_jsonl(reader: RowReader, text: str) -> list[RawRow]:
    """Return a row for each line that is not blank."""
    objects = _ObjectRows(reader)
    for number, line in numbered_lines(text):
        if not line.strip() or reader.options.is_comment(line):
            continue
        try:
            value = json.loads(line, object_pairs_hook=_unique_keys, parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            reader.problems.add(number, f"it is not a JSON object ({_reason(error)})")
            continue
        if is_object(value):
            objects.add(value, number)
        else:
            reader.problems.add(number, 'it is not a JSON object; write {"prompt": …}')
    return objects.end()


def read_json(reader: RowReader, text: str) -> list[RawRow]:
    """Return a row for each element of an array: a prompt, or an object."""
    objects = _ObjectRows(reader)
    for value, line in _elements(reader, text):
        if isinstance(value, str):
            objects.rows.append(RawRow(line, {"prompt": value}))
        elif is_object(value):
            objects.add(value, line)
        else:
            reader.problems.add(line, 'an element is neither a prompt nor an object; write {"prompt": …}')
    return objects.end()


def _elements(reader: RowReader, text: str) -> Iterator[tuple[Any, int]]:
    """Yield the elements of a JSON array with their lines, up to a syntax error, which is reported."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    decoder = json.JSONDecoder(object_pairs_hook=_unique_keys, parse_constant=_reject_constant)
    position, mark = _skip_space(text, 0), "["
    line = 1 + text.count("\n", 0, position)
    while text[position : position + 1] == mark:
        start = _skip_space(text, position + 1)
        line += text.count("\n", position, start)
        if mark == "[" and text[start : start + 1] == "]":
            position = start
            break
        try:
            value, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError) as error:
            where = error.lineno if isinstance(error, json.JSONDecodeError) else line
            reader.problems.add(where, f"it cannot be read as JSON ({_reason(error)})")
            return
        yield value, line
        position, mark = _skip_space(text, end), ","
        line += text.count("\n", start, position)
    if text[position : position + 1] != "]":
        array = 'a JSON array: [{"prompt": …}, …]'
        what = f"it is not {array}" if mark == "[" else "a comma or ] is missing here"
        reader.problems.add(line, what)
    elif (end := _skip_space(text, position + 1)) < len(text):
        reader.problems.add(
            line + text.count("\n", position, end), "there is text after the end of the array"
        )


class _ObjectRows:
    """The rows of JSON objects."""

    def __init__(self, reader: RowReader) -> None:
        self.rows: list[RawRow] = []
        self._options, self._problems, self._unknown = reader.options, reader.problems, reader.unknown
        names = (self._options.prompt, self._options.key)
        self._is_renamed = names != ("prompt", "key")
        self._marks = {"custom_id", "body"}.difference(names)
        self._found: dict[str, None] = {}

    def add(self, value: Mapping[str, Any], line: int) -> None:
        """Add an object with a row's values, or a line of the Batch API."""
        if self._marks.isdisjoint(value):
            if self._is_renamed:
                self._found.update(dict.fromkeys(value))
            self.rows.append(RawRow(line, self._named(value, line, self._options)))
            return
        request = _unwrap_envelope(value, line, self._problems, self._options)
        if request is not None:
            self.rows.append(RawRow(line, self._named(request, line, ColumnOptions())))

    def end(self) -> list[RawRow]:
        """Return all rows; report unknown names."""
        options, found = self._options, list(self._found)
        if found and options.key not in ("key", *found):
            self._problems.add(self.rows[0].line, missing_key_problem(found, options))
        has_key = self._options.key != "key" or any("key" in row.values for row in self.rows)
        self._unknown.report(self._problems, has_key=has_key, in_json=True)
        return self.rows

    def _named(self, row: Mapping[str, Any], line: int, options: ColumnOptions) -> dict[str, Any]:
        if not self._is_renamed and row.keys() <= KNOWN_NAMES:
            return {name: item for name, item in row.items() if item is not None}
        values: dict[str, Any] = {}
        for name, item in row.items():
            targets = options.targets(name)
            if not targets:
                self._unknown.add(name, line)
            elif item is not None:
                values.update(dict.fromkeys(targets, item))
        return values


def _unwrap_envelope(
    row: Mapping[str, Any], line: int, problems: Problems, options: ColumnOptions
) -> Mapping[str, Any] | None:
    """Return the request of a Batch API line, with its `custom_id` as the key; None if it is invalid."""
    before, url, body = len(problems), row.get("url"), row.get("body")
    where = "as a line of the Batch API"
    unknown = [name[:40] for name in row if name not in _ENVELOPE and not options.ignore_unknown]
    if unknown:
        problems.add(line, f"{where} it has only {', '.join(_ENVELOPE)}, not {unknown[0]!r}")
    if row.get("method") not in (None, "POST"):
        problems.add(line, f"{where} its method must be POST")
    is_endpoint = url is None or (isinstance(url, str) and _ENDPOINT.fullmatch(url) is not None)
    if not is_endpoint:
        problems.add(line, f"{where} its url must be /v1/images/generations or /v1/images/edits")
    if not is_object(body):
        problems.add(line, f"{where} its body must be a JSON object, the request")
        return None
    if is_endpoint and isinstance(url, str) and url.endswith("/edits") != ("images" in body):
        problems.add(
            line, f"{where} it must have images in its body if its url ends in /images/edits, and only then"
        )
    key = row.get("custom_id")
    body = {"image" if name == "images" else name: value for name, value in body.items()}
    return None if len(problems) > before else {**body, **({} if key is None else {"key": key})}


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return position if match is None else match.end()


def _reason(error: Exception) -> str:
    return error.msg if isinstance(error, json.JSONDecodeError) else str(error)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name[:40]!r} occurs twice")
        values[name] = value
    return values


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
