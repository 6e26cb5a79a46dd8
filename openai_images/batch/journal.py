"""The journal on the disk: rows appended, and told to be there only when they are.

Rules: rows stand in the file in the order in which they were appended. One thread writes them: all that wait go in one
write and one sync, so that a thousand items cost a few. Pictures' names are synced before the rows that tell of them.
What was written in part, because the disk is full, is cut off again; where even that fails, nothing more is
written, as it would be joined to the torn row.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from attrs import frozen

from openai_images.batch.filesystem import Disk
from openai_images.batch.journal_rows import Row, encode

__all__ = ["Journal"]


@frozen
class _Waiting:
    line: bytes
    folder: Path | None
    loop: asyncio.AbstractEventLoop
    written: asyncio.Future[None]

    def tell(self, error: BaseException | None) -> None:
        """In the loop's thread: the row is there, or is not."""
        if self.written.done():  # nobody waits any more
            return
        if error is None:
            self.written.set_result(None)
        else:
            self.written.set_exception(error)


class Journal:
    """`append` rows to an open file of `size` bytes."""

    def __init__(self, disk: Disk, descriptor: int, size: int) -> None:
        """Append with this disk."""
        self._disk = disk
        self._descriptor = descriptor
        self._size = size
        self._broken: BaseException | None = None
        self._lock = threading.Lock()
        self._queue: list[_Waiting] = []
        self._thread = ThreadPoolExecutor(1, "openai_images journal")

    async def append(self, row: Row, folder: Path | None = None) -> None:
        """Have a row on the disk, after the names in `folder`. Raises OSError.

        A caller who is cancelled has appended the row nevertheless.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting(encode(row), folder, loop, loop.create_future())
        with self._lock:
            self._queue.append(waiting)
            if len(self._queue) == 1:
                self._thread.submit(self._write)
        await waiting.written

    def close(self) -> None:
        """Write what waits, and let go of the file; blocks."""
        self._thread.shutdown()
        self._disk.close(self._descriptor)

    def _write(self) -> None:
        """In the thread: everything that waits by now."""
        with self._lock:
            group, self._queue = self._queue, []
        error: BaseException | None = None
        try:
            if self._broken is not None:
                raise self._broken  # noqa: TRY301
            for folder in {waiting.folder for waiting in group if waiting.folder}:
                self._disk.sync_folder(folder)
            self._append(b"".join(waiting.line for waiting in group))
        except BaseException as failure:  # noqa: BLE001  whoever waits is told
            error = failure
        for waiting in group:
            with suppress(RuntimeError):  # its loop may be gone
                waiting.loop.call_soon_threadsafe(waiting.tell, error)

    def _append(self, lines: bytes) -> None:
        try:
            self._disk.write(self._descriptor, lines)
        except BaseException:
            self._cut_back()
            raise
        try:
            self._disk.sync(self._descriptor)
        except BaseException as failure:
            self._broken = failure  # the system may have dropped what it could not write, and says so once
            raise
        self._size += len(lines)

    def _cut_back(self) -> None:
        """Leave no torn row behind."""
        try:
            self._disk.truncate(self._descriptor, self._size)
        except BaseException as failure:  # noqa: BLE001
            self._broken = failure
