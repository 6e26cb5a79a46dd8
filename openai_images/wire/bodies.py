"""A body, whatever it is: chunks in, events out; and the simplest of its kinds, the bare bytes of one picture.

Rules, for each kind: `finish` yields what was whole when the body ended or broke, and `result` says what is wrong when
that is not enough. The others are `eventsbody.py` and `jsonbody.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from openai_images.errors import StreamInterruptedError
from openai_images.models import media
from openai_images.models.events import CompletedImage, Event
from openai_images.models.results import ImageResult
from openai_images.wire.b64 import picture_too_large

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openai_images.models.image import Image
    from openai_images.wire.memory import Sink

__all__ = ["Body", "PictureBody", "completed_events"]

_HEAD, _TAIL = 12, 64  # what tells whether a picture is whole


class Body(Protocol):
    """One way in which pictures arrive. `life` grows with every byte that is not a comment."""

    life: int

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take the next bytes. Raises `ImagesError`."""
        ...

    def can_wait(self, chunk: bytes) -> bool:
        """Whether these bytes cannot complete an event, so that they may be gathered first."""
        ...

    def finish(self) -> Iterator[Event]:
        """The body has ended: yield what was whole. Raises `ImagesError` where the server said so."""
        ...

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """The result of these events. Raises where there is none."""
        ...

    def images(self) -> list[Image]:
        """Pictures that are whole but were not yielded."""
        ...

    def discard(self) -> None:
        """Drop what is not whole."""


class PictureBody:
    """The bare bytes of one picture, as some compatible servers answer."""

    def __init__(self, sink: Sink, max_bytes: int) -> None:
        """Collect into the sink, up to `max_bytes`."""
        self.life = 0
        self._sink = sink
        self._is_open = True
        self._max_bytes = max_bytes
        self._nbytes = 0
        self._head = self._tail = b""

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Collect."""
        self.life += 1
        self._nbytes += len(chunk)
        if self._nbytes > self._max_bytes:
            raise picture_too_large(self._max_bytes)
        self._head = self._head or chunk[:_HEAD]
        self._tail = (self._tail + chunk[-_TAIL:])[-_TAIL:]
        self._sink.write(chunk)
        return iter(())

    def can_wait(self, chunk: bytes) -> bool:
        """Never: there is nothing to gain."""
        return not chunk

    def finish(self) -> Iterator[Event]:
        """Yield the picture, if its own bytes say that it is whole."""
        if self._is_open and not media.is_cut(self._head, self._tail, self._nbytes):
            self._is_open = False
            yield CompletedImage(image=self._sink.finish())

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """The picture; nothing else is known."""
        if not completed:
            msg = f"the answer ended after {self._nbytes:,} bytes of its picture; it may have been billed"
            raise StreamInterruptedError(msg)
        return ImageResult(images=tuple(event.image for event in completed))

    def images(self) -> list[Image]:
        """None: it was yielded or is cut."""
        return []

    def discard(self) -> None:
        """Drop the picture."""
        if self._is_open:
            self._is_open = False
            self._sink.discard()


def completed_events(result: ImageResult) -> Iterator[CompletedImage]:
    """A result's pictures as events: the first has what is not known here, the last the usage of all."""
    last = len(result.images) - 1
    for index, image in enumerate(result.images):
        yield CompletedImage(
            image=image,
            image_index=index,
            created_at=result.created,
            background=result.background,
            output_format=result.output_format,
            quality=result.quality,
            size=result.size,
            usage=result.usage if index == last else None,
            extra=result.extra if index == 0 else {},
        )
