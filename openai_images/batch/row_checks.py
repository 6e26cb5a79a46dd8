"""What a row of a journal may hold: whatever stands in the file, what is read of it is of its kind and within bounds.

Rules: pure and total, in time that is linear in the bytes. A field that is no more than an ornament is left out where
it is odd; a row without what it is about (its state, its key, its files, its URLs) is no row. A name in a row leads out
of the folder only where a picture had to be saved elsewhere, and then by its whole path. A line may hold several rows,
as in a journal whose line ends were lost.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path, PurePath
from typing import Any, Final

from attrs import define, field

from openai_images._util.json import is_list, is_object

__all__ = ["STATES", "Line", "amount_of", "is_file", "split_line"]

STATES: Final = frozenset({"begun", "sent", "refused", "done", "away", "failed", "unknown"})

_MOST_PICTURES: Final = 1_000
_LONGEST_NAME: Final = 4_096
_LONGEST_AMOUNT: Final = 150
_LARGEST_AMOUNT: Final = Decimal(10) ** 12
_LARGEST: Final = 2**63
_MOST_PIXELS: Final = 2**31
_LONGEST_SHOWN_KEY: Final = 60

_KEY = re.compile(r'"key":\s*("(?:[^"\\]|\\.)*")')
_SPACE = re.compile(r"[ \t\r]*")
_DECODER = json.JSONDecoder()


@define
class Line:
    """A line of a journal: its rows, how many bytes at its end are none, and the keys of what could not be read."""

    rows: list[dict[str, Any]] = field(factory=list[dict[str, Any]])
    doubtful: list[str] = field(factory=list[str])
    is_whole: bool = True
    unread: int = 0


def split_line(line: bytes) -> Line:
    """The rows of a line, as far as they can be read."""
    found = Line()
    try:
        text = line.decode()
    except UnicodeDecodeError:
        found.is_whole, found.unread = False, len(line)
        found.doubtful += _keys(line.decode(errors="replace"))
        return found
    start = _past_space(text, 0)
    while start < len(text):
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            found.is_whole, found.unread = False, len(text[start:].encode())
            found.doubtful += _keys(text[start:])
            break
        row = _row(value)
        if row is None:
            found.is_whole = False
            found.doubtful += _keys(text[start:end])
        else:
            found.rows.append(row)
        start = _past_space(text, end)
    return found


def amount_of(value: object) -> Decimal | None:
    """An amount of US dollars as a row has it, None where it is none."""
    if not isinstance(value, str) or len(value) > _LONGEST_AMOUNT:
        return None
    try:
        amount = Decimal(value)
    except InvalidOperation:
        return None
    if not amount.is_finite() or not 0 <= amount <= _LARGEST_AMOUNT:
        return None
    exponent = amount.as_tuple().exponent
    return amount if isinstance(exponent, int) and exponent >= -_LONGEST_AMOUNT else None


def is_file(value: object) -> bool:
    """Whether this is an entry of `files`."""
    if not is_object(value) or not _is_name(value.get("name")) or not isinstance(value.get("sha256"), str):
        return False
    optional = (("written", _LARGEST), ("width", _MOST_PIXELS), ("height", _MOST_PIXELS))
    return (
        _is_count(value.get("nbytes"), _LARGEST)
        and all(value.get(name) is None or _is_count(value[name], most) for name, most in optional)
        and isinstance(value.get("media_type", ""), str)
    )


def _row(value: object) -> dict[str, Any] | None:
    """A row with what is of its kind, None where it is none."""
    if not is_object(value):
        return None
    state = value.get("state")
    if not isinstance(state, str) or state not in STATES:
        return None
    if state == "begun":
        return value if _is_count(value.get("format", 0), _LARGEST) else None
    files = value.get("files", [])
    if not isinstance(value.get("key"), str) or not is_list(files) or not all(map(is_file, files)):
        return None
    if state == "away" and not value.get("urls"):
        return None
    row = {name: item for name, item in value.items() if name not in _KINDS or _KINDS[name](item)}
    return None if state == "away" and "urls" not in row else row


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_urls(value: object) -> bool:
    return is_list(value) and all(isinstance(url, str) for url in value)


def _is_seconds(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= _LARGEST and isfinite(value)


def _is_count(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most


def _is_pictures(value: object) -> bool:
    return _is_count(value, _MOST_PICTURES) and value != 0


def _is_stem(value: object) -> bool:
    """Whether this can begin the name of a file in the folder of the pictures, and of no other."""
    return _is_name(value) and isinstance(value, str) and PurePath(value).name == value and "\\" not in value


def _is_name(value: object) -> bool:
    """Whether the file system can be asked for this name: below the folder, or absolute."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_NAME or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeError:
        return False
    return ".." not in Path(value).parts


_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "request": _is_text,
    "stem": _is_stem,
    "pictures": _is_pictures,
    "message": _is_text,
    "seconds": _is_seconds,
    "urls": _is_urls,
}
"""What is read of a row besides; the amounts are `amount_of`'s."""


def _keys(text: str) -> Iterator[str]:
    """The keys in what is left of rows."""
    for found in _KEY.finditer(text):
        try:
            key = json.loads(found[1])
        except ValueError:
            continue
        if isinstance(key, str):
            yield key


def _past_space(text: str, start: int) -> int:
    space = _SPACE.match(text, start)
    return start if space is None else space.end()
