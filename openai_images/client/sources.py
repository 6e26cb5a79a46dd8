"""`ImageSource`s: the bytes of an image to edit, in memory, behind a path or in an open file.

Invariants: nothing is copied; a file is read from its start each time and its position stays, so that one file may be
sent in several concurrent requests.
Must not: start threads; reading blocks, and who sends sees to that.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import BinaryIO

from attrs import frozen

from openai_images.errors import RequestInvalidError

_handles = threading.Lock()
"""For all open files people hand in: seeking and reading one is two steps."""


class _BytesReader:
    """Reads what is in memory."""

    def __init__(self, view: memoryview) -> None:
        """From its start."""
        self._view = view
        self._at = 0

    def read(self, count: int, /) -> memoryview:
        """The next bytes; not a copy."""
        chunk = self._view[self._at : self._at + count]
        self._at += len(chunk)
        return chunk

    def close(self) -> None:
        """Nothing to let go of."""


@frozen(repr=False)
class BytesSource:
    """Bytes in memory."""

    view: memoryview
    media_type: str
    blocks: bool = False

    @property
    def nbytes(self) -> int:
        """How many."""
        return len(self.view)

    def open(self) -> _BytesReader:
        """Start to read."""
        return _BytesReader(self.view)


@frozen
class PathSource:
    """A file that is opened when it is sent."""

    path: str
    nbytes: int
    media_type: str
    blocks: bool = True

    def open(self) -> _PathReader:
        """Start to read; the file is opened with the first bytes."""
        return _PathReader(self)


class _PathReader:
    """`read` in one thread, `close` in another, at any time."""

    def __init__(self, source: PathSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._closed = False

    def read(self, count: int, /) -> bytes:
        with self._lock:
            try:
                return b"" if self._closed else self._opened().read(count)
            finally:
                if self._closed:
                    self._let_go()

    def close(self) -> None:
        self._closed = True
        if self._lock.acquire(blocking=False):  # otherwise whoever reads lets go
            try:
                self._let_go()
            finally:
                self._lock.release()

    def _opened(self) -> BinaryIO:
        if self._file is None:
            self._file = Path(self._source.path).open("rb", buffering=0)  # noqa: SIM115  `close` closes it
            if os.fstat(self._file.fileno()).st_size != self._source.nbytes:
                raise RequestInvalidError(
                    "a picture's file changed before it was sent, so the request cannot have run; send it again"
                )
        return self._file

    def _let_go(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


@frozen(repr=False)
class FileSource:
    """An open file that can be read from any place."""

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
        self._at = 0

    def read(self, count: int, /) -> bytes:
        chunk = read_at(self._file, self._at, count)
        self._at += len(chunk)
        return chunk

    def close(self) -> None:
        """It is not ours to close."""


def read_at(file: BinaryIO, start: int, count: int) -> bytes:
    """So many bytes from this place, or fewer; the file stands where it stood."""
    with _handles:
        stood = file.tell()
        try:
            file.seek(start)
            return (file.read(count) or b"")[:count]
        finally:
            file.seek(stood)


def size_of(file: BinaryIO) -> int:
    """All its bytes; the file stands where it stood."""
    with _handles:
        stood = file.tell()
        try:
            return file.seek(0, os.SEEK_END)
        finally:
            file.seek(stood)
