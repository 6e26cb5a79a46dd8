"""The body that is one JSON document: what `generate` asks for, and what some servers answer to `stream`.

Rules: a picture is never lost to what stands beside it: it counts although the document also names an error, and what
was whole when the document broke off is kept.
"""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

from attrs import evolve

from openai_images.errors import DecodeError, ImagesError, StreamInterruptedError
from openai_images.models.events import CompletedImage, Event
from openai_images.models.image import Image
from openai_images.wire import codec
from openai_images.wire.jsontypes import is_list, is_object
from openai_images.wire.refusals import Answered, refusal_from_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from openai_images.models.results import ImageResult
    from openai_images.wire.payload import PayloadScanner

__all__ = ["JsonBody"]

_OF_ERRORS = ("error", "errors", "detail", "message", "msg", "code")


class JsonBody:
    """One JSON document."""

    def __init__(self, answered: Answered, new_scanner: Callable[[], PayloadScanner]) -> None:
        """Decode the one document."""
        self.life = 0
        self._answered = answered
        self._scanner = new_scanner()
        self._result: ImageResult | None = None
        self._failure: DecodeError | None = None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Decode; nothing is complete before the end."""
        self.life += 1
        self._scanner.feed(chunk)
        return iter(())

    def can_wait(self, chunk: bytes) -> bool:
        """Always: only the end completes it."""
        self.life += bool(chunk)
        return True

    def finish(self) -> Iterator[Event]:
        """Yield the pictures as completed events; the usage is the last one's."""
        try:
            doc = self._scanner.finish()
        except DecodeError as failure:
            self._failure = failure
            return
        fields, images = self._read(doc)
        self._result = result = codec.read_result(fields, tuple(images))
        for index, image in enumerate(images):
            yield CompletedImage(
                image=image,
                image_index=index,
                created_at=result.created,
                background=result.background,
                output_format=result.output_format,
                quality=result.quality,
                size=result.size,
                usage=result.usage if index == len(images) - 1 else None,
            )

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """The document with the pictures of these events."""
        if self._failure is not None and not self._scanner.is_cut:
            raise self._failure
        if self._result is None:
            msg = "the answer ended in the middle of its JSON; it may have been billed"
            raise StreamInterruptedError(msg)
        images = tuple(event.image for event in completed)
        is_same = len(images) == len(self._result.images) and all(map(is_, images, self._result.images))
        return self._result if is_same else evolve(self._result, images=images)

    def images(self) -> list[Image]:
        """The pictures that were whole when the document was cut or went wrong."""
        return self._scanner.pictures if self._result is None else []

    def discard(self) -> None:
        """Drop the picture that is being decoded."""
        self._scanner.discard()

    def _read(self, doc: Any) -> tuple[dict[str, Any], list[Image]]:
        """The document and its pictures."""
        if not is_object(doc):
            msg = f"the answer is a JSON {type(doc).__name__}, not an object; check base_url"
            raise DecodeError(msg)
        images = codec.read_images(doc)
        if not images and isinstance(doc.get("b64_json"), Image):
            images = codec.read_images({"data": [{"b64_json": doc["b64_json"]}]})
            doc = {key: value for key, value in doc.items() if key != "b64_json"}
        if images:
            return doc, images
        if doc.get("type") == "error" or any(doc.get(name) for name in _OF_ERRORS):
            raise refusal_from_document(self._answered, doc)
        raise _no_picture(self._answered, doc)


def _no_picture(answered: Answered, doc: dict[str, Any]) -> ImagesError:
    """A success without a picture: xAI and Azure answer so when their safety system struck, the list or item empty."""
    message = "there is no picture in it, as when the safety system refuses the prompt"
    blocked = refusal_from_document(
        answered, {"error": {"code": "content_filter", "message": message, "innererror": _filters(doc)}}
    )
    items = doc.get("data")
    if getattr(blocked, "categories", ()) or (is_list(items) and not any(map(_holds_something, items))):
        return blocked
    return DecodeError(
        f"the server answered {answered.status} without any picture; check base_url. It may have been billed"
    )


def _holds_something(item: object) -> bool:
    return any(value not in (None, "") for value in item.values()) if is_object(item) else bool(item)


def _filters(doc: dict[str, Any]) -> dict[str, Any]:
    """Azure's filter results, at the top or in an item."""
    items = doc.get("data")
    for place in (doc, *(items if is_list(items) else ())):
        if is_object(place):
            for name in ("content_filter_results", "prompt_filter_results"):
                if place.get(name):
                    return {"content_filter_results": place[name]}
    return {}
