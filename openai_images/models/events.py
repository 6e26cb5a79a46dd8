"""What a stream yields, one frozen value per event.

Rules: a partial and a finished picture are different classes, so one cannot pass for the other; an event that is not
known is data (`UnknownEvent`), never an exception; fields not known here are kept in `extra`, of which a `repr`
shows the names only: a server may echo the prompt there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import field, frozen

from openai_images._util.attrs import names
from openai_images.models.results import Usage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.image import Image

__all__ = ["CompletedImage", "Event", "PartialImage", "UnknownEvent"]


@frozen(kw_only=True)
class PartialImage:
    """A picture still being painted.

    `partial_image_index` counts from 0; fewer than asked for may come. `image_index` tells several pictures apart.
    """

    image: Image
    partial_image_index: int | None = None
    image_index: int = 0
    created_at: int | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    sequence_number: int | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)


@frozen(kw_only=True)
class CompletedImage:
    """A finished picture, with its usage."""

    image: Image
    image_index: int = 0
    created_at: int | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    sequence_number: int | None = None
    usage: Usage | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)


@frozen
class UnknownEvent:
    """An event this version does not know: its `type` and its decoded JSON (or its text), pictures as `Image`."""

    type: str
    raw: Any = field(repr=False, hash=False)


Event: TypeAlias = PartialImage | CompletedImage | UnknownEvent
