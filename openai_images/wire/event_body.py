"""The body that is a `text/event-stream`.

Rules: an event without its blank line is delivered when its JSON is closed: it was paid for. It refuses to guess: an
event that is neither partial nor finished by name, and no whole answer, stays an `UnknownEvent`; where nothing else
comes, the pictures of the last of them are kept. One picture that failed does not cost the others, nor does a partial
that is broken.
"""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

from openai_images._util.json import is_object
from openai_images.errors import DecodeError, ImagesError, StreamInterruptedError
from openai_images.models.results import CompletedImage, Event, ImageResult, UnknownEvent
from openai_images.models.usage import Usage, sum_usages
from openai_images.wire import codec
from openai_images.wire.error_mapping import ResponseContext, error_from_document
from openai_images.wire.image_body import MAX_DAMAGED, MAX_ERRORS, completed_events, no_image
from openai_images.wire.json_decoder import MAX_IMAGES, too_many_images
from openai_images.wire.salvage import find_images, without_images
from openai_images.wire.sse import SSEEventEnd, SSEFramer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from openai_images.models.image import Image
    from openai_images.wire.json_decoder import JSONImageDecoder

_COMPLETED = ("image_generation.completed", "image_edit.completed")
_FINISHED = (
    ".completed",
    ".partial_succeeded",
)  # Doubao: each finished picture of several, then one event without any
_WHOLE_ANSWER = ("", "message", "image")  # a JSON answer as an event: relays, and vLLM-omni's edits
_LONGEST_NAME = 80  # what calls itself longer would fill a `repr`
_LF, _CR = 0x0A, 0x0D  # as numbers: `b"\n" in chunk` takes seven times as long
_NO_PICTURE = (
    "the completed event came without its picture; it may have been paid for, ask the server's operator"
)


class EventStreamBody:
    """A `text/event-stream`."""

    def __init__(self, answered: ResponseContext, new_scanner: Callable[[], JSONImageDecoder]) -> None:
        """Decode each event with a scanner of its own."""
        self.life = 0
        self._answered = answered
        self._framer = SSEFramer()
        self._new_scanner = new_scanner
        self._scanner = new_scanner()
        self._events = 0
        self._in_data = False
        self._completed = 0
        self._usage: Usage | None = None
        self._errors: list[ImagesError] = []
        self._strays: list[Image] = []
        self._damaged: list[Image] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Frame, decode, and yield each event at its blank line."""
        for token in self._framer.feed(chunk):
            self.life += 1
            if isinstance(token, SSEEventEnd):
                yield from self._event(token.event)
            else:
                self._scanner.feed(token)
        self._in_data = self._framer.in_data

    def can_buffer(self, chunk: bytes) -> bool:
        """In the middle of a data line, which is where the megabytes are, nothing is complete before its end."""
        if not self._in_data or _LF in chunk or _CR in chunk:
            return False
        self.life += 1
        return True

    def finish(self) -> Iterator[Event]:
        """Deliver an event that lacks only its blank line. Raises `DecodeError` where it is wrong, and not only cut."""
        if self._framer.has_data and (self._scanner.is_broken or self._scanner.is_complete):
            yield from self._event(self._framer.event)

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """The completed events as one result, in the order of their index."""
        if not completed and self._errors:
            raise self._errors[-1]
        if not completed:
            cut = " in the middle of an event" if self._framer.has_data else ""
            seen = f"after {self._events} event{'s' * (self._events != 1)}"
            msg = f"the stream ended {seen}{cut} and without its completed picture; it may have been billed"
            raise StreamInterruptedError(msg)
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
        """The finished picture of an event that was cut behind it, or those of an unknown event before."""
        cut = self._scanner.images if self._framer.event.endswith(_FINISHED) else []
        # One that is in a file has its name there already.
        return cut or [image for image in self._strays if image.path is None and not self._completed]

    def damaged(self) -> list[Image]:
        """What finished events had in the place of their picture."""
        return self._damaged

    def errors(self) -> list[ImagesError]:
        """Why pictures failed, one by one."""
        return self._errors

    def discard(self) -> None:
        """Drop the open event."""
        self._scanner.discard()

    def _event(self, name: str) -> Iterator[Event]:
        scanner, self._scanner = self._scanner, self._new_scanner()
        text = scanner.text.strip()
        if not text or text == "[DONE]":  # gateways end with it, the API itself does not
            return
        self._events += 1
        try:
            events = self._read(self._document(scanner, name, text), name, scanner.damaged)
        except ImagesError:
            self._strays = scanner.images or self._strays
            raise
        for event in events:
            if isinstance(event, CompletedImage):
                self._completed += 1
                if self._completed > MAX_IMAGES:
                    raise too_many_images()
            elif isinstance(event, UnknownEvent) and not event.type.endswith(".partial_image"):
                self._strays = scanner.images or self._strays
            yield event

    def _document(self, scanner: JSONImageDecoder, name: str, text: str) -> Any:
        """The event's JSON, or its text where that is none and no picture is lost. Raises `DecodeError`."""
        try:
            return scanner.finish()
        except DecodeError:
            scanner.discard()
            if text.startswith("{") and not scanner.is_broken:
                with suppress(DecodeError):  # whole, with something behind it
                    return scanner.documents()[0]
            is_partial = name.endswith(".partial_image")
            if name.endswith(_FINISHED) or (text.startswith("{") and not is_partial):
                raise
            return text

    def _read(self, doc: Any, name: str, damaged: list[Image]) -> Iterable[Event]:
        doc = _unwrapped(doc)
        kind = doc.get("type") if is_object(doc) else None
        kind = kind if isinstance(kind, str) and kind else name
        if kind.endswith(".partial_failed"):
            self._fail(error_from_document(self._answered, doc))
        elif "error" in (kind, name) or (is_object(doc) and doc.get("error")):
            raise error_from_document(self._answered, doc)
        known = self._known(doc, kind, damaged) if is_object(doc) else ()
        # A partial without its picture must not cost the finished one that is still to come.
        return known or [UnknownEvent(kind[:_LONGEST_NAME] or "message", doc)]

    def _known(self, doc: dict[str, Any], kind: str, damaged: list[Image]) -> Sequence[Event]:
        """The pictures of an event, none where it is none of ours. Raises `ImagesError` where they had to be there."""
        fields = {key: value for key, value in doc.items() if key != "type"}
        if kind.endswith(".partial_image"):
            partial = codec.structure_partial(fields)
            return () if partial is None else [partial]
        is_finished = kind.endswith(_FINISHED)
        completed = codec.structure_completed(fields) if is_finished else None
        if completed is not None:
            return [completed]
        if is_finished or kind in _WHOLE_ANSWER:
            images = list(islice(codec.structure_images(doc), MAX_IMAGES))
            if not images and is_finished:
                images = find_images(doc)
                fields = without_images(fields)
            if images:
                result = codec.structure_result(fields, tuple(images))
                self._usage = result.usage
                return list(completed_events(result))
        if is_finished and damaged:
            self._damaged += damaged[: MAX_DAMAGED - len(self._damaged)]
            self._fail(no_image(self._answered, damaged))
        elif kind in _COMPLETED:
            self._end_without_picture(fields)
        return ()

    def _fail(self, error: ImagesError) -> None:
        """One picture of several, or the only one, did not come."""
        if len(self._errors) < MAX_ERRORS:
            self._errors.append(error)

    def _end_without_picture(self, fields: dict[str, Any]) -> None:
        """Some servers end with the usage of all pictures; without any before it, they are missing."""
        if not self._completed:
            raise self._errors[-1] if self._errors else DecodeError(_NO_PICTURE)
        self._usage = codec.structure_result(fields, ()).usage


def _unwrapped(doc: Any) -> Any:
    """The event itself, where it is the only thing in an object named `data`, as in OpenRouter's schema."""
    inner = doc.get("data") if is_object(doc) and len(doc) == 1 else None
    return inner if is_object(inner) and isinstance(inner.get("type"), str) else doc
