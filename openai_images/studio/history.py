"""`History`: a folder with every generation of the studio, its images and its journal.

Invariants: the journal has rows `sent` (synced before the request is sent), `image` (after its file) and `end`; rows
are only appended, each on a new line, so that a torn row does not damage another. A generation without an `end` that is
not running may have been billed: its status is "unknown", and its images on the disk belong to it. One process has the
folder.
Must not: overwrite or delete an image; keep a key.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from openai_images import ConfigurationError, Image
from openai_images.web.store import SUFFIXES

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["FILE_NAME", "RECORD_ID", "History", "Record"]

Record = dict[str, Any]
"""One generation as JSON; `status` is "running", "done", "failed", "cancelled" or "unknown"."""

RECORD_ID: Final = re.compile(r"\d{8}-\d{6}-[0-9a-f]{8}")
FILE_NAME: Final = re.compile(
    r"(?:\d{8}-\d{6}-[0-9a-f]{8}-\d{1,3}|source-[0-9a-f]{20})(?:\.damaged)?\.[a-z]{3,4}"
)
_LOCK_OFFSET: Final = 1 << 62
"""The byte that is locked on Windows: far after the text, which stays readable."""


class History:
    """The generations in `folder`, which is created if it is missing; close the history at the end.

    Raises OSError, and `ConfigurationError` if another studio has the folder.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "history.jsonl"
        self._journal: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        self._write_lock = threading.Lock()
        self._source_lock = threading.Lock()
        self._unwritten: dict[str, tuple[bytes, Record]] = {}
        try:
            _lock(self._journal, self.folder)
            self._records: dict[str, Record] = {}
            for row in _read_rows(path):
                self._apply(row)
        except BaseException:
            self.close()
            raise
        unknown = {key: record for key, record in self._records.items() if record["status"] == "running"}
        for record in unknown.values():
            record.update(status="unknown", maybe_billed=True)
        self._adopt(unknown)

    def __len__(self) -> int:
        return len(self._records)

    def get(self, record_id: str) -> Record | None:
        """Return a generation."""
        return self._records.get(record_id)

    def page(self, before: str | None, limit: int) -> list[Record]:
        """Return at most `limit` generations, the newest first; those older than `before` if that is known."""
        ids = list(self._records)
        end = ids.index(before) if before in self._records else len(ids)
        return [self._records[record_id] for record_id in reversed(ids[max(0, end - limit) : end])]

    async def begin(self, record: Record) -> None:
        """Record a generation that is about to be sent. After an OSError it must not be sent."""
        await asyncio.to_thread(self._append, {"row": "sent", **record})
        self._apply({"row": "sent", **record})

    async def add_image(self, record_id: str, index: int, image: Image) -> None:
        """Store a paid image. After an OSError it is in memory, and `close` tries to write it again."""
        data = await image.read()
        suffix = (".damaged" if image.flaw else "") + SUFFIXES.get(image.media_type, ".bin")
        name = f"{record_id}-{index + 1}{suffix}"
        row = {"row": "image", "id": record_id, **_describe(name, index, image)}
        try:
            await asyncio.to_thread(self._store_image, name, data, row)
        except OSError:
            self._unwritten[name] = data, row
            raise
        finally:
            self._apply(row)

    def read_file(self, name: str) -> bytes:
        """Return the bytes of an image, also of one that could not be written. Blocks. Raises OSError."""
        data, _ = self._unwritten.get(name, (None, None))
        return (self.folder / name).read_bytes() if data is None else data

    @property
    def unwritten_count(self) -> int:
        """Number of paid images that are only in memory."""
        return len(self._unwritten)

    async def end(self, record_id: str, **fields: Any) -> None:
        """Record the end of a generation: its `status` and other fields. Raises OSError."""
        row = {"row": "end", "id": record_id, **fields}
        self._apply(row)
        await asyncio.to_thread(self._append, row)

    async def add_source(self, data: bytes) -> str:
        """Store an image to edit, or a mask, and return its name; equal bytes have one name. Raises OSError."""
        return await asyncio.to_thread(self._store_source, data)

    def close(self) -> None:
        """Write what could not be written before, and unlock the folder. Idempotent."""
        for name, (data, row) in list(self._unwritten.items()):
            with suppress(OSError):
                self._store_image(name, data, row)
                del self._unwritten[name]
        journal, self._journal = self._journal, None
        if journal is not None:
            os.close(journal)

    def _store_image(self, name: str, data: bytes, row: Record) -> None:
        self._write_file(name, data)
        self._append(row)

    def _store_source(self, data: bytes) -> str:
        suffix = SUFFIXES.get(Image.from_bytes(data).media_type, ".bin")
        name = f"source-{hashlib.sha256(data).hexdigest()[:20]}{suffix}"
        with self._source_lock:  # two pages may send the same image
            if not (self.folder / name).exists():
                self._write_file(name, data)
        return name

    def _append(self, row: Record) -> None:
        line = f"\n{json.dumps(row, separators=(',', ':'))}\n".encode()
        with self._write_lock:
            if self._journal is None:
                raise OSError("the history is closed")
            while line:  # a nearly full disk writes only a part, without an error
                line = line[os.write(self._journal, line) :]
            os.fsync(self._journal)

    def _write_file(self, name: str, data: bytes) -> None:
        """Write a file that appears complete and synced, or not at all."""
        part = self.folder / f".{name}.part"
        try:
            with part.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self.folder / name)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        with suppress(OSError):  # Windows cannot sync folders
            folder = os.open(self.folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def _apply(self, row: Record) -> None:
        """Apply a row; rows of later versions are ignored."""
        kind, fields = row.get("row"), {key: value for key, value in row.items() if key != "row"}
        record_id = fields.get("id")
        if not isinstance(record_id, str) or not RECORD_ID.fullmatch(record_id):
            return
        if kind == "sent":
            self._records[record_id] = {"images": [], **fields, "status": "running"}
        elif (record := self._records.get(record_id)) is None:
            return
        elif kind == "image":
            others = [image for image in record["images"] if image["file"] != fields["file"]]
            del fields["id"]
            record["images"] = sorted([*others, fields], key=lambda image: image["index"])
        elif kind == "end":
            record.update(fields)

    def _adopt(self, unknown: dict[str, Record]) -> None:
        """Add the images that were stored before their row was written; one without its name may be incomplete."""
        for path in sorted(self.folder.iterdir()) if unknown else ():
            name = path.name
            if is_part := name.startswith(".") and name.endswith(".part"):
                stem, _, suffix = name[1:-5].rpartition(".")
                name = f"{stem.removesuffix('.damaged')}.damaged.{suffix}"
            record_id, _, rest = name.rpartition("-")
            record = unknown.get(record_id)
            if record is None or not FILE_NAME.fullmatch(name):
                continue
            if name in {image["file"] for image in record["images"]}:
                continue
            data = path.read_bytes()
            if is_part:
                if not data or (self.folder / name).exists():
                    continue
                path.replace(self.folder / name)
            record["images"].append(_describe(name, int(rest.partition(".")[0]) - 1, Image.from_bytes(data)))


def _describe(name: str, index: int, image: Image) -> Record:
    return {
        "file": name,
        "index": index,
        "width": image.width,
        "height": image.height,
        "nbytes": image.nbytes,
    }


def _read_rows(path: Path) -> Iterator[Record]:
    """Yield the rows; torn ones, and lines that are not objects, are skipped."""
    with path.open("rb") as file:
        for line in file:
            with suppress(ValueError):
                row: Any = json.loads(line)
                if isinstance(row, dict):
                    yield row


def _lock(descriptor: int, folder: Path) -> None:
    """Lock the journal until it is closed or the process ends."""
    try:
        _lock_file(descriptor)
    except OSError:
        raise ConfigurationError(
            f"another studio has the folder {str(folder)!r}: stop it, or name another one with --out"
        ) from None


def _lock_file(descriptor: int) -> None:
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
