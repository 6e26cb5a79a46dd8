"""Checks the parameters of a generation as the API does and settles what `auto` means.

Rules: the first wrong parameter is answered with the API's own message, code and `param`; null means "not given";
what is accepted comes out as one frozen `Parameters`. It refuses to paint and to count.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

import attrs

from openai_images.server.body import describe
from openai_images.server.catalogue import (
    DEFAULT_MODEL,
    MODELS,
    Model,
    automatic_quality,
    automatic_size,
    size_problem,
)
from openai_images.server.replies import USER_ERROR, refuse

MODERATED_PHRASE: Final = "trigger moderation"
FORMATS: Final = ("png", "jpeg", "webp")

_TYPES: Final[Mapping[str, tuple[str, type]]] = {
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
_ONLY_2_6: Final[Mapping[str, tuple[str, type]]] = {
    "complexity": ("a string", str),
    "frame_count": ("an integer", int),
    "frame_duration_ms": ("an integer", int),
    "svg": ("an object", dict),
}
_RANGES: Final = {"n": (1, 10), "output_compression": (0, 100), "partial_images": (0, 3)}


@attrs.frozen(kw_only=True)
class Parameters:
    """A generation the server has accepted; nothing in it is `auto`."""

    model: Model
    prompt: str
    n: int
    width: int
    height: int
    quality: str
    background: str
    output_format: str
    compression: int
    stream: bool
    partials: int
    safety_identifier: str | None

    @property
    def size(self) -> str:
        """`WxH`, as it is echoed."""
        return f"{self.width}x{self.height}"


def check(given: Mapping[str, Any]) -> Parameters:
    """The parameters in `given`, or a `RefusalError` with the API's error body."""
    model = _model(given)
    _check_names_and_types(given, model)
    set_ones = {name: value for name, value in given.items() if value is not None}
    prompt = _prompt(set_ones)
    for name, (low, high) in _RANGES.items():
        _check_range(name, set_ones.get(name), low, high)
    stream = bool(set_ones.get("stream", False))
    _check_stream(set_ones, stream)
    output_format = _one_of(set_ones, "output_format", (*FORMATS, *_later_formats(model)), "png")
    _check_output(set_ones, output_format)
    _one_of(set_ones, "moderation", ("auto", "low"), "auto")
    _one_of(set_ones, "complexity", ("low", "medium", "high"), "high")
    width, height = _size(set_ones, model)
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
        stream=stream,
        partials=set_ones.get("partial_images", 0),
        safety_identifier=set_ones.get("safety_identifier"),
    )


def _model(given: Mapping[str, Any]) -> Model:
    name = given.get("model")
    if name is None:
        name = DEFAULT_MODEL
    if not isinstance(name, str):
        _wrong_type("model", "a string", name)
    if name not in MODELS:
        message = f"The model '{name[:200]}' does not exist."
        raise refuse(message, code="invalid_value", param="model", kind=USER_ERROR)
    return MODELS[name]


def _check_names_and_types(given: Mapping[str, Any], model: Model) -> None:
    known = {**_TYPES, **_ONLY_2_6} if model.generation == "2.6" else _TYPES
    for name, value in given.items():
        if name not in known:
            raise refuse(f"Unknown parameter: '{name[:200]}'.", code="unknown_parameter", param=name[:200])
        words, kind = known[name]
        # bool is an int in Python, not in JSON.
        if value is not None and type(value) is not kind:
            _wrong_type(name, words, value)


def _wrong_type(name: str, words: str, value: object) -> NoReturn:
    message = f"Invalid type for '{name}': expected {words}, but got {describe(value)} instead."
    raise refuse(message, code="invalid_type", param=name)


def _prompt(given: Mapping[str, Any]) -> str:
    if "prompt" not in given:
        raise refuse(
            "Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt"
        )
    prompt: str = given["prompt"]
    if not prompt:
        message = "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got an empty string."
        raise refuse(message, code="empty_string", param="prompt")
    if len(prompt) > 32_000:
        message = (
            "Invalid 'prompt': string too long. Expected a string with maximum length 32000, "
            f"but got a string with length {len(prompt)} instead."
        )
        raise refuse(message, code="string_above_max_length", param="prompt")
    return prompt


def _check_range(name: str, value: int | None, low: int, high: int) -> None:
    if value is None or low <= value <= high:
        return
    side, bound, code = (
        ("below minimum", f">= {low}", "below_min")
        if value < low
        else (
            "above maximum",
            f"<= {high}",
            "above_max",
        )
    )
    shown = str(value) if abs(value) < 10**18 else "a larger number"
    message = f"Invalid '{name}': integer {side} value. Expected a value {bound}, but got {shown} instead."
    raise refuse(message, code=f"integer_{code}_value", param=name)


def _check_stream(given: Mapping[str, Any], stream: bool) -> None:
    if stream and given.get("n", 1) > 1:
        raise refuse(
            "Streaming is only supported with n=1.", code="invalid_value", param="n", kind=USER_ERROR
        )
    if given.get("partial_images") and not stream:
        message = "The 'partial_images' parameter is only supported when 'stream' is true."
        raise refuse(message, code="invalid_value", param="partial_images", kind=USER_ERROR)


def _one_of(given: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    value: str = given.get(name, default)
    if value in allowed:
        return value
    listed = ", ".join(f"'{one}'" for one in allowed[:-1])
    message = f"Invalid value: '{value[:200]}'. Supported values are: {listed}, and '{allowed[-1]}'."
    raise refuse(message, code="invalid_value", param=name)


def _later_formats(model: Model) -> tuple[str, ...]:
    return ("gif", "svg") if model.generation == "2.6" else ()


def _check_output(given: Mapping[str, Any], output_format: str) -> None:
    if output_format not in FORMATS:
        message = f"This local server paints png, jpeg and webp only, not '{output_format}'."
        raise refuse(message, code="invalid_value", param="output_format", kind=USER_ERROR)
    for name in ("frame_count", "frame_duration_ms", "svg"):
        if name in given:
            message = f"The '{name}' parameter does not go with output_format '{output_format}'."
            raise refuse(message, code="invalid_value", param=name, kind=USER_ERROR)
    if output_format == "png" and given.get("output_compression", 100) != 100:
        message = "Compression less than 100 is not supported for PNG output format."
        raise refuse(message, code="invalid_value", param="output_compression", kind=USER_ERROR)


def _size(given: Mapping[str, Any], model: Model) -> tuple[int, int]:
    size: str = given.get("size", "auto")
    if size == "auto":
        return automatic_size(model)
    match = re.fullmatch(r"([1-9][0-9]{0,5})x([1-9][0-9]{0,5})", size)
    if match is None:
        message = f"Invalid size '{size[:40]}'. Expected WIDTHxHEIGHT or auto."
        raise refuse(message, code="invalid_value", param="size", kind=USER_ERROR)
    width, height = int(match[1]), int(match[2])
    problem = size_problem(model, size, width, height)
    if problem is not None:
        raise refuse(problem, code="invalid_value", param="size", kind=USER_ERROR)
    return width, height


def _quality(given: Mapping[str, Any], model: Model) -> str:
    quality: str = given.get("quality", "auto")
    if quality == "auto":
        return automatic_quality(model)
    if quality in model.qualities:
        return quality
    # The live text names these four for every model, though xhigh and max work from 2.5 on.
    return _one_of(given, "quality", ("low", "medium", "high", "auto"), "auto")


def _background(given: Mapping[str, Any], model: Model, output_format: str) -> str:
    background = _one_of(given, "background", ("transparent", "opaque", "auto"), "auto")
    if background != "transparent":
        return "opaque"
    if not model.transparent:
        message = "Transparent background is not supported for this model."
        raise refuse(message, code="invalid_value", param="background", kind=USER_ERROR)
    if output_format == "jpeg":
        message = "Transparent background is not supported for JPEG output format."
        raise refuse(message, code="invalid_value", param="background", kind=USER_ERROR)
    return background
