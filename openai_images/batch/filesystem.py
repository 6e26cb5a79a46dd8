"""What a batch does to the disk: the few operations whose order decides what a crash can take.

Rules: each method is one operation, blocks, and raises OSError; they are called in threads, but for `lock`. A test
replaces this layer to see their order, to let them fail, or to pull the plug between any two of them. It refuses to
decide anything: what is written, when and where is its callers' business.
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

from openai_images._util.atomic_file import create_part, part_path, publish

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_UNSUPPORTED = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS})

_LOCKED = frozenset({errno.EACCES, errno.EAGAIN, errno.EDEADLK})

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
"""What is to be changed is opened only where it is no link: one in a folder from elsewhere may lead anywhere."""

_HOLDER = re.compile(rb"[0-9]{0,20}\s{0,2}")
_MAX_HOLDER = 64

_LOCK_OFFSET = 1 << 30
"""The byte that Windows locks: far behind the text, which others are to read."""


@frozen
class FileStat:
    """What a folder says of a file: its size in bytes, and when it was written, in nanoseconds."""

    size: int
    written: int


class Disk:
    """The real one."""

    def make_folder(self, folder: Path) -> None:
        """Make the folder and those above it, durably; harmless where it is there."""
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        for path in missing:
            self.sync_folder(path.parent)

    def list_files(self, folder: Path) -> dict[str, FileStat]:
        """The files of a folder; none where it is not there."""
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
        """A descriptor that appends to a file, which is made if need be."""
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | _NOFOLLOW | getattr(os, "O_BINARY", 0)
        return os.open(path, flags, 0o666)

    def try_lock(self, descriptor: int) -> bool:
        """Lock an open file until it is closed; False where another opening of it is locked."""
        try:
            _lock_file(descriptor)
        except OSError as error:
            if error.errno in _LOCKED:
                return False
            raise
        return True

    def create(self, path: Path) -> int:
        """A descriptor of a new file."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)

    def check_writable(self, folder: Path) -> None:
        """Make a file in the folder and remove it again: later it would be too late, and paid for."""
        part = part_path(folder, "trial")
        create_part(part).close()
        part.unlink()

    def write(self, descriptor: int, data: bytes) -> None:
        """Write all of it; a nearly full disk takes a part first, and then fails."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(descriptor, rest) :]

    def sync(self, descriptor: int) -> None:
        """Have what was written on the disk itself."""
        if sys.platform == "darwin":
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)  # fsync leaves it in the drive's own memory
        else:
            os.fsync(descriptor)

    def truncate(self, descriptor: int, size: int) -> None:
        """Cut a file."""
        os.ftruncate(descriptor, size)

    def stat(self, descriptor: int) -> FileStat:
        """How long an open file is, and when it was written."""
        stat = os.fstat(descriptor)
        return FileStat(stat.st_size, stat.st_mtime_ns)

    def close(self, descriptor: int) -> None:
        """Let go of a file."""
        os.close(descriptor)

    def publish(self, part: Path, target: Path) -> Path:
        """Give a whole file its name, or the next free one: nothing is overwritten. The name it got."""
        return publish(part, target, overwrite=False)

    def sync_folder(self, folder: Path) -> None:
        """Have the names in a folder on the disk itself."""
        if sys.platform == "win32":  # has no way to; NTFS keeps a journal of names
            return
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:  # some network file systems sync no folders
                raise
        finally:
            os.close(descriptor)

    def remove(self, path: Path) -> None:
        """Remove a file; harmless where it is gone."""
        path.unlink(missing_ok=True)

    def read(self, path: Path, start: int = 0, size: int = -1) -> bytes:
        """A file's bytes from `start` on, at most `size`; nothing where it is not there."""
        try:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(size)
        except FileNotFoundError:
            return b""

    def digest(self, path: Path) -> str:
        """The SHA-256 of a file, in hex."""
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def lock(self, path: Path) -> FolderLock | None:
        """The lock of a folder, None where another process holds it."""
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
    """Held until it is released, or until the process ends, however it ends."""

    def __init__(self, descriptor: int) -> None:
        """Write down who holds it, as far as there is room, and where it holds nothing else: it may be a hard link."""
        self._descriptor: int | None = descriptor
        self._is_ours = _HOLDER.fullmatch(os.read(descriptor, _MAX_HOLDER)) is not None
        if self._is_ours:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)
                os.lseek(descriptor, 0, os.SEEK_SET)
                os.write(descriptor, f"{os.getpid()}\n".encode())

    def release(self) -> None:
        """Let the next one in; harmless when called twice."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            if self._is_ours:
                with suppress(OSError):
                    os.ftruncate(descriptor, 0)
            os.close(descriptor)


def _lock_file(descriptor: int) -> None:
    """Lock an open file against all other processes, and all other openings in this one."""
    if sys.platform == "win32":
        os.lseek(descriptor, _LOCK_OFFSET, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        os.lseek(descriptor, 0, os.SEEK_SET)
    else:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
