"""Reads the items of a batch from a text, CSV, JSON or JSON Lines file.

Invariants: all bad rows are reported together, with their lines, before anything is sent; no text of a row is repeated,
as it may be a prompt; a value that is not set (an empty cell, null, no key) is not sent; only CSV accepts text for
numbers; in a text file every non-blank line is a prompt, except, if configured, comments with `#`.
"""

from __future__ import annotations

import codecs
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from attrs import evolve

from openai_images.batch.input.columns import (
    EDIT_NAMES,
    ColumnOptions,
    Problems,
    coerce_values,
    parameter_problem,
    with_folder,
)
from openai_images.batch.input.rows import RawRow, RowReader, read_json, read_jsonl
from openai_images.batch.items.models import BatchItem
from openai_images.batch.items.resolved_item import input_error
from openai_images.models.requests import EditRequest, GenerateRequest

_log = logging.getLogger("openai_images")

_READERS = {
    "txt": RowReader.read_txt,
    "csv": RowReader.read_csv,
    "json": read_json,
    "jsonl": read_jsonl,
}
_SUFFIXES = {
    "txt": (".txt", ".text"),
    "csv": (".csv", ".tsv"),
    "json": (".json",),
    "jsonl": (".jsonl", ".ndjson"),
}
_FORMATS_BY_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}
_NO_DEFAULTS: Mapping[str, Any] = {}
_MAX_PROMPT = 32_000
_MAX_KEY = 400


def read_batch_items(  # noqa: PLR0913  keywords
    source: str | os.PathLike[str] | TextIO,
    *,
    format: str | None = None,  # noqa: A002  the word of the command line
    defaults: Mapping[str, Any] = _NO_DEFAULTS,
    prompt_column: str | None = None,
    key_column: str | None = None,
    ignore_unknown: bool = False,
    comments: bool = False,
) -> list[BatchItem]:
    """Read the items of a batch from a file, or an open text stream.

    `source` is a path, or a text stream such as `sys.stdin`. `format` is "txt" (one prompt per line), "csv" (a header
    names the columns), "json" (an array of prompts or objects) or "jsonl" (one object, or one request of the Batch API,
    per line); by default it follows from the file's suffix. Columns are the endpoint's parameters, `prompt` and,
    optionally, `key`; `prompt_column` and `key_column` are other names for these two. `ignore_unknown` skips unknown
    columns, `comments` skips lines that start with `#`. With an `image` (one or more URLs, or paths relative to the
    file's folder) the row is an edit. `defaults` apply to rows that do not set them. The default key is the row's
    number, from 1, with five digits.
    Raises `BatchInputError`, whose `problems` are all bad rows, and OSError if the file cannot be read.
    """
    name = str(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "the input")
    where = repr(str(name))
    file_format = _check_format(where, str(name), format)
    options = _column_options(where, file_format, prompt_column, key_column)
    options = evolve(options, ignore_unknown=ignore_unknown, comments=comments)
    problems = Problems()
    text = _decode(_read_bytes(source), problems)
    if "\0" in text:
        problems.append(
            (1, "it contains NUL characters, like UTF-16 without a byte order mark; save it as UTF-8")
        )
        text = ""
    reader = RowReader(options, problems)
    rows = _READERS[file_format](reader, text)
    default_values = _check_defaults(defaults, problems)
    folder = os.path.dirname(source) if isinstance(source, str | os.PathLike) else ""  # noqa: PTH120  "" has no path
    items = _make_items(rows, default_values, problems, folder=folder, from_text=file_format == "csv")
    if not rows and not problems:
        problems.append((0, "it contains no prompt"))
    if problems:
        raise input_error(where, [problem for _, problem in sorted(problems, key=lambda problem: problem[0])])
    for name, near in reader.unknown.misspelt().items():
        _log.warning("%s: column %r is ignored; did you mean %r?", where, name[:40], near)
    return items


def _check_format(where: str, name: str, file_format: str | None) -> str:
    """Return the given format, or that of the suffix. Raises `BatchInputError`."""
    found = file_format or _FORMATS_BY_SUFFIX.get(Path(name).suffix.lower())
    if found not in _READERS:
        what = "is not known from its name" if file_format is None else f"{file_format!r} is unknown"
        raise input_error(where, [f"its format {what}; set format=txt, csv, json or jsonl"])
    return found


def _column_options(where: str, file_format: str, prompt: str | None, key: str | None) -> ColumnOptions:
    """Return the prompt and key columns. Raises `BatchInputError` for a file without columns."""
    if file_format == "txt" and (prompt is not None or key is not None):
        name = "prompt_column" if prompt is not None else "key_column"
        raise input_error(where, [f"it is text without columns: leave {name} out, or set another format"])
    prompt, key = "prompt" if prompt is None else prompt.strip(), "key" if key is None else key.strip()
    is_csv = file_format == "csv"
    return ColumnOptions(prompt.lower() if is_csv else prompt, key.lower() if is_csv else key)


def _check_defaults(defaults: Mapping[str, Any], problems: Problems) -> dict[str, Any]:
    """Return the defaults as parameters; report unknown ones."""
    for name in defaults:
        problem = parameter_problem(name)
        if problem is not None:
            problems.add(0, problem)
    parameters = {name: value for name, value in defaults.items() if name != "prompt"}
    return coerce_values(parameters, 0, problems, from_text=False)


def _read_bytes(source: str | os.PathLike[str] | TextIO) -> bytes:
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    raw = getattr(source, "buffer", None)  # the bytes of standard input, whose encoding may differ
    return raw.read() if raw is not None else source.read().encode(errors="surrogatepass")


def _decode(data: bytes, problems: Problems) -> str:
    """Decode text as UTF-8, or UTF-16 with a byte order mark; report undecodable lines."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            problems.append(
                (1, f"it starts like UTF-16 but is not valid UTF-16 ({error.reason}); save it as UTF-8")
            )
            return ""
    for number, line in enumerate(data.splitlines(), 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            problems.add(number, f"byte {error.start + 1} is not UTF-8; save the file as UTF-8")
    return data.decode(encoding, errors="replace")


def _make_items(
    rows: Sequence[RawRow],
    default_values: Mapping[str, Any],
    problems: Problems,
    *,
    folder: str,
    from_text: bool,
) -> list[BatchItem]:
    items: list[BatchItem] = []
    lines: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        before = len(problems)
        values = coerce_values(row.values, row.line, problems, from_text=from_text)
        prompt = _check_prompt(values.pop("prompt", None), row.line, problems)
        key = _check_key(row.values.get("key"), row.line, problems) or f"{number:05d}"
        if key in lines:
            problems.add(row.line, f"its key {key[:40]!r} is already used on line {lines[key]}")
        lines.setdefault(key, row.line)
        if len(problems) > before:
            continue
        values = {**default_values, **values}
        without = next((name for name in EDIT_NAMES if name in values and "image" not in values), None)
        if without is not None:
            problems.add(row.line, f"{without} is for edits, but the row has no image")
            continue
        request = (EditRequest if "image" in values else GenerateRequest)(prompt, **values)
        items.append(BatchItem(key, with_folder(request, folder), row.line))
    return items


def _check_prompt(prompt: Any, line: int, problems: Problems) -> str:
    if not isinstance(prompt, str) or not prompt.strip():
        problems.add(line, "the prompt is empty")
        return ""
    if len(prompt) > _MAX_PROMPT:
        problems.add(line, f"the prompt has {len(prompt):,} characters; {_MAX_PROMPT:,} are allowed")
    if not _is_encodable(prompt):
        problems.add(line, "the prompt contains half of a surrogate pair, which is not a character")
    return prompt


def _check_key(key: Any, line: int, problems: Problems) -> str:
    if key is None:
        return ""
    if isinstance(key, bool) or not isinstance(key, str | int):
        problems.add(line, "key must be text")
        return ""
    text = str(key).strip()
    if len(text) > _MAX_KEY or not _is_encodable(text):
        problems.add(line, f"key must be text of at most {_MAX_KEY} characters")
        return ""
    return text


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
