"""The files of a server, uploaded or written by batches, in a temporary folder.

Invariants: the bytes of a file are only on the disk; the number of files and their bytes are limited; an expired file
does not exist any more; an open file can be read to its end. Of a batch's output and error files at most `HELD_BYTES`
and one line are in memory; the base64 of an image is written without passing through `json`.
"""

import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

import attrs

from openai_images.server.requests.settings import ServerSettings

MAX_FILES: Final = 10_000
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Maximum bytes of an upload, as in the API."""
MAX_STORED_BYTES: Final = 16 * 1024 * 1024 * 1024
"""Maximum bytes of all files of a server: enough for several outputs of a large batch."""

_BUFFER: Final = 1024 * 1024


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
