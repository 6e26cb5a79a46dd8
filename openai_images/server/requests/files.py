"""The files of a server, uploaded or written by batches, in a temporary folder.

Invariants: the bytes of a file are only on the disk; the number of files and their bytes are limited; an expired file
does not exist any more; an open file can be read to its end. Of a batch's output and error files at most `HELD_BYTES`
and one line are in memory; the base64 of an image is written without passing through `json`.
"""

import asyncio
import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

import attrs

from openai_images.server.protocol.error_replies import compact_json
from openai_images.server.requests.settings import ServerSettings

MAX_FILES: Final = 10_000
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Maximum bytes of an upload, as in the API."""
MAX_STORED_BYTES: Final = 16 * 1024 * 1024 * 1024
"""Maximum bytes of all files of a server: enough for several outputs of a large batch."""

_BUFFER: Final = 1024 * 1024

HELD_BYTES: Final = 1024 * 1024
GARBAGE: Final = b'{"id": "batch_req_garbage", "custom_id": "\n'
"""A line that is not JSON."""


@attrs.frozen(kw_only=True)
class ServerFile:
    """One file; times are Unix times in seconds, `expires_at` None if it is kept."""

    id: str
    purpose: str
    filename: str
    created_at: int
    expires_at: int | None
    path: Path = attrs.field(repr=False)
    nbytes: int

    def as_dict(self) -> dict[str, Any]:
        """Return the object of the API."""
        return {
            "object": "file",
            "id": self.id,
            "purpose": self.purpose,
            "filename": self.filename,
            "bytes": self.nbytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "status": "processed",
            "status_details": None,
        }


class FileStore:
    """The files of one server."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._folder: TemporaryDirectory[str] | None = None
        self._files: dict[str, ServerFile] = {}
        self.nbytes = 0

    @property
    def is_full(self) -> bool:
        """Whether no more files are accepted."""
        return self.nbytes >= MAX_STORED_BYTES or len(self.all()) >= MAX_FILES

    def open_new(self) -> BinaryIO:
        """Return a new file to write; pass it to `add` or `discard`."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="local-images-", ignore_cleanup_errors=True)
        return Path(self._folder.name, uuid.uuid4().hex).open("xb", buffering=_BUFFER)

    def add(self, file: BinaryIO, *, purpose: str, filename: str, seconds: float | None) -> ServerFile:
        """Keep a closed file for `seconds`; None: until the server ends."""
        path, now = Path(file.name), int(self._settings.now())
        stored = ServerFile(
            id=f"file-{uuid.uuid4().hex[:22]}",
            purpose=purpose,
            filename=filename,
            created_at=now,
            expires_at=None if seconds is None else now + int(seconds),
            path=path,
            nbytes=path.stat().st_size,
        )
        self._files[stored.id] = stored
        self.nbytes += stored.nbytes
        return stored

    def discard(self, file: BinaryIO) -> None:
        """Remove a file that was not added."""
        file.close()
        Path(file.name).unlink(missing_ok=True)

    def find(self, file_id: str) -> ServerFile | None:
        """Return a file, or None if it does not exist any more."""
        self._drop_expired()
        return self._files.get(file_id)

    def find_path(self, file_id: str) -> Path | None:
        """Return the path of a file that exists now; callable from every thread."""
        stored = self._files.get(file_id)
        if stored is None or (stored.expires_at is not None and stored.expires_at <= self._settings.now()):
            return None
        return stored.path

    def all(self) -> tuple[ServerFile, ...]:
        """Return the files that exist now, in the order of their creation."""
        self._drop_expired()
        return tuple(self._files.values())

    def delete(self, stored: ServerFile) -> None:
        """Remove a file."""
        del self._files[stored.id]
        self.nbytes -= stored.nbytes
        stored.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove all files, also those being written."""
        self._files.clear()
        self.nbytes = 0
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def _drop_expired(self) -> None:
        now = self._settings.now()
        for stored in [f for f in self._files.values() if f.expires_at is not None and f.expires_at <= now]:
            self.delete(stored)


def response_line(custom_id: str, status: int, request_id: str, body: bytes) -> tuple[bytes, ...]:
    """Return the pieces of the line of a request that was run; `body` is JSON."""
    response = compact_json({"status_code": status, "request_id": request_id})[:-1]
    return (_start(custom_id), b',"response":', response, b',"body":', body, b'},"error":null}\n')


def error_line(custom_id: str, code: str, message: str) -> tuple[bytes, ...]:
    """Return the pieces of the line of a request that was not run."""
    error = compact_json({"code": code, "message": message})
    return (_start(custom_id), b',"response":null,"error":', error, b"}\n")


def _start(custom_id: str) -> bytes:
    return compact_json({"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": custom_id})[:-1]


class LineFile:
    """A file of lines that is being written; `nbytes` is its size so far."""

    def __init__(self, files: FileStore) -> None:
        self._files = files
        self._file: BinaryIO | None = None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self.nbytes = 0

    async def write(self, *pieces: bytes) -> None:
        """Add a line."""
        size = sum(map(len, pieces))
        self._held += pieces
        self._held_bytes += size
        self.nbytes += size
        if self._held_bytes >= HELD_BYTES:
            await self._flush()

    async def publish(self, filename: str, seconds: float) -> ServerFile | None:
        """Add the file to the store and return it; None if it has no line."""
        if not self.nbytes:
            return None
        await self._flush()
        file, self._file = self._file, None
        assert file is not None  # noqa: S101  # there were lines
        await asyncio.to_thread(file.close)
        return self._files.add(file, purpose="batch_output", filename=filename, seconds=seconds)

    def discard(self) -> None:
        """Remove the file if it was not published."""
        file, self._file = self._file, None
        if file is not None:
            self._files.discard(file)

    async def _flush(self) -> None:
        if self._file is None:
            self._file = self._files.open_new()
        held, self._held, self._held_bytes = self._held, [], 0
        await asyncio.to_thread(self._file.writelines, held)
