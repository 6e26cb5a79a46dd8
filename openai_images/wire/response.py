"""Decodes the body of a successful response, of any kind, to events and a result.

Invariants: the first bytes decide its kind, then the content type: servers answer JSON to a stream request,
event streams to plain ones, raw images, and HTML with status 200. Any other body raises `DecodeError`. A piece from
`chunk_end` is short or has none of `_MARKS`, the characters at which Python code (not C) has to run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeAlias

from attrs import evolve

from openai_images.errors import DecodeError, ImagesError, StreamInterruptedError
from openai_images.models import media
from openai_images.models.completeness import NO_IMAGE, ImageProbe
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage, ImageEvent, ImageResult
from openai_images.wire.base64_decoder import MAX_IMAGE_BYTES, MemorySink, Sink, image_too_large
from openai_images.wire.error_mapping import ResponseContext, no_image
from openai_images.wire.event_body import EventStreamBody
from openai_images.wire.json_body import JSONBody
from openai_images.wire.json_decoder import JSONImageDecoder
from openai_images.wire.json_text import MAX_HELD, begins_image
from openai_images.wire.redaction import redact

_SKIPPED = b"\xef\xbb\xbf \t\r\n"  # a BOM and white space: no kind of body begins with any of these bytes
_SNIFF = 12
"""Bytes that are enough for most signatures and for `event:`."""

_UNTIL_CLEAR = 4096
"""Bytes to read before giving up: an SVG may begin with a long comment."""

_EVENT_STREAM = rb"(?:data|event|id|retry)[:\r\n]|:"

_DATA_URL = b"data:image/"  # not an event: its data are JSON or a word
_ARCHIVE = b"PK\x03\x04"  # vLLM-omni's response to response_format=file with several images
_SHOWN = 200  # characters of an unknown body in an error
_QUOTE = 0x22  # as a number: faster to find
_SMALL = 4096
_ENOUGH = 16 * 1024
"""Pieces below `_SMALL` that complete nothing are joined to this size: a call costs more than decoding them."""

SLOW_BYTES: Final = 4 * 1024
"""Decoding costs up to 1.3 microseconds a byte (events of one digit each), so this is about 5 ms."""

_WINDOW: Final = 256 * 1024
"""How far to search for marks; without a limit a chunk of many pieces would take quadratic time."""

_MARKS: Final = (b"\n", b'"', b"\\", b"\r")


def chunk_end(data: bytes, start: int) -> int:
    """Return the index at which the piece of received bytes that begins at `start` ends; linear."""
    if len(data) - start <= SLOW_BYTES:
        return len(data)
    end = min(len(data), start + _WINDOW)
    for mark in _MARKS:
        found = data.find(mark, start, end)
        if found >= 0:
            end = found
            if end - start <= SLOW_BYTES:
                return start + SLOW_BYTES
    return end


def _refuse(chunk: bytes) -> bool:  # noqa: ARG001
    return False


class ImageBody:
    """The bare bytes of one image, as some compatible servers send them."""

    def __init__(self, context: ResponseContext, sink: Sink, max_bytes: int) -> None:
        self.activity = 0
        self._context = context
        self._sink = sink
        self._is_open = True
        self._max_bytes = max_bytes
        self._probe = ImageProbe()
        self.errors: list[ImagesError] = []  # none: bare bytes explain nothing
        self.damaged: list[Image] = []

    @property
    def feed_image(self) -> Callable[[bytes], bool] | None:
        """What refuses all bytes, as no base64 comes here."""
        return _refuse if self._is_open else None

    def feed(self, chunk: bytes) -> Iterator[ImageEvent]:
        """Write the next bytes to the sink. Raises `ResponseTooLargeError`."""
        self.activity += 1
        self._probe.feed(chunk)
        if self._probe.nbytes > self._max_bytes:
            raise image_too_large(self._max_bytes)
        self._sink.write(chunk)
        return iter(())

    def can_buffer(self, chunk: bytes) -> bool:
        """Return False: joining the bytes first would save nothing."""
        return not chunk

    def finish(self) -> Iterator[ImageEvent]:
        """Yield the image if its own bytes show that it is complete."""
        if self._is_open and self._probe.nbytes:
            self._is_open = False
            image, flaw = self._sink.finish(), self._probe.flaw
            if flaw is None:
                yield CompletedImage(image=image)
            else:
                self.damaged = [evolve(image, flaw=flaw)]

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """Return the image; nothing else is known. Raises `DecodeError` or `StreamInterruptedError`."""
        if not completed and self._probe.flaw == NO_IMAGE:
            raise no_image(self._context, self.damaged)
        if not completed:
            msg = (
                f"the response ended after {self._probe.nbytes:,} bytes of its image; it may have been billed"
            )
            raise StreamInterruptedError(msg)
        return ImageResult(images=tuple(event.image for event in completed))

    def images(self) -> list[Image]:
        """Return none: the image was yielded or is damaged."""
        return []

    def discard(self) -> None:
        """Drop the image."""
        if self._is_open:
            self._is_open = False
            self._sink.discard()


_Body: TypeAlias = EventStreamBody | ImageBody | JSONBody
"""`activity` grows with every byte that is not part of a comment; `finish` yields images that were complete when the
body ended or broke, and `result` raises the error if there are none."""


class ResponseDecoder:
    """Decodes a body fed to it: `feed` and `finish` yield events, then `result` returns the result."""

    def __init__(
        self,
        context: ResponseContext,
        new_sink: Callable[[], Sink] = MemorySink,
        max_picture_bytes: int = MAX_IMAGE_BYTES,
    ) -> None:
        self._context = context
        self._new_sink = new_sink
        self._max_image_bytes = max_picture_bytes
        self._body: _Body | None = None
        self._buffer = bytearray()

    @property
    def activity(self) -> int:
        """Grows with every byte that is not part of a comment."""
        return self._body.activity if self._body else 0

    @property
    def feed_image(self) -> Callable[[bytes], bool] | None:
        """In the middle of an image, what decodes its bytes, quickly however many they are; None elsewhere.

        Bytes that are anything but base64 it refuses: it does nothing and returns False. `feed` them, in pieces that
        end at `chunk_end`, and ask anew.
        """
        if self._body is None or _QUOTE in self._buffer:
            return None
        feed_image = self._body.feed_image
        return _refuse if self._buffer and feed_image is not None else feed_image

    def feed(self, chunk: bytes) -> Iterator[ImageEvent]:
        """Decode the next bytes. Raises `ImagesError`; events yielded before that stay valid."""
        body = self._body
        if (
            body is not None
            and len(chunk) < _SMALL
            and len(self._buffer) < _ENOUGH
            and body.can_buffer(chunk)
        ):
            self._buffer += chunk
            return iter(())  # not a generator: an image in tiny pieces comes here millions of times
        return self._read(chunk)

    def finish(self) -> Iterator[ImageEvent]:
        """Yield images that were complete at the end of the body. Raises `ImagesError` if the server sent an error."""
        if self._body is None and self._buffer:
            self._open(ended=True)
        if self._body is not None:
            if self._buffer:
                yield from self._read(b"")
            yield from self._body.finish()

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """Return the result of the completed events that were yielded. Raises `ImagesError` if there is none."""
        if self._body is None:
            raise self._empty()
        return self._body.result(completed)

    def undelivered_images(self) -> list[Image]:
        """Return images that were complete when a JSON response was truncated, and so were never yielded."""
        return self._body.images() if self._body else []

    def damaged(self) -> list[Image]:
        """Return the content that came in place of an image: bytes that are no image, or a truncated one."""
        return self._body.damaged if self._body else []

    def errors(self) -> list[ImagesError]:
        """Return why there are fewer images than requested, if the response says."""
        return self._body.errors if self._body else []

    def discard(self) -> None:
        """Drop incomplete images and their files."""
        if self._body is not None:
            self._body.discard()

    def _read(self, chunk: bytes) -> Iterator[ImageEvent]:
        if self._body is None:
            self._buffer = (self._buffer + chunk).lstrip(_SKIPPED)
            self._open(ended=False)
            chunk = b""
        if self._body is not None:
            if self._buffer:
                chunk = bytes(self._buffer) + chunk
                self._buffer.clear()
            yield from self._body.feed(chunk)

    def _open(self, *, ended: bool) -> None:
        """Choose the decoder by the first bytes, if there are enough of them."""
        start = bytes(self._buffer)
        content_type = self._context.headers.get("content-type", "").partition(";")[0].strip().lower()
        markup = start.startswith(b"<")
        if start.startswith((b"{", b"[", b'"')):
            self._body = JSONBody(self._context, self._new_scanner)
        elif start.startswith(_ARCHIVE):
            raise self._zip_archive()
        elif len(start) < _SNIFF and not ended:
            return
        elif re.match(_EVENT_STREAM, start) and not start.startswith(_DATA_URL):
            self._body = EventStreamBody(self._context, self._new_scanner)
        elif (
            is_text := begins_image(
                start[:MAX_HELD], is_complete=ended or len(start) >= MAX_HELD, is_url=False
            )
        ) is None:
            return
        elif is_text:  # base64 without JSON, with any content type
            self._body = JSONBody(self._context, self._new_scanner, is_bare=True)
        elif media.media_type(start) != media.UNKNOWN or (content_type.startswith("image/") and not markup):
            self._body = ImageBody(self._context, self._new_sink(), self._max_image_bytes)
        elif content_type == "text/event-stream" and not markup:
            self._body = EventStreamBody(self._context, self._new_scanner)
        elif ended or len(start) >= _UNTIL_CLEAR:
            raise self._unrecognized(start[:_UNTIL_CLEAR], content_type)

    def _new_scanner(self) -> JSONImageDecoder:
        return JSONImageDecoder(self._new_sink, max_picture_bytes=self._max_image_bytes)

    def _empty(self) -> DecodeError | StreamInterruptedError:
        if self._context.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return StreamInterruptedError("the stream ended before its first event; it may have been billed")
        return DecodeError(
            f"the server answered {self._context.status} with an empty body; it may have been billed"
        )

    def _zip_archive(self) -> DecodeError:
        return DecodeError(
            f"the server answered {self._context.status} with a ZIP archive, which is not unpacked; request "
            "response_format='b64_json', or one image at a time. It may have been billed"
        )

    def _unrecognized(self, start: bytes, content_type: str) -> DecodeError:
        text = redact(start.decode("utf-8", "replace"), self._context.secrets)
        content = (
            "an HTML page"
            if start.startswith(b"<")
            else repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
        )
        display_type = redact(content_type, self._context.secrets) or "no content type"
        return DecodeError(
            f"the server answered {self._context.status} with {display_type} that holds no image: {content}. "
            "Check base_url, and any proxy between you and the server; it may have been billed"
        )
