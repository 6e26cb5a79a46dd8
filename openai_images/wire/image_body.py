"""A body, whatever it is: chunks in, events out; and the simplest of its kinds, the bare bytes of one picture.

Rules, for each kind: `finish` yields what was whole when the body ended or broke, and `result` says what is wrong when
that is not enough. The others are `eventsbody.py` and `jsonbody.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from attrs import evolve

from openai_images.errors import DecodeError, StreamInterruptedError
from openai_images.models.completeness import NO_IMAGE, ImageProbe
from openai_images.models.results import CompletedImage, Event, ImageResult
from openai_images.wire.base64_decoder import image_too_large
from openai_images.wire.error_mapping import ResponseContext
from openai_images.wire.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from openai_images.errors import ImagesError
    from openai_images.models.image import Image
    from openai_images.wire.sinks import Sink

MAX_ERRORS = 100
"""Reasons that are kept for the pictures that did not come; a server may send 100,000 items with an error each."""

MAX_DAMAGED = 10
"""What is no picture and is kept all the same, in memory perhaps: as many as one request of the API may ask for."""

_SHOWN = 40
"""Characters of what is no picture that an error repeats: enough to know words or a page from noise."""


class BodyDecoder(Protocol):
    """One way in which pictures arrive. `life` grows with every byte that is not a comment."""

    life: int

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take the next bytes. Raises `ImagesError`."""
        ...

    def can_buffer(self, chunk: bytes) -> bool:
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

    def damaged(self) -> list[Image]:
        """What came in the place of a picture, and is none by its own bytes."""
        ...

    def errors(self) -> list[ImagesError]:
        """Why there are fewer pictures than were asked for, as far as the answer says; at most `MAX_ERRORS`."""
        ...

    def discard(self) -> None:
        """Drop what is not whole."""


class ImageBody:
    """The bare bytes of one picture, as some compatible servers answer."""

    def __init__(self, answered: ResponseContext, sink: Sink, max_bytes: int) -> None:
        """Collect into the sink, up to `max_bytes`."""
        self.life = 0
        self._answered = answered
        self._sink = sink
        self._is_open = True
        self._max_bytes = max_bytes
        self._probe = ImageProbe()
        self._damaged: list[Image] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Collect."""
        self.life += 1
        self._probe.feed(chunk)
        if self._probe.nbytes > self._max_bytes:
            raise image_too_large(self._max_bytes)
        self._sink.write(chunk)
        return iter(())

    def can_buffer(self, chunk: bytes) -> bool:
        """Never: there is nothing to gain."""
        return not chunk

    def finish(self) -> Iterator[Event]:
        """Yield the picture, if its own bytes say that it is whole."""
        if self._is_open and self._probe.nbytes:
            self._is_open = False
            image, flaw = self._sink.finish(), self._probe.flaw
            if flaw is None:
                yield CompletedImage(image=image)
            else:
                self._damaged = [evolve(image, flaw=flaw)]

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """The picture; nothing else is known."""
        if not completed and self._probe.flaw == NO_IMAGE:
            raise no_image(self._answered, self._damaged)
        if not completed:
            msg = (
                f"the answer ended after {self._probe.nbytes:,} bytes of its picture; it may have been billed"
            )
            raise StreamInterruptedError(msg)
        return ImageResult(images=tuple(event.image for event in completed))

    def images(self) -> list[Image]:
        """None: it was yielded or is damaged."""
        return []

    def damaged(self) -> list[Image]:
        """The picture, where it is none."""
        return self._damaged

    def errors(self) -> list[ImagesError]:
        """Nobody says anything."""
        return []

    def discard(self) -> None:
        """Drop the picture."""
        if self._is_open:
            self._is_open = False
            self._sink.discard()


def no_image(answered: ResponseContext, damaged: Sequence[Image]) -> DecodeError:
    """The error for what came in the place of a picture."""
    first = damaged[0] if damaged else None
    if first is None or first.flaw == NO_IMAGE:
        start = b"" if first is None or first.path is not None else first.data[:_SHOWN]
        begins = redact(start.decode("utf-8", "replace"), answered.secrets)
        what = f"what is no image by its own bytes{f' (it begins {begins!r})' if begins else ''}"
    else:
        what = f"an image that lacks its end ({first.media_type}, {first.nbytes:,} bytes)"
    return DecodeError(
        f"the server answered {answered.status} with {what}; it may have been billed, so what came is kept in the "
        "error's damaged. Check base_url, and what stands between you and the server"
    )


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
