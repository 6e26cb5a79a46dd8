"""The rules of `POST /images/edits` that generations do not have, for its parameters and its images.

Invariants: as in `generate_rules.py`. A value that only one of the reference and the guides accepts (such as the
largest mask) is doubtful. Sources: OpenAI's API reference, its guide to image generation, and the official Python
package 3.54.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from attrs import field, frozen

from openai_images.models import media
from openai_images.models.requests import ImageReference, as_list
from openai_images.validation.context import CheckContext, Problem

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
