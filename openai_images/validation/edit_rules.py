"""The rules of `POST /images/edits` that go beyond those of generations: of its parameters, and of its pictures.

Rules: pure; as in `rules.py`. Where the reference and the guides differ, as on how large a mask may be, what lies
between the two is only doubtful. Sources: OpenAI's API reference, its guide to image generation, and the official
Python package 3.54.
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
_TAKEN: Final = ("image/png", "image/webp", "image/jpeg")
_WITHOUT_MARKUP: Final = ("gpt-image-2", "gpt-image-1.5", "gpt-image-1-mini", "chatgpt-image-latest")


@frozen
class SourceInfo:
    """What is known of a picture to edit: the part of the request it is, its name in messages, its first bytes."""

    part: str
    name: str
    nbytes: int
    head: bytes = field(repr=False)

    @property
    def media_type(self) -> str:
        """By its bytes."""
        return media.media_type(self.head)

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height in pixels, where they are told."""
        return media.pixel_size(self.head)


def _images(asked: CheckContext) -> Iterator[Problem]:
    images = as_list(asked.values.get("image"))
    if not images:  # no server edits nothing, but one may paint all the same
        yield Problem("image", "there are 0 pictures", f"1 to {_MOST_IMAGES}", certain=True)
    elif len(images) > _MOST_IMAGES:
        yield asked.problem("image", f"there are {len(images)} pictures", f"1 to {_MOST_IMAGES}")


def _layers(asked: CheckContext) -> Iterator[Problem]:
    markup, model = asked.get("markup"), asked.model
    if markup is None:
        return
    if asked.get("mask") is not None:
        yield asked.problem("markup", "it does not go with a mask", "one of the two")
    if asked.named and model is not None and model.name in _WITHOUT_MARKUP:
        message = f"{model.name} is not said to take one"
        yield asked.problem("markup", message, "gpt-image-2.5 or later", sure=False)


def _reserved(asked: CheckContext) -> Iterator[Problem]:
    extra: Mapping[str, Any] = asked.values.get("extra_body") or {}
    for name in ("image", "images", "image[]", "mask", "markup"):
        if name in extra:
            yield Problem("extra_body", f"it holds {name!r}", "pictures by their own keywords", certain=True)


EDIT_RULES: Final = (_images, _layers, _reserved)


def image_problems(
    pictures: Sequence[SourceInfo | ImageReference], *, official: bool, as_json: bool
) -> list[Problem]:
    """What is wrong with the opened pictures; certain only where the server is OpenAI's own, or there is no picture."""
    known = [one for one in pictures if isinstance(one, SourceInfo)]
    problems = [problem for one in known for problem in _each(one, official, as_json)]
    first = pictures[0] if pictures and isinstance(pictures[0], SourceInfo) else None
    for layer in known:
        if layer.part != "image":
            problems += _layer(layer, first, official)
    return problems


def _each(one: SourceInfo, official: bool, as_json: bool) -> Iterator[Problem]:
    if not one.nbytes:
        yield Problem(one.name, "it is empty", "a picture", certain=True)
        return
    kind = one.media_type
    if kind not in _TAKEN:
        told = "its bytes are no picture that is known here" if kind == media.UNKNOWN else f"it is {kind}"
        yield Problem(one.name, told, ", ".join(_TAKEN), certain=official)
    if one.nbytes >= _MOST_BYTES:
        yield Problem(
            one.name, f"it has {one.nbytes:,} bytes", f"less than {_MOST_BYTES:,}", certain=official
        )
    elif as_json and one.nbytes // 3 * 4 > _MOST_URL:
        message = f"it has {one.nbytes:,} bytes, which are more as a data: URL in JSON"
        yield Problem(
            one.name, message, f"a URL of at most {_MOST_URL:,} characters, or a form", certain=official
        )


def _layer(layer: SourceInfo, first: SourceInfo | None, official: bool) -> Iterator[Problem]:
    """A mask or a markup beside the first picture."""
    if layer.media_type == "image/png" and not _has_alpha(layer.head):
        yield Problem(layer.name, "it has no transparency", "a PNG with an alpha channel", certain=official)
    elif layer.media_type in _TAKEN[1:]:
        yield Problem(layer.name, f"it is {layer.media_type}", "image/png", certain=official)
    if _SAFE_MASK_BYTES <= layer.nbytes < _MOST_BYTES:
        message = f"it has {layer.nbytes:,} bytes, and not all documents allow that"
        yield Problem(layer.name, message, f"less than {_SAFE_MASK_BYTES:,}", certain=False)
    size, other = layer.size, first.size if first else None
    # A photograph may lie on its side until its orientation is applied.
    if size and other and size not in (other, other[::-1]):
        message = f"it is {size[0]}x{size[1]} and the first picture {other[0]}x{other[1]}"
        yield Problem(layer.name, message, "the size of the first picture", certain=official)


def _has_alpha(head: bytes) -> bool:
    """Whether a PNG is transparent anywhere: by its colour type, or by a list of transparent colours (tRNS)."""
    if len(head) > 25 and head[25] in (4, 6):
        return True
    at = 8
    while at + 8 <= len(head):
        length, kind = struct.unpack_from(">I4s", head, at)
        if kind in (b"tRNS", b"IDAT"):
            return bool(kind == b"tRNS")
        at += 12 + length
    return True  # not seen so far
