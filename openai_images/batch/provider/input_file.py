"""The input file of a provider batch: one request per line, within the provider's limits.

Invariants: constant memory: input images are copied from their source to the file; the file has no name, so a crash
leaves no prompt on the disk; a line that exceeds the limits is not written.
Must not: know items (the caller sets each `custom_id`).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Final

import pybase64

from openai_images.client.sources import FileSource
from openai_images.errors import RequestInvalidError
from openai_images.http.request_body import read_exactly
from openai_images.wire.requests import Base64Source, CompositeBody, ImageSource, Piece

MAX_LINES: Final = 50_000
MAX_BYTES: Final = 200_000_000
"""The provider's limits for one file (batch guide): 50,000 requests, 200 MB."""

_PREFIX: Final = "/v1"
"""The prefix of the endpoint in each line, independent of the base URL."""

_CHUNK = 384 * 1024
"""Bytes of an image per read; a multiple of 3, so that base64 has no padding in the middle."""

_ID_LENGTH = 24


def custom_id_of(key: str) -> str:
    """Return the id of an item in files: 96 bits of its key's SHA-256, so that it does not reveal the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_LENGTH]


def endpoint_of(path: str) -> str:
    """Return the endpoint's name in lines and batches."""
    return _PREFIX + path


class InputFile:
    """An input file: `add` lines, upload `source`, `close` removes the file."""

    def __init__(
        self, path: str, folder: Path, *, max_lines: int = MAX_LINES, max_bytes: int = MAX_BYTES
    ) -> None:
        """Create the file in `folder`, for requests to `path`, such as `/images/generations`. Raises OSError."""
        self.endpoint = endpoint_of(path)
        self.lines = self.nbytes = 0
        self._max_lines, self._max_bytes = min(max_lines, MAX_LINES), min(max_bytes, MAX_BYTES)
        # Not the system's temporary folder, which is often in memory.
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  `close` closes it

    def add(self, custom_id: str, body: bytes | CompositeBody) -> bool:
        """Write one line; False if the file has no room for it. Blocks. Raises OSError and `RequestInvalidError`.

        If an image cannot be read, the file stays unchanged.
        """
        fields = json.dumps({"custom_id": custom_id, "method": "POST", "url": self.endpoint})
        pieces: tuple[Piece, ...] = body.pieces if isinstance(body, CompositeBody) else (body,)
        start, end = f'{fields[:-1]}, "body": '.encode(), b"}\n"
        size = len(start) + len(body) + len(end)
        if size > self._max_bytes:
            msg = f"its line in the input file would have {size:,} bytes; the provider accepts {self._max_bytes:,}"
            raise RequestInvalidError(f"{msg}: use smaller images, or their URLs")
        if self.lines == self._max_lines or self.nbytes + size > self._max_bytes:
            return False
        try:
            for piece in (start, *pieces, end):
                self._write(piece)
        except BaseException:
            self._file.seek(self.nbytes)
            self._file.truncate()
            raise
        self.lines += 1
        self.nbytes += size
        return True

    def source(self) -> FileSource:
        """Return the whole file as an upload."""
        self._file.flush()
        return FileSource(self._file, self.nbytes, "application/jsonl")

    def close(self) -> None:
        """Remove the file. Idempotent."""
        self._file.close()

    def _write(self, piece: Piece) -> None:
        if isinstance(piece, bytes):
            self._file.write(piece)
        elif isinstance(piece, Base64Source):
            self._copy(piece.source)
        else:
            raise RequestInvalidError("an image in a line must be in base64")

    def _copy(self, source: ImageSource) -> None:
        reader = source.open()
        try:
            for start in range(0, source.nbytes, _CHUNK):
                chunk = read_exactly(reader, min(_CHUNK, source.nbytes - start))
                self._file.write(pybase64.b64encode(chunk))
        finally:
            reader.close()
