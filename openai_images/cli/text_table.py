"""`table_lines`: columns of text, for stdout.

Invariants: no line ends in white space; the first column and those in `left` are aligned left, all others right.
Must not: wrap or cut a cell.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence


def table_lines(rows: Sequence[Sequence[str]], left: Collection[int] = (), indent: str = "") -> list[str]:
    """Return one line for each row; all rows have as many cells as the first."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        indent
        + "  ".join(
            cell.ljust(width) if number == 0 or number in left else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
