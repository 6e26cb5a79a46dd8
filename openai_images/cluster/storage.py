"""Shared storage of a batch: a folder that all machines see, or a URL of an object store.

Invariants: `create` is exclusive among all processes; every stored object is complete, and on the disk itself when a
method returns. Methods block and are called in threads. Names are relative, with `/`.
Must not: know what is stored.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from openai_images._util.atomic_file import create_new, part_path
from openai_images._util.filesystem import Disk

_PART = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.part", re.DOTALL)


class StoredObject(NamedTuple):
    """An object's name, and its size in bytes."""

    name: str
    nbytes: int


class Storage(Protocol):
    """The place of claims, records and images. Each method raises OSError if the storage cannot be used."""

    @property
    def place(self) -> str:
        """The folder or URL without credentials, for messages."""
        ...

    def create(self, name: str, data: bytes) -> bool:
        """Store `data`, which must be unique, only if the name is free; return whether this call created it."""
        ...

    def put(self, name: str, data: bytes) -> None:
        """Store `data` atomically, replacing an existing object."""
        ...

    def read(self, name: str) -> bytes:
        """Return the data of an object. Raises FileNotFoundError."""
        ...

    def exists(self, name: str) -> bool:
        """Return whether the object exists."""
        ...

    def list(self, folder: str) -> Iterator[StoredObject]:
        """Yield the objects of a folder in any order; nothing if the folder does not exist."""
        ...

    def url(self, name: str) -> str:
        """Return the path or URL of an object."""
        ...


class FolderStorage:
    """A folder on a local or network file system."""

    def __init__(self, path: str | os.PathLike[str], disk: Disk | None = None) -> None:
        self.root = Path(os.path.abspath(path))  # noqa: PTH100  Path.resolve would follow a link the user made
        self.place = str(self.root)
        self._disk = disk or Disk()
        self._folders: set[Path] = set()

    def create(self, name: str, data: bytes) -> bool:
        """Write to a part file, then rename it by a hard link, or by the file system's substitute for one."""
        target, part = self._write(name, data)
        try:
            is_created = create_new(part, target)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        if not is_created:
            part.unlink(missing_ok=True)
            # NFS: if the response to a link is lost, it is sent again and finds the name that it created itself.
            is_created = self._disk.read(target) == data
        self._disk.sync_folder(target.parent)
        return is_created

    def put(self, name: str, data: bytes) -> None:
        """Write to a part file, then rename it."""
        target, part = self._write(name, data)
        part.replace(target)
        self._disk.sync_folder(target.parent)

    def read(self, name: str) -> bytes:
        """Return the file's data. Raises FileNotFoundError."""
        return (self.root / name).read_bytes()

    def exists(self, name: str) -> bool:
        """Return whether the file exists."""
        return os.path.lexists(self.root / name)

    def list(self, folder: str) -> Iterator[StoredObject]:
        """Yield the files of a folder except part files."""
        try:
            with os.scandir(self.root / folder) as entries:
                for entry in entries:
                    if not entry.name.startswith(".") and entry.is_file():
                        yield StoredObject(f"{folder}/{entry.name}", entry.stat().st_size)
        except FileNotFoundError:
            return

    def parts(self, folder: str) -> Iterator[tuple[str, str]]:
        """Yield (final name, name) of the part files of a folder, complete or not."""
        for path in (self.root / folder).glob(".*.part"):
            if match := _PART.fullmatch(path.name):
                yield f"{folder}/{match['name']}", f"{folder}/{path.name}"

    def url(self, name: str) -> str:
        """Return the path."""
        return str(self.root / name)

    def _write(self, name: str, data: bytes) -> tuple[Path, Path]:
        """Write a part file to the disk itself; return its target and its own path."""
        target = self.root / name
        if target.parent not in self._folders:
            self._disk.make_folder(target.parent)
            self._folders.add(target.parent)
        part = part_path(target.parent, target.name)
        try:
            descriptor = self._disk.create(part)
            try:
                self._disk.write(descriptor, data)
                self._disk.sync(descriptor)
            finally:
                self._disk.close(descriptor)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return target, part


def storage_error(place: str, name: str, error: Exception) -> OSError:
    """Convert a library's exception to an OSError with the place and the name."""
    if isinstance(error, OSError) and error.strerror:
        return error
    detail = str(error)[:300] or type(error).__name__
    return OSError(errno.EIO, f"{type(error).__name__}: {detail}", f"{place}/{name}")
