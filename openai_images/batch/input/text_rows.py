"""Rows of text and CSV with their line numbers.

Invariants: pure; a malformed row is reported and skipped, and so is an unclosed quotation, which would turn the rest
into one prompt; no value is repeated in a report, as it may be a prompt in the wrong column.
Must not: guess: `;` or a tab separates columns only if the header has no comma, or a first line is `sep=;` (Excel).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from attrs import define, field, frozen

from openai_images.batch.input.columns import (
    ColumnOptions,
    Problems,
    UnknownNames,
    missing_key_problem,
    missing_prompt_problem,
)

_SEPARATOR = re.compile(r"""[\r\n]*("?sep=([^\s\w"]|\t)"?[\t ,;]*)(?![^\r\n])""", re.IGNORECASE)


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
        header: _Header | None = None
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
                elif len(cells) > len(header.names):
                    why = f"it has {len(cells)} columns, but the header {len(header.names)}; quote cells with a comma"
                    self.problems.add(start, f"{why}")
                else:
                    rows.append(RawRow(start, header.values(cells)))
        except csv.Error as error:
            self.problems.add(line, f"it cannot be read as CSV ({error}); check its quotation marks")
        return rows

    def _find_delimiter(self, text: str) -> str:
        """Return the separator of the first line that is neither empty nor a comment."""
        for match in re.finditer(r"[^\r\n]+", text):
            if not self.options.is_comment(match[0]):
                return next((mark for mark in ",;\t" if mark in match[0]), ",")
        return ","

    def _parse_header(self, cells: Sequence[str], line: int) -> _Header | None:
        """Parse the header; None if no row can be read with it."""
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
        return None if duplicates or not has_prompt else _Header.of(targets)


@frozen
class _Header:
    """What each column sets ("": nothing); `also` has columns that set a second value."""

    names: tuple[str, ...]
    also: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, targets: Sequence[tuple[str, ...]]) -> _Header:
        """Return the header with these columns."""
        also = [(index, name) for index, found in enumerate(targets) for name in found[1:]]
        return cls(tuple(found[0] if found else "" for found in targets), tuple(also))

    def values(self, cells: Sequence[str]) -> dict[str, str]:
        """Return the non-empty cells, by name."""
        values = {name: cell for name, cell in zip(self.names, cells, strict=False) if name and cell.strip()}
        for index, name in self.also:
            if self.names[index] in values:
                values[name] = cells[index]
        return values


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """Number lines as editors do; other Unicode line separators may be part of a prompt."""
    return enumerate(io.StringIO(text, newline=None), 1)
