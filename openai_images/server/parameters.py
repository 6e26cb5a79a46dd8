"""Checks the parameters of a request for pictures as the API does and settles what `auto` means.

Rules: the first wrong parameter is answered with the API's own message, code and `param`; null means "not given";
what is accepted comes out as one frozen `Parameters`. It refuses to paint and to count.
"""

import re
from collections.abc import Mapping
from typing import Any, Final

import attrs

from openai_images.server.catalog import (
    DEFAULT_MODEL,
    Model,
    automatic_quality,
    automatic_size,
    served_models,
    size_problem,
)
from openai_images.server.checks import (
    FORMATS,
    MOVING_AND_DRAWN,
    Animation,
    Author,
    Types,
    animation_of,
    author_of,
    automatic_gif_size,
    check_names_and_types,
    check_output,
    check_range,
    gif_problem,
    one_of,
    prompt_of,
    unfit,
    wrong_type,
)
from openai_images.server.edits import Edit, check_edit
from openai_images.server.image_info import GivenPictures
from openai_images.server.settings import Links, ServerSettings

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
    """A request for pictures the server has accepted; nothing in it is `auto`.

    `links` is how urls are written that come in place of base64; `bare` an answer without usage and the like.
    """

    model: Model
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
    edit: Edit | None = None
    animation: Animation | None = None
    author: Author | None = None
    links: Links | None = None
    bare: bool = False
    revised_prompt: str | None = None

    @property
    def size(self) -> str:
        """`WxH`, as it is echoed."""
        return f"{self.width}x{self.height}"

    @property
    def media_type(self) -> str:
        """What the picture's bytes are."""
        return f"image/{self.output_format}{'+xml' if self.output_format == 'svg' else ''}"


def find_model(given: Mapping[str, Any], settings: ServerSettings) -> Model:
    """The model that is asked for, or the 400 of one that does not exist."""
    name = given.get("model")
    if name is None:
        name = DEFAULT_MODEL
    if not isinstance(name, str):
        wrong_type("model", "a string", name)
    model = served_models(settings.now(), legacy=settings.legacy).get(name)
    if model is None:
        raise unfit("model", f"The model '{name[:200]}' does not exist.")
    return model


def check(
    given: Mapping[str, Any], model: Model, settings: ServerSettings, pictures: GivenPictures | None = None
) -> Parameters:
    """The parameters in `given`, or a `RefusalError` with the API's error body; `pictures` are those of an edit."""
    check_names_and_types(given, _known(model, settings, pictures))
    set_ones = {name: value for name, value in given.items() if value is not None}
    prompt = prompt_of(set_ones, 32_000)
    edit = None if pictures is None else check_edit(set_ones, pictures, model)
    for name, (low, high) in _RANGES.items():
        check_range(name, set_ones.get(name), low, high)
    _check_stream(set_ones)
    formats = (*FORMATS, *(MOVING_AND_DRAWN if model.generation == "2.6" else ()))
    output_format = one_of(set_ones, "output_format", formats, "png")
    check_output(set_ones, output_format)
    one_of(set_ones, "moderation", ("auto", "low"), "auto")
    one_of(set_ones, "complexity", ("low", "medium", "high"), "high")
    animation = animation_of(set_ones, output_format)
    width, height = _size(set_ones, model, animation, edit)
    return Parameters(
        model=model,
        prompt=prompt,
        n=set_ones.get("n", 1),
        width=width,
        height=height,
        quality=_quality(set_ones, model),
        background=_background(set_ones, model, output_format),
        output_format=output_format,
        compression=set_ones.get("output_compression", 100),
        stream=set_ones.get("stream", False),
        partials=set_ones.get("partial_images", 0),
        safety_identifier=set_ones.get("safety_identifier"),
        edit=edit,
        animation=animation,
        author=author_of(set_ones, output_format),
        links=_links(set_ones, settings),
    )


def _known(model: Model, settings: ServerSettings, pictures: GivenPictures | None) -> Types:
    """The parameters there are."""
    known = dict(_TYPES)
    if model.generation == "2.6":
        known |= _ONLY_2_6
    if settings.picture_links is not None:
        known["response_format"] = ("a string", str)
    if pictures is not None and pictures.asked_as == "image":
        known |= _FILES
    if pictures is not None and model.generation in {"1.5", "2"}:
        known["input_fidelity"] = ("a string", str)
    return known


def _links(given: Mapping[str, Any], settings: ServerSettings) -> Links | None:
    """How urls are written, None for base64."""
    wanted = one_of(given, "response_format", ("url", "b64_json"), "url")
    return settings.picture_links if wanted == "url" else None


def _check_stream(given: Mapping[str, Any]) -> None:
    if given.get("stream") and given.get("n", 1) > 1:
        raise unfit("n", "Streaming is only supported with n=1.")
    if given.get("partial_images") and not given.get("stream"):
        raise unfit(
            "partial_images", "The 'partial_images' parameter is only supported when 'stream' is true."
        )


def _size(
    given: Mapping[str, Any], model: Model, animation: Animation | None, edit: Edit | None
) -> tuple[int, int]:
    size: str = given.get("size", "auto")
    n: int = given.get("n", 1)
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
        raise unfit("size", problem)
    return width, height


def parse_size(size: str) -> tuple[int, int]:
    """Width and height, or the 400 of what is no size."""
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
    if match is None:
        raise unfit("size", f"Invalid size '{size[:40]}'. Expected WIDTHxHEIGHT or auto.")
    return int(match[1]), int(match[2])


def _quality(given: Mapping[str, Any], model: Model) -> str:
    quality: str = given.get("quality", "auto")
    if quality == "auto":
        return automatic_quality(model)
    if quality in model.qualities:
        return quality
    # The live text names these four for every model, though xhigh and max work from 2.5 on.
    return one_of(given, "quality", ("low", "medium", "high", "auto"), "auto")


def _background(given: Mapping[str, Any], model: Model, output_format: str) -> str:
    background = one_of(given, "background", ("transparent", "opaque", "auto"), "auto")
    if background != "transparent":
        return "opaque"
    if not model.transparent:
        raise unfit("background", "Transparent background is not supported for this model.")
    if output_format not in {"png", "webp"}:
        message = f"Transparent background is not supported for {output_format.upper()} output format."
        raise unfit("background", message)
    return background
