"""Decodes a body that is a `text/event-stream`.

Invariants: a finished event without its blank line is delivered when its JSON is closed, because it was paid for; an
event of an unknown type that is no complete response stays an `UnknownEvent`, and the images of the last one are kept
if nothing else comes; a failed image or an invalid partial image does not affect the other images.
Must not: guess what an unknown event means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any

from openai_images._util.json import is_object
from openai_images.errors import DecodeError, ImagesError, StreamInterruptedError
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage, ImageEvent, ImageResult, UnknownEvent
from openai_images.models.usage import Usage, sum_usages
from openai_images.wire import codec
from openai_images.wire.error_mapping import (
    MAX_DAMAGED,
    MAX_ERRORS,
    ResponseContext,
    error_from_document,
    no_image,
)
from openai_images.wire.json_decoder import MAX_IMAGES, JSONImageDecoder, too_many_images
from openai_images.wire.salvage import find_images, find_leaves, without_images
from openai_images.wire.sse import SSEEventEnd, SSEFramer

_COMPLETED = ("image_generation.completed", "image_edit.completed")
# Doubao sends `.partial_succeeded` for each finished image of several, then `.completed` without an image.
_FINISHED = (".completed", ".partial_succeeded")
_RESPONSE_TYPES = ("", "message", "image")  # a JSON response as an event: relays, and vLLM-omni's edits
_LONGEST_TYPE = 80  # characters of an unknown type: it appears in reprs
_LF, _CR = 0x0A, 0x0D  # as numbers: `b"\n" in chunk` takes seven times as long
_NO_IMAGE = "the completed event came without its image; it may have been billed; ask the server's operator"


class EventStreamBody:
    """Decodes the events of a `text/event-stream`, each with its own scanner.

    `errors`: one error for each failed image; `damaged`: what finished events had in place of their image.
    """

    def __init__(self, context: ResponseContext, new_scanner: Callable[[], JSONImageDecoder]) -> None:
        self.activity = 0
        self._context = context
        self._framer = SSEFramer()
        self._new_scanner = new_scanner
        self._scanner = new_scanner()
        self._events = 0
        self._in_data = False
        self._completed = 0
        self._usage: Usage | None = None
        self.errors: list[ImagesError] = []
        self._unknown_event_images: list[Image] = []
        self.damaged: list[Image] = []

    @property
    def feed_image(self) -> Callable[[bytes], bool] | None:
        """What decodes bytes of the image that has begun if they are nothing but base64; None outside of one."""
        return self._scanner.feed_image if self._in_data else None

    def feed(self, chunk: bytes) -> Iterator[ImageEvent]:
        """Frame and decode the next bytes; yield each event at its blank line. Raises `ImagesError`."""
        if (feed_image := self.feed_image) is not None and feed_image(chunk):
            self.activity += 1
            return
        for token in self._framer.feed(chunk):
            self.activity += 1
            if isinstance(token, SSEEventEnd):
                yield from self._event(token.event)
            else:
                self._scanner.feed(token)
        self._in_data = self._framer.in_data

    def can_buffer(self, chunk: bytes) -> bool:
        """Return True in the middle of a data line (the megabytes of an image): nothing is complete before its end."""
        if not self._in_data or _LF in chunk or _CR in chunk:
            return False
        self.activity += 1
        return True

    def finish(self) -> Iterator[ImageEvent]:
        """Yield an event that lacks only its blank line. Raises `DecodeError` if it is invalid, not just truncated."""
        if self._framer.has_data and (self._scanner.failure is not None or self._scanner.is_complete):
            yield from self._event(self._framer.event)

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """Return the completed events as one result, in the order of their index.

        Raises the last image's error, or `StreamInterruptedError`, if there are none.
        """
        if not completed and self.errors:
            raise self.errors[-1]
        if not completed:
            place = " in the middle of an event" if self._framer.has_data else ""
            count = f"after {self._events} event{'s' * (self._events != 1)}"
            raise StreamInterruptedError(
                f"the stream ended {count}{place} and without its completed image; it may have been billed"
            )
        events = sorted(completed, key=lambda event: event.image_index)
        first = events[0]
        return ImageResult(
            images=tuple(event.image for event in events),
            created=first.created_at,
            background=first.background,
            output_format=first.output_format,
            quality=first.quality,
            size=first.size,
            usage=self._usage or sum_usages(event.usage for event in events),
            extra=first.extra,
        )

    def images(self) -> list[Image]:
        """Return the complete image of a truncated finished event, or those of the last unknown event."""
        truncated = self._scanner.images if self._framer.event.endswith(_FINISHED) else []
        # An image with a path is already kept, as a file.
        return truncated or [
            image for image in self._unknown_event_images if image.path is None and not self._completed
        ]

    def discard(self) -> None:
        """Drop the open event."""
        self._scanner.discard()

    def _event(self, name: str) -> Iterator[ImageEvent]:
        scanner, self._scanner = self._scanner, self._new_scanner()
        text = scanner.text.strip()
        if not text or text == "[DONE]":  # the last event of gateways, not of the API itself
            return
        self._events += 1
        try:
            events = self._read(self._document(scanner, name, text), name, scanner.damaged)
        except ImagesError:
            self._unknown_event_images = scanner.images or self._unknown_event_images
            raise
        for event in events:
            if isinstance(event, CompletedImage):
                self._completed += 1
                if self._completed > MAX_IMAGES:
                    raise too_many_images()
            elif isinstance(event, UnknownEvent) and not event.type.endswith(".partial_image"):
                self._unknown_event_images = scanner.images or self._unknown_event_images
            yield event

    def _document(self, scanner: JSONImageDecoder, name: str, text: str) -> Any:
        """Return the event's JSON, or its text if it has none and no image is lost. Raises `DecodeError`."""
        scanner.discard()
        try:
            if text.startswith("{") and scanner.failure is None:
                return scanner.documents()[0]  # other text may follow
            return scanner.finish()
        except DecodeError:
            is_partial = name.endswith(".partial_image")
            if name.endswith(_FINISHED) or (text.startswith("{") and not is_partial):
                raise
            return text

    def _read(self, doc: Any, name: str, damaged: list[Image]) -> Iterable[ImageEvent]:
        doc = _unwrap(doc)
        event_type = doc.get("type") if is_object(doc) else None
        event_type = event_type if isinstance(event_type, str) and event_type else name
        if event_type.endswith(".partial_failed"):
            self._record_error(error_from_document(self._context, doc))
        elif "error" in (event_type, name) or (is_object(doc) and doc.get("error")):
            raise error_from_document(self._context, doc)
        events = self._known_events(doc, event_type, damaged) if is_object(doc) else ()
        # A partial image that cannot be read must not prevent the finished one that follows.
        return events or [UnknownEvent(event_type[:_LONGEST_TYPE] or "message", doc)]

    def _known_events(
        self, doc: dict[str, Any], event_type: str, damaged: list[Image]
    ) -> Sequence[ImageEvent]:
        """Return the events of a known type, none for an unknown type. Raises `ImagesError` if the image is missing."""
        fields = dict(doc)
        fields.pop("type", None)
        if event_type.endswith(".partial_image"):
            partial = codec.structure_partial(fields)
            return () if partial is None else [partial]
        is_finished = event_type.endswith(_FINISHED)
        completed = codec.structure_completed(fields) if is_finished else None
        if completed is not None:
            return [completed]
        if is_finished or event_type in _RESPONSE_TYPES:
            images = list(islice(codec.structure_images(doc), MAX_IMAGES))
            if not images and is_finished and (images := find_images(find_leaves(doc))):
                fields = without_images(fields)
            if images:
                result = codec.structure_result(fields, tuple(images))
                self._usage = result.usage
                return list(codec.completed_events(result))
        if is_finished and damaged:
            self.damaged += damaged[: MAX_DAMAGED - len(self.damaged)]
            self._record_error(no_image(self._context, damaged))
        elif event_type in _COMPLETED:
            self._take_final_usage(fields)
        return ()

    def _record_error(self, error: ImagesError) -> None:
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(error)

    def _take_final_usage(self, fields: dict[str, Any]) -> None:
        """Take the usage of all images from a final event without an image. Raises if no image came before it."""
        if not self._completed:
            raise self.errors[-1] if self.errors else DecodeError(_NO_IMAGE)
        self._usage = codec.structure_result(fields, ()).usage


def _unwrap(doc: Any) -> Any:
    """Return the event inside an object whose only field is `data`, as in OpenRouter's schema."""
    inner = doc.get("data") if is_object(doc) and len(doc) == 1 else None
    return inner if is_object(inner) and isinstance(inner.get("type"), str) else doc
