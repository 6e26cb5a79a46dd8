"""Decodes the output file of a provider batch while it arrives: a result or an error for each line.

Invariants: linear time and constant memory: images are written to sinks while they arrive, the rest of a line is small;
lines may have any order and size; an unreadable line does not affect the others, and its error has its complete images;
statuses and codes are mapped as in any response (`wire/error_mapping.py`).
Must not: do I/O (the owner of the sinks flushes them).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from attrs import evolve

from openai_images._util.json import is_object
from openai_images.errors import (
    APIStatusError,
    DecodeError,
    ImagesError,
    ResponseTooLargeError,
    StatusOutcomeUnknownError,
)
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

_NOT_RUN: Final = frozenset({"batch_expired", "batch_cancelled", "batch_canceled", "batch_failed"})
"""Codes of lines that were not executed and not billed. OpenAI sends batch_expired; other servers send the others."""

_CUSTOM_ID = re.compile(r'"custom_id"\s*:\s*"([^"\\]{1,512})"')
_SUCCESS = range(200, 300)
_SHOWN = 300


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
