"""Converts JSON values to this package's values and back; the only module that imports cattrs.

Invariants: strict about images, lenient about everything else: a field may be missing, null or of an unexpected type
(then it is None, and kept in `extra`, as unknown fields are). A response with an image is never rejected for its other
fields.
Must not: use cattrs' JSON preset, which turns the text "false" into True and bytes into base85.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import NoneType
from typing import Any, TypeVar, get_args

from attrs import AttrsInstance, evolve, fields, resolve_types
from cattrs import BaseConverter

from openai_images._util.json import is_list, is_mapping, is_object
from openai_images.errors import RequestInvalidError
from openai_images.models.image import Image
from openai_images.models.requests import GenerateRequest, set_parameters
from openai_images.models.results import CompletedImage, ImageResult, PartialImage
from openai_images.models.usage import SvgUsage, TokenDetails, Usage

_C = TypeVar("_C", bound=AttrsInstance)

_NOT_ON_THE_WIRE = frozenset(
    {"image", "images", "request_id", "attempts", "elapsed", "edited", "parts", "missing", "extra"}
)

_IMAGE_PARAMETERS = ("image", "mask", "markup", "as_json")
"""The fields of an `EditRequest` that are not parameters."""

_OTHER_NAMES = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "created": "created_at",
    "created_at": "created",
}
"""SGLang and LocalAI count tokens in the names of the chat endpoint; some servers date events as results."""

_LARGEST = 2**53
"""Larger whole numbers are not exact in every JSON parser; counts and dates are far smaller."""

_LONGEST_NAME = 128
"""The API's limit for a `safety_identifier`, in characters."""

_IMAGE_FIELDS = ("url", "revised_prompt", "generation_id")

_converter = BaseConverter()


def request_params(request: GenerateRequest, *, stream: bool) -> dict[str, Any]:
    """Return the parameters that were set, by their names on the wire, without the images to edit."""
    body = set_parameters(request)
    extra = body.pop("extra_body", {})
    for name in _IMAGE_PARAMETERS:
        body.pop(name, None)
    if stream:
        body["stream"] = True
    return {**body, **extra}


def encode_json(body: Mapping[str, Any]) -> bytes:
    """Return a JSON object as bytes. Raises `RequestInvalidError`."""
    # Raised outside of `except`: a context would hold the prompt.
    try:
        text = _encoder.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        message = f"the request cannot be written as JSON ({error}); check svg and extra_body"
    else:
        return encode_text(text)
    raise RequestInvalidError(message)


def encode_text(text: str) -> bytes:
    """Return a text of the request in UTF-8. Raises `RequestInvalidError`."""
    with suppress(UnicodeEncodeError):
        return text.encode()
    raise RequestInvalidError(
        "the request holds half of a surrogate pair, which is not a character; check the prompt's encoding"
    )


def structure_images(doc: Mapping[str, Any]) -> Iterator[Image]:
    """Yield the images of a JSON response's `data`, in order; items without one are skipped."""
    data = doc.get("data")
    for item in data if is_list(data) else (data,):
        if is_object(item) and (found := _split_image(item)) is not None:
            image, extra = found
            yield evolve(image, extra=extra) if extra else image


def image_of(item: Mapping[str, Any]) -> Image | None:
    """Return the image of an item or event, without its texts; bytes with a `flaw` count as no image."""
    url = item.get("url")  # or an image, decoded from a data URL
    for image in (item.get("b64_json"), url):
        if isinstance(image, Image) and image.flaw is None:
            return image
    return Image() if url and isinstance(url, str) else None


def structure_result(doc: Mapping[str, Any], images: tuple[Image, ...]) -> ImageResult:
    """Return a JSON response as a result.

    Its `model` is left for the caller to set to the requested one; the response's own `model` goes to `extra`.
    """
    doc = dict(doc)
    doc.pop("data", None)
    return _read_result(doc, images=images, model=None)


def structure_partial(doc: Mapping[str, Any]) -> PartialImage | None:
    """Return a `*.partial_image` event; None if it has no image."""
    found = _split_image(doc)
    return None if found is None else _read_partial(found[1], image=found[0])


def structure_completed(doc: Mapping[str, Any]) -> CompletedImage | None:
    """Return a `*.completed` event; None if it has no image."""
    found = _split_image(doc)
    return None if found is None else _read_completed(found[1], image=found[0])


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


def _split_image(item: Mapping[str, Any]) -> tuple[Image, dict[str, Any]] | None:
    """Return the image with its texts, and the fields that do not belong to it; None without an image."""
    if (image := image_of(item)) is None:
        return None
    rest = dict(item)
    rest.pop("b64_json", None)
    if isinstance(url := rest.get("url"), Image) and url is image:
        del rest["url"]
    texts: dict[str, Any] = {}
    for name in _IMAGE_FIELDS:
        if isinstance(rest.get(name), str):
            texts[name] = rest.pop(name)
        elif name in rest and rest[name] is None:
            del rest[name]
    return evolve(image, **texts) if texts else image, rest


def _as_dict(value: object) -> dict[Any, Any]:
    """Return any mapping as a dict: `json` encodes no other mapping."""
    if is_mapping(value):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON type")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_as_dict)


def _structure_name(value: Any, _: Any) -> str:
    """Accept a short printable name, such as a size: it appears in reprs and journals."""
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or not value.isprintable():
        raise TypeError
    return value


def _structure_count(value: Any, _: Any) -> int:
    """Accept a count, also as text or as a float without a fraction, but no bool."""
    if type(value) is not int:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise TypeError
        value = int(value)
    if not 0 <= value <= _LARGEST:
        raise ValueError
    number: int = value
    return number


def _not_none(optional: Any) -> Any:
    """Return the type inside an optional one: null never reaches a hook."""
    return next((cls for cls in get_args(optional) if cls is not NoneType), optional)


def _reader(result_type: type[_C]) -> Callable[..., _C]:
    """Return a function that builds a `result_type` from a JSON object and keywords."""
    resolve_types(result_type, localns={"Mapping": Mapping, "Image": Image})
    known: dict[str, tuple[str, Any, Callable[[Any, Any], Any]]] = {
        field.name: (field.name, cls := _not_none(field.type), _converter.get_structure_hook(cls))
        for field in fields(result_type)
        if field.name not in _NOT_ON_THE_WIRE
    }
    known = {other: known[name] for other, name in _OTHER_NAMES.items() if name in known} | known

    def read(value: Any, _: Any = None, **values: Any) -> _C:
        if not is_object(value):
            raise TypeError
        extra: dict[str, Any] = {}
        for key, item in value.items():
            found = known.get(key)
            if found is None or found[0] in values:
                extra[key] = item
            elif item is not None:
                name, cls, hook = found
                try:
                    values[name] = hook(item, cls)
                except (TypeError, ValueError, OverflowError):
                    extra[key] = item
        values["extra"] = extra
        return result_type(**values)

    return read


_converter.register_structure_hook(str, _structure_name)
_converter.register_structure_hook(int, _structure_count)
for _cls in (TokenDetails, Usage, SvgUsage):
    _converter.register_structure_hook(_cls, _reader(_cls))
_read_result = _reader(ImageResult)
_read_partial = _reader(PartialImage)
_read_completed = _reader(CompletedImage)
