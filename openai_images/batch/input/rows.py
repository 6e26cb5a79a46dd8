"""The rows of text, CSV, JSON and JSON Lines, also of lines of the Batch API, with their line numbers.

Invariants: pure; a malformed row is reported and skipped, and so is an unclosed quotation, which would turn the rest
into one prompt; no value is repeated in a report, as it may be a prompt in the wrong column.
Must not: guess: `;` or a tab separates columns only if the header has no comma, or a first line is `sep=;` (Excel).
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from attrs import define, field, frozen

from openai_images._util.json import is_object
from openai_images.batch.input.columns import (
    KNOWN_NAMES,
    ColumnOptions,
    Problems,
    UnknownNames,
    missing_key_problem,
    missing_prompt_problem,
)

_SEPARATOR = re.compile(r"""[\r\n]*("?sep=([^\s\w"]|\t)"?[\t ,;]*)(?![^\r\n])""", re.IGNORECASE)
_ENVELOPE = ("custom_id", "method", "url", "body")
_ENDPOINT = re.compile(r"(?:/[\w.-]+)*/images/(?:generations|edits)")
_SPACE = re.compile(r"[ \t\n]*")


@frozen
class RawRow:
    """The values of one row by name, and the line on which the row starts."""

    line: int
    values: Mapping[str, Any] = field(repr=False)


@define
class RowReader:
    """Reads the rows of one file; `problems` and `unknown` collect their problems."""

    options: ColumnOptions
    problems: Problems
    unknown: UnknownNames = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.unknown = UnknownNames(self.options)

    def read_txt(self, text: str) -> list[RawRow]:
        """Return a row for each line that is not blank."""
        return [
            RawRow(number, {"prompt": line.strip()})
            for number, line in numbered_lines(text)
            if line.strip() and not self.options.is_comment(line)
        ]

    def read_csv(self, text: str) -> list[RawRow]:
        """Return the rows after the header; empty cells set nothing."""
        if separator := _SEPARATOR.match(text):
            delimiter, text = separator[2], text[: separator.start(1)] + text[separator.end(1) :]
        else:
            delimiter = self._find_delimiter(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        rows: list[RawRow] = []
        header: list[tuple[str, ...]] | None = None
        line = 1
        try:
            for cells in reader:
                start, line = line, reader.line_num + 1
                if not any(cell.strip() for cell in cells) or self.options.is_comment(cells[0]):
                    continue
                if header is None:
                    header = self._parse_header(cells, start)
                    if header is None:
                        return []
                elif len(cells) > len(header):
                    why = (
                        f"it has {len(cells)} columns, but the header {len(header)}; quote cells with a comma"
                    )
                    self.problems.add(start, why)
                else:
                    columns = zip(header, cells, strict=False)
                    values = {name: cell for names, cell in columns if cell.strip() for name in names}
                    rows.append(RawRow(start, values))
        except csv.Error as error:
            self.problems.add(line, f"it cannot be read as CSV ({error}); check its quotation marks")
        return rows

    def _find_delimiter(self, text: str) -> str:
        """Return the separator of the first line that is neither empty nor a comment."""
        for match in re.finditer(r"[^\r\n]+", text):
            if not self.options.is_comment(match[0]):
                return next((mark for mark in ",;\t" if mark in match[0]), ",")
        return ","

    def _parse_header(self, cells: Sequence[str], line: int) -> list[tuple[str, ...]] | None:
        """Return what each column sets; None if no row can be read with the header."""
        options = self.options
        shown = [cell.strip() for cell in cells]
        names = [name.lower() for name in shown]
        likely_prompt: str | None = None
        has_prompt = options.prompt in names
        if not has_prompt:
            problem, likely_prompt = missing_prompt_problem(shown, options)
            self.problems.add(line, problem)
            if likely_prompt is None:
                return None
        if options.key not in (*names, "key"):
            self.problems.add(line, missing_key_problem(shown, options))
        targets = [options.targets(name) for name in names]
        used = {name for name, found in zip(names, targets, strict=True) if found}
        needed = used if options.ignore_unknown else {*names} - {""}
        duplicates = sorted(name for name in needed if names.count(name) > 1)
        for name in duplicates:
            self.problems.add(line, f"there are two columns {name[:40]!r}")
        for index, name in enumerate(names):
            if name and name not in used and shown[index] != likely_prompt:
                self.unknown.add(shown[index], line)
        self.unknown.report(self.problems, has_key=options.key in names)
        return None if duplicates or not has_prompt else targets


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number lines as editors do; other Unicode line separators may be part of a prompt."""
    return enumerate(io.StringIO(text, newline=None), 1)


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
