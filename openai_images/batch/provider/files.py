"""The files of a provider batch: writes the input file, and decodes the output file while it arrives.

Invariants: constant memory: input images are copied from their source to the input file, and images of the output are
written to sinks while they arrive; the input file is within the provider's limits, and has no name, so a crash leaves
no prompt on disk; output lines may have any order and size; an unreadable line does not affect the others, and its
error has its complete images; statuses and codes are mapped as in any response (`wire/error_mapping.py`).
Must not: know items (the caller sets each `custom_id`); flush the sinks (their owner does).
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import pybase64
from attrs import evolve

from openai_images._util.json import is_object
from openai_images.client.sources import FileSource
from openai_images.errors import (
    APIStatusError,
    DecodeError,
    ImagesError,
    RequestInvalidError,
    ResponseTooLargeError,
    StatusOutcomeUnknownError,
)
from openai_images.http.request_body import read_exactly
from openai_images.models.results import CompletedImage, ImageResult
from openai_images.wire.base64_decoder import MAX_IMAGE_BYTES, Sink
from openai_images.wire.error_mapping import (
    MAX_DAMAGED,
    ResponseContext,
    error_from_body,
    error_from_document,
)
from openai_images.wire.json_body import JSONBody
from openai_images.wire.json_decoder import JSONImageDecoder
from openai_images.wire.redaction import redact
from openai_images.wire.requests import Base64Source, CompositeBody, ImageSource, Piece

MAX_LINES: Final = 50_000
MAX_BYTES: Final = 200_000_000
"""The provider's limits for one file (batch guide): 50,000 requests, 200 MB."""

_CHUNK = 384 * 1024
"""Bytes of an image per read; a multiple of 3, so that base64 has no padding in the middle."""

_ID_LENGTH = 24

_NOT_RUN: Final = frozenset({"batch_expired", "batch_cancelled", "batch_canceled", "batch_failed"})
"""Codes of lines that were not executed and not billed. OpenAI sends batch_expired; other servers send the others."""

_CUSTOM_ID = re.compile(r'"custom_id"\s*:\s*"([^"\\]{1,512})"')
_SUCCESS = range(200, 300)
_SHOWN = 300


def custom_id_of(key: str) -> str:
    """Return the id of an item in files: 96 bits of its key's SHA-256, so that it does not reveal the key."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:_ID_LENGTH]


def endpoint_of(path: str) -> str:
    """Return the endpoint's name in lines and batches, independent of the base URL."""
    return f"/v1{path}"


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


class OutputLine(NamedTuple):
    """The result or the error of one request; `custom_id` is "" if it cannot be read.

    A line `is_torn` if it is not complete JSON.
    """

    custom_id: str
    result: ImageResult | None = None
    error: ImagesError | None = None
    is_torn: bool = False


class OutputReader:
    """Decodes a file: `feed` its bytes, then `finish`; both yield complete lines."""

    def __init__(
        self,
        new_sink: Callable[[], Sink],
        secrets_of: Callable[[str], tuple[str, ...]] = lambda _: (),
        *,
        max_image_bytes: int = MAX_IMAGE_BYTES,
        now: float = 0.0,
    ) -> None:
        """Make a reader: `secrets_of(custom_id)` returns the texts to redact in errors; `now` is the Unix time."""
        self._new_sink = new_sink
        self._secrets_of = secrets_of
        self._max_image_bytes = max_image_bytes
        self._now = now
        self._scanner: JSONImageDecoder | None = None
        self._too_large: ResponseTooLargeError | None = None
        self._line_bytes = 0
        self.nbytes = 0
        """Bytes of the complete lines: the offset at which a download can resume."""

    @property
    def in_image(self) -> bool:
        """Whether the next bytes belong to an image that has begun."""
        return self._scanner is not None and self._scanner.feed_image is not None

    def feed_image(self, data: bytes) -> bool:
        """Decode bytes inside of an image if they are nothing but base64; else do nothing and return False."""
        feed_image = None if self._scanner is None else self._scanner.feed_image
        if feed_image is None or not feed_image(data):
            return False
        self._line_bytes += len(data)
        return True

    def feed(self, data: bytes) -> Iterator[OutputLine]:
        """Decode the next bytes."""
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._scan(data[start:end])
            self._line_bytes += 1
            yield from self._end_line()
            start = end + 1
        if start < len(data):
            self._scan(data[start:] if start else data)

    def finish(self) -> Iterator[OutputLine]:
        """Decode a last line without a newline."""
        yield from self._end_line()

    def discard(self) -> None:
        """Discard the incomplete line and its images."""
        scanner, self._scanner = self._scanner, None
        if scanner is not None:
            scanner.discard()
        self._line_bytes, self._too_large = 0, None

    def _scan(self, data: bytes) -> None:
        self._line_bytes += len(data)
        if self._scanner is None:
            if not data.strip():
                return
            self._scanner = JSONImageDecoder(self._new_sink, max_picture_bytes=self._max_image_bytes)
        feed_image = self._scanner.feed_image
        if self._too_large is not None or (feed_image is not None and feed_image(data)):
            return
        try:
            self._scanner.feed(data)
        except ResponseTooLargeError as error:
            self._too_large = error
            self._scanner.discard()

    def _end_line(self) -> Iterator[OutputLine]:
        scanner, self._scanner = self._scanner, None
        too_large, self._too_large = self._too_large, None
        self.nbytes += self._line_bytes
        self._line_bytes = 0
        if scanner is None:
            return
        try:
            if too_large is not None:
                raise too_large
            doc = scanner.documents()[0]
            if not is_object(doc) or not isinstance(doc.get("custom_id"), str):
                raise DecodeError("a line of the provider's output file has no custom_id")  # noqa: TRY301
        except (DecodeError, ResponseTooLargeError) as error:
            scanner.discard()
            found = _CUSTOM_ID.search(scanner.text)
            name, is_torn = "" if found is None else found[1], isinstance(error, DecodeError)
            yield OutputLine(name, error=_with_images(error, scanner), is_torn=is_torn)
        else:
            yield self._read(doc["custom_id"], doc, scanner)

    def _read(self, custom_id: str, doc: dict[str, Any], scanner: JSONImageDecoder) -> OutputLine:
        response, secrets = doc.get("response"), self._secrets_of(custom_id)
        try:
            if not is_object(response):
                raise _unanswered(doc.get("error"), secrets)
            return OutputLine(custom_id, result=self._result(response, scanner, secrets))
        except ImagesError as error:
            return OutputLine(custom_id, error=_with_images(error, scanner))

    def _result(
        self, response: dict[str, Any], scanner: JSONImageDecoder, secrets: tuple[str, ...]
    ) -> ImageResult:
        """Return the result in a line's response. Raises `ImagesError`."""
        status, body, name = response.get("status_code"), response.get("body"), response.get("request_id")
        headers = {"x-request-id": name} if isinstance(name, str) else {}
        status = status if type(status) is int else 200
        context = ResponseContext(status, headers, secrets, self._now)
        if status not in _SUCCESS:
            if isinstance(body, str):
                raise error_from_body(context, body.encode("utf-8", "replace"))
            raise error_from_document(context, body)
        reader = JSONBody(context, lambda: scanner)
        events = reader.finish_documents([body])
        result = reader.result([event for event in events if isinstance(event, CompletedImage)])
        return evolve(result, attempts=1, request_id=context.request_id)


def _unanswered(error: object, secrets: tuple[str, ...]) -> ImagesError:
    """Return the error of a line without a response: not executed, or outcome unknown."""
    fields = error if is_object(error) else {}
    code, message = (
        redact(value, secrets)[:_SHOWN] if isinstance(value := fields.get(name), str) else None
        for name in ("code", "message")
    )
    said = f" ({code})" if code else ""
    said += f": {message}" if message else ""
    if code in _NOT_RUN:
        return not_run(f"the provider did not execute it{said}", code)
    return StatusOutcomeUnknownError(
        f"the provider's line has neither a response nor a known error code{said}; it may have been billed",
        status_code=0,
        code=code,
    )


def not_run(message: str, code: str | None = None) -> APIStatusError:
    """Return the error of a request that the provider did not execute; it is not billed and safe to resend."""
    error = APIStatusError(f"{message}; it is not billed, and can be sent again", status_code=0, code=code)
    error.safe_to_resend = True
    return error


def _with_images(error: ImagesError, scanner: JSONImageDecoder) -> ImagesError:
    error.attempts = 1
    error.images = tuple(scanner.images)
    error.damaged = scanner.damaged[:MAX_DAMAGED]
    return error
