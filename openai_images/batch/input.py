"""Reads the items of a batch from a text, CSV or JSON Lines file.

Invariants: all bad rows are reported together, with their lines, before anything is sent; no text of a row is
repeated, for it may be a prompt. What is not set (an empty cell, null, no key) is not sent. Only CSV has text for
numbers. In a text file every line that is not blank is a prompt, also one that begins with `#`.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from openai_images.batch.input_rows import (
    Problems,
    RawRow,
    check_names,
    coerce_values,
    read_csv,
    read_jsonl,
    read_txt,
)
from openai_images.batch.items import input_error
from openai_images.batch.models import BatchItem
from openai_images.batch.source_images import EDIT_NAMES, with_folder
from openai_images.models.requests import EditRequest, GenerateRequest

_READERS = {"txt": read_txt, "csv": read_csv, "jsonl": read_jsonl}
_SUFFIXES = {"txt": (".txt", ".text"), "csv": (".csv", ".tsv"), "jsonl": (".jsonl", ".ndjson")}
_FORMATS_BY_SUFFIX = {suffix: name for name, suffixes in _SUFFIXES.items() for suffix in suffixes}
_NO_DEFAULTS: Mapping[str, Any] = {}
_MAX_PROMPT = 32_000
_MAX_KEY = 400


def read_batch_items(
    source: str | os.PathLike[str] | TextIO,
    *,
    format: str | None = None,  # noqa: A002  the word of the command line
    defaults: Mapping[str, Any] = _NO_DEFAULTS,
) -> list[BatchItem]:
    """The items in a file, or in an open text stream.

    `format` is "txt" (one prompt per line), "csv" (a header names the columns) or "jsonl" (one object per line), by
    default the one of the file's suffix. Columns and names are the endpoint's parameters, `prompt` and, optionally,
    `key`; with an `image` (a path, relative to the file's folder, or a URL, or several) the row is an edit. `defaults`
    apply to rows that do not set them. A row without a key has its number, from 1, in five digits.
    Raises `BatchInputError` whose `problems` are all bad rows, and OSError where the file cannot be read.
    """
    name = str(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "the input")
    where = repr(str(name))
    file_format = format or _FORMATS_BY_SUFFIX.get(Path(str(name)).suffix.lower())
    if file_format not in _READERS:
        formats = "txt, csv or jsonl"
        problem = f"its format {'is not said by its name' if format is None else f'{format!r} is unknown'}"
        raise input_error(where, [f"{problem}; give format={formats}"])
    problems = Problems()
    text = _decode(_read_bytes(source), problems)
    if "\0" in text:
        problems.append((1, "it holds NUL characters, as UTF-16 without a mark does; save it as UTF-8"))
        text = ""
    rows = _READERS[file_format](text, problems)
    check_names(defaults, 0, problems)
    parameters = {name: value for name, value in defaults.items() if name != "prompt"}
    default_values = coerce_values(parameters, 0, problems, from_text=False)
    folder = os.path.dirname(source) if isinstance(source, str | os.PathLike) else ""  # noqa: PTH120  "" has no path
    items = _make_items(rows, default_values, problems, folder=folder, from_text=file_format == "csv")
    if not rows and not problems:
        problems.append((0, "there is no prompt in it"))
    if problems:
        raise input_error(where, [problem for _, problem in sorted(problems, key=lambda problem: problem[0])])
    return items


def _read_bytes(source: str | os.PathLike[str] | TextIO) -> bytes:
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    raw = getattr(source, "buffer", None)  # the bytes of standard input, whose encoding may be another
    return raw.read() if raw is not None else source.read().encode(errors="surrogatepass")


def _decode(data: bytes, problems: Problems) -> str:
    """The text, as UTF-8 or by its byte order mark; undecodable lines are reported."""
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            problems.append(
                (1, f"it is not the UTF-16 its beginning says ({error.reason}); save it as UTF-8")
            )
            return ""
    for number, line in enumerate(data.splitlines(), 1):
        try:
            line.decode()
        except UnicodeDecodeError as error:
            why = f"byte {error.start + 1} is not UTF-8; save the file as UTF-8"
            problems.add(number, f"{why}")
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
            problems.add(row.line, f"its key {key[:40]!r} is that of line {lines[key]} already")
        lines.setdefault(key, row.line)
        if len(problems) > before:
            continue
        values = {**default_values, **values}
        without = next((name for name in EDIT_NAMES if name in values and "image" not in values), None)
        if without is not None:
            problems.add(row.line, f"{without} is for edits, and the row has no image")
            continue
        request = (EditRequest if "image" in values else GenerateRequest)(prompt, **values)
        items.append(BatchItem(key, with_folder(request, folder), row.line))
    return items


def _check_prompt(prompt: Any, line: int, problems: Problems) -> str:
    if not isinstance(prompt, str) or not prompt.strip():
        problems.add(line, "the prompt is empty")
        return ""
    if len(prompt) > _MAX_PROMPT:
        long = f"the prompt has {len(prompt):,} characters, and {_MAX_PROMPT:,} are allowed"
        problems.add(line, f"{long}")
    if not _is_encodable(prompt):
        problems.add(line, "the prompt holds half of a surrogate pair, which is no character")
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
