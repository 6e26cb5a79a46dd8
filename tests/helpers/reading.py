"""Reading an answer from start to end, as the client does, and saying all that came of it."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from attrs import field, frozen

from benchmarks.corpus import Answer, answers
from openai_images.errors import ImagesError
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage
from openai_images.wire.error_mapping import ResponseContext
from openai_images.wire.response import ResponseDecoder

EVENT_STREAM, JSON = "text/event-stream; charset=utf-8", "application/json"


class Nowhere:
    """A sink that keeps nothing."""

    def write(self, data: bytes) -> None:
        """Forget it."""

    def finish(self) -> Image:
        """No image to speak of."""
        return Image()

    def discard(self) -> None:
        """Nothing to do."""


@cache
def corpus() -> dict[str, Answer]:
    """The folder of answers, by name."""
    return answers()


def answer(name: str) -> bytes:
    """A body from the folder of answers."""
    return corpus()[name].body


@frozen
class Read:
    """The events of an answer, its result or error, and the images that were whole besides.

    `damaged` is what came in the place of images, `reasons` why there are not more.
    """

    events: list[Any]
    result: Any
    error: ImagesError | None = field(eq=False)
    said: tuple[type[ImagesError], str] | None
    images: list[bytes | str | None]
    damaged: list[Any] = field(factory=list[Any])
    reasons: list[ImagesError] = field(eq=False, factory=list[ImagesError])

    @property
    def kinds(self) -> str:
        """The events by their initials: Partial, Completed, Unknown."""
        return "".join(type(event).__name__[0] for event in self.events)


def read_as(answered: ResponseContext, chunks: Iterable[bytes], **options: Any) -> Read:
    """What comes of chunks; `options` are the reader's."""
    reader = ResponseDecoder(answered, **options)
    events: list[Any] = []
    result, failure = None, None
    try:
        for chunk in chunks:
            events += reader.feed(chunk)
        events += reader.finish()
        result = reader.result([event for event in events if isinstance(event, CompletedImage)])
    except ImagesError as error:
        failure = error
    images = (
        [image.data if image.nbytes else image.url for image in reader.undelivered_images()]
        if failure
        else []
    )
    damaged, reasons = reader.damaged(), reader.errors()
    reader.discard()
    said = failure and (type(failure), str(failure))
    return Read(events, result, failure, said, images, damaged, reasons)


def reading(stated: str = "", **options: Any) -> Callable[[Iterable[bytes]], Read]:
    """A function that reads chunks that came with this content type."""
    answered = ResponseContext(
        options.pop("status", 200),
        {"content-type": stated},
        options.pop("secrets", ()),
        options.pop("now", 0.0),
    )
    return lambda chunks: read_as(answered, chunks, **options)
