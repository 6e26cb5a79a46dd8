"""Writes the journal: one JSON object per line, one line per change of state.

Invariants: states are `begun` (a run), `sent` (written before the first byte), `refused` (not executed), `done`, `away`
(its images are still remote, at `urls`), `failed` and `unknown`; `provider_batch` rows describe a batch at the
provider, to whose tag the `batch` of `sent` rows refers; rows contain a digest of the request, no prompt; one thread
writes rows in the order of `append`, many per sync, after the names of their images; a partial write is truncated, and
if that fails nothing more is written.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

from attrs import asdict, frozen

from openai_images._util.filesystem import Disk
from openai_images._util.json import json_value
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.errors import (
    APIStatusError,
    DecodeError,
    DownloadError,
    ImagesError,
    ModerationBlockedError,
)
from openai_images.models.results import ImageResult
from openai_images.models.usage import usage_fields

FORMAT, PLAIN_FORMAT = 2, 1
"""Increased when older versions would misread the rows; without batches at the provider, rows have the first format."""

_IDENTIFYING_FIELDS = frozenset({"state", "key", "request", "stem", "same_as", "files"})
"""Rows are found by these fields, which are never converted."""

_RESULT_FIELDS = ("created", "size", "quality", "background", "output_format", "request_id", "attempts")
_MIN_SECRET = 6


@frozen
class _QueuedRow:
    line: bytes
    folder: Path | None
    loop: asyncio.AbstractEventLoop
    written: asyncio.Future[None]

    def resolve(self, error: BaseException | None) -> None:
        """Set the outcome of the write, in the loop's thread."""
        if self.written.done():  # its caller was cancelled
            return
        if error is None:
            self.written.set_result(None)
        else:
            self.written.set_exception(error)


class Journal:
    """Appends rows to an open file of `size` bytes: `write` them at once, or `append` them to the queue."""

    def __init__(self, disk: Disk, descriptor: int, size: int) -> None:
        self._disk = disk
        self._descriptor = descriptor
        self._size = size
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._queue: list[_QueuedRow] = []
        self._executor = ThreadPoolExecutor(1, "openai_images journal")

    def write(self, rows: Iterable[JournalRow]) -> None:
        """Write these rows, before any is queued, and sync them. Blocks. Raises OSError."""
        if lines := b"".join(map(encode_row, rows)):
            self._append(lines)

    async def append(self, row: JournalRow, folder: Path | None = None) -> None:
        """Write a row to the disk, after the names in `folder`. Raises OSError.

        The row is written even if the caller is cancelled.
        """
        loop = asyncio.get_running_loop()
        queued = _QueuedRow(encode_row(row), folder, loop, loop.create_future())
        with self._lock:
            self._queue.append(queued)
            if len(self._queue) == 1:
                self._executor.submit(self._write)
        await queued.written

    def close(self) -> None:
        """Write queued rows and close the file. Blocks."""
        self._executor.shutdown()
        self._disk.close(self._descriptor)

    def _write(self) -> None:
        with self._lock:
            group, self._queue = self._queue, []
        error: BaseException | None = None
        try:
            if self._failure is not None:
                raise self._failure  # noqa: TRY301
            for folder in {queued.folder for queued in group if queued.folder}:
                self._disk.sync_folder(folder)
            self._append(b"".join(queued.line for queued in group))
        except BaseException as failure:  # noqa: BLE001  raised in the waiting callers
            error = failure
        for queued in group:
            with suppress(RuntimeError):  # its event loop may be closed
                queued.loop.call_soon_threadsafe(queued.resolve, error)

    def _append(self, lines: bytes) -> None:
        try:
            self._disk.write(self._descriptor, lines)
        except BaseException:
            self._truncate_torn()
            raise
        try:
            self._disk.sync(self._descriptor)
        except BaseException as failure:
            self._failure = failure  # the system may have dropped the data, which it reports only once
            raise
        self._size += len(lines)

    def _truncate_torn(self) -> None:
        try:
            self._disk.truncate(self._descriptor, self._size)
        except BaseException as failure:  # noqa: BLE001
            self._failure = failure


def timestamp(wall: float) -> str:
    """Return a time (Unix seconds) in the format of rows."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode_row(row: JournalRow) -> bytes:
    """Encode a row as a line; values that JSON cannot represent become text, so that the row is always written."""
    try:
        line = _to_json(row)
    except (TypeError, ValueError, RecursionError):
        line = _to_json(
            {name: value if name in _IDENTIFYING_FIELDS else json_value(value) for name, value in row.items()}
        )
    return line.encode() + b"\n"


def _to_json(row: JournalRow) -> str:
    return json.dumps(row, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def result_fields(result: ImageResult) -> JournalRow:
    """Return the fields of a result for its row, without images."""
    kept = {name: getattr(result, name) for name in _RESULT_FIELDS}
    fields = {name: json_value(value) for name, value in kept.items() if value is not None}
    fields["seconds"] = round(result.elapsed, 3)
    for name in ("usage", "svg_usage"):
        usage = getattr(result, name)
        if usage is not None:
            fields[name] = usage_fields(usage)
    return fields


def error_fields(error: BaseException) -> JournalRow:
    """Return the fields of an error for its row; error texts contain no keys or prompts."""
    fields: JournalRow = {"error": type(error).__name__, "message": str(error)}
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
    exact = ("url",)  # unchanged, because it will be downloaded
    return {
        name: value if name in exact else json_value(value)
        for name, value in fields.items()
        if value is not None
    }


def body_field(error: BaseException, prompt: str) -> JournalRow:
    """Return the small document of a billed response that could not be decoded, with the prompt redacted."""
    body = getattr(error, "body", None)
    if body is None or not isinstance(error, DecodeError):
        return {}
    text = json.dumps(json_value(body.decode(errors="replace") if isinstance(body, bytes) else body))
    secret = json.dumps(prompt)[1:-1]
    if len(secret) >= _MIN_SECRET:
        text = text.replace(secret, "<hidden>")
    return {"body": json.loads(text)}


def dated_row(row: JournalRow, at: str) -> JournalRow:
    """Return a row with its time after its state and key."""
    return {"state": row["state"], "key": row["key"], "at": at, **row}


def done_row(key: str, request: str, files: Iterable[StoredFile], **fields: object) -> JournalRow:
    """Return the `done` row of an item that was not sent in this run."""
    return {"state": "done", "key": key, "request": request, **fields, "files": files_field(files)}


def files_field(files: Iterable[StoredFile]) -> list[JournalRow]:
    """Return files in the format of rows."""
    return [{name: value for name, value in asdict(file).items() if value is not None} for file in files]


def decimal_text(value: Decimal | None) -> str | None:
    """Return an amount in the format of rows: text, as a float would lose digits."""
    return None if value is None else str(value)
