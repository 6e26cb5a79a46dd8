"""The rules of `POST /images/generations` and `/images/edits`, each a function that yields the problems it finds.

Invariants: pure; values that cannot be checked are skipped. A value that only other models accept is a certain problem.
An unknown value is only doubtful, because new models bring new values; so is a value on which the API contradicts its
documentation, or that only third parties have tried. So is one that only the reference or only the guides accept, such
as the largest mask. Sources: OpenAI's API reference, its guide to image generation, and the official Python package
3.54.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from openai_images._util.json import is_mapping
from openai_images.catalog.models import MAX_IMAGES_PER_CALL, any_model, known_values
from openai_images.models import media
from openai_images.models.requests import ImageReference, as_list
from openai_images.validation.context import CheckContext, Problem, wrong_types
from openai_images.validation.name_rules import model_rule, size_rule, values_rule

_FORMATS: Final = known_values("output_format")
_EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max")


def _prompt(context: CheckContext) -> Iterator[Problem]:
    text = context.get("prompt")
    if text == "":
        yield context.problem("prompt", "it is empty", "text")
    if text and context.model and len(text) > context.model.prompt:
        message = f"it has {len(text):,} characters"
        yield context.problem(
            "prompt", message, f"at most {context.model.prompt:,}", certain=context.exact_model
        )


def _counts(context: CheckContext) -> Iterator[Problem]:
    n, output_format = context.get("n"), context.get("output_format", "png")
    model = context.model or any_model(context.today)
    if n is None:
        return
    label, limit = context.display(n), model.max_images
    upper = MAX_IMAGES_PER_CALL if context.split else 1 if output_format == "svg" else limit
    accepted = "1" if upper == 1 else f"1 to {upper:,}"
    if n < 1:
        yield context.problem("n", f"{label} is below 1", accepted)
    elif context.split:
        if n > MAX_IMAGES_PER_CALL:
            message = f"{label} is more than one call is split into"
            yield context.problem("n", message, f"{accepted}, or more with generate_many or a batch")
    elif n > 1 and output_format == "svg":
        yield context.problem("n", f"{label} is more than one svg", accepted)
    elif n > 1 == limit:
        yield context.problem(
            "n", f"{label} is more than {model.name} generates", accepted, certain=context.exact_model
        )
    elif n > 1 and context.get("stream"):
        yield context.problem("n", f"{label} images cannot come in one stream", "1, or no stream")
    elif n > limit:
        yield context.problem("n", f"{label} is above {limit}", accepted)


def _streaming(context: CheckContext) -> Iterator[Problem]:
    stream, output_format = context.get("stream"), context.get("output_format", "png")
    partials = context.get("partial_images", 0)
    if stream and output_format in {"gif", "svg"}:
        accepted = "no stream, or output_format png, webp or jpeg"
        yield context.problem("stream", f"{output_format} is not streamed", accepted)
    if stream and context.model and not context.model.streams:
        yield context.problem(
            "stream", f"{context.model.name} does not stream", "no stream", certain=context.exact_model
        )
    if partials is None:
        return
    if not 0 <= partials <= 3:
        yield context.problem("partial_images", f"{context.display(partials)} is not within 0 to 3", "0 to 3")
    if partials > 0 and stream is False:
        yield context.problem("partial_images", "they come in streams only", "a stream, or leave it out")
    if partials > 0 and output_format in {"gif", "svg"}:
        yield context.problem("partial_images", f"{output_format} has none", "leave it out")


def _compression(context: CheckContext) -> Iterator[Problem]:
    output_format, compression = context.get("output_format", "png"), context.get("output_compression")
    if compression is None:
        return
    if not 0 <= compression <= 100:
        message = f"{context.display(compression)} is not within 0 to 100"
        yield context.problem("output_compression", message, "0 to 100")
    # 100 is the default and changes nothing; only svg does not allow even that.
    if output_format == "svg" or (output_format in {"png", "gif"} and compression != 100):
        accepted = "output_format jpeg or webp, or leave it out"
        yield context.problem("output_compression", f"{output_format} cannot be compressed", accepted)


def _transparency(context: CheckContext) -> Iterator[Problem]:
    output_format = context.get("output_format", "png")
    if context.get("background") != "transparent":
        return
    accepted = "output_format png or webp, or no transparency"
    if output_format == "jpeg":
        yield context.problem("background", "jpeg cannot be transparent", accepted)
    elif output_format in {"gif", "svg"}:
        # Doubtful only: the API was seen to return transparent gifs.
        message = f"{output_format} does not support transparency"
        yield context.problem("background", message, accepted, certain=False)


def _frames(context: CheckContext) -> Iterator[Problem]:
    output_format = context.get("output_format", "png")
    for parameter in ("frame_count", "frame_duration_ms"):
        if context.get(parameter) is not None and output_format not in {None, "gif"}:
            message = f"{output_format} has no frames" if output_format in _FORMATS else "only gif has frames"
            accepted = "output_format gif, or leave it out"
            yield context.problem(parameter, message, accepted, certain=output_format in _FORMATS)
    count, duration = context.get("frame_count", 9), context.get("frame_duration_ms", 200)
    if count is not None and not 2 <= count <= 16:
        yield context.problem("frame_count", f"{context.display(count)} is not within 2 to 16", "2 to 16")
    if duration is not None and not 10 <= duration <= 655_350:
        message = f"{context.display(duration)} cannot be encoded in a gif"
        yield context.problem("frame_duration_ms", message, "10 to 655350, in tens", certain=False)


def _svg(context: CheckContext) -> Iterator[Problem]:
    output_format, svg = context.get("output_format", "png"), context.get("svg")
    if svg is None:
        if output_format == "svg" and "svg" not in context.unjudgeable:
            # Doubtful only: accounts that cannot choose that model must leave it out.
            message = "no model is named to write the svg"
            yield context.problem("svg", message, _SVG, certain=False)
        return
    if output_format not in {None, "svg"}:
        accepted = "output_format svg, or leave it out"
        yield context.problem(
            "svg", "it is for output_format svg only", accepted, certain=output_format in _FORMATS
        )
    yield from _author(context, svg)


_SVG: Final = 'svg={"model": …}'


def _author(context: CheckContext, svg: Mapping[str, Any]) -> Iterator[Problem]:
    if not isinstance(svg.get("model"), str) or not svg["model"]:
        yield context.problem("svg", "it has no model", _SVG)
    reasoning = svg.get("reasoning")
    if reasoning is None:
        return
    effort = reasoning.get("effort") if is_mapping(reasoning) else 0
    if not isinstance(effort, str | None):
        yield context.problem("svg", "its reasoning is not an object with an effort", '{"effort": …}')
    elif effort is not None and effort not in _EFFORTS:
        message = f"the effort {context.display(effort)} is not known to this version"
        yield context.problem("svg", message, ", ".join(_EFFORTS), certain=False)


def _identifier(context: CheckContext) -> Iterator[Problem]:
    text = context.get("safety_identifier")
    if text and len(text) > 128:
        # Doubtful only: the limit is in a guide, not in the reference.
        message = f"it has {len(text):,} characters"
        yield context.problem("safety_identifier", message, "at most 128, such as a hash", certain=False)


RULES: Final[tuple[Callable[[CheckContext], Iterator[Problem]], ...]] = (
    *(wrong_types, model_rule, _prompt, _counts, size_rule, values_rule),
    *(_transparency, _compression, _streaming, _frames, _svg, _identifier),
)
"""All rules, in the order in which their problems are reported."""


_MOST_IMAGES: Final = 16
_MEGABYTE: Final = 1024 * 1024
_MOST_BYTES: Final = 50 * _MEGABYTE
_SAFE_MASK_BYTES: Final = 4 * _MEGABYTE
_MOST_URL: Final = 20_971_520  # characters of a data: URL
_ACCEPTED_TYPES: Final = ("image/png", "image/webp", "image/jpeg")
_WITHOUT_MARKUP: Final = ("gpt-image-2", "gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest")


@frozen
class SourceInfo:
    """The facts of an image to edit: its part of the request, its name in messages, its size and its first bytes."""

    part: str
    name: str
    nbytes: int
    head: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """The media type of its bytes."""
        return media.media_type(self.head)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, if the bytes contain them."""
        return media.pixel_size(self.head)


def _images(context: CheckContext) -> Iterator[Problem]:
    images = as_list(context.values.get("image"))
    if not images:  # certain for every server: one that accepts it may generate and bill something else
        yield Problem("image", "there are 0 images", f"1 to {_MOST_IMAGES}", certain=True)
    elif len(images) > _MOST_IMAGES:
        yield context.problem("image", f"there are {len(images)} images", f"1 to {_MOST_IMAGES}")


def _layers(context: CheckContext) -> Iterator[Problem]:
    markup, model = context.get("markup"), context.model
    if markup is None:
        return
    if context.get("mask") is not None:
        yield context.problem("markup", "it does not go with a mask", "one of the two")
    if context.exact_model and model is not None and model.name in _WITHOUT_MARKUP:
        message = f"{model.name} is not documented to take one"
        yield context.problem("markup", message, "gpt-image-2.5 or later", certain=False)


def _reserved(context: CheckContext) -> Iterator[Problem]:
    extra: Mapping[str, Any] = context.values.get("extra_body") or {}
    for name in ("image", "images", "image[]", "mask", "markup"):
        if name in extra:
            yield Problem("extra_body", f"it holds {name!r}", "images by their own keywords", certain=True)


EDIT_RULES: Final = (_images, _layers, _reserved)


def image_problems(
    images: Sequence[SourceInfo | ImageReference], *, official: bool, as_json: bool
) -> list[Problem]:
    """Return the problems of the opened images; certain only for OpenAI's own server, or without an image."""
    sources = [image for image in images if isinstance(image, SourceInfo)]
    problems = [problem for source in sources for problem in _source_problems(source, official, as_json)]
    first = images[0] if images and isinstance(images[0], SourceInfo) else None
    for layer in sources:
        if layer.part != "image":
            problems += _layer_problems(layer, first, official)
    return problems


def _source_problems(source: SourceInfo, official: bool, as_json: bool) -> Iterator[Problem]:
    if not source.nbytes:
        yield Problem(source.name, "it is empty", "an image", certain=True)
        return
    media_type = source.media_type
    if media_type not in _ACCEPTED_TYPES:
        message = (
            "its bytes are not an image of a known format"
            if media_type == media.UNKNOWN
            else f"it is {media_type}"
        )
        yield Problem(source.name, message, ", ".join(_ACCEPTED_TYPES), certain=official)
    if source.nbytes >= _MOST_BYTES:
        yield Problem(
            source.name, f"it has {source.nbytes:,} bytes", f"less than {_MOST_BYTES:,}", certain=official
        )
    elif as_json and source.nbytes // 3 * 4 > _MOST_URL:
        message = f"it has {source.nbytes:,} bytes, which are more as a data: URL in JSON"
        yield Problem(
            source.name, message, f"a URL of at most {_MOST_URL:,} characters, or a form", certain=official
        )


def _layer_problems(layer: SourceInfo, first: SourceInfo | None, official: bool) -> Iterator[Problem]:
    """Yield the problems of a mask or a markup for the first image."""
    if layer.media_type == "image/png" and not _has_alpha(layer.head):
        yield Problem(layer.name, "it has no transparency", "a PNG with an alpha channel", certain=official)
    elif layer.media_type in _ACCEPTED_TYPES[1:]:
        yield Problem(layer.name, f"it is {layer.media_type}", "image/png", certain=official)
    if _SAFE_MASK_BYTES <= layer.nbytes < _MOST_BYTES:
        message = f"it has {layer.nbytes:,} bytes, and not all documents allow that"
        yield Problem(layer.name, message, f"less than {_SAFE_MASK_BYTES:,}", certain=False)
    size, first_size = layer.size, first.size if first else None
    # EXIF orientation of the first image may swap width and height.
    if size and first_size and size not in (first_size, first_size[::-1]):
        message = f"it is {size[0]}x{size[1]} and the first image {first_size[0]}x{first_size[1]}"
        yield Problem(layer.name, message, "the size of the first image", certain=official)


def _has_alpha(head: bytes) -> bool:
    """Return whether a PNG has transparency: by its color type, or by a list of transparent colors (tRNS)."""
    if len(head) > 25 and head[25] in (4, 6):
        return True
    offset = 8
    while offset + 8 <= len(head):
        length, chunk = struct.unpack_from(">I4s", head, offset)
        if chunk in (b"tRNS", b"IDAT"):
            return bool(chunk == b"tRNS")
        offset += 12 + length
    return True  # unknown: the bytes end before the chunk that decides
