"""The rows of the journal: one JSON object a line, one line for each change of state.

Rules: pure. A row says what became true: `begun` (a run), `sent` (the next byte is the request's first), `refused` (it
provably did not run), `done`, `away` (answered, and its pictures are behind `urls`), `failed`, `unknown`. Reading
believes what is whole: a line that is no row is told and passed over, and counts against its item if its key can be
read, as it may have been `sent`; a last line without its end is torn. Rows hold no prompt: an item's request is there
as a digest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import asdict, field, frozen

from openai_images.errors import APIStatusError, DownloadError, ImagesError, ModerationBlockedError
from openai_images.models.image import Image
from openai_images.wire.jsontypes import is_object

if TYPE_CHECKING:
    from openai_images.models.results import ImageResult, SvgUsage, Usage

__all__ = [
    "FORMAT",
    "STATES",
    "Read",
    "Row",
    "SavedFile",
    "encode",
    "error_fields",
    "moment",
    "read",
    "result_fields",
]

FORMAT = 1
"""Grows when an older version would misunderstand the rows."""

STATES = frozenset({"begun", "sent", "refused", "done", "away", "failed", "unknown"})

Row: TypeAlias = dict[str, Any]

_KEY = re.compile(r'"key":\s*("(?:[^"\\]|\\.)*")')

_OF_THE_RESULT = ("created", "size", "quality", "background", "output_format", "request_id", "attempts")


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
        """One entry of a row's `files`."""
        known = {name: fields.get(name) for name in ("width", "height")}
        return cls(
            str(fields["name"]),
            int(fields["nbytes"]),
            str(fields["sha256"]),
            int(fields.get("written") or 0),
            **{name: value if isinstance(value, int) else None for name, value in known.items()},
            media_type=str(fields.get("media_type") or ""),
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


def moment(wall: float) -> str:
    """A time (Unix seconds) as rows have it."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(row: Row) -> bytes:
    """A row as its line."""
    return json.dumps(row, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def read(data: bytes) -> Read:
    """The rows of a journal, whatever befell it."""
    rows: list[Row] = []
    notes: list[str] = []
    doubtful: list[tuple[int, str]] = []
    *lines, last = data.split(b"\n")
    for number, line in enumerate(lines, 1):
        row = _row(line)
        if row is not None:
            rows.append(row)
        elif line.strip():
            key = _readable_key(line)
            if key is not None:
                doubtful.append((len(rows), key))
            about = "" if key is None else f"; it is about {key!r}, which may have been sent"
            notes.append(f"journal.jsonl, line {number} cannot be read and was passed over{about}")
    row = _row(last)
    if row is not None:
        rows.append(row)
    torn = last if row is None else b""
    return Read(rows, notes, torn, unended=row is not None, doubtful=doubtful)


def result_fields(result: ImageResult) -> Row:
    """What a row keeps of a result besides its pictures."""
    kept = {name: getattr(result, name) for name in _OF_THE_RESULT}
    fields = {name: value for name, value in kept.items() if value is not None}
    fields["seconds"] = round(result.elapsed, 3)
    for name in ("usage", "svg_usage"):
        usage = getattr(result, name)
        if usage is not None:
            fields[name] = _usage(usage)
    return fields


def error_fields(error: BaseException) -> Row:
    """What a row keeps of an error: its texts hold neither keys nor prompts."""
    fields: Row = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, ImagesError):
        fields |= {
            "attempts": error.attempts,
            "seconds": round(error.elapsed, 3),
            "request_id": error.request_id,
        }
    if isinstance(error, APIStatusError):
        fields |= {"status": error.status_code, "code": error.code}
    if isinstance(error, ModerationBlockedError):
        fields |= {"stage": error.stage, "categories": list(error.categories)}
    if isinstance(error, DownloadError):
        fields |= {"url": error.url, "status": error.status_code}
    return {name: value for name, value in fields.items() if value is not None}


def files_field(files: Iterable[SavedFile]) -> list[Row]:
    """Files as a row has them."""
    return [{name: value for name, value in asdict(file).items() if value is not None} for file in files]


def money(value: Decimal | None) -> str | None:
    """An amount as a row has it: text, as a float would lose digits."""
    return None if value is None else str(value)


def described(image: Image, name: str, sha256: str, written: int) -> SavedFile:
    """A picture that was saved under this name."""
    return SavedFile(
        name,
        image.nbytes,
        sha256,
        written,
        width=image.width,
        height=image.height,
        media_type=image.media_type,
    )


def _usage(usage: Usage | SvgUsage) -> Row:
    """A usage as JSON, unknown fields included."""
    fields: Row = {}
    for name, value in asdict(usage, recurse=False).items():
        if name == "extra":
            fields |= {key: item for key, item in value.items() if key not in fields}
        elif value is not None:
            fields[name] = value if isinstance(value, str | int) else _usage(value)
    return fields


def _row(line: bytes) -> Row | None:
    """A line as a row, None where it is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not is_object(value) or value.get("state") not in STATES:
        return None
    if value["state"] == "begun":
        return value
    try:
        for fields in value.get("files", ()):
            SavedFile.of(fields)
    except (TypeError, ValueError, KeyError, AttributeError):
        return None
    return value if isinstance(value.get("key"), str) else None


def _readable_key(line: bytes) -> str | None:
    """The key in what is left of a row."""
    found = _KEY.search(line.decode(errors="replace"))
    if found is None:
        return None
    try:
        key = json.loads(found[1])
    except ValueError:
        return None
    return key if isinstance(key, str) else None
