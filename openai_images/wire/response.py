"""The body of a successful answer, whatever it turns out to be, to events and a result.

Rules: what the bytes are decides, then what the content type says: servers answer JSON to a stream request, event
streams to plain ones, raw pictures, and HTML with status 200. What is none of these raises `DecodeError`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from openai_images.errors import DecodeError, StreamInterruptedError
from openai_images.models import media
from openai_images.wire.base64_decoder import MAX_IMAGE_BYTES
from openai_images.wire.error_mapping import ResponseContext
from openai_images.wire.event_body import EventStreamBody
from openai_images.wire.image_body import BodyDecoder, ImageBody
from openai_images.wire.image_text import MAX_HELD, begins_image
from openai_images.wire.json_body import JSONBody
from openai_images.wire.json_decoder import JSONImageDecoder
from openai_images.wire.redaction import redact
from openai_images.wire.sinks import MemorySink, Sink

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from openai_images.errors import ImagesError
    from openai_images.models.image import Image
    from openai_images.models.results import CompletedImage, Event, ImageResult

_PASSED_OVER = b"\xef\xbb\xbf \t\r\n"  # a BOM and white space: no body begins with any of these bytes
_SNIFF = 12
"""Bytes that are enough for every signature and for `event:`."""

_UNTIL_CLEAR = 4096
"""Where those do not tell, as much is read before giving up: an SVG may begin with a long comment."""

_EVENT_STREAM = re.compile(rb"(?:data|event|id|retry)[:\r\n]|:")

_DATA_URL = b"data:image/"  # no event's data, which are JSON or a word
_ARCHIVE = b"PK\x03\x04"  # vLLM-omni answers response_format=file so where there are several pictures
_SHOWN = 200  # characters of a body that is none of ours
_SMALL = 1024
_ENOUGH = 16 * 1024
"""Pieces below `_SMALL` that cannot complete anything are gathered to this size: a call costs more than their bytes."""


class ResponseDecoder:
    """Feed it the body; it yields events. Then `finish`, then `result`."""

    def __init__(
        self,
        answered: ResponseContext,
        new_sink: Callable[[], Sink] = MemorySink,
        max_picture_bytes: int = MAX_IMAGE_BYTES,
    ) -> None:
        """Read what came with this status and these headers; each picture gets a sink of its own."""
        self._answered = answered
        self._new_sink = new_sink
        self._max_picture_bytes = max_picture_bytes
        self._body: BodyDecoder | None = None
        self._held = bytearray()

    @property
    def activity(self) -> int:
        """Grows with every byte that is not part of a comment."""
        return self._body.life if self._body else 0

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take the next bytes. Raises `ImagesError`; events yielded before that stand."""
        body = self._body
        if body is not None and len(chunk) < _SMALL and len(self._held) < _ENOUGH and body.can_buffer(chunk):
            self._held += chunk
            return iter(())  # not a generator: a picture in tiny pieces comes here millions of times
        return self._read(chunk)

    def finish(self) -> Iterator[Event]:
        """The body has ended or broken: yield what was whole. Raises `ImagesError` where the server sent an error."""
        if self._body is None and self._held:
            self._open(ended=True)
        if self._body is not None:
            yield from self._read(b"")
            yield from self._body.finish()

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """The result of the completed events that were yielded. Raises `ImagesError` where there is none."""
        if self._body is None:
            raise self._empty()
        return self._body.result(completed)

    def undelivered_images(self) -> list[Image]:
        """Pictures that were whole when a JSON answer was cut, and so were never yielded."""
        return self._body.images() if self._body else []

    def damaged(self) -> list[Image]:
        """What came in the place of a picture, and is none by its own bytes or lacks its end."""
        return self._body.damaged() if self._body else []

    def errors(self) -> list[ImagesError]:
        """Why there are fewer pictures than were asked for, as far as the answer says."""
        return self._body.errors() if self._body else []

    def discard(self) -> None:
        """Leave nothing half-written behind."""
        if self._body is not None:
            self._body.discard()

    def _read(self, chunk: bytes) -> Iterator[Event]:
        """Give the body what was held and this."""
        if self._body is None:
            self._held = (self._held + chunk).lstrip(_PASSED_OVER)
            self._open(ended=False)
            chunk = b""
        if self._body is not None:
            if self._held:
                chunk = bytes(self._held) + chunk
                self._held.clear()
            yield from self._body.feed(chunk)

    def _open(self, *, ended: bool) -> None:
        """Tell from the first bytes what the body is, if there are enough of them."""
        start = bytes(self._held)
        stated = self._answered.headers.get("content-type", "").partition(";")[0].strip().lower()
        markup = start.startswith(b"<")
        if start.startswith((b"{", b"[", b'"')):
            self._body = JSONBody(self._answered, self._new_scanner)
        elif start.startswith(_ARCHIVE):
            raise self._zip_archive()
        elif len(start) < _SNIFF and not ended:
            return
        elif _EVENT_STREAM.match(start) and not start.startswith(_DATA_URL):
            self._body = EventStreamBody(self._answered, self._new_scanner)
        elif (
            is_text := begins_image(start[:MAX_HELD], is_whole=ended or len(start) >= MAX_HELD, is_url=False)
        ) is None:
            return
        elif is_text:  # base64 without any JSON around it, whatever it is called
            self._body = JSONBody(self._answered, self._new_scanner, is_bare=True)
        elif media.media_type(start) != media.UNKNOWN or (stated.startswith("image/") and not markup):
            self._body = ImageBody(self._answered, self._new_sink(), self._max_picture_bytes)
        elif stated == "text/event-stream" and not markup:
            self._body = EventStreamBody(self._answered, self._new_scanner)
        elif ended or len(start) >= _UNTIL_CLEAR:
            raise self._unrecognized(start[:_UNTIL_CLEAR], stated)

    def _new_scanner(self) -> JSONImageDecoder:
        return JSONImageDecoder(self._new_sink, max_picture_bytes=self._max_picture_bytes)

    def _empty(self) -> DecodeError | StreamInterruptedError:
        if self._answered.headers.get("content-type", "").lower().startswith("text/event-stream"):
            return StreamInterruptedError("the stream ended before its first event; it may have been billed")
        return DecodeError(
            f"the server answered {self._answered.status} with an empty body; it may have been billed"
        )

    def _zip_archive(self) -> DecodeError:
        return DecodeError(
            f"the server answered {self._answered.status} with a ZIP archive, which is not unpacked here; ask for "
            "response_format='b64_json', or for one picture at a time. It may have been billed"
        )

    def _unrecognized(self, start: bytes, stated: str) -> DecodeError:
        text = redact(start.decode("utf-8", "replace"), self._answered.secrets)
        what = (
            "an HTML page"
            if start.startswith(b"<")
            else repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
        )
        kind = redact(stated, self._answered.secrets) or "no content type"
        return DecodeError(
            f"the server answered {self._answered.status} with {kind} that holds no picture: {what}. "
            "Check base_url, and what stands between you and the server; it may have been billed"
        )
