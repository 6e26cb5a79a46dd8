"""The body that is one JSON document: what `generate` asks for, and what some servers answer to `stream`.

Rules: a picture is never lost to what stands beside it: it counts although the document also names an error, and what
was whole when the document broke off is kept.
"""

from __future__ import annotations

from operator import is_
from typing import TYPE_CHECKING, Any

from attrs import evolve

from openai_images.errors import DecodeError, ImagesError, StreamInterruptedError
from openai_images.models.image import Image
from openai_images.wire import codec
from openai_images.wire.bodies import completed_events
from openai_images.wire.jsontypes import is_list, is_object
from openai_images.wire.refusals import Answered, redact, refusal_from_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from openai_images.models.events import CompletedImage, Event
    from openai_images.models.results import ImageResult
    from openai_images.wire.payload import PayloadScanner

__all__ = ["JsonBody"]

_GOOD = ("0", "200", "202", "ok", "success")
_TASKS = ("task_id", "taskId", "job_id")
_UNDER_WAY = ("submitted", "queued", "pending", "processing", "in_progress", "running")


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
        yield from completed_events(result)

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
        if not images:
            raise _no_picture(self._answered, doc)
        return doc, images


def _no_picture(answered: Answered, doc: dict[str, Any]) -> ImagesError:
    """A success without a picture: an error that it holds, a task, a refusal that nobody speaks of, or none of ours."""
    items = _items(doc)
    for place in (doc, *items):
        if _is_error(place):
            return refusal_from_document(answered, place)
    task = next(filter(None, map(_task, (doc, *items))), None)
    if task is not None:
        shown = redact(task, answered.secrets)
        return DecodeError(
            f"the server answered {answered.status} with a task ({shown!r}) instead of a picture: it may paint it "
            "later, and bill it, but not in this answer; ask its operator for one that answers with pictures"
        )
    # xAI and Azure answer so when their safety system struck, the list or its item empty.
    message = "there is no picture in it, as when the safety system refuses the prompt"
    blocked = refusal_from_document(
        answered,
        {"error": {"code": "content_filter", "message": message, "innererror": _filters(doc, items)}},
    )
    is_empty = is_list(doc.get("data")) and not any(map(_holds_something, doc["data"]))
    if getattr(blocked, "categories", ()) or is_empty:
        return blocked
    fields = redact(", ".join(doc), answered.secrets) or "nothing"
    return DecodeError(
        f"the server answered {answered.status} with JSON in which no picture is to be found (it holds {fields}); "
        "check base_url. It may have been billed"
    )


def _items(doc: dict[str, Any]) -> list[dict[str, Any]]:
    """What stands in the place of the pictures."""
    data = doc.get("data")
    return [item for item in (data if is_list(data) else [data]) if is_object(item)]


def _is_error(place: dict[str, Any]) -> bool:
    """Whether this speaks of an error; relays also write `"code": 200`, and `"message": "success"` with it."""
    if place.get("type") == "error" or any(place.get(name) for name in ("error", "errors", "detail")):
        return True
    code = place.get("code")
    said = code if code is not None else place.get("message") or place.get("msg")
    return bool(said) and str(said).lower() not in _GOOD


def _task(place: dict[str, Any]) -> str | None:
    """The name of a task that somebody will have to ask for."""
    name = next((place[key] for key in _TASKS if isinstance(place.get(key), str | int) and place[key]), None)
    if name is None and place.get("status") in _UNDER_WAY:
        name = place.get("id")
    return None if name is None else str(name)


def _holds_something(item: object) -> bool:
    return any(value not in (None, "") for value in item.values()) if is_object(item) else bool(item)


def _filters(doc: dict[str, Any], items: list[dict[str, Any]]) -> dict[str, Any]:
    """Azure's filter results, at the top or in an item."""
    for place in (doc, *items):
        for name in ("content_filter_results", "prompt_filter_results"):
            if place.get(name):
                return {"content_filter_results": place[name]}
    return {}
