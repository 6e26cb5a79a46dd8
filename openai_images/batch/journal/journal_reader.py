"""Parses a journal: its readable rows, and notes about the others.

Invariants: pure, never raises, linear time; every returned field has its type and bounds; an invalid optional field is
dropped, a row without valid state, key, files or URLs is unreadable; an unreadable line is reported and counts as
`sent` for the keys in it; an incomplete last line is torn; a line may have several rows; a file name outside of the
folder is always an absolute path (a fallback folder).
"""

from __future__ import annotations

import codecs
import io
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, Final, TypeAlias

from attrs import define, field, frozen

from openai_images._util.filenames import stem_of
from openai_images._util.json import is_list, is_object
from openai_images.batch.journal.response_facts import parse_seconds, response_facts

STATES: Final = frozenset({"begun", "provider_batch", "sent", "refused", "done", "away", "failed", "unknown"})
STEPS: Final = frozenset({"creating", "created", "ended"})
"""The steps of a batch at the provider."""
JournalRow: TypeAlias = dict[str, Any]

_MAX_NOTES: Final = 20
_MAX_SHOWN_KEY: Final = 60
_MAX_IMAGES: Final = 1_000
_MAX_NAME: Final = 4_096
_MAX_INTEGER: Final = 2**63
_MAX_PIXELS: Final = 2**31
_KEY = re.compile(r'"key":\s*("(?:[^"\\]|\\.)*")')
_PLAIN = re.compile(r"[\w-]+")
_DECODER = json.JSONDecoder()


@frozen
class StoredFile:
    """An image on disk: `name` relative to the folder (absolute in a fallback folder), `nbytes`, `written` (ns)."""

    name: str
    nbytes: int
    sha256: str
    written: int = 0
    width: int | None = None
    height: int | None = None
    media_type: str = ""

    @classmethod
    def from_row(cls, fields: JournalRow) -> StoredFile:
        """Return an entry of a row's `files`, which must be validated."""
        return cls(
            fields["name"],
            fields["nbytes"],
            fields["sha256"],
            fields.get("written") or 0,
            fields.get("width"),
            fields.get("height"),
            fields.get("media_type") or "",
        )

    @property
    def is_outside(self) -> bool:
        """Whether the file is in a fallback folder."""
        return not self.name.startswith("images/") and Path(self.name).is_absolute()

    @property
    def is_damaged(self) -> bool:
        """Whether the name is that of a damaged image of a failed or unknown item."""
        return ".damaged" in stem_of(self.name)


@frozen
class JournalContents:
    """Rows, notes about problems, the bytes of a torn last line, and whether the last line lacks its newline.

    `unreadable_keys` are keys of unreadable lines, each with the number of rows before it.
    """

    rows: Sequence[JournalRow] = field(repr=False)
    notes: Sequence[str] = ()
    torn: bytes = field(default=b"", repr=False)
    lacks_newline: bool = False
    unreadable_keys: Sequence[tuple[int, str]] = ()


def parse_journal(data: bytes, extra_fields: Collection[str] = ()) -> JournalContents:
    """Parse a journal of any contents; rows keep `extra_fields` without validation."""
    rows: list[JournalRow] = []
    notes: list[str] = []
    unreadable_keys: list[tuple[int, str]] = []
    torn, lacks_newline = b"", False
    # Line by line: splitting all lines would need twice the memory.
    for number, text in enumerate(io.BytesIO(data.removeprefix(codecs.BOM_UTF8)), 1):
        line = parse_line(text, extra_fields)
        rows += line.rows
        if not text.endswith(b"\n"):
            torn = text[len(text) - line.unread_bytes :]
            lacks_newline = len(text) > len(torn)
        # A crash tears one row, which had no effects yet; more than one have another cause.
        if not torn or len(line.unreadable_keys) > 1:
            unreadable_keys += [(len(rows), key) for key in line.unreadable_keys]
        if not (line.is_complete or torn):
            about = _describe_keys(line.unreadable_keys)
            notes.append(f"journal.jsonl, line {number} cannot be read and was skipped{about}")
    if len(notes) > _MAX_NOTES:
        notes[_MAX_NOTES:] = [f"so were {len(notes) - _MAX_NOTES:,} more lines"]
    return JournalContents(rows, notes, torn, lacks_newline=lacks_newline, unreadable_keys=unreadable_keys)


def _describe_keys(keys: Sequence[str]) -> str:
    if not keys:
        return ""
    more = f" and {len(keys) - 1:,} more" if len(keys) > 1 else ""
    return f"; it is about {keys[0][:_MAX_SHOWN_KEY]!r}{more}, which may have been sent"


@define
class JournalLine:
    """A line's rows, the number of unreadable bytes at its end, and the keys in unreadable parts."""

    rows: list[dict[str, Any]]
    unreadable_keys: list[str]
    is_complete: bool = True
    unread_bytes: int = 0


def parse_line(data: bytes, extra_fields: Collection[str] = ()) -> JournalLine:
    """Parse the rows of a line, as far as they are readable."""
    line = JournalLine([], [])
    try:
        text = data.decode()
    except UnicodeDecodeError:
        line.is_complete, line.unread_bytes = False, len(data)
        line.unreadable_keys += _find_keys(data.decode(errors="replace"))
        return line
    start = _skip_space(text, 0)
    while start < len(text):
        try:
            value, end = _DECODER.raw_decode(text, start)
        except (ValueError, RecursionError):
            line.is_complete, line.unread_bytes = False, len(text[start:].encode())
            line.unreadable_keys += _find_keys(text[start:])
            break
        row = _parse_row(value)
        if row is None:
            line.is_complete = False
            line.unreadable_keys += _find_keys(text[start:end])
        else:
            line.rows.append(row | {name: value[name] for name in extra_fields if name in value})
        start = _skip_space(text, end)
    return line


def is_file(value: object) -> bool:
    """Return whether this is a valid entry of `files`."""
    return (
        is_object(value)
        and _is_name(value.get("name"))
        and isinstance(value.get("sha256"), str)
        and _is_count(value.get("nbytes"), _MAX_INTEGER)
        and _is_count_or_none(value.get("written"), _MAX_INTEGER)
        and _is_count_or_none(value.get("width"), _MAX_PIXELS)
        and _is_count_or_none(value.get("height"), _MAX_PIXELS)
        and isinstance(value.get("media_type", ""), str)
    )


def _parse_row(value: object) -> dict[str, Any] | None:
    """Return a row with its valid fields; None if it is not a row."""
    if not is_object(value):
        return None
    state = value.get("state")
    if not isinstance(state, str) or state not in STATES:
        return None
    if state == "begun":
        return value if _is_count(value.get("format", 0), _MAX_INTEGER) else None
    if state == "provider_batch":
        return value if _is_provider_batch(value) else None
    files = value.get("files", [])
    if not isinstance(value.get("key"), str) or not is_list(files) or not all(map(is_file, files)):
        return None
    if state == "away" and not value.get("urls"):
        return None
    row = {
        name: value[name]
        for name, check in _FIELD_CHECKS
        if name in value and (check is None or check(value[name]))
    }
    if files:
        row["files"] = [{name: file[name] for name in _FILE_FIELDS if name in file} for file in files]
    if state not in ("sent", "refused") and (facts := response_facts(value)):
        row["facts"] = facts
    return None if state == "away" and "urls" not in row else row


def _is_provider_batch(row: dict[str, Any]) -> bool:
    """Return whether the row has the fields of a provider batch: tag, step, file, time and, when created, its id."""
    step = row.get("step")
    return (
        row.get("key") is None
        and isinstance(row.get("tag"), str)
        and isinstance(step, str)
        and step in STEPS
        and (step == "ended" or _is_count(row.get("since"), _MAX_INTEGER))
        and (step != "created" or isinstance(row.get("id"), str))
        and isinstance(row.get("input_file_id", ""), str)
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_urls(value: object) -> bool:
    return is_list(value) and all(isinstance(url, str) for url in value)


def _is_seconds(value: object) -> bool:
    return parse_seconds(value) is not None


def _is_count(value: object, limit: int) -> bool:
    return type(value) is int and 0 <= value <= limit  # bool is a subclass


def _is_count_or_none(value: object, limit: int) -> bool:
    return value is None or _is_count(value, limit)


def _is_image_count(value: object) -> bool:
    return _is_count(value, _MAX_IMAGES) and value != 0


def _is_stem(value: object) -> bool:
    """Return whether this can start the name of a file in the images folder, and in no other."""
    if not _is_name(value) or not isinstance(value, str):
        return False
    return _PLAIN.fullmatch(value) is not None or (PurePath(value).name == value and "\\" not in value)


def _is_name(value: object) -> bool:
    """Return whether this is a valid file name: below the folder, or absolute."""
    if not isinstance(value, str) or not 0 < len(value) <= _MAX_NAME or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeError:
        return False
    return ".." not in value or ".." not in Path(value).parts


_FIELD_CHECKS: Sequence[tuple[str, Callable[[Any], bool] | None]] = (
    ("state", None),
    ("key", None),
    ("request", _is_text),
    ("stem", _is_stem),
    ("pictures", _is_image_count),
    ("files", None),
    ("urls", _is_urls),
    ("message", _is_text),
    ("error", None),
    ("seconds", _is_seconds),
    ("billed", None),
    ("adopted", None),
    ("same_as", _is_text),
    ("batch", _is_text),
    ("line", lambda value: _is_count(value, _MAX_INTEGER)),
    ("cost", None),
    ("estimate", None),
)
"""The fields to read: a large journal's other fields would fill the memory. `parse_amount` checks amounts, and
`response_facts` the facts of responses."""

_FILE_FIELDS = ("name", "nbytes", "sha256", "written", "width", "height", "media_type")


def _find_keys(text: str) -> Iterator[str]:
    """Return the keys in unreadable rows."""
    for match in _KEY.finditer(text):
        try:
            key = json.loads(match[1])
        except ValueError:
            continue
        if isinstance(key, str):
            yield key


def _skip_space(text: str, start: int) -> int:
    while start < len(text) and text[start] in " \t\r\n":
        start += 1
    return start
