"""JSON values to our values and back: the only importer of cattrs.

Rules: strict on the pictures, loose on everything else. A field may be missing, null, or of a strange type (then it
is None and kept in `extra`, as unknown fields are); an answer with a picture is never refused for its ornaments.
cattrs' JSON preset is not used: it would turn the text "false" into True and bytes into base85.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from types import NoneType
from typing import Any, TypeGuard, TypeVar, get_args

from attrs import AttrsInstance, asdict, evolve, fields, resolve_types
from cattrs import Converter

from openai_images._util.json import is_list, is_mapping, is_object
from openai_images.errors import RequestInvalidError
from openai_images.models.image import Image
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import CompletedImage, ImageResult, PartialImage
from openai_images.models.usage import SvgUsage, TokenDetails, Usage

_C = TypeVar("_C", bound=AttrsInstance)

_NOT_ON_THE_WIRE = frozenset(
    {"image", "images", "request_id", "attempts", "elapsed", "edited", "parts", "extra"}
)

_PICTURES = ("image", "mask", "markup", "as_json")
"""What an `EditRequest` has besides parameters."""

_OTHER_NAMES = {
    "prompt_tokens": "input_tokens",
    "completion_tokens": "output_tokens",
    "created": "created_at",
    "created_at": "created",
}
"""Compatible servers count in the names of the chat endpoint (SGLang, LocalAI), and date events as answers are."""

_LARGEST = 2**53
"""Whole numbers beyond it are not the same in every program; no count or date comes near."""

_LONGEST_NAME = 128
"""As many characters a `safety_identifier` may have."""

_OF_THE_IMAGE = ("url", "revised_prompt", "generation_id")

_converter = Converter()


def encode_request(request: GenerateRequest, *, stream: bool) -> bytes:
    """The request's JSON body: what was set and nothing else. Raises `RequestInvalidError`."""
    return encode_json(request_params(request, stream=stream))


def request_params(request: GenerateRequest, *, stream: bool) -> dict[str, Any]:
    """The parameters that were set, by their names on the wire; pictures to edit are not among them."""
    body = {name: value for name, value in asdict(request, recurse=False).items() if value is not None}
    extra = body.pop("extra_body", {})
    for name in _PICTURES:
        body.pop(name, None)
    if stream:
        body["stream"] = True
    return {**body, **extra}


def encode_json(body: Mapping[str, Any]) -> bytes:
    """A JSON object as it is sent. Raises `RequestInvalidError`."""
    try:
        return _encoder.encode(body).encode()
    except UnicodeEncodeError:
        msg = "the request holds half of a surrogate pair, which is no character; check the prompt's encoding"
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"the request cannot be written as JSON ({error}); check svg and extra_body"
    raise RequestInvalidError(msg)


def structure_images(doc: Mapping[str, Any]) -> Iterator[Image]:
    """The pictures of a JSON answer's `data`, in order; what holds none is passed over."""
    data = doc.get("data")
    for item in data if is_list(data) else [data]:
        image, extra = _split_image(item) if is_object(item) else (None, {})
        if image is not None:
            yield evolve(image, extra=extra) if extra else image


def holds_image(item: Mapping[str, Any]) -> bool:
    """Whether this item of a `data` has a picture."""
    return _split_image(item)[0] is not None


def structure_result(doc: Mapping[str, Any], images: tuple[Image, ...]) -> ImageResult:
    """A JSON answer as a result; its `model` is the one that was asked for, an answer's own goes to `extra`."""
    return _read_result(
        {key: value for key, value in doc.items() if key != "data"}, images=images, model=None
    )


def structure_partial(doc: Mapping[str, Any]) -> PartialImage | None:
    """A `*.partial_image` event, None where it has no picture."""
    image, rest = _split_image(doc)
    return None if image is None else _read_partial(rest, image=image)


def structure_completed(doc: Mapping[str, Any]) -> CompletedImage | None:
    """A `*.completed` event, None where it has no picture."""
    image, rest = _split_image(doc)
    return None if image is None else _read_completed(rest, image=image)


def _split_image(item: Mapping[str, Any]) -> tuple[Image | None, dict[str, Any]]:
    """The picture of an item or event (decoded, or a URL), and the fields that do not belong to it.

    What is no picture by its own bytes is none here.
    """
    rest = dict(item)
    image = rest.pop("b64_json", None)
    if not _is_whole(image) and isinstance(rest.get("url"), Image):
        image = rest.pop("url")  # it was a data URL
    given = {name: rest.pop(name, None) for name in _OF_THE_IMAGE if isinstance(rest.get(name), str | None)}
    texts = {name: text for name, text in given.items() if text is not None}
    if not _is_whole(image):
        if not texts.get("url"):
            return None, rest
        image = Image()
    return evolve(image, **texts) if texts else image, rest


def _is_whole(value: object) -> TypeGuard[Image]:
    return isinstance(value, Image) and value.flaw is None


def _dict_of(value: object) -> dict[Any, Any]:
    """Any mapping as the one that JSON knows."""
    if is_mapping(value):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON type")


_encoder = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_dict_of)


def _text(value: Any, _: Any) -> str:
    """A name such as that of a size; what is longer, or cannot be printed, is none: it stands in reprs and journals."""
    if not isinstance(value, str) or len(value) > _LONGEST_NAME or not value.isprintable():
        raise TypeError
    return value


def _whole(value: Any, _: Any) -> int:
    """A whole number that counts something, also spelled as text or with a fraction of zero; a truth value is none."""
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise TypeError
    number = int(value)
    if not 0 <= number <= _LARGEST:
        raise ValueError
    return number


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
            name = key if key in hooks else _OTHER_NAMES.get(key, key)
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
