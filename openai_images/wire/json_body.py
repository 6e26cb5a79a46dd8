"""The body that is a JSON document: what `generate` asks for, and what some servers answer to `stream`.

Rules: a picture is never lost to what stands beside or behind it: it counts although the document also names an error,
wherever it stands, and what was whole when the document broke off is kept. Where there is none, the URLs that may lead
to one and the small document go with the error. What is none by its own bytes is never given as one.
"""

from __future__ import annotations

from itertools import islice
from operator import is_
from typing import TYPE_CHECKING, Any

from attrs import evolve

from openai_images._util.json import is_list, is_object
from openai_images.errors import DecodeError, ImagesError, StreamInterruptedError
from openai_images.wire import codec
from openai_images.wire.error_mapping import ResponseContext, error_from_document
from openai_images.wire.image_body import MAX_DAMAGED, MAX_ERRORS, completed_events, no_image
from openai_images.wire.json_decoder import MAX_IMAGES, too_many_images
from openai_images.wire.redaction import Redaction, redact
from openai_images.wire.salvage import find_images, find_urls, nested_answer, outline, without_images

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from openai_images.models.image import Image
    from openai_images.models.results import CompletedImage, Event, ImageResult
    from openai_images.wire.json_decoder import JSONImageDecoder

_GOOD = ("0", "200", "202", "ok", "success")
_TASKS = ("task_id", "taskId", "job_id")
_MOST_NAMES = 50
"""Fields of a document that an error names."""
_UNDER_WAY = ("submitted", "queued", "pending", "processing", "in_progress", "running")


class JSONBody:
    """One JSON document; what stands behind it counts as far as it holds pictures."""

    def __init__(
        self, answered: ResponseContext, new_scanner: Callable[[], JSONImageDecoder], *, is_bare: bool = False
    ) -> None:
        """Decode the one document; what `is_bare` is the text of one picture, without quotes."""
        self.life = 0
        self._answered = answered
        self._scanner = new_scanner()
        self._quote = b'"' if is_bare else b""
        self._scanner.feed(self._quote)
        self._docs: list[Any] = []
        self._result: ImageResult | None = None
        self._failure: ImagesError | None = None
        self._kept: list[Image] = []

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Decode; nothing is complete before the end."""
        self.life += 1
        self._scanner.feed(chunk)
        return iter(())

    def can_buffer(self, chunk: bytes) -> bool:
        """Always: only the end completes it."""
        self.life += bool(chunk)
        return True

    def finish(self) -> Iterator[Event]:
        """Yield the pictures as completed events; the usage is the last one's."""
        self._scanner.feed(self._quote)
        try:
            docs = self._scanner.documents()
        except DecodeError as failure:
            self._failure = self._scanner.failure or failure
            return
        self._docs = [{"data": doc} if is_list(doc) else doc for doc in docs]
        fields, images = self._read()
        self._result = result = codec.structure_result(fields, tuple(images))
        yield from completed_events(result)

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """The document with the pictures of these events."""
        if self._failure is not None and (self._scanner.is_broken or not self._scanner.is_cut):
            raise self._failure
        if self._result is None:
            msg = "the answer ended in the middle of its JSON; it may have been billed"
            raise StreamInterruptedError(msg)
        images = tuple(event.image for event in completed)
        is_same = len(images) == len(self._result.images) and all(map(is_, images, self._result.images))
        return self._result if is_same else evolve(self._result, images=images)

    def images(self) -> list[Image]:
        """The pictures that were whole when the document was cut or went wrong, and where others may be."""
        return [] if self._result is not None else self._kept or self._scanner.images

    def damaged(self) -> list[Image]:
        """What came in the place of a picture."""
        return self._scanner.damaged[:MAX_DAMAGED]

    def errors(self) -> list[ImagesError]:
        """What the items without a picture say, and the document itself."""
        answers = [inner for doc in self._docs for inner in (nested_answer(doc), doc) if is_object(inner)]
        places = {id(place): place for doc in answers for place in (*_items(doc), doc)}.values()
        silent = (place for place in places if _is_error(place) and not codec.holds_image(place))
        errors: list[ImagesError] = [
            error_from_document(self._answered, place) for place in islice(silent, MAX_ERRORS)
        ]
        if self._scanner.failure is not None:
            errors.append(self._scanner.failure)
        if self.damaged():
            errors.append(no_image(self._answered, self.damaged()))
        return errors

    def discard(self) -> None:
        """Drop the picture that is being decoded."""
        self._scanner.discard()

    def _read(self) -> tuple[dict[str, Any], list[Image]]:
        """The document and its pictures."""
        holders = [(doc, inner) for doc in self._docs if (inner := nested_answer(doc)) is not None]
        images = list(
            islice((image for _, inner in holders for image in codec.structure_images(inner)), MAX_IMAGES + 1)
        )
        if len(images) > MAX_IMAGES:
            self._kept = images[:MAX_IMAGES]
            raise too_many_images()
        if images:
            doc, inner = holders[0]
            is_plain = inner is doc and len(self._scanner.images) <= len(images)
            return doc if is_plain else _fields(doc, inner), images
        for doc in self._docs:
            if images := find_images(doc):
                return _fields(doc), images
        error = self._scanner.failure or self._why_none()
        urls = find_urls(self._docs)
        if error is None and urls:
            return _fields(self._docs[0]), urls
        self._kept = urls
        error = error or self._no_picture()
        if isinstance(error, DecodeError):
            error.body = Redaction(self._answered.secrets).document(outline(self._docs[0]))
        raise error

    def _why_none(self) -> ImagesError | None:
        """Why a success came without a picture: an error that it holds, what is no image, a task under way."""
        for doc in self._docs:
            for place in (doc, *_items(doc)):
                if is_object(place) and _is_error(place):
                    return error_from_document(self._answered, place)
        if self.damaged():
            return no_image(self._answered, self.damaged())
        return _task_error(self._answered, self._docs[0], under_way=True)

    def _no_picture(self) -> ImagesError:
        """A success that explains nothing: a task, a refusal that nobody speaks of, or none of ours."""
        answered, doc = self._answered, self._docs[0]
        if (task := _task_error(answered, doc, under_way=False)) is not None:
            return task
        items = _items(doc)
        # xAI and Azure answer so when their safety system struck, the list or its item empty.
        message = "there is no picture in it, as when the safety system refuses the prompt"
        blocked = error_from_document(
            answered,
            {"error": {"code": "content_filter", "message": message, "innererror": _filters(doc, items)}},
        )
        data = doc.get("data") if is_object(doc) else None
        is_empty = is_list(data) and not any(map(_holds_something, data))
        if getattr(blocked, "categories", ()) or is_empty:
            return blocked
        what = (
            redact(", ".join(islice(doc, _MOST_NAMES)), answered.secrets) if is_object(doc) else "no object"
        )
        return DecodeError(
            f"the server answered {answered.status} with JSON in which no picture is to be found (it holds "
            f"{what or 'nothing'}); check base_url. It may have been billed"
        )


def _fields(doc: object, inner: dict[str, Any] | None = None) -> dict[str, Any]:
    """What an answer says beside its pictures; of one that is wrapped, what the wrapping says as well."""
    fields: dict[str, Any] = without_images({**(doc if is_object(doc) else {}), **(inner or {})})
    return fields


def _task_error(answered: ResponseContext, doc: object, *, under_way: bool) -> DecodeError | None:
    """The error for a task in the place of a picture; whether it must be one that is `under_way`."""
    for place in (doc, *_items(doc)):
        if not is_object(place) or (under_way and place.get("status") not in _UNDER_WAY):
            continue
        name = _task(place)
        if name is not None:
            return DecodeError(
                f"the server answered {answered.status} with a task ({redact(name, answered.secrets)!r}) instead of a "
                "picture: it may paint it later, and bill it, but not in this answer; ask its operator for one that "
                "answers with pictures"
            )
    return None


def _items(doc: object) -> list[dict[str, Any]]:
    """What stands in the place of the pictures."""
    data = doc.get("data") if is_object(doc) else None
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


def _filters(doc: object, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Azure's filter results, at the top or in an item."""
    for place in filter(is_object, (doc, *items)):
        for name in ("content_filter_results", "prompt_filter_results"):
            if place.get(name):
                return {"content_filter_results": place[name]}
    return {}
