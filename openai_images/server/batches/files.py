"""The files of a server: what was uploaded and what batches have written, in a temporary folder.

Invariants: the bytes of a file are on the disk alone; files are bounded in number and bytes; a file whose time is over
does not exist any more; whoever has opened a file may read it to its end.
"""

import uuid
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, Final

import attrs

from openai_images.server.state import ServerSettings

MAX_FILES: Final = 10_000
MAX_FILE_BYTES: Final = 512 * 1024 * 1024
"""Bytes of an upload, as in the API."""
MAX_STORED_BYTES: Final = 16 * 1024 * 1024 * 1024
"""Bytes of all files of a server: several answers of a large batch."""

_BUFFER: Final = 1024 * 1024


@attrs.frozen(kw_only=True)
class StoredFile:
    """One file; times are Unix times in seconds, `expires_at` None if it is kept."""

    id: str
    purpose: str
    filename: str
    created_at: int
    expires_at: int | None
    path: Path = attrs.field(repr=False)
    nbytes: int

    def as_dict(self) -> dict[str, Any]:
        """The object of the API."""
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
        self._files: dict[str, StoredFile] = {}
        self.nbytes = 0

    @property
    def is_full(self) -> bool:
        """Whether nothing more is taken."""
        return self.nbytes >= MAX_STORED_BYTES or len(self.all()) >= MAX_FILES

    def open_new(self) -> BinaryIO:
        """A file to write, which `add` or `discard` takes."""
        if self._folder is None:
            self._folder = TemporaryDirectory(prefix="local-images-", ignore_cleanup_errors=True)
        return Path(self._folder.name, uuid.uuid4().hex).open("xb", buffering=_BUFFER)

    def add(self, file: BinaryIO, *, purpose: str, filename: str, seconds: float | None) -> StoredFile:
        """Keeps a closed file that was written, for so many seconds, None being for good."""
        path, now = Path(file.name), int(self._settings.now())
        stored = StoredFile(
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
        """Removes a file that was not added."""
        file.close()
        Path(file.name).unlink(missing_ok=True)

    def find(self, file_id: str) -> StoredFile | None:
        """A file that exists now."""
        self._drop_expired()
        return self._files.get(file_id)

    def find_path(self, file_id: str) -> Path | None:
        """Where the bytes of a file that exists now are; works from every thread."""
        stored = self._files.get(file_id)
        if stored is None or (stored.expires_at is not None and stored.expires_at <= self._settings.now()):
            return None
        return stored.path

    def all(self) -> tuple[StoredFile, ...]:
        """The files that exist now, in the order in which they were made."""
        self._drop_expired()
        return tuple(self._files.values())

    def delete(self, stored: StoredFile) -> None:
        """Removes a file."""
        del self._files[stored.id]
        self.nbytes -= stored.nbytes
        stored.path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Removes all files, those being written too."""
        self._files.clear()
        self.nbytes = 0
        folder, self._folder = self._folder, None
        if folder is not None:
            folder.cleanup()

    def _drop_expired(self) -> None:
        now = self._settings.now()
        for stored in [f for f in self._files.values() if f.expires_at is not None and f.expires_at <= now]:
            self.delete(stored)
