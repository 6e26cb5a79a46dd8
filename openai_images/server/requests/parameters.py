"""Checks the parameters of a request as the API does (dall-e models have their own rules), and resolves `auto`.

Invariants: the first wrong parameter gets the API's own message, code and `param`; null means "not given"; the result
is one frozen `Parameters`. Responses of dall-e have URLs unless base64 is requested, a revised prompt for dall-e-3, and
no usage.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_images.server.protocol import catalog
from openai_images.server.protocol.catalog import Animation, ServedModel, SVGModel
from openai_images.server.protocol.error_replies import (
    Types,
    bad_request,
    check_names_and_types,
    check_prompt,
    check_range,
    choice,
    invalid_value,
    wrong_type,
)
from openai_images.server.requests.settings import Links, ServerSettings
from openai_images.server.requests.source_images import (
    CheckedEdit,
    ImageInfo,
    UploadedImage,
    UploadedImages,
    check_edit,
)

MODERATED_PHRASE: Final = "trigger moderation"

_TEXTS: Final = ("prompt", "model", "size", "quality", "background", "output_format", "moderation")
_TYPES: Final[Types] = {
    **dict.fromkeys((*_TEXTS, "safety_identifier", "user"), str),
    **dict.fromkeys(("n", "output_compression", "partial_images"), int),
    "stream": bool,
}
_ONLY_2_6: Final[Types] = {
    "complexity": str,
    "frame_count": int,
    "frame_duration_ms": int,
    "svg": dict,
}
_RANGES: Final = {"n": (1, 10), "output_compression": (0, 100), "partial_images": (0, 3)}


@attrs.frozen(kw_only=True)
class Parameters:
    """An accepted request; no value is `auto`.

    `links` is the form of URLs that replace base64; a `bare` response has no usage and no echoed parameters.
    """

    model: ServedModel
    prompt: str
    n: int
    width: int
    height: int
    quality: str
    background: str = "opaque"
    output_format: str = "png"
    compression: int = 100
    stream: bool = False
    partials: int = 0
    safety_identifier: str | None = None
    edit: CheckedEdit | None = None
    animation: Animation | None = None
    svg_model: SVGModel | None = None
    links: Links | None = None
    bare: bool = False
    revised_prompt: str | None = None

    @property
    def size(self) -> str:
        """`WxH`, as in the response."""
        return f"{self.width}x{self.height}"

    @property
    def media_type(self) -> str:
        """The type of the image's bytes."""
        return f"image/{self.output_format}{'+xml' if self.output_format == 'svg' else ''}"


def find_model(values: Mapping[str, Any], settings: ServerSettings) -> ServedModel:
    """Return the requested model; raise the 400 for one that does not exist."""
    name = values.get("model")
    if name is None:
        name = catalog.DEFAULT_MODEL
    if not isinstance(name, str):
        raise wrong_type("model", "a string", name)
    model = catalog.served_models(settings.now(), legacy=settings.legacy).get(name)
    if model is None:
        raise invalid_value("model", f"The model '{name[:200]}' does not exist.")
    return model


def check_parameters(
    values: Mapping[str, Any],
    model: ServedModel,
    settings: ServerSettings,
    uploads: UploadedImages | None,
) -> Parameters:
    """Return the checked parameters; `uploads` are the images of an edit. Raises `RequestRejectedError`."""
    present = check_names_and_types(values, _known(model, settings, uploads))
    prompt = check_prompt(present, 32_000)
    edit = None if uploads is None else check_edit(present, uploads, model)
    for name, (low, high) in _RANGES.items():
        check_range(name, present.get(name), low, high)
    _check_stream(present)
    formats = (*catalog.FORMATS, *(catalog.EXTRA_FORMATS if model.generation == "2.6" else ()))
    output_format = choice(present, "output_format", formats, "png")
    catalog.check_format(present, output_format)
    choice(present, "moderation", ("auto", "low"), "auto")
    choice(present, "complexity", ("low", "medium", "high"), "high")
    animation = catalog.gif_animation(present, output_format)
    width, height = _size(present, model, animation, edit)
    return Parameters(
        model=model,
        prompt=prompt,
        n=present.get("n", 1),
        width=width,
        height=height,
        quality=_quality(present, model),
        background=_background(present, model, output_format),
        output_format=output_format,
        compression=present.get("output_compression", 100),
        stream=present.get("stream", False),
        partials=present.get("partial_images", 0),
        safety_identifier=present.get("safety_identifier"),
        edit=edit,
        animation=animation,
        svg_model=catalog.svg_model(present, output_format),
        links=settings.picture_links
        if choice(present, "response_format", ("url", "b64_json"), "url") == "url"
        else None,
    )


def _known(model: ServedModel, settings: ServerSettings, uploads: UploadedImages | None) -> Types:
    known = dict(_TYPES)
    if model.generation == "2.6":
        known |= _ONLY_2_6
    if settings.picture_links is not None:
        known["response_format"] = str
    if uploads is not None and uploads.parameter == "image":
        known |= dict.fromkeys(("image", "mask", "markup"), object)
    if uploads is not None and model.generation in {"1.5", "2"}:
        known["input_fidelity"] = str
    return known


def _check_stream(values: Mapping[str, Any]) -> None:
    if values.get("stream") and values.get("n", 1) > 1:
        raise invalid_value("n", "Streaming is only supported with n=1.")
    if values.get("partial_images") and not values.get("stream"):
        raise invalid_value(
            "partial_images", "The 'partial_images' parameter is only supported when 'stream' is true."
        )


def _size(
    values: Mapping[str, Any], model: ServedModel, animation: Animation | None, edit: CheckedEdit | None
) -> tuple[int, int]:
    size: str = values.get("size", "auto")
    n: int = values.get("n", 1)
    if size == "auto":
        if animation is not None:
            return catalog.automatic_gif_size(animation, n)
        return catalog.automatic_size(model, None if edit is None else edit.size)
    width, height = parse_size(size)
    if animation is not None:
        problem = catalog.gif_problem(model, (width, height), animation, n)
    else:
        problem = catalog.size_problem(model, size, width, height)
    if problem is not None:
        raise invalid_value("size", problem)
    return width, height


def parse_size(size: str) -> tuple[int, int]:
    """Return width and height; raise the 400 for a text that is not a size."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
    if match is None:
        raise invalid_value("size", f"Invalid size '{size[:40]}'. Expected WIDTHxHEIGHT or auto.")
    return int(match[1]), int(match[2])


def _quality(values: Mapping[str, Any], model: ServedModel) -> str:
    quality: str = values.get("quality", "auto")
    if quality == "auto":
        return "low" if model.free_sizes else "medium"
    if quality in model.qualities:
        return quality
    # The API's message names these four for every model, although xhigh and max work since 2.5.
    return choice(values, "quality", ("low", "medium", "high", "auto"), "auto")


def _background(values: Mapping[str, Any], model: ServedModel, output_format: str) -> str:
    background = choice(values, "background", ("transparent", "opaque", "auto"), "auto")
    if background != "transparent":
        return "opaque"
    if not model.transparent:
        raise invalid_value("background", "Transparent background is not supported for this model.")
    if output_format not in {"png", "webp"}:
        message = f"Transparent background is not supported for {output_format.upper()} output format."
        raise invalid_value("background", message)
    return background


_LEGACY_TEXTS: Final = ("prompt", "model", "size", "quality", "response_format", "user")
_LEGACY_SIZES: Final[Mapping[str, tuple[str, ...]]] = {
    "dall-e-2": ("256x256", "512x512", "1024x1024"),
    "dall-e-3": ("1024x1024", "1024x1792", "1792x1024"),
}
_LEGACY_MAX_PROMPT: Final = {"dall-e-2": 1000, "dall-e-3": 4000}
_LEGACY_MAX_IMAGE_BYTES: Final = 4 * 1024 * 1024


def check_legacy(
    values: Mapping[str, Any],
    model: ServedModel,
    settings: ServerSettings,
    uploads: UploadedImages | None,
) -> Parameters:
    """Return the checked parameters for a dall-e model. Raises `RequestRejectedError`."""
    is_3 = model.name == "dall-e-3"
    if uploads is not None and is_3:
        message = "Invalid value: 'dall-e-3'. Value must be 'dall-e-2'."
        raise bad_request(message, code="invalid_value", param="model")
    texts, files = (*_LEGACY_TEXTS, *(["style"] if is_3 else [])), ("image", "mask") if uploads else ()
    known: Types = {**dict.fromkeys(texts, str), "n": int, **dict.fromkeys(files, object)}
    present = check_names_and_types(values, known)
    prompt = check_prompt(present, _LEGACY_MAX_PROMPT[model.name])
    edit = None if uploads is None else _legacy_edit(uploads)
    check_range("n", present.get("n"), 1, 10)
    if is_3 and present.get("n", 1) > 1:
        raise bad_request("You must provide n=1 for this model.", code=None, param="n")
    size = _legacy_choice(present, "size", _LEGACY_SIZES[model.name], "1024x1024")
    _legacy_choice(present, "style", ("vivid", "natural"), "vivid")
    response_format = _legacy_choice(present, "response_format", ("url", "b64_json"), "url")
    quality = _legacy_choice(present, "quality", (*model.qualities, "auto"), "standard")
    width, height = parse_size(size)
    return Parameters(
        model=model,
        prompt=prompt,
        n=present.get("n", 1),
        width=width,
        height=height,
        quality="standard" if quality == "auto" else quality,
        edit=edit,
        links=(settings.picture_links or "absolute") if response_format == "url" else None,
        bare=True,
        revised_prompt=f"{prompt} (a local placeholder image)" if is_3 else None,
    )


def _legacy_choice(values: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    value: str = values.get(name, default)
    if value not in allowed:
        listed = ", ".join(f"'{option}'" for option in allowed)
        raise bad_request(f"'{value[:200]}' is not one of [{listed}] - '{name}'", code=None)
    return value


def _legacy_edit(uploads: UploadedImages) -> CheckedEdit:
    """Check the image of an edit: one square png below 4 MB, with transparency unless there is a mask."""
    if not uploads.images:
        raise bad_request("'image' is a required property", code=None)
    first, *rest = uploads.images
    if rest:
        raise invalid_value("image", "Only one image is supported for this model.")
    image = _square_png(first, "image")
    if uploads.mask is None and image.fetched and not image.has_alpha:
        raise bad_request(
            f"Invalid input image - format must be in ['RGBA', 'LA', 'L'], got {image.mode}.", code=None
        )
    mask = None if uploads.mask is None else _square_png(uploads.mask, "mask")
    if mask is not None and mask.fetched and image.fetched and mask.size != image.size:
        raise bad_request("Uploaded image and mask must be the same size.", code=None)
    return CheckedEdit(images=(image,), mask=mask or image)


def _square_png(upload: UploadedImage, name: str) -> ImageInfo:
    info = upload.info
    if info is None or (info.fetched and info.format != "PNG") or upload.nbytes >= _LEGACY_MAX_IMAGE_BYTES:
        raise bad_request(f"Uploaded {name} must be a PNG and less than 4 MB.", code=None)
    if info.width != info.height:
        raise bad_request(f"Uploaded {name} must be square.", code=None)
    return info
