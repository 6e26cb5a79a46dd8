"""Decodes a body that is a JSON document: the response to `generate`, and of some servers to `stream`.

Invariants: an image counts even if the document also has an error, and images that were complete when the document
broke off are kept. An error about a missing image has the shortened document and the URLs that may be images.
Must not: deliver bytes that are no image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from operator import is_
from typing import Any

from attrs import evolve

from openai_images._util.json import is_list, is_object
from openai_images.errors import DecodeError, ImagesError, StreamInterruptedError
from openai_images.models.image import Image
from openai_images.models.results import CompletedImage, ImageEvent, ImageResult
from openai_images.wire import codec
from openai_images.wire.error_mapping import (
    MAX_DAMAGED,
    MAX_ERRORS,
    ResponseContext,
    error_from_document,
    no_image,
)
from openai_images.wire.json_decoder import MAX_IMAGES, JSONImageDecoder, too_many_images
from openai_images.wire.redaction import Redaction, redact
from openai_images.wire.salvage import (
    Leaf,
    find_images,
    find_leaves,
    find_urls,
    nested_answer,
    without_images,
)

_SUCCESS_CODES = ("0", "200", "202", "ok", "success")
_TASK_KEYS = ("task_id", "taskId", "job_id")
_MOST_NAMES = 50
"""Fields of a document that an error names."""
_RUNNING_STATES = ("submitted", "queued", "pending", "processing", "in_progress", "running")


class JSONBody:
    """Decodes one JSON document; documents after it count if they hold images."""

    def __init__(
        self, context: ResponseContext, new_scanner: Callable[[], JSONImageDecoder], *, is_bare: bool = False
    ) -> None:
        """Decode with a scanner of `new_scanner`; `is_bare`: the body is one image's base64 without quotes."""
        self.activity = 0
        self._context = context
        self._scanner = new_scanner()
        self._is_bare = is_bare
        if is_bare:
            self._scanner.feed(b'"')
        self._docs: list[Any] = []
        self._answers: list[tuple[dict[str, Any], list[Image]] | None] = []
        self._result: ImageResult | None = None
        self._failure: ImagesError | None = None
        self._salvaged: list[Image] = []

    @property
    def feed_image(self) -> Callable[[bytes], bool] | None:
        """What decodes bytes of the image that has begun if they are nothing but base64; None outside of one."""
        return self._scanner.feed_image

    def feed(self, chunk: bytes) -> Iterator[ImageEvent]:
        """Decode the next bytes; nothing is complete before the end. Raises `ResponseTooLargeError`."""
        self.activity += 1
        if (feed_image := self.feed_image) is None or not feed_image(chunk):
            self._scanner.feed(chunk)
        return iter(())

    def can_buffer(self, chunk: bytes) -> bool:
        """Return True: only the end completes the document."""
        self.activity += bool(chunk)
        return True

    def finish(self) -> Iterator[ImageEvent]:
        """Yield the images as completed events; the last one has the usage. Raises `ImagesError` if there are none."""
        if self._is_bare:
            self._scanner.feed(b'"')
        try:
            docs = self._scanner.documents()
        except DecodeError as failure:
            self._failure = self._scanner.failure or failure
            return
        yield from self.finish_documents(docs)

    def finish_documents(self, docs: Sequence[Any]) -> Iterator[ImageEvent]:
        """Yield the images of documents that were decoded already, as `finish` does. Raises `ImagesError`."""
        self._docs = [{"data": doc} if is_list(doc) else doc for doc in docs]
        fields, images = self._read()
        self._result = result = codec.structure_result(fields, tuple(images))
        yield from codec.completed_events(result)

    def result(self, completed: Sequence[CompletedImage]) -> ImageResult:
        """Return the document with the images of these events. Raises `DecodeError` or `StreamInterruptedError`."""
        if self._failure is not None and (self._scanner.failure is not None or not self._scanner.is_cut):
            raise self._failure
        if self._result is None:
            raise StreamInterruptedError(
                "the response ended in the middle of its JSON; it may have been billed"
            )
        images = tuple(event.image for event in completed)
        is_same = len(images) == len(self._result.images) and all(map(is_, images, self._result.images))
        return self._result if is_same else evolve(self._result, images=images)

    def images(self) -> list[Image]:
        """Return images that were complete before the document ended early or became invalid, and possible URLs."""
        return [] if self._result is not None else self._salvaged or self._scanner.images

    @property
    def damaged(self) -> list[Image]:
        """The content that came in place of an image."""
        return self._scanner.damaged[:MAX_DAMAGED]

    @property
    def errors(self) -> list[ImagesError]:
        """The errors of the items without an image, and of the document itself."""
        answers = zip(self._docs, self._answers, strict=True)
        nested = ((doc,) if answer is None else (answer[0], doc) for doc, answer in answers)
        responses = filter(is_object, chain.from_iterable(nested))
        items = {id(item): item for doc in responses for item in (*_items(doc), doc)}.values()
        failed = (item for item in items if _is_error(item) and codec.image_of(item) is None)
        errors: list[ImagesError] = [
            error_from_document(self._context, item) for item in islice(failed, MAX_ERRORS)
        ]
        if self._scanner.failure is not None:
            errors.append(self._scanner.failure)
        if self.damaged:
            errors.append(no_image(self._context, self.damaged))
        return errors

    def discard(self) -> None:
        """Drop the image that is being decoded."""
        self._scanner.discard()

    def _read(self) -> tuple[dict[str, Any], list[Image]]:
        """Return the document and its images. Raises `ImagesError` if there are none."""
        self._answers = [nested_answer(doc) for doc in self._docs]
        pairs = zip(self._docs, self._answers, strict=True)
        holders = [(doc, *answer) for doc, answer in pairs if answer is not None]
        images = [image for _, _, found in holders for image in found]
        if len(images) > MAX_IMAGES:
            self._salvaged = images[:MAX_IMAGES]
            raise too_many_images()
        if images:
            doc, inner, _ = holders[0]
            is_plain = inner is doc and len(self._scanner.images) <= len(images)
            return doc if is_plain else _fields(doc, inner), images
        leaves: list[Leaf] = []
        for doc in self._docs:
            leaves += (added := find_leaves(doc))
            if images := find_images(added):
                return _fields(doc), images
        error = self._scanner.failure or self._missing_image_error()
        urls = find_urls(leaves)
        if error is None and urls:
            return _fields(self._docs[0]), urls
        self._salvaged = urls
        error = error or self._unexplained_error()
        if isinstance(error, DecodeError):
            error.body = Redaction(self._context.secrets).document(self._docs[0])
        raise error

    def _missing_image_error(self) -> ImagesError | None:
        """Return why a success has no image: an error in it, bytes that are no image, or a running task."""
        for doc in self._docs:
            for item in (doc, *_items(doc)):
                if is_object(item) and _is_error(item):
                    return error_from_document(self._context, item)
        if self.damaged:
            return no_image(self._context, self.damaged)
        return _task_error(self._context, self._docs[0], running=True)

    def _unexplained_error(self) -> ImagesError:
        """Return the error for a success without any explanation: a task, a silent moderation, or another API."""
        context, doc = self._context, self._docs[0]
        if (task := _task_error(context, doc, running=False)) is not None:
            return task
        items = _items(doc)
        # When their safety system blocks, xAI and Azure send an empty list or item.
        message = "it has no image, as when the safety system blocks the prompt"
        error = {"code": "content_filter", "message": message, "innererror": _filter_results(doc, items)}
        blocked = error_from_document(context, {"error": error})
        data = doc.get("data") if is_object(doc) else None
        is_empty = is_list(data) and not any(map(_has_content, data))
        if getattr(blocked, "categories", ()) or is_empty:
            return blocked
        content = (
            redact(", ".join(islice(doc, _MOST_NAMES)), context.secrets) if is_object(doc) else "no object"
        )
        return DecodeError(
            f"the server answered {context.status} with JSON that has no image (it has "
            f"{content or 'nothing'}); check base_url. It may have been billed"
        )


def _fields(doc: object, inner: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the fields other than images; of a wrapped response also those of the wrapper."""
    fields: dict[str, Any] = {**(doc if is_object(doc) else {}), **(inner or {}), "data": None}
    return {name: without_images(value) for name, value in fields.items() if not isinstance(value, Image)}


def _task_error(context: ResponseContext, doc: object, *, running: bool) -> DecodeError | None:
    """Return the error for a task in place of an image (if `running`, only for a running task); None without a task."""
    for item in (doc, *_items(doc)):
        if not is_object(item) or (running and item.get("status") not in _RUNNING_STATES):
            continue
        name = _task_id(item)
        if name is not None:
            return DecodeError(
                f"the server answered {context.status} with a task ({redact(name, context.secrets)!r}) instead of an "
                "image; the image may be generated and billed later. Ask its operator for an endpoint that responds "
                "with images"
            )
    return None


def _items(doc: object) -> list[dict[str, Any]]:
    """Return the objects in `data`, in its first `MAX_IMAGES` items: they are searched for errors several times."""
    data = doc.get("data") if is_object(doc) else None
    return [item for item in (data[:MAX_IMAGES] if is_list(data) else [data]) if is_object(item)]


def _is_error(item: dict[str, Any]) -> bool:
    """Return whether this object has an error; relays also send `"code": 200` and `"message": "success"`."""
    if item.get("type") == "error" or item.get("error") or item.get("errors") or item.get("detail"):
        return True
    code = item.get("code")
    message = code if code is not None else item.get("message") or item.get("msg")
    return bool(message) and str(message).lower() not in _SUCCESS_CODES


def _task_id(item: dict[str, Any]) -> str | None:
    """Return the id of a task that finishes later; None without one."""
    name = next((item[key] for key in _TASK_KEYS if isinstance(item.get(key), str | int) and item[key]), None)
    if name is None and item.get("status") in _RUNNING_STATES:
        name = item.get("id")
    return None if name is None else str(name)


def _has_content(item: object) -> bool:
    return any(value not in (None, "") for value in item.values()) if is_object(item) else bool(item)


def _filter_results(doc: object, items: list[dict[str, Any]]) -> dict[str, Any]:
    """Return Azure's filter results, of the document or of an item."""
    for item in filter(is_object, (doc, *items)):
        for name in ("content_filter_results", "prompt_filter_results"):
            if item.get(name):
                return {"content_filter_results": item[name]}
    return {}
