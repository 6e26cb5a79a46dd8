"""Rows of text, CSV and JSON Lines with their line numbers, and the parameters in them.

Invariants: pure; a malformed row is reported and skipped, and so is a quotation that never ends, which would turn the
rest into one prompt. No value is repeated in a report: in a file whose columns slipped it may be a prompt.
Must not: guess. `;` or a tab separates columns only where the header has no comma or a first line says `sep=;`, as
Excel writes.
"""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from attrs import field, frozen

from openai_images._util.json import is_mapping, is_object
from openai_images.batch.source_images import IMAGE_NAMES, IMAGE_TYPE, parse_images
from openai_images.models.requests import GenerateParams

_NOT_IN_BATCHES = {
    "stream": "a batch does not stream; leave it out",
    "partial_images": "a batch does not stream, so there are no partial images; leave it out",
}
_TYPE_NAMES = {int: "a whole number", dict: "a JSON object", str: "text"}

_SEPARATOR = re.compile(r"""[\r\n]*("?sep=([^\s\w"]|\t)"?[\t ,;]*)(?![^\r\n])""", re.IGNORECASE)
_ENVELOPE = ("custom_id", "method", "url", "body")
_ENDPOINT = re.compile(r"(?:/[\w.-]+)*/images/(?:generations|edits)")


class Problems(list[tuple[int, str]]):
    """A line number, and what is wrong there; line 0 stands for the defaults."""

    def add(self, line: int, text: str) -> None:
        """Report what is wrong on a line."""
        self.append((line, f"line {line}: {text}" if line else f"defaults: {text}"))


@frozen
class RawRow:
    """The values of one row by name, and the line on which it begins."""

    line: int
    values: Mapping[str, Any] = field(repr=False)


def read_txt(text: str, _: Problems) -> list[RawRow]:
    """A prompt for each line that is not blank."""
    return [
        RawRow(number, {"prompt": line.strip()}) for number, line in _numbered_lines(text) if line.strip()
    ]


def read_jsonl(text: str, problems: Problems) -> list[RawRow]:
    """A row for each line that is not blank."""
    rows: list[RawRow] = []
    for number, line in _numbered_lines(text):
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_unique_keys, parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            why = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            problems.add(number, f"it is no JSON object ({why})")
            continue
        if not is_object(value):
            problems.add(number, 'it is no JSON object; write {"prompt": …}')
            continue
        request = _unwrap_envelope(value, number, problems) if {"custom_id", "body"} & value.keys() else value
        if request is not None:
            check_names(request, number, problems, hint="; what is not known here goes into extra_body")
            rows.append(RawRow(number, {name: item for name, item in request.items() if item is not None}))
    return rows


def read_csv(text: str, problems: Problems) -> list[RawRow]:
    """A row for each row after the header; empty cells set nothing."""
    if separator := _SEPARATOR.match(text):
        delimiter, text = separator[2], text[: separator.start(1)] + text[separator.end(1) :]
    else:
        first = re.split(r"[\r\n]", text.lstrip("\r\n"), maxsplit=1)[0]
        delimiter = next((mark for mark in ",;\t" if mark in first), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows: list[RawRow] = []
    header: list[str] | None = None
    line = 1
    try:
        for cells in reader:
            start, line = line, reader.line_num + 1
            if not any(cell.strip() for cell in cells):
                continue
            if header is None:
                header = _parse_header(cells, start, problems)
                if header is None:
                    return []
            elif len(cells) > len(header):
                why = f"it has {len(cells)} columns, and the header {len(header)}; quote cells with a comma"
                problems.add(start, f"{why}")
            else:
                pairs = zip(header, cells, strict=False)
                rows.append(RawRow(start, {name: cell for name, cell in pairs if cell.strip()}))
    except csv.Error as error:
        problems.add(line, f"it cannot be read as CSV ({error}); look at its quotation marks")
    return rows


def _unwrap_envelope(row: Mapping[str, Any], line: int, problems: Problems) -> Mapping[str, Any] | None:
    """The request in a line of the Batch API, with its `custom_id` as the key; None where it has none."""
    before, url, body = len(problems), row.get("url"), row.get("body")
    where = "as a line of the Batch API"
    unknown = [name[:40] for name in row if name not in _ENVELOPE]
    if unknown:
        problems.add(line, f"{where} it has only {', '.join(_ENVELOPE)}, not {unknown[0]!r}")
    if row.get("method") not in (None, "POST"):
        problems.add(line, f"{where} its method must be POST")
    if url is not None and not (isinstance(url, str) and _ENDPOINT.fullmatch(url)):
        problems.add(line, f"{where} its url must be /v1/images/generations or /v1/images/edits")
    if not is_object(body):
        problems.add(line, f"{where} its body must be a JSON object, the request")
        return None
    if isinstance(url, str) and url.endswith("/edits") != ("images" in body):
        problems.add(
            line, f"{where} it has images in its body where its url ends in /images/edits, and only there"
        )
    key = row.get("custom_id")
    body = {"image" if name == "images" else name: value for name, value in body.items()}
    return None if len(problems) > before else {**body, **({} if key is None else {"key": key})}


def _parse_header(cells: Sequence[str], line: int, problems: Problems) -> list[str] | None:
    """The names of the columns; None where no row can be read with them."""
    names = [cell.strip().lower() for cell in cells]
    if "prompt" not in names:
        problems.add(line, "it must name the columns, and one of them must be prompt")
        return None
    duplicates = sorted({name for name in names if name and names.count(name) > 1})
    for name in duplicates:
        problems.add(line, f"there are two columns {name[:40]!r}")
    check_names([name for name in names if name], line, problems)
    return None if duplicates else names


def _numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines as every editor counts them; other line separators may be part of a prompt."""
    return enumerate(io.StringIO(text, newline=None), 1)


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"{name[:40]!r} is there twice")
        values[name] = value
    return values


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")


def _value_type(hint: Any) -> type:
    """What a value must be: int, dict (any mapping) or str."""
    types = {get_origin(part) or part for part in get_args(hint)}
    return int if int in types else dict if Mapping in types else str


_TYPES = {
    name: _value_type(hint)
    for name, hint in get_type_hints(GenerateParams, localns={"Mapping": Mapping}).items()
    if name not in _NOT_IN_BATCHES
}

_TYPES["input_fidelity"] = str
_NAMES = ("prompt", "key", *IMAGE_NAMES, *_TYPES)


def check_names(names: Iterable[str], line: int, problems: Problems, hint: str = "") -> None:
    """Report the names that are no parameters of a batch; line 0 stands for the defaults."""
    for name in names:
        if name in _NOT_IN_BATCHES:
            problems.add(line, f"{name}: {_NOT_IN_BATCHES[name]}")
        elif name not in _NAMES or (name in ("prompt", "key") and not line):
            matches = difflib.get_close_matches(name, _NAMES, 1)
            suggestion = f"; did you mean {matches[0]!r}?" if matches and matches[0] != name else hint
            problems.add(line, f"unknown parameter {name[:40]!r}{suggestion}")


def coerce_values(
    values: Mapping[str, Any], line: int, problems: Problems, *, from_text: bool
) -> dict[str, Any]:
    """The parameters that are set, each as its type; others are reported. `key` is left out."""
    coerced: dict[str, Any] = {}
    for name, value in values.items():
        if name == "prompt":
            coerced[name] = value
        if (name not in _TYPES and name not in IMAGE_NAMES) or value is None:
            continue
        cls = _TYPES.get(name)
        try:
            if cls is None:
                coerced[name] = parse_images(name, value, from_text=from_text)
            else:
                coerced[name] = _coerce_text(cls, value) if from_text else _coerce(cls, value)
        except (TypeError, ValueError, RecursionError):
            problems.add(line, f"{name} must be {IMAGE_TYPE if cls is None else _TYPE_NAMES[cls]}")
    return coerced


def _coerce_text(cls: type, value: str) -> Any:
    text = value.strip()
    if cls is int:
        return _coerce(int, float(text) if "." in text else int(text))
    return _coerce(dict, json.loads(text)) if cls is dict else text


def _coerce(cls: type, value: Any) -> Any:
    if cls is int and isinstance(value, float) and value.is_integer():
        return int(value)  # spreadsheets write 2.0
    if cls is dict and is_mapping(value):
        return dict(value)
    if isinstance(value, bool) or not isinstance(value, cls):
        raise TypeError
    return value
