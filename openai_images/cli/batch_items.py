"""The items of `batch`: rows of a file or of stdin, or prompts of the command line, multiplied by a matrix.

Invariants: messages of the library name the options in place of its keywords; a value of `--matrix` or `--var` is one
cell of a CSV row, `@FILE` a value on each line of a file.
Must not: accept part of an input: one bad row rejects it, and every bad row is named.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import click

from openai_images import (
    BatchInputError,
    BatchItem,
    GenerateRequest,
    expand_matrix,
    read_batch_items,
)
from openai_images.cli.options import decode_text, read_stdin_bytes

_T = TypeVar("_T")

_SUFFIXES = (".txt", ".text", ".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_PARAMETER_OF = {"format": "output_format", "compression": "output_compression", "frames": "frame_count"}
_OPTION_OF = {name: option for option, name in _PARAMETER_OF.items()}
_KEYWORD = re.compile(r"\b(prompt|key)_column(?:=('[\w.-]+'|\"[^\"]*\"|'[^']*'))?")


class InputOptions(NamedTuple):
    """The source of the items, and its format."""

    file: str | None
    prompts: tuple[str, ...]
    input_format: str | None
    prompt_column: str | None
    key_column: str | None
    ignore_unknown: bool
    comments: bool
    matrix: tuple[str, ...]
    variables: tuple[str, ...]


class BatchInput(NamedTuple):
    """The items (a matrix makes them lazily), and the number of rows from which they were made."""

    items: Sequence[BatchItem]
    row_count: int


def load_items(options: InputOptions, defaults: Mapping[str, Any], typed: Mapping[str, str]) -> BatchInput:
    """Read and multiply the items; `typed` are the options that were typed, by their parameters.

    Raises `BatchInputError` and click.UsageError.
    """
    matrix = _parse_lists(options.matrix, "--matrix quality=low,high", _PARAMETER_OF)
    variables = _parse_lists(options.variables, "--var animal=fox,heron", {})
    for name in matrix:
        if name in typed:
            option = _OPTION_OF.get(name, name)
            raise click.UsageError(
                f"{typed[name]} and --matrix {option}=… are the same; leave one of them out."
            )
    defaults = {name: value for name, value in defaults.items() if name not in matrix}
    try:
        rows = _read_rows(options, defaults)
        items = expand_matrix(rows, matrix, variables) if matrix or variables else rows
    except BatchInputError as error:
        problems = [_as_option(problem) for problem in error.problems]
        raise BatchInputError(_as_option(str(error)), problems=problems) from None
    return BatchInput(items, len(rows))


def _read_rows(options: InputOptions, defaults: Mapping[str, Any]) -> Sequence[BatchItem]:
    file, input_format = options.file, options.input_format
    if (file is None) == (not options.prompts):
        raise click.UsageError(
            "give either FILE or --prompt TEXT, not both."
            if file
            else "Missing argument 'FILE' (or --prompt TEXT)."
        )
    if file is None:
        return [_item(number, prompt, defaults) for number, prompt in enumerate(options.prompts, 1)]
    keywords: dict[str, Any] = {
        "defaults": defaults,
        "prompt_column": options.prompt_column,
        "key_column": options.key_column,
        "ignore_unknown": options.ignore_unknown,
        "comments": options.comments,
    }
    if file == "-":
        data = _NamedBytes(read_stdin_bytes("the rows"))
        source = io.TextIOWrapper(data, errors="replace")
        return read_batch_items(source, format=input_format or _sniff_format(data.getvalue()), **keywords)
    if input_format is None and Path(file).suffix.lower() not in _SUFFIXES:
        if Path(file).suffix.lower() in _SPREADSHEETS:
            raise click.UsageError(f"{file!r} is a spreadsheet; save it as CSV (UTF-8) and use that file.")
        raise click.UsageError(
            f"the name {file!r} does not show its format: end it in .txt, .csv, .tsv, .json or .jsonl, or add "
            "--input-format."
        )
    return _read(file, lambda: read_batch_items(file, format=input_format, **keywords))


def _item(number: int, prompt: str, defaults: Mapping[str, Any]) -> BatchItem:
    if not prompt.strip():
        raise click.UsageError("--prompt is empty.")
    return BatchItem(f"{number:05d}", GenerateRequest(prompt.strip(), **defaults))


class _NamedBytes(io.BytesIO):
    name = "stdin"  # in errors


_JSON_ARRAY = re.compile(r"\s*\[\s*[\"{]")


def _sniff_format(data: bytes) -> str:
    encoding = "utf-16" if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig"
    start = data[:4096].decode(encoding, errors="replace")
    if _JSON_ARRAY.match(start) and data.rstrip(b" \t\r\n\0").endswith(b"]"):
        return "json"
    return "jsonl" if start.lstrip().startswith("{") else "txt"


def _read(file: str, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except OSError as error:
        raise click.UsageError(f"cannot read {file!r}: {error.strerror or type(error).__name__}.") from None


def _parse_lists(texts: Sequence[str], example: str, names: Mapping[str, str]) -> dict[str, list[str]]:
    """Return values by name, from options of the example's form; a repeated option adds values."""
    lists: dict[str, list[str]] = {}
    option = example.partition(" ")[0]
    for text in texts:
        name, equals, values = text.partition("=")
        name = names.get(name.strip(), name.strip())
        if not equals or not name:
            raise click.UsageError(f"{option} {text!r} should look like {example}.")
        lists.setdefault(name, []).extend(_parse_values(values, f"{option} {name}"))
    return lists


def _parse_values(text: str, what: str) -> list[str]:
    if text.startswith("@"):
        file = text[1:]
        content = decode_text(_read(file, Path(file).read_bytes), f"{what} reads {file!r}")
        return [line.strip() for line in content.splitlines() if line.strip()]
    try:
        return next(csv.reader([text], skipinitialspace=True, strict=True), list[str]())
    except csv.Error as error:
        raise click.UsageError(f"{what}: its values cannot be read ({error}); check its quotes.") from None


def _as_option(text: str) -> str:
    """Return the message with options in place of the library's keywords."""

    def option(match: re.Match[str]) -> str:
        value = match[2] or ""
        is_word = re.fullmatch(r"'[\w.-]+'", value) is not None
        return f"--{match[1]}-column {value[1:-1] if is_word else value}".rstrip()

    return _KEYWORD.sub(option, text).replace("ignore_unknown=True", "--ignore-unknown")
