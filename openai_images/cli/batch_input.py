"""The options of `batch`, and its items: rows of a file or of stdin, or prompts, multiplied by a matrix.

Invariants: a row's own parameters override the options; messages of the library name the options in place of its
keywords; a value of `--matrix` or `--var` is one cell of a CSV row, `@FILE` a value on each line of a file.
Must not: accept part of an input: one bad row rejects it, and every bad row is named.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
from attrs import evolve, field, frozen

from openai_images import (
    BatchInputError,
    BatchItem,
    GenerateRequest,
    expand_matrix,
    read_batch_items,
)
from openai_images.cli.batch_folder import is_shared
from openai_images.cli.command_parts import OPTION_OF
from openai_images.cli.files import decode_text, output_format, read_stdin_bytes, reading
from openai_images.cli.options import CommandOptions, parse_parameters

if TYPE_CHECKING:  # a batch on one machine does not need it
    from openai_images import Shard

_SUFFIXES = (".txt", ".text", ".csv", ".tsv", ".json", ".jsonl", ".ndjson")
_SPREADSHEETS = (".xlsx", ".xls", ".ods", ".numbers")
_PARAMETER_OF = {"format": "output_format", "compression": "output_compression", "frames": "frame_count"}
_OPTION_OF = {name: option for option, name in _PARAMETER_OF.items()}
_KEYWORD = re.compile(r"\b(prompt|key)_column(?:=('[\w.-]+'|\"[^\"]*\"|'[^']*'))?")


@frozen(kw_only=True)
class BatchCommandOptions(CommandOptions):
    """Options of `batch`."""

    file: str | None = None
    prompt: tuple[str, ...] = field(default=(), repr=False)
    out: str
    input_format: str | None = None
    prompt_column: str | None = None
    key_column: str | None = None
    ignore_unknown: bool = False
    comments: bool = False
    matrix: tuple[str, ...] = ()
    var: tuple[str, ...] = field(default=(), repr=False)
    concurrency: int | None = None
    images_per_minute: int | None = None
    budget: str | None = None
    max_image_cost: str | None = None
    prices: str | None = None
    max_identical_failures: int = 5
    retry_failed: bool = False
    retry_unknown: bool = False
    retry_missing: bool = False
    dedupe: bool = False
    dry_run: bool = False
    no_prompts: bool = False
    shard: str | None = None
    dask: str | None = None
    economy: bool = False
    cancel: bool = False

    def check(self) -> None:
        """Raise click.UsageError for options that contradict each other."""
        super().check()
        if self.cancel and not self.economy:
            raise click.UsageError("--cancel is for batches at the provider: add --economy.")
        if self.economy and (self.shard is not None or self.dask is not None):
            raise click.UsageError("--economy sends from one machine: leave --shard and --dask out.")
        if self.output_format is not None:  # otherwise each row may have its own
            self.check_format(output_format(None, self.output_format), "write --format {0}")
        if self.dask is not None and self.shard is not None:
            raise click.UsageError("--dask distributes the work itself; leave --shard out.")
        if self.dask is not None and self.local:
            raise click.UsageError(
                "--dask sends from other processes, which have no key for --local's server; for a test start "
                "openai-images serve, and set OPENAI_API_KEY for the workers."
            )

    @property
    def shared_by(self) -> Shard | None:
        """Return this process's part of a shared batch; None on one machine or on Dask.

        Raises `ConfigurationError`.
        """
        if self.dask is not None and not self.dry_run:
            return None
        if self.shard is None and self.dask is None and not is_shared(self.out):
            return None
        from openai_images import Shard

        shard = Shard() if self.shard is None else Shard.parse(self.shard)
        return evolve(shard, plan_only=self.dry_run)

    @property
    def typed_options(self) -> dict[str, str]:
        """The option that the user typed for each parameter."""
        typed = {name: OPTION_OF[name] for name in self.typed_params}
        return typed | {name: f"--param {name}" for name in parse_parameters(self.param)}


class BatchInput(NamedTuple):
    """The items (a matrix makes them lazily), and the number of rows from which they were made."""

    items: Sequence[BatchItem]
    row_count: int


def load_items(options: BatchCommandOptions) -> BatchInput:
    """Read and multiply the items. Raises `BatchInputError` and click.UsageError."""
    matrix = _parse_lists(options.matrix, "--matrix quality=low,high", _PARAMETER_OF)
    variables = _parse_lists(options.var, "--var animal=fox,heron", {})
    typed = options.typed_options
    for name in filter(typed.get, matrix):
        option = _OPTION_OF.get(name, name)
        raise click.UsageError(f"{typed[name]} and --matrix {option}=… are the same; leave one of them out.")
    defaults = {name: value for name, value in options.request_params().items() if name not in matrix}
    try:
        rows = _read_rows(options, defaults)
        items = expand_matrix(rows, matrix, variables) if matrix or variables else rows
    except BatchInputError as error:
        problems = [_as_option(problem) for problem in error.problems]
        raise BatchInputError(_as_option(str(error)), problems=problems) from None
    return BatchInput(items, len(rows))


def _read_rows(options: BatchCommandOptions, defaults: Mapping[str, Any]) -> Sequence[BatchItem]:
    file, input_format = options.file, options.input_format
    if (file is None) == (not options.prompt):
        raise click.UsageError(
            "give either FILE or --prompt TEXT, not both."
            if file
            else "Missing argument 'FILE' (or --prompt TEXT)."
        )
    if file is None:
        return [_item(number, prompt, defaults) for number, prompt in enumerate(options.prompt, 1)]
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
    with reading(file):
        return read_batch_items(file, format=input_format, **keywords)


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
        with reading(file):
            data = Path(file).read_bytes()
        content = decode_text(data, f"{what} reads {file!r}")
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
