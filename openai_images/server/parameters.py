"""Checks the parameters of a request as the API does, and settles what `auto` means.

Invariants: the first wrong parameter gets the API's own message, code and `param`; null means "not given"; what is
accepted is one frozen `Parameters`.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_images.server.catalog import (
    DEFAULT_MODEL,
    EXTRA_FORMATS,
    FORMATS,
    Animation,
    ServedModel,
    SVGModel,
    automatic_gif_size,
    automatic_quality,
    automatic_size,
    check_format,
    gif_animation,
    gif_problem,
    served_models,
    size_problem,
    svg_model,
)
from openai_images.server.edits import CheckedEdit, check_edit
from openai_images.server.error_replies import (
    Types,
    check_names_and_types,
    check_prompt,
    check_range,
    choice,
    invalid_value,
    wrong_type,
)
from openai_images.server.image_info import UploadedImages
from openai_images.server.state import Links, ServerSettings

MODERATED_PHRASE: Final = "trigger moderation"

_TYPES: Final[Types] = {
    "prompt": ("a string", str),
    "model": ("a string", str),
    "n": ("an integer", int),
    "size": ("a string", str),
    "quality": ("a string", str),
    "background": ("a string", str),
    "output_format": ("a string", str),
    "output_compression": ("an integer", int),
    "moderation": ("a string", str),
    "stream": ("a boolean", bool),
    "partial_images": ("an integer", int),
    "safety_identifier": ("a string", str),
    "user": ("a string", str),
}
_ONLY_2_6: Final[Types] = {
    "complexity": ("a string", str),
    "frame_count": ("an integer", int),
    "frame_duration_ms": ("an integer", int),
    "svg": ("an object", dict),
}
_FILES: Final[Types] = dict.fromkeys(("image", "mask", "markup"), ("a file", object))
_RANGES: Final = {"n": (1, 10), "output_compression": (0, 100), "partial_images": (0, 3)}


@attrs.frozen(kw_only=True)
class Parameters:
    """An accepted request; nothing in it is `auto`.

    `links` says how URLs are written in place of base64; a `bare` response has no usage and no echoed parameters.
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
        """`WxH`, as it is echoed."""
        return f"{self.width}x{self.height}"

    @property
    def media_type(self) -> str:
        """The type of the image's bytes."""
        return f"image/{self.output_format}{'+xml' if self.output_format == 'svg' else ''}"


def find_model(values: Mapping[str, Any], settings: ServerSettings) -> ServedModel:
    """The requested model, or the 400 for one that does not exist."""
    name = values.get("model")
    if name is None:
        name = DEFAULT_MODEL
    if not isinstance(name, str):
        wrong_type("model", "a string", name)
    model = served_models(settings.now(), legacy=settings.legacy).get(name)
    if model is None:
        raise invalid_value("model", f"The model '{name[:200]}' does not exist.")
    return model


def check_parameters(
    values: Mapping[str, Any],
    model: ServedModel,
    settings: ServerSettings,
    uploads: UploadedImages | None = None,
) -> Parameters:
    """The parameters of a request, or a `RequestRejectedError`; `uploads` are the source images of an edit."""
    check_names_and_types(values, _known(model, settings, uploads))
    present = {name: value for name, value in values.items() if value is not None}
    prompt = check_prompt(present, 32_000)
    edit = None if uploads is None else check_edit(present, uploads, model)
    for name, (low, high) in _RANGES.items():
        check_range(name, present.get(name), low, high)
    _check_stream(present)
    formats = (*FORMATS, *(EXTRA_FORMATS if model.generation == "2.6" else ()))
    output_format = choice(present, "output_format", formats, "png")
    check_format(present, output_format)
    choice(present, "moderation", ("auto", "low"), "auto")
    choice(present, "complexity", ("low", "medium", "high"), "high")
    animation = gif_animation(present, output_format)
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
        svg_model=svg_model(present, output_format),
        links=_links(present, settings),
    )


def _known(model: ServedModel, settings: ServerSettings, uploads: UploadedImages | None) -> Types:
    known = dict(_TYPES)
    if model.generation == "2.6":
        known |= _ONLY_2_6
    if settings.picture_links is not None:
        known["response_format"] = ("a string", str)
    if uploads is not None and uploads.parameter == "image":
        known |= _FILES
    if uploads is not None and model.generation in {"1.5", "2"}:
        known["input_fidelity"] = ("a string", str)
    return known


def _links(values: Mapping[str, Any], settings: ServerSettings) -> Links | None:
    response_format = choice(values, "response_format", ("url", "b64_json"), "url")
    return settings.picture_links if response_format == "url" else None


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
            return automatic_gif_size(animation, n)
        return automatic_size(model, None if edit is None else edit.size)
    width, height = parse_size(size)
    if animation is not None:
        problem = gif_problem(model, (width, height), animation, n)
    else:
        problem = size_problem(model, size, width, height)
    if problem is not None:
        raise invalid_value("size", problem)
    return width, height


def parse_size(size: str) -> tuple[int, int]:
    """Width and height, or the 400 for what is not a size."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
    if match is None:
        raise invalid_value("size", f"Invalid size '{size[:40]}'. Expected WIDTHxHEIGHT or auto.")
    return int(match[1]), int(match[2])


def _quality(values: Mapping[str, Any], model: ServedModel) -> str:
    quality: str = values.get("quality", "auto")
    if quality == "auto":
        return automatic_quality(model)
    if quality in model.qualities:
        return quality
    # The live text names these four for every model, though xhigh and max work from 2.5 on.
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
