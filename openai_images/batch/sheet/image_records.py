"""`pictures.csv` and `metadata.jsonl`: the request and response of each image, for other programs.

Invariants: both have a row for each complete image in `images/`, in the order of the items, then of removed items; they
are written from the journal each time, completely or not at all; cost and tokens of a response are divided among its
images; in `pictures.csv` a text that a spreadsheet would run as a formula starts with an apostrophe; `metadata.jsonl`
has the format of ImageFolder (library `datasets`).
Must not: overwrite other files; contain a prompt without `record_prompts`, or the id of a user.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import ROUND_DOWN, Decimal
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from openai_images._util.atomic_file import remove_parts, replace_file
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal_reader import StoredFile
from openai_images.batch.journal.ledger import ItemRecord, Ledger
from openai_images.batch.journal.response_facts import ResponseFacts
from openai_images.batch.sheet.sheet_entries import encode_plain, plain_parameter_names, plain_parameters

_CSV, _JSONL = "pictures.csv", "metadata.jsonl"
_FIRST: Final = ("file_name", "key", "image_index", "state")
_LAST: Final = (
    "width",
    "height",
    "media_type",
    "nbytes",
    "sha256",
    "result_quality",
    "cost",
    "input_tokens",
    "output_tokens",
    "seconds",
    "recorded_at",
    "request_id",
)
_OWN_BEGINNINGS: Final = {
    _CSV: re.compile(",".join(_FIRST).encode() + b"[,\r\n]"),
    _JSONL: re.compile(rb'\{"file_name":"images/[^"]*","key":"(?:[^"\\]|\\.)*","image_index":\d+,"state":"'),
}
_ALONE: Final = ((0, 1),)
_HEAD_BYTES: Final = 64 * 1024
_SHARE_STEP: Final = Decimal("1E-10")
_FORMULA_STARTS: Final = frozenset("=+-@\t\r")
_LINE_ENDS: Final = str.maketrans({"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"})
"""Characters allowed in JSON at which some readers end a line."""

_log = logging.getLogger("openai_images")


def write_records(root: Path, items: Collection[ResolvedItem], ledger: Ledger, options: BatchOptions) -> None:
    """Write both files into the batch's folder `root`; log a file that cannot be written. Blocks."""
    records = _Records(root, items, ledger, options)
    _write_lines(root, _CSV, chain([records.csv_header], map(records.csv_line, records.rows())))
    _write_lines(root, _JSONL, map(records.json_line, records.rows()))


def _write_lines(root: Path, name: str, lines: Iterable[str]) -> None:
    try:
        if _may_replace(root / name):
            remove_parts(root, name)
            replace_file(root, name, lines)
        else:
            _log.warning("%s in %s was not written by a batch and was not replaced", name, root)
    except OSError as error:
        _log.warning("%s could not be written to %s (%s)", name, root, error.strerror)


def _may_replace(path: Path) -> bool:
    """Return whether the file does not exist, or was written by a batch. Raises OSError."""
    if not os.path.lexists(path):
        return True
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    return not head or _OWN_BEGINNINGS[path.name].match(head) is not None


class _Records:
    """The rows of a batch's folder, and their lines."""

    def __init__(
        self, root: Path, items: Collection[ResolvedItem], ledger: Ledger, options: BatchOptions
    ) -> None:
        self._names = _list_names(root / "images")
        self._items = items
        self._ledger = ledger
        self._options = options
        prompts = ("prompt", "model") if options.record_prompts else ("model",)
        requests = (item.request for item in items)
        given = plain_parameter_names(requests, prompts=options.record_prompts)
        note = ("note",) if options.note else ()
        self._columns = tuple(dict.fromkeys((*_FIRST, *prompts, *given, *_LAST, *note)))
        self._line = io.StringIO()
        self._writer = csv.writer(self._line)

    @property
    def csv_header(self) -> str:
        """The first line of the CSV file."""
        return self._csv_line(self._columns)

    def csv_line(self, row: Mapping[str, Any]) -> str:
        """Return a row as a line of CSV."""
        return self._csv_line(map(_cell, map(row.get, self._columns)))

    def json_line(self, row: Mapping[str, Any]) -> str:
        """Return a row as a line of JSON, without unknown values."""
        text = encode_plain({name: value for name in self._columns if (value := row.get(name)) is not None})
        return f"{text if text.isascii() else text.translate(_LINE_ENDS)}\n"

    def _csv_line(self, cells: Iterable[Any]) -> str:
        self._line.seek(0)
        self._line.truncate()
        self._writer.writerow(cells)
        return self._line.getvalue()

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each image."""
        known, prompts = {item.key for item in self._items}, self._options.record_prompts
        shared: set[str] = set()
        for item in self._items:
            record, key = self._ledger.get(item.key), item.key
            if record.same_as:
                key = record.same_as
                if key in known or key in shared:  # the rows have that key
                    continue
                shared.add(key)
                record = self._ledger.get(key)
            is_same = record.request in ("", item.digest)
            yield from self._rows_of(
                key, record, plain_parameters(item.request, prompts=prompts) if is_same else {}
            )
        for key, record in self._ledger.records.items():
            if key not in known and key not in shared and not record.same_as:
                yield from self._rows_of(key, record, {})

    def _rows_of(
        self, key: str, record: ItemRecord, parameters: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        facts = [record.facts_of(file) for file in record.files]
        shares = _shares(facts)
        for index, (file, response) in enumerate(zip(record.files, facts, strict=True)):
            if self._is_image(file, record):
                yield {
                    "file_name": file.name,
                    "key": key,
                    "image_index": index,
                    "state": record.state,
                    **parameters,
                    "width": file.width,
                    "height": file.height,
                    "media_type": file.media_type or None,
                    "nbytes": file.nbytes,
                    "sha256": file.sha256,
                    **_response_fields(response, *shares[index]),
                    "note": self._options.note or None,
                }

    def _is_image(self, file: StoredFile, record: ItemRecord) -> bool:
        """Return whether the file is in the folder and complete; damaged images are only in the journal."""
        if not file.name.startswith("images/"):
            return False
        is_damaged = record.state != "done" and file.is_damaged
        return not is_damaged and file.name.removeprefix("images/") in self._names


def _list_names(folder: Path) -> frozenset[str]:
    """Return the names of the files in a folder: checking each file is much slower."""
    try:
        with os.scandir(folder) as listing:
            return frozenset(entry.name for entry in listing if entry.is_file())
    except OSError:
        return frozenset()


def _shares(facts: Sequence[ResponseFacts]) -> Sequence[tuple[int, int]]:
    """Return, for each image, its number in its response, and the response's number of images."""
    if len(facts) == 1:
        return _ALONE
    totals = Counter(map(id, facts))
    numbers = {response: count() for response in totals}
    return [(next(numbers[id(response)]), totals[id(response)]) for response in facts]


def _response_fields(response: ResponseFacts, number: int, of: int) -> dict[str, Any]:
    """Return the fields of image `number` of `of` in a response."""
    return {
        "result_quality": response.quality or None,
        "cost": _share_cost(response.cost, number, of),
        "input_tokens": _share(response.input_tokens, number, of),
        "output_tokens": _share(response.output_tokens, number, of),
        "seconds": response.seconds,
        "recorded_at": response.at or None,
        "request_id": response.request_id or None,
    }


def _share(total: int | None, number: int, of: int) -> int | None:
    """Return the share of image `number` of `of`: whole numbers that add up to the total."""
    return None if total is None else total // of + (number < total % of)


def _share_cost(total: Decimal | None, number: int, of: int) -> Decimal | None:
    if total is None or of == 1:
        return total
    share = (total / of).quantize(_SHARE_STEP, ROUND_DOWN)
    return share if number else total - share * (of - 1)


def _cell(value: Any) -> Any:
    """Return a value for CSV, in which no text is a formula."""
    if type(value) is str:
        return f"'{value}" if value[:1] in _FORMULA_STARTS else value
    if type(value) is Decimal:
        return f"{value.normalize():f}"
    return str(value).lower() if type(value) is bool else value
