"""The disk operations of a batch, whose order decides what a crash can destroy.

Invariants: each method is one operation, blocks, and raises OSError; all except `lock` are called in threads. Tests
replace this layer to check the order, to make operations fail, or to simulate a power failure between any two.
Must not: decide what is written, when or where.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from openai_images._util.atomic_file import create_part, named_error, part_path, publish

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})
_LOCKED = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""Files that are written must not be links, which may point anywhere in a folder of unknown origin."""

_HOLDER = re.compile(rb"[0-9]{0,20}\s{0,2}")
_MAX_HOLDER = 64
_LOCK_OFFSET = 1 << 30
"""The byte that Windows locks: far after the text, which other processes must be able to read."""


@frozen
class FileStat:
    """Size of a file in bytes, and its modification time in nanoseconds."""

    size: int
    written: int


class Disk:
    """The real file system."""

    def make_folder(self, folder: Path) -> None:
        """Create the folder and its parents durably. Idempotent."""
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in missing:
            self.sync_folder(path.parent)

    def list_files(self, folder: Path) -> dict[str, FileStat]:
        """Return the files of a folder; none if it does not exist."""
        files: dict[str, FileStat] = {}
        try:
            with os.scandir(folder) as listing:
                for entry in listing:
                    if entry.is_file():
                        stat = entry.stat()
                        files[entry.name] = FileStat(stat.st_size, stat.st_mtime_ns)
        except FileNotFoundError:
            return {}
        return files

    def open(self, path: Path) -> int:
        """Open a file for appending, creating it if necessary."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _NOFOLLOW | getattr(os, "O_BINARY", 0)
        return os.open(path, flags, 0o666)

    def try_lock(self, descriptor: int) -> bool:
        """Lock an open file until it is closed; return False if it is locked already."""
        try:
            _lock_file(descriptor)
        except OSError as error:
            if error.errno in _LOCKED:
                return False
            raise
        return True

    def create(self, path: Path) -> int:
        """Open a new file for writing."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)

    def check_writable(self, folder: Path) -> None:
        """Create and remove a file in the folder, to check it before anything is paid for."""
        part = part_path(folder, "trial")
        try:
            create_part(part).close()
        except OSError as error:
            raise named_error(error, part, folder) from error.__cause__
        part.unlink()

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all data: a nearly full disk may write a part first, and then fail."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def sync(self, descriptor: int) -> None:
        """Flush a file to the disk itself."""
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync leaves data in the drive's cache
        else:
            os.fsync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Shorten a file."""
        os.ftruncate(descriptor, size)

    def stat(self, descriptor: int) -> FileStat:
        """Return size and modification time of an open file."""
        stat = os.fstat(descriptor)
        return FileStat(stat.st_size, stat.st_mtime_ns)

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def publish(self, part: Path, target: Path) -> Path:
        """Rename a complete file to `target`, or the next free name, without overwriting; return its path."""
        return publish(part, target, overwrite=False)

    def sync_folder(self, folder: Path) -> None:
        """Flush the names in a folder to the disk itself."""
        if sys.platform == "win32":  # impossible on Windows; NTFS journals names
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:  # some network file systems cannot sync folders
                raise
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file. Idempotent."""
        path.unlink(missing_ok=True)

    def remove_folder(self, folder: Path) -> None:
        """Remove an empty folder."""
        folder.rmdir()

    def read(self, path: Path, start: int = 0, size: int = -1) -> bytes:
        """Return at most `size` bytes of a file from `start`; none if it does not exist."""
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def digest(self, path: Path) -> str:
        """Return the SHA-256 of a file in hex."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def lock(self, path: Path) -> FolderLock | None:
        """Lock a folder; None if another process holds the lock."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _NOFOLLOW, 0o666)
        try:
            if self.try_lock(descriptor):
                return FolderLock(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None


class FolderLock:
    """A lock that is held until it is released or the process ends; the file contains the process id."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor
        self._is_ours = _HOLDER.fullmatch(os.read(descriptor, _MAX_HOLDER)) is not None
        if self._is_ours:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Unlock the folder. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if self._is_ours:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _lock_file(descriptor: int) -> None:
    """Lock an open file against all other processes, and other descriptors of this process."""
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def write_file(disk: Disk, path: Path, data: bytes) -> FileStat:
    """Write a new file and sync it. Raises OSError."""
    descriptor = disk.create(path)
    try:
        disk.write(descriptor, data)
        disk.sync(descriptor)
        return disk.stat(descriptor)
    finally:
        disk.close(descriptor)
