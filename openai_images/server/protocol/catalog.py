"""The AI models and formats of the local server: sizes, qualities, tokens per image, end dates, gifs and svgs.

Invariants: plain tables and pure functions; the numbers are published, except where a comment says otherwise; gif and
svg never stream, and the sheet of a gif's frames keeps the size rules.
Must not: check values that do not depend on model or format; `parameters.py` does.
"""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any, Final, Literal

import attrs

from openai_images.server.protocol.error_replies import (
    check_members,
    check_range,
    choice,
    invalid_value,
    require_parameters,
)

MODELS_CREATED: Final = 1_776_729_600
DEFAULT_MODEL: Final = "gpt-image-2"
MIN_PIXELS: Final = 655_360
MAX_PIXELS: Final = 8_294_400
FIXED_SIZES: Final = ((1024, 1024), (1024, 1536), (1536, 1024))

Generation = Literal["dall-e", "1.5", "2", "2.5", "2.6"]


@attrs.frozen
class ServedModel:
    """One AI model."""

    name: str
    generation: Generation
    qualities: tuple[str, ...]
    transparent: bool
    ends: date | None = None

    @property
    def free_sizes(self) -> bool:
        """Whether any width and height within the rules is accepted, not only three."""
        return self.generation not in {"dall-e", "1.5"}


_THREE = ("low", "medium", "high")
_FIVE = (*_THREE, "xhigh", "max")


def _catalogue() -> Mapping[str, ServedModel]:
    ended = date(2026, 5, 12)
    models = [
        ServedModel("dall-e-2", "dall-e", ("standard",), False, ended),
        ServedModel("dall-e-3", "dall-e", ("standard", "hd"), False, ended),
        ServedModel("gpt-image-1", "1.5", _THREE, True, date(2026, 10, 23)),
    ]
    last = ("gpt-image-1.5", "gpt-image-1.5-2025-12-16", "gpt-image-1-mini", "chatgpt-image-latest")
    models += [ServedModel(n, "1.5", _THREE, True, date(2026, 12, 1)) for n in last]
    models += [ServedModel(n, "2", _THREE, False) for n in ("gpt-image-2", "gpt-image-2-2026-04-21")]
    for variant in ("sunburst", "flare"):
        names = (f"gpt-image-2.5-{variant}", f"gpt-image-2.5-{variant}-2026-09-08")
        models += [ServedModel(n, "2.5", _FIVE, True) for n in names]
        models.append(ServedModel(f"gpt-image-2.6-{variant}", "2.6", _FIVE, True))
    return {model.name: model for model in models}


MODELS: Final = _catalogue()
"""All models, also those that have ended."""


def served_models(now: float, *, legacy: bool) -> Mapping[str, ServedModel]:
    """Return the models that have not ended at `now` (seconds since 1970); all of them with `legacy`."""
    today = datetime.fromtimestamp(now, UTC).date()
    return {
        name: model for name, model in MODELS.items() if legacy or model.ends is None or today < model.ends
    }


_AUTO_PIXELS: Final = 1536 * 1024

_TABLE_TOKENS: Final[Mapping[tuple[int, int], Mapping[str, int]]] = {
    (1024, 1024): {"low": 272, "medium": 1056, "high": 4160},
    (1024, 1536): {"low": 408, "medium": 1584, "high": 6240},
    (1536, 1024): {"low": 400, "medium": 1568, "high": 6208},
}

# The tokens of 2.6 are not published: low and medium were seen to take three to four times the tokens of 2.5.
_PATCHES: Final[Mapping[str, Mapping[str, int]]] = {
    "2": {"low": 16, "medium": 48, "high": 96},
    "2.5": {"low": 16, "medium": 24, "high": 48, "xhigh": 64, "max": 96},
    "2.6": {"low": 30, "medium": 45, "high": 48, "xhigh": 64, "max": 96},
}


def output_tokens(model: ServedModel, width: int, height: int, quality: str) -> int:
    """Return the tokens of one image, by the published table or formula; the dall-e models had no tokens."""
    if model.generation == "dall-e":
        return 0
    if not model.free_sizes:
        return _TABLE_TOKENS[width, height][quality]
    patches = _PATCHES[model.generation][quality]
    long, short = max(width, height), min(width, height)
    short_patches = round(patches * short / long)
    return math.ceil(patches * short_patches * (2_000_000 + width * height) / 4_000_000)


def partial_tokens(model: ServedModel, partials: int) -> int:
    """Return the tokens of partial images: 100 each are documented, 77 and 153 were seen since generation 2."""
    if not model.free_sizes:
        return 100 * partials
    return math.ceil(76.5 * partials)


def prompt_tokens(prompt: str) -> int:
    """Return an estimate: four bytes of UTF-8 are about one token."""
    return max(1, round(len(prompt.encode("utf-8", "replace")) / 4))


def input_tokens(model: ServedModel, width: int, height: int, *, high_fidelity: bool) -> int:
    """Return the tokens of one source image.

    An image of 1024x1024 was seen to take 1024 tokens with generation 2.5: one for each 32x32 pixels. This is used for
    every size up to 2048x2048. Earlier models were seen to take 194; high fidelity is documented to add as many as an
    image of its shape.
    """
    if model.free_sizes:
        return min(4096, math.ceil(width / 32) * math.ceil(height / 32))
    return 194 + (0 if not high_fidelity else 4160 if width == height else 6240)


def automatic_size(model: ServedModel, like: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the size of `auto`, for an edit of the shape of an image of the size `like`.

    Since generation 2 it is often a size that may not be requested; before, it is the nearest of three.
    """
    width, height = like or (1024, 1024)
    ratio = min(3.0, max(1 / 3, width / height))
    if not model.free_sizes:
        return min(FIXED_SIZES, key=lambda size: abs(math.log(size[0] / size[1] / ratio)))
    return round(math.sqrt(_AUTO_PIXELS * ratio)), round(math.sqrt(_AUTO_PIXELS / ratio))


def size_problem(model: ServedModel, size: str, width: int, height: int) -> str | None:
    """Return the API's message about a size, or None if it is valid."""
    if not model.free_sizes:
        if (width, height) in FIXED_SIZES:
            return None
        return f"Invalid size '{size}'. Supported sizes are 1024x1024, 1024x1536, 1536x1024, and auto."
    long, short, pixels = max(width, height), min(width, height), width * height
    problem = None
    if width % 16 or height % 16:
        problem = "Width and height must both be divisible by 16."
    elif long > 3840:
        problem = "The longest edge must be less than or equal to 3840."
    elif long > 3 * short:
        problem = "The aspect ratio must be between 1:3 and 3:1."
    elif pixels < MIN_PIXELS:
        problem = "Requested resolution is below the current minimum pixel budget."
    elif pixels > MAX_PIXELS:
        problem = "Requested resolution exceeds the current maximum pixel budget."
    return problem and f"Invalid size '{size}'. {problem}"


FORMATS: Final = ("png", "jpeg", "webp")
EXTRA_FORMATS: Final = ("gif", "svg")
ALL_FORMATS: Final = (*FORMATS, *EXTRA_FORMATS)
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_GIF_EDGE: Final = 640


@attrs.frozen
class Animation:
    """The frames of a gif; each is shown for `milliseconds`, a multiple of 10."""

    frames: int
    milliseconds: int

    @property
    def grid(self) -> tuple[int, int]:
        """Columns and rows of the sheet, in either order; they match the measured limits."""
        return (3, 3) if self.frames <= 9 else (4, 3) if self.frames <= 12 else (4, 4)


@attrs.frozen
class SVGModel:
    """The model that writes an svg."""

    model: str
    effort: str | None


def check_format(values: Mapping[str, Any], output_format: str) -> None:
    """Reject parameters that the format does not allow."""
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
    if output_format in EXTRA_FORMATS and values.get("stream"):
        message = f"Streaming is not supported for {output_format.upper()} output format."
        raise invalid_value("stream", message)
    if output_format == "svg" and values.get("n", 1) > 1:
        raise invalid_value("n", "SVG output format is only supported with n=1.")


def gif_animation(values: Mapping[str, Any], output_format: str) -> Animation | None:
    """Return the frames of a gif, None for other formats."""
    if output_format != "gif":
        return None
    check_range("frame_count", values.get("frame_count"), 2, 16)
    check_range("frame_duration_ms", values.get("frame_duration_ms"), 10, 655_350)
    milliseconds: int = values.get("frame_duration_ms", 200)
    return Animation(values.get("frame_count", 9), (milliseconds + 5) // 10 * 10)


def svg_model(values: Mapping[str, Any], output_format: str) -> SVGModel | None:
    """Return the model that writes an svg, None for other formats."""
    if output_format != "svg":
        return None
    require_parameters(values, "svg")
    svg = check_members("svg", values["svg"], {"model": str, "reasoning": dict})
    require_parameters(svg, "svg.model")
    if not svg["svg.model"]:
        raise invalid_value("svg.model", "Invalid 'svg.model': empty string.")
    reasoning = check_members("svg.reasoning", svg.get("svg.reasoning", {}), {"effort": str})
    effort = choice(reasoning, "svg.reasoning.effort", _EFFORTS, "none") if reasoning else None
    return SVGModel(svg["svg.model"], effort)


def gif_problem(model: ServedModel, size: tuple[int, int], animation: Animation, n: int) -> str | None:
    """Return the API's message about a gif's size, or None if it is valid."""
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
    """Return the frame size for `auto`: square, within the limit for all gifs of the request together."""
    columns, rows = animation.grid
    edge = min(_GIF_EDGE, math.isqrt(MAX_PIXELS // (n * columns * rows)) // 16 * 16)
    return edge, edge
