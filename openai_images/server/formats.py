"""What an output format goes with: compression, streams, frames, and the model that writes an svg.

Rules: gif and svg are painted by the 2.6 models only and never stream; the sheet on which a gif's frames are laid must
keep the size rules, as was measured from outside. It refuses to paint.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, cast

import attrs

from openai_images.server.catalog import MOST_PIXELS, Model, size_problem
from openai_images.server.checks import check_range, missing, one_of, unfit, unknown, wrong_type

FORMATS: Final = ("png", "jpeg", "webp")
MOVING_AND_DRAWN: Final = ("gif", "svg")
PAINTED: Final = (*FORMATS, *MOVING_AND_DRAWN)

_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_GIF_EDGE: Final = 640


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
class Author:
    """The model that is asked to write an svg."""

    model: str
    effort: str | None


def check_output(given: Mapping[str, Any], output_format: str) -> None:
    """Refuses what does not go with the format."""
    for name, owner in (("frame_count", "gif"), ("frame_duration_ms", "gif"), ("svg", "svg")):
        if name in given and output_format != owner:
            raise unfit(name, f"The '{name}' parameter is only supported when 'output_format' is '{owner}'.")
    compression = given.get("output_compression")
    if output_format == "svg" and compression is not None:
        raise unfit("output_compression", "Compression is not supported for SVG output format.")
    if output_format in {"png", "gif"} and compression not in {None, 100}:
        shown = output_format.upper()
        message = f"Compression less than 100 is not supported for {shown} output format."
        raise unfit("output_compression", message)
    if output_format in MOVING_AND_DRAWN:
        _check_whole(given, output_format.upper())


def _check_whole(given: Mapping[str, Any], shown: str) -> None:
    """Refuses to send a gif or an svg in stages, or several svgs."""
    if given.get("stream"):
        raise unfit("stream", f"Streaming is not supported for {shown} output format.")
    if shown == "SVG" and given.get("n", 1) > 1:
        raise unfit("n", "SVG output format is only supported with n=1.")


def animation_of(given: Mapping[str, Any], output_format: str) -> Animation | None:
    """The frames of a gif, None for other formats."""
    if output_format != "gif":
        return None
    check_range("frame_count", given.get("frame_count"), 2, 16)
    check_range("frame_duration_ms", given.get("frame_duration_ms"), 10, 655_350)
    milliseconds: int = given.get("frame_duration_ms", 200)
    return Animation(given.get("frame_count", 9), (milliseconds + 5) // 10 * 10)


def author_of(given: Mapping[str, Any], output_format: str) -> Author | None:
    """The author of an svg, None for other formats."""
    if output_format != "svg":
        return None
    svg: dict[str, Any] | None = given.get("svg")
    if svg is None:
        raise missing("svg")
    reasoning = svg.get("reasoning")
    for name in svg:
        if name not in {"model", "reasoning"}:
            raise unknown(f"svg.{name}")
    if svg.get("model") is None:
        raise missing("svg.model")
    if not isinstance(svg["model"], str):
        wrong_type("svg.model", "a string", svg["model"])
    if not svg["model"]:
        raise unfit("svg.model", "Invalid 'svg.model': empty string.")
    if reasoning is None:
        return Author(svg["model"], None)
    if not isinstance(reasoning, dict):
        wrong_type("svg.reasoning", "an object", reasoning)
    return Author(svg["model"], _effort(cast("dict[str, Any]", reasoning)))


def _effort(reasoning: Mapping[str, Any]) -> str | None:
    for name in reasoning:
        if name != "effort":
            raise unknown(f"svg.reasoning.{name}")
    effort = reasoning.get("effort")
    if effort is None:
        return None
    if not isinstance(effort, str):
        wrong_type("svg.reasoning.effort", "a string", effort)
    return one_of({"svg.reasoning.effort": effort}, "svg.reasoning.effort", _EFFORTS, "none")


def gif_problem(model: Model, size: tuple[int, int], animation: Animation, n: int) -> str | None:
    """The sentence with which gifs of this size are refused, or None where it is legal."""
    width, height = size
    columns, rows = animation.grid
    shown = f"{width}x{height}"
    if width % 16 or height % 16:
        return size_problem(model, shown, width, height)
    sheets = [(width * columns, height * rows), (width * rows, height * columns)]
    problems = [size_problem(model, shown, *sheet) for sheet in sheets]
    if None not in problems:
        return f"{problems[0]} The sheet of {animation.frames} frames is {sheets[0][0]}x{sheets[0][1]}."
    if n * columns * rows * width * height > MOST_PIXELS:
        return f"Invalid size '{shown}'. {n} animations together exceed the current maximum pixel budget."
    return None


def automatic_gif_size(animation: Animation, n: int) -> tuple[int, int]:
    """The frames of `auto`: square, and within what all gifs of the request may have together."""
    columns, rows = animation.grid
    edge = min(_GIF_EDGE, math.isqrt(MOST_PIXELS // (n * columns * rows)) // 16 * 16)
    return edge, edge
