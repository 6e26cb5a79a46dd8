"""The journal as it was found: its rows, as far as they can be read, and what is wrong with the rest.

Rules: pure and total, in time that is linear in the bytes: whatever stands in the file, what is read of it is of its
kind and within bounds. Reading believes what is whole: a line that is no row is told and passed over, and counts
against its item if its key can be read, as it may have been `sent`; a last line without its end is torn. A field that
is no more than an ornament is left out where it is odd; a row without what it is about (its state, its key, its files,
its URLs) is no row. A name in a row leads out of the folder only where a picture had to be saved elsewhere, and then by
its whole path. A line may hold several rows, as in a journal whose line ends were lost.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from math import isfinite
from pathlib import Path, PurePath
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from openai_images._util.json import is_list, is_object

STATES: Final = frozenset({"begun", "sent", "refused", "done", "away", "failed", "unknown"})

Row: TypeAlias = dict[str, Any]

_MOST_NOTES = 20

_LONGEST_SHOWN = 60


@frozen
class SavedFile:
    """A picture on the disk: `name` relative to the folder (absolute where it had to be saved elsewhere), `nbytes`."""

    name: str
    nbytes: int
    sha256: str
    written: int = 0
    width: int | None = None
    height: int | None = None
    media_type: str = ""

    @classmethod
    def of(cls, fields: Row) -> SavedFile:
        """One entry of a row's `files`, which was checked."""
        return cls(
            fields["name"],
            fields["nbytes"],
            fields["sha256"],
            fields.get("written") or 0,
            fields.get("width"),
            fields.get("height"),
            fields.get("media_type") or "",
        )


@frozen
class Read:
    """A journal as it was found: its rows, what was wrong, the bytes of a torn last line, and whether it lacks its end.

    `doubtful` are keys of lines that could not be read, each with the number of rows before it.
    """

    rows: Sequence[Row] = field(repr=False)
    notes: Sequence[str] = ()
    torn: bytes = field(default=b"", repr=False)
    unended: bool = False
    doubtful: Sequence[tuple[int, str]] = ()


def read(data: bytes) -> Read:
    """The rows of a journal, whatever befell it."""
    rows: list[Row] = []
    notes: list[str] = []
    doubtful: list[tuple[int, str]] = []
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    torn, unended = b"", False
    for number, text in enumerate(lines, 1):
        line = split_line(text)
        rows += line.rows
        if number == len(lines):
            torn = text[len(text) - line.unread :]
            unended = len(text) > len(torn)
        # A single row that was torn by a crash was not acted upon yet; more than one is no crash's work.
        if not torn or len(line.doubtful) > 1:
            doubtful += [(len(rows), key) for key in line.doubtful]
        if not (line.is_whole or torn):
            about = _about(line.doubtful)
            notes.append(f"journal.jsonl, line {number} cannot be read and was passed over{about}")
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"so were {len(notes) - _MOST_NOTES:,} more lines"]
    return Read(rows, notes, torn, unended=unended, doubtful=doubtful)


def _about(keys: Sequence[str]) -> str:
    """What a line that cannot be read is about."""
    if not keys:
        return ""
    more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
    return f"; it is about {keys[0][:_LONGEST_SHOWN]!r}{more}, which may have been sent"


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
