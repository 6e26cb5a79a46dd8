"""Reads docstrings: their prose, the lines about parameters, and what they say of one name."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

_PARAMETER: Final = re.compile(r" +(?P<name>\w+) \((?P<type>.*?)\): (?P<text>.+)")


class Docstring(NamedTuple):
    """A docstring in parts: its prose, and the description of each parameter that has a line of its own."""

    prose: str
    parameters: Mapping[str, str]


def parse(doc: str) -> Docstring:
    """Return the parts of a docstring."""
    prose, _, rest = doc.partition("\nParameters:\n")
    lines = (_PARAMETER.fullmatch(line) for line in rest.splitlines())
    return Docstring(prose.strip(), {line["name"]: line["text"] for line in lines if line})


def clause(prose: str, name: str) -> str:
    """Return the first part of a sentence that names `name` in backticks; "" if none does."""
    for paragraph in prose.split("\n\n"):
        for sentence in _split(" ".join(paragraph.split())):
            if re.search(rf"`{name}(=[^`]*)?`", sentence):
                return sentence.rstrip(";:. ")
    return ""


def _split(text: str) -> list[str]:
    """Split at full stops and semicolons outside of code and brackets."""
    parts: list[str] = []
    depth, in_code, start = 0, False, 0
    for index, letter in enumerate(text):
        if letter == "`":
            in_code = not in_code
        elif in_code:
            continue
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth -= 1
        elif letter in ".;" and depth == 0 and text[index + 1 : index + 2] in ("", " "):
            parts.append(text[start : index + 1].strip())
            start = index + 1
    return [*parts, text[start:].strip()]
