"""Small pieces of Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]], align: str = "") -> str:
    """Return a Markdown table; `align` has a letter for each column, "r" for one that is aligned to the right."""
    marks = [("---:" if letter == "r" else "---") for letter in align.ljust(len(head))]
    lines = [head, marks, *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def code(value: object) -> str:
    """Return a value as code."""
    return f"`{value}`"


def codes(values: Iterable[object]) -> str:
    """Return values as code, with commas."""
    return ", ".join(code(value) for value in values)


def one_line(text: str) -> str:
    """Return a paragraph on one line."""
    return " ".join(text.split())
