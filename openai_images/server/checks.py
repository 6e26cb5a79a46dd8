"""Checks shared by all parameters, and what an output format can be combined with, in the API's own words.

Invariants: each check returns or raises the 400; null means "not given"; gif and svg never stream, and the sheet of a
gif's frames keeps the size rules.
Must not: draw.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn, cast

import attrs

from openai_images.server.catalog import MAX_PIXELS, ServedModel, size_problem
from openai_images.server.error_replies import USER_ERROR, RequestRejectedError, bad_request, describe

Types = Mapping[str, tuple[str, type]]


FORMATS: Final = ("png", "jpeg", "webp")
EXTRA_FORMATS: Final = ("gif", "svg")
ALL_FORMATS: Final = (*FORMATS, *EXTRA_FORMATS)
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_GIF_EDGE: Final = 640


def check_names_and_types(values: Mapping[str, Any], known: Types) -> None:
    """Rejects unknown names and values of another type."""
    for name, value in values.items():
        if name not in known:
            raise unknown_parameter(name)
        expected, type_ = known[name]
        # bool is an int in Python, not in JSON.
        if value is not None and type(value) is not type_:
            wrong_type(name, expected, value)


def unknown_parameter(name: str) -> RequestRejectedError:
    """The 400 for a parameter that does not exist."""
    return bad_request(f"Unknown parameter: '{name[:200]}'.", code="unknown_parameter", param=name[:200])


def missing_parameter(name: str) -> RequestRejectedError:
    """The 400 for a missing parameter."""
    return bad_request(
        f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name
    )


def invalid_value(name: str, message: str) -> RequestRejectedError:
    """The 400 for a value that cannot be combined with the others."""
    return bad_request(message, code="invalid_value", param=name, error_type=USER_ERROR)


def wrong_type(name: str, expected: str, value: object) -> NoReturn:
    """Rejects a value of another type than `expected`."""
    message = f"Invalid type for '{name}': expected {expected}, but got {describe(value)} instead."
    raise bad_request(message, code="invalid_type", param=name)


def check_range(name: str, value: int | None, low: int, high: int) -> None:
    """Rejects an integer outside a range."""
    if value is None or low <= value <= high:
        return
    side, bound, code = (
        ("below minimum", f">= {low}", "below_min")
        if value < low
        else ("above maximum", f"<= {high}", "above_max")
    )
    text = str(value) if abs(value) < 10**18 else "a larger number"
    message = f"Invalid '{name}': integer {side} value. Expected a value {bound}, but got {text} instead."
    raise bad_request(message, code=f"integer_{code}_value", param=name)


def check_length(name: str, text: str, longest: int) -> None:
    """Rejects a string that is too long."""
    if len(text) <= longest:
        return
    message = (
        f"Invalid '{name}': string too long. Expected a string with maximum length {longest}, "
        f"but got a string with length {len(text)} instead."
    )
    raise bad_request(message, code="string_above_max_length", param=name)


def choice(values: Mapping[str, Any], name: str, allowed: tuple[str, ...], default: str) -> str:
    """The value of a parameter that allows only these."""
    value: str = values.get(name, default)
    if value in allowed:
        return value
    listed = ", ".join(f"'{item}'" for item in allowed[:-1])
    message = f"Invalid value: '{value[:200]}'. Supported values are: {listed}, and '{allowed[-1]}'."
    raise bad_request(message, code="invalid_value", param=name)


def check_prompt(values: Mapping[str, Any], longest: int) -> str:
    """The prompt, whose length must be from 1 to `longest`."""
    if "prompt" not in values:
        raise missing_parameter("prompt")
    prompt: str = values["prompt"]
    if not prompt:
        message = "Invalid 'prompt': empty string. Expected a string with minimum length 1, but got an empty string."
        raise bad_request(message, code="empty_string", param="prompt")
    check_length("prompt", prompt, longest)
    return prompt


@attrs.frozen
class Animation:
    """The frames of a gif; how long each is shown is in milliseconds, a multiple of 10."""

    frames: int
    milliseconds: int

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of the sheet, either way round; they give the caps that were measured."""
        return (3, 3) if self.frames <= 9 else (4, 3) if self.frames <= 12 else (4, 4)


@attrs.frozen
class SVGModel:
    """The model that is asked to write an svg."""

    model: str
    effort: str | None


def check_format(values: Mapping[str, Any], output_format: str) -> None:
    """Rejects what cannot be combined with the format."""
    for name, owner in (("frame_count", "gif"), ("frame_duration_ms", "gif"), ("svg", "svg")):
        if name in values and output_format != owner:
            raise invalid_value(
                name, f"The '{name}' parameter is only supported when 'output_format' is '{owner}'."
            )
    compression = values.get("output_compression")
    if output_format == "svg" and compression is not None:
        raise invalid_value("output_compression", "Compression is not supported for SVG output format.")
    if output_format in {"png", "gif"} and compression not in {None, 100}:
        text = output_format.upper()
        message = f"Compression less than 100 is not supported for {text} output format."
        raise invalid_value("output_compression", message)
    if output_format in EXTRA_FORMATS:
        _check_single(values, output_format.upper())


def _check_single(values: Mapping[str, Any], text: str) -> None:
    """Rejects streams of a gif or svg, and several svgs."""
    if values.get("stream"):
        raise invalid_value("stream", f"Streaming is not supported for {text} output format.")
    if text == "SVG" and values.get("n", 1) > 1:
        raise invalid_value("n", "SVG output format is only supported with n=1.")


def gif_animation(values: Mapping[str, Any], output_format: str) -> Animation | None:
    """The frames of a gif, None for other formats."""
    if output_format != "gif":
        return None
    check_range("frame_count", values.get("frame_count"), 2, 16)
    check_range("frame_duration_ms", values.get("frame_duration_ms"), 10, 655_350)
    milliseconds: int = values.get("frame_duration_ms", 200)
    return Animation(values.get("frame_count", 9), (milliseconds + 5) // 10 * 10)


def svg_model(values: Mapping[str, Any], output_format: str) -> SVGModel | None:
    """The model that writes an svg, None for other formats."""
    if output_format != "svg":
        return None
    svg: dict[str, Any] | None = values.get("svg")
    if svg is None:
        raise missing_parameter("svg")
    reasoning = svg.get("reasoning")
    for name in svg:
        if name not in {"model", "reasoning"}:
            raise unknown_parameter(f"svg.{name}")
    if svg.get("model") is None:
        raise missing_parameter("svg.model")
    if not isinstance(svg["model"], str):
        wrong_type("svg.model", "a string", svg["model"])
    if not svg["model"]:
        raise invalid_value("svg.model", "Invalid 'svg.model': empty string.")
    if reasoning is None:
        return SVGModel(svg["model"], None)
    if not isinstance(reasoning, dict):
        wrong_type("svg.reasoning", "an object", reasoning)
    return SVGModel(svg["model"], _effort(cast("dict[str, Any]", reasoning)))


def _effort(reasoning: Mapping[str, Any]) -> str | None:
    for name in reasoning:
        if name != "effort":
            raise unknown_parameter(f"svg.reasoning.{name}")
    effort = reasoning.get("effort")
    if effort is None:
        return None
    if not isinstance(effort, str):
        wrong_type("svg.reasoning.effort", "a string", effort)
    return choice({"svg.reasoning.effort": effort}, "svg.reasoning.effort", _EFFORTS, "none")


def gif_problem(model: ServedModel, size: tuple[int, int], animation: Animation, n: int) -> str | None:
    """The API's message about a gif's size, or None if it is valid."""
    width, height = size
    columns, rows = animation.grid
    text = f"{width}x{height}"
    if width % 16 or height % 16:
        return size_problem(model, text, width, height)
    sheets = [(width * columns, height * rows), (width * rows, height * columns)]
    problems = [size_problem(model, text, *sheet) for sheet in sheets]
    if None not in problems:
        return f"{problems[0]} The sheet of {animation.frames} frames is {sheets[0][0]}x{sheets[0][1]}."
    if n * columns * rows * width * height > MAX_PIXELS:
        return f"Invalid size '{text}'. {n} animations together exceed the current maximum pixel budget."
    return None


def automatic_gif_size(animation: Animation, n: int) -> tuple[int, int]:
    """The frames of `auto`: square, and within what all gifs of the request may have together."""
    columns, rows = animation.grid
    edge = min(_GIF_EDGE, math.isqrt(MAX_PIXELS // (n * columns * rows)) // 16 * 16)
    return edge, edge
