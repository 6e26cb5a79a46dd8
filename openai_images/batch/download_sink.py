"""`DownloadSink`: an image of an output file on its way to the disk, past the page cache where Linux can do that.

The image is synced at once, and a copy in the page cache would cost several times what decoding does.
Invariants: bytes are gathered in an aligned block of memory that is reused, and written as whole sectors; the last one
is padded, and the file then cut to its size. Where that is not supported, the same bytes are written as usual. The
digest is made of the bytes that are written, so that nothing reads the file again. A disk that fails loses nothing, as
for any `FileSink`.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from openai_images._util.atomic_file import create_part
from openai_images.client.files import FileSink

if sys.platform != "win32":
    import fcntl

_BLOCK: Final = 1024 * 1024
"""Bytes of a block: each step in a thread costs as much as decoding half of it."""

_FLUSH: Final = _BLOCK - 256 * 1024
"""Bytes from which on a block is written: what arrives at a time still has room."""

_SECTOR: Final = 4096
"""A multiple of any usual disk's sector."""


class _Digest(Protocol):
    def update(self, data: memoryview, /) -> None: ...
    def hexdigest(self) -> str: ...


new_digest: Callable[[], _Digest] = hashlib.sha256


class Blocks:
    """Memory for the sinks of one run: fresh pages for each image would cost as much as decoding it."""

    def __init__(self) -> None:
        self._free: list[mmap.mmap] = []

    def take(self) -> mmap.mmap:
        """Return a block, to be given back."""
        return self._free.pop() if self._free else mmap.mmap(-1, _BLOCK)

    def give_back(self, block: mmap.mmap) -> None:
        """Keep a block for the next sink."""
        if len(block) == _BLOCK:
            self._free.append(block)


class DownloadSink(FileSink):
    """One image being written; `digest` is its SHA-256 when it is complete and on disk."""

    def __init__(self, part: Path, blocks: Blocks) -> None:
        super().__init__(part, _FLUSH)
        self._blocks = blocks
        self._block: mmap.mmap | None = None
        self._used, self._written = 0, 0
        self._is_direct = False
        self._sha256 = new_digest()

    @property
    def digest(self) -> str:
        """The SHA-256 of the bytes that were written, in hex."""
        return self._sha256.hexdigest()

    def write(self, data: bytes) -> None:
        """Gather the next bytes: they are copied while the processor has them in its cache."""
        super().write(data)
        self._pending.clear()
        block = self._block or self._blocks.take()
        end = self._used + len(data)
        if end > len(block):  # not where the sink is flushed when it is due
            larger = mmap.mmap(-1, max(2 * len(block), end + _SECTOR))
            larger[: self._used] = block[: self._used]
            self._blocks.give_back(block)
            block = larger
        block[self._used : end] = data
        self._block, self._used = block, end

    def _write_pending(self) -> None:
        if self._block is None:
            return
        if self._memory is None:
            try:
                if self._file is None:
                    self._file = create_part(self.part)
                    self._is_direct = set_direct(self._file, True)
                self._write_sectors(self._file, self._block)
            except OSError as error:
                self._switch_to_memory(error, b"")
        if self._memory is not None:
            self._memory.write(memoryview(self._block)[: self._used])
            self._used = 0
        self._pending_bytes = self._used
        if not self._used:
            self._free_block()

    def _write_sectors(self, file: BinaryIO, block: mmap.mmap) -> None:
        """Write the whole sectors, and at the end of the image all. Raises OSError, and the block is as it was then."""
        nbytes = self._used if self._finished else self._used - self._used % _SECTOR
        done, end = 0, nbytes + (-nbytes % _SECTOR if self._is_direct else 0)
        with memoryview(block) as view:
            while done < end:
                try:
                    done += file.write(view[done:end])
                except OSError as error:
                    if not self._is_direct or error.errno != errno.EINVAL:
                        raise
                    self._is_direct = set_direct(file, False)  # larger sectors, or a part of one was written
            self._sha256.update(view[:nbytes])
        self._written += nbytes
        if end > nbytes:
            file.truncate(self._written)
        self._used -= nbytes
        block[: self._used] = block[nbytes : nbytes + self._used]

    def _to_memory(self, rest: bytes) -> None:
        if self._file is not None:
            os.truncate(self.part, self._written)
        super()._to_memory(rest)

    def _remove(self) -> None:
        super()._remove()
        if self._dropped:
            self._free_block()

    def _free_block(self) -> None:
        block, self._block, self._used = self._block, None, 0
        if block is not None:
            self._blocks.give_back(block)


def set_direct(file: BinaryIO, is_direct: bool) -> bool:
    """Write past the page cache from now on, or no longer; return which of both it is."""
    flag: int = getattr(os, "O_DIRECT", 0)
    if not flag or sys.platform == "win32":
        return False
    try:
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        fcntl.fcntl(file, fcntl.F_SETFL, flags | flag if is_direct else flags & ~flag)
    except OSError:  # a file system that cannot
        return False
    return is_direct
