"""The rows of the journal: one JSON object a line, one line for each change of state.

Rules: pure. A row says what became true: `begun` (a run), `sent` (the next byte is the request's first), `refused` (it
provably did not run), `done`, `away` (answered, and its pictures are behind `urls`), `failed`, `unknown`. Reading
believes what is whole: a line that is no row is told and passed over, and counts against its item if its key can be
read, as it may have been `sent`; a last line without its end is torn. Rows hold no prompt: an item's request is there
as a digest.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import asdict, field, frozen

from openai_images._util.plain_json import json_value
from openai_images.batch.row_checks import STATES, split_line
from openai_images.errors import (
    APIStatusError,
    DecodeError,
    DownloadError,
    ImagesError,
    ModerationBlockedError,
)
from openai_images.models.image import Image
from openai_images.models.usage import usage_fields

if TYPE_CHECKING:
    from openai_images.models.results import ImageResult

__all__ = [
    "FORMAT",
    "STATES",
    "Read",
    "Row",
    "SavedFile",
    "body_field",
    "encode",
    "error_fields",
    "moment",
    "read",
    "result_fields",
]

FORMAT = 1
"""Grows when an older version would misunderstand the rows."""

Row: TypeAlias = dict[str, Any]

_MOST_NOTES = 20
_SHORTEST_SECRET = 6
_LONGEST_SHOWN = 60
_EXACT = frozenset({"state", "key", "request", "stem", "same_as", "files"})
"""What rows are found by."""

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


def moment(wall: float) -> str:
    """A time (Unix seconds) as rows have it."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(row: Row) -> bytes:
    """A row as its line; a value that JSON cannot hold is written as text, as none may keep a row from being there."""
    try:
        line = _line(row)
    except (TypeError, ValueError, RecursionError):
        line = _line({name: value if name in _EXACT else json_value(value) for name, value in row.items()})
    return line.encode() + b"\n"


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


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


def result_fields(result: ImageResult) -> Row:
    """What a row keeps of a result besides its pictures."""
    kept = {name: getattr(result, name) for name in _OF_THE_RESULT}
    fields = {name: json_value(value) for name, value in kept.items() if value is not None}
    fields["seconds"] = round(result.elapsed, 3)
    for name in ("usage", "svg_usage"):
        usage = getattr(result, name)
        if usage is not None:
            fields[name] = usage_fields(usage)
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
    exact = ("url",)  # it must lead there
    return {
        name: value if name in exact else json_value(value)
        for name, value in fields.items()
        if value is not None
    }


def body_field(error: BaseException, prompt: str) -> Row:
    """The small document of an answer that was paid for and could not be understood, without the prompt."""
    body = getattr(error, "body", None)
    if body is None or not isinstance(error, DecodeError):
        return {}
    text = json.dumps(json_value(body.decode(errors="replace") if isinstance(body, bytes) else body))
    secret = json.dumps(prompt)[1:-1]
    if len(secret) >= _SHORTEST_SECRET:
        text = text.replace(secret, "<hidden>")
    return {"body": json.loads(text)}


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
