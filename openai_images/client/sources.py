"""`ImageSource`s: the bytes of an input image in memory, in a file at a path, or in an open file.

Invariants: nothing is copied; a file is always read from its start, and its position is restored, so several concurrent
requests can send it.
Must not: start threads (reading blocks; the sender does it in a thread).
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from openai_images.errors import RequestInvalidError

_files_lock = threading.Lock()
"""Protects all open files of callers: seeking and reading are two steps."""


class _BytesReader:
    def __init__(self, view: memoryview) -> None:
        self._view = view
        self._offset = 0

    def read(self, count: int, /) -> memoryview:
        """Return the next bytes, without copying them."""
        chunk = self._view[self._offset : self._offset + count]
        self._offset += len(chunk)
        return chunk

    def close(self) -> None:
        """Do nothing."""


@frozen(repr=False)
class BytesSource:
    """Bytes in memory."""

    view: memoryview
    media_type: str
    blocks: bool = False

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        return len(self.view)

    def open(self) -> _BytesReader:
        """Start to read."""
        return _BytesReader(self.view)


@frozen
class PathSource:
    """A file at a path, opened when it is sent."""

    path: str
    nbytes: int
    media_type: str
    blocks: bool = True

    def open(self) -> _PathReader:
        """Start to read; the file is opened by the first `read`."""
        return _PathReader(self)


class _PathReader:
    """Reads in one thread; `close` may be called by another thread at any time."""

    def __init__(self, source: PathSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._closed = False

    def read(self, count: int, /) -> bytes:
        with self._lock:
            try:
                return b"" if self._closed else self._open_file().read(count)
            finally:
                if self._closed:
                    self._release()

    def close(self) -> None:
        self._closed = True
        if self._lock.acquire(blocking=False):  # otherwise the reading thread releases it
            try:
                self._release()
            finally:
                self._lock.release()

    def _open_file(self) -> BinaryIO:
        if self._file is None:
            self._file = Path(self._source.path).open("rb", buffering=0)  # noqa: SIM115  `close` closes it
            if os.fstat(self._file.fileno()).st_size != self._source.nbytes:
                raise RequestInvalidError(
                    "the file of an image changed before it was sent: the request was not executed; send it again"
                )
        return self._file

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


@frozen(repr=False)
class FileSource:
    """An open, seekable file."""

    file: BinaryIO
    nbytes: int
    media_type: str
    blocks: bool = True

    def open(self) -> _FileReader:
        """Start to read."""
        return _FileReader(self.file)


class _FileReader:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._offset = 0

    def read(self, count: int, /) -> bytes:
        chunk = read_at(self._file, self._offset, count)
        self._offset += len(chunk)
        return chunk

    def close(self) -> None:
        """Do nothing: the caller's file stays open."""


def read_at(file: BinaryIO, start: int, count: int) -> bytes:
    """Read up to `count` bytes at `start`; the file's position is restored."""
    with _files_lock:
        position = file.tell()
        try:
            file.seek(start)
            return (file.read(count) or b"")[:count]
        finally:
            file.seek(position)


def size_of(file: BinaryIO) -> int:
    """Return the file's size in bytes; its position is restored."""
    with _files_lock:
        position = file.tell()
        try:
            return file.seek(0, os.SEEK_END)
        finally:
            file.seek(position)
