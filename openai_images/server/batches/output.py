"""Writes the lines of a batch's output and error files.

Invariants: the base64 of an image is written without passing through `json`; at most `HELD_BYTES` and one line are
buffered; a thread writes to the disk.
"""

import asyncio
import uuid
from typing import BinaryIO, Final

from openai_images.server.batches.files import FileStore, StoredFile
from openai_images.server.error_replies import compact_json

HELD_BYTES: Final = 1024 * 1024
GARBAGE: Final = b'{"id": "batch_req_garbage", "custom_id": "\n'
"""A line that is not JSON."""


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

    async def publish(self, filename: str, seconds: float) -> StoredFile | None:
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
