"""The interface of all body decoders, and the simplest of them: the bare bytes of one image.

Invariants, for each decoder: `finish` yields what was complete when the body ended or broke, and `result`
raises what is wrong if that is not enough. The others are `event_body.py` and `json_body.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from attrs import evolve

from openai_images.errors import DecodeError, ImagesError, StreamInterruptedError
from openai_images.models.completeness import NO_IMAGE, ImageProbe
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage, Event, ImageResult
from openai_images.wire.base64_decoder import image_too_large
from openai_images.wire.error_mapping import ResponseContext
from openai_images.wire.redaction import redact
from openai_images.wire.sinks import Sink

MAX_ERRORS = 100
"""Errors kept for images that did not come; a server may send 100,000 items with an error each."""

MAX_DAMAGED = 10
"""Damaged images kept, perhaps in memory: the API's largest `n` of one request."""

_SHOWN = 40
"""Bytes of a non-image that an error repeats: enough to recognize words or a page."""


class BodyDecoder(Protocol):
    """Decodes one kind of body. `activity` grows with every byte that is not part of a comment."""

    activity: int

    @property
    def in_image(self) -> bool:
        """Whether the next bytes belong to an image that has begun."""
        ...

    def feed_image(self, chunk: bytes) -> bool:
        """Decode bytes inside of an image if they are nothing but base64; else do nothing and return False."""
        ...

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Decode the next bytes. Raises `ImagesError`."""
        ...

    def can_buffer(self, chunk: bytes) -> bool:
        """Return whether these bytes cannot complete an event, so that they may be joined with later ones first."""
        ...

    def finish(self) -> Iterator[Event]:
        """Yield what was complete when the body ended. Raises `ImagesError` if the server sent an error."""
        ...

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """Return the result of these events. Raises `ImagesError` if there is none."""
        ...

    def images(self) -> list[Image]:
        """Return images that are complete but were not yielded."""
        ...

    def damaged(self) -> list[Image]:
        """Return what came in place of an image and, by its bytes, is none or is truncated."""
        ...

    def errors(self) -> list[ImagesError]:
        """Return why there are fewer images than requested, if the response says; at most `MAX_ERRORS`."""
        ...

    def discard(self) -> None:
        """Drop what is incomplete."""


class ImageBody:
    """The bare bytes of one image, as some compatible servers answer."""

    def __init__(self, context: ResponseContext, sink: Sink, max_bytes: int) -> None:
        self.activity = 0
        self._context = context
        self._sink = sink
        self._is_open = True
        self._max_bytes = max_bytes
        self._probe = ImageProbe()
        self._damaged: list[Image] = []

    @property
    def in_image(self) -> bool:
        """Whether the next bytes belong to an image that has begun."""
        return self._is_open

    def feed_image(self, chunk: bytes) -> bool:  # noqa: ARG002
        """Return False: no base64 comes here."""
        return False

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Write the next bytes to the sink. Raises `ResponseTooLargeError`."""
        self.activity += 1
        self._probe.feed(chunk)
        if self._probe.nbytes > self._max_bytes:
            raise image_too_large(self._max_bytes)
        self._sink.write(chunk)
        return iter(())

    def can_buffer(self, chunk: bytes) -> bool:
        """Return False for any bytes: joining them first gains nothing."""
        return not chunk

    def finish(self) -> Iterator[Event]:
        """Yield the image if its own bytes show that it is complete."""
        if self._is_open and self._probe.nbytes:
            self._is_open = False
            image, flaw = self._sink.finish(), self._probe.flaw
            if flaw is None:
                yield CompletedImage(image=image)
            else:
                self._damaged = [evolve(image, flaw=flaw)]

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """Return the image; nothing else is known. Raises `DecodeError` or `StreamInterruptedError`."""
        if not completed and self._probe.flaw == NO_IMAGE:
            raise no_image(self._context, self._damaged)
        if not completed:
            msg = (
                f"the answer ended after {self._probe.nbytes:,} bytes of its picture; it may have been billed"
            )
            raise StreamInterruptedError(msg)
        return ImageResult(images=tuple(event.image for event in completed))

    def images(self) -> list[Image]:
        """Return none: the image was yielded or is damaged."""
        return []

    def damaged(self) -> list[Image]:
        """Return the image if it has a flaw."""
        return self._damaged

    def errors(self) -> list[ImagesError]:
        """Return none: bare bytes explain nothing."""
        return []

    def discard(self) -> None:
        """Drop the image."""
        if self._is_open:
            self._is_open = False
            self._sink.discard()


def no_image(context: ResponseContext, damaged: Sequence[Image]) -> DecodeError:
    """Return the error for what came in place of an image."""
    first = damaged[0] if damaged else None
    if first is None or first.flaw == NO_IMAGE:
        start = b"" if first is None or first.path is not None else first.data[:_SHOWN]
        begins = redact(start.decode("utf-8", "replace"), context.secrets)
        content = f"what is no image by its own bytes{f' (it begins {begins!r})' if begins else ''}"
    else:
        content = f"an image that lacks its end ({first.media_type}, {first.nbytes:,} bytes)"
    return DecodeError(
        f"the server answered {context.status} with {content}; it may have been billed, so what came is kept in the "
        "error's damaged. Check base_url, and what stands between you and the server"
    )


def completed_events(result: ImageResult) -> Iterator[CompletedImage]:
    """Yield a result's images as events: the first has the unknown fields, the last the usage of all."""
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
