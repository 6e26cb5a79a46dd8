"""JSON values to our values and back: the only importer of cattrs.

Rules: strict on the pictures, loose on everything else. A field may be missing, null, or of a strange type (then it
is None and kept in `extra`, as unknown fields are); an answer with a picture is never refused for its ornaments.
cattrs' JSON preset is not used: it would turn the text "false" into True and bytes into base85.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from types import NoneType
from typing import Any, TypeVar, get_args

from attrs import AttrsInstance, asdict, evolve, fields, resolve_types
from cattrs import Converter

from openai_images.errors import DecodeError, RequestInvalidError
from openai_images.models.events import CompletedImage, PartialImage
from openai_images.models.image import Image
from openai_images.models.request import GenerateRequest
from openai_images.models.results import ImageResult, SvgUsage, TokenDetails, Usage
from openai_images.wire.jsontypes import is_list, is_mapping, is_object

__all__ = ["encode_request", "read_completed", "read_images", "read_partial", "read_result"]

_C = TypeVar("_C", bound=AttrsInstance)

_NOT_ON_THE_WIRE = frozenset({"image", "images", "request_id", "attempts", "elapsed", "extra"})

_OTHER_NAMES = {"prompt_tokens": "input_tokens", "completion_tokens": "output_tokens"}
"""Compatible servers count in the names of the chat endpoint (SGLang, LocalAI)."""

_OF_THE_IMAGE = ("url", "revised_prompt", "generation_id")

_converter = Converter()


def encode_request(request: GenerateRequest, *, stream: bool) -> bytes:
    """The request's JSON body: what was set and nothing else. Raises `RequestInvalidError`."""
    body = {name: value for name, value in asdict(request, recurse=False).items() if value is not None}
    extra = body.pop("extra_body", {})
    if stream:
        body["stream"] = True
    try:
        return _encoder.encode({**body, **extra}).encode()
    except UnicodeEncodeError:
        msg = "the request holds half of a surrogate pair, which is no character; check the prompt's encoding"
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"the request cannot be written as JSON ({error}); check svg and extra_body"
    raise RequestInvalidError(msg)


def read_images(doc: Mapping[str, Any]) -> list[Image]:
    """The pictures of a JSON answer's `data`, in order; items without one are passed over. Raises `DecodeError`."""
    data = doc.get("data")
    if data is None:
        return []
    if not is_list(data):
        raise DecodeError(_SHAPE.format("$.data", "a list", type(data).__name__))
    images: list[Image] = []
    for index, item in enumerate(data):
        if item is None:
            continue
        if not is_object(item):
            raise DecodeError(_SHAPE.format(f"$.data[{index}]", "an object", type(item).__name__))
        image, extra = _split_image(item)
        if image is not None:
            images.append(evolve(image, extra=extra) if extra else image)
    return images


def read_result(doc: Mapping[str, Any], images: tuple[Image, ...]) -> ImageResult:
    """A JSON answer as a result."""
    return _read_result({key: value for key, value in doc.items() if key != "data"}, images=images)


def read_partial(doc: Mapping[str, Any]) -> PartialImage | None:
    """A `*.partial_image` event, None where it has no picture."""
    image, rest = _split_image(doc)
    return None if image is None else _read_partial(rest, image=image)


def read_completed(doc: Mapping[str, Any]) -> CompletedImage | None:
    """A `*.completed` event, None where it has no picture."""
    image, rest = _split_image(doc)
    return None if image is None else _read_completed(rest, image=image)


_SHAPE = "the answer is not what the API promises: {} should be {}, not {}"


def _split_image(item: Mapping[str, Any]) -> tuple[Image | None, dict[str, Any]]:
    """The picture of an item or event (decoded, or a URL), and the fields that do not belong to it."""
    rest = dict(item)
    image = rest.pop("b64_json", None)
    given = {name: rest.pop(name, None) for name in _OF_THE_IMAGE if isinstance(rest.get(name), str | None)}
    texts = {name: text for name, text in given.items() if text is not None}
    if not isinstance(image, Image):
        if not texts.get("url"):
            return None, rest
        image = Image()
    return evolve(image, **texts) if texts else image, rest


def _dict_of(value: object) -> dict[Any, Any]:
    """Any mapping as the one that JSON knows."""
    if is_mapping(value):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON type")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_dict_of)


def _text(value: Any, _: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _whole(value: Any, _: Any) -> int:
    """A whole number, also spelled as text or with a fraction of zero; a truth value is none."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    return int(value)


def _not_none(kind: Any) -> Any:
    """The type beside None in an optional one: null never gets as far as a hook."""
    return next((part for part in get_args(kind) if part is not NoneType), kind)


def _reader(cls: type[_C]) -> Callable[..., _C]:
    """A function that makes a `cls` of a JSON object and of what is given by keyword."""
    resolve_types(cls, localns={"Mapping": Mapping, "Image": Image})
    hooks: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
        field.name: (_converter.get_structure_hook(_not_none(field.type)), field.type)
        for field in fields(cls)
        if field.name not in _NOT_ON_THE_WIRE
    }

    def read(value: Any, **given: Any) -> _C:
        if not is_object(value):
            raise TypeError
        extra: dict[str, Any] = {}
        for key, item in value.items():
            name = _OTHER_NAMES.get(key, key)
            if name not in hooks or name in given:
                extra[key] = item
            elif item is not None:
                hook, kind = hooks[name]
                try:
                    given[name] = hook(item, kind)
                except (TypeError, ValueError, OverflowError):
                    extra[key] = item
        return cls(**given | {"extra": extra})

    return read


def _register(cls: type[_C]) -> None:
    read = _reader(cls)
    _converter.register_structure_hook(cls, lambda value, _: read(value))


_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(int, _whole)
_register(TokenDetails)
_register(Usage)
_register(SvgUsage)
_read_result = _reader(ImageResult)
_read_partial = _reader(PartialImage)
_read_completed = _reader(CompletedImage)
