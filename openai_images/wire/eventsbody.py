"""The body that is a `text/event-stream`.

Rules: an event without its blank line is delivered when its JSON is closed: it was paid for. It refuses to guess: an
event that is neither partial nor completed by name stays an `UnknownEvent`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from openai_images.errors import DecodeError, StreamInterruptedError
from openai_images.models.events import CompletedImage, Event, UnknownEvent
from openai_images.models.results import ImageResult, Usage
from openai_images.wire import codec
from openai_images.wire.jsontypes import is_object
from openai_images.wire.refusals import Answered, refusal_from_document
from openai_images.wire.sse import EventEnd, SSEFramer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from openai_images.models.image import Image
    from openai_images.wire.payload import PayloadScanner

__all__ = ["EventsBody"]

_COMPLETED = ("image_generation.completed", "image_edit.completed")
_LF, _CR = 0x0A, 0x0D  # as numbers: `b"\n" in chunk` takes seven times as long
_NO_PICTURE = (
    "the completed event came without its picture; it may have been paid for, ask the server's operator"
)


class EventsBody:
    """A `text/event-stream`."""

    def __init__(self, answered: Answered, new_scanner: Callable[[], PayloadScanner]) -> None:
        """Decode each event with a scanner of its own."""
        self.life = 0
        self._answered = answered
        self._framer = SSEFramer()
        self._new_scanner = new_scanner
        self._scanner = new_scanner()
        self._events = 0
        self._in_data = False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Frame, decode, and yield each event at its blank line."""
        for token in self._framer.feed(chunk):
            self.life += 1
            if isinstance(token, EventEnd):
                yield from self._event(token.event)
            else:
                self._scanner.feed(token)
        self._in_data = self._framer.in_data

    def can_wait(self, chunk: bytes) -> bool:
        """In the middle of a data line, which is where the megabytes are, nothing is complete before its end."""
        if not self._in_data or _LF in chunk or _CR in chunk:
            return False
        self.life += 1
        return True

    def finish(self) -> Iterator[Event]:
        """Deliver an event that lacks only its blank line."""
        if self._framer.has_data and self._scanner.is_complete:
            yield from self._event(self._framer.event)

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """The completed events as one result, in the order of their index."""
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
            usage=_sum([event.usage for event in events if event.usage is not None]),
            extra=first.extra,
        )

    def images(self) -> list[Image]:
        """The finished picture of a completed event that was cut behind it."""
        return self._scanner.pictures if self._framer.event.endswith(".completed") else []

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
            doc = scanner.finish()
        except DecodeError:
            scanner.discard()
            if name.endswith((".partial_image", ".completed")) or text.startswith("{"):
                raise
            doc = text
        yield self._read(doc, name)

    def _read(self, doc: Any, name: str) -> Event:
        kind = doc.get("type") if is_object(doc) else None
        if "error" in (kind, name) or (is_object(doc) and doc.get("error")):
            raise refusal_from_document(self._answered, doc)
        if not is_object(doc):
            return UnknownEvent(name or "message", doc)
        kind = kind if isinstance(kind, str) and kind else name or "message"
        fields = {key: value for key, value in doc.items() if key != "type"}
        event: Event | None = None
        if kind.endswith(".partial_image"):
            event = codec.read_partial(fields)
        elif kind.endswith(".completed"):
            event = codec.read_completed(fields)
            if event is None and kind in _COMPLETED:
                raise DecodeError(_NO_PICTURE)
        # A partial without its picture must not cost the finished one that is still to come.
        return event or UnknownEvent(kind, doc)


def _sum(usages: list[Usage]) -> Usage | None:
    """One usage for several pictures; details of more than one are not added up."""
    if len(usages) < 2:
        return usages[0] if usages else None

    def total(name: str) -> int | None:
        counts = [count for usage in usages if (count := getattr(usage, name)) is not None]
        return sum(counts) if counts else None

    return Usage(
        input_tokens=total("input_tokens"),
        output_tokens=total("output_tokens"),
        total_tokens=total("total_tokens"),
    )
