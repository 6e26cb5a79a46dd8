"""Results and events of a call, and the models that a server lists.

Invariants: frozen values; everything except the images may be missing (None); unknown fields of a response, and known
fields of an unexpected type, are kept in `extra`.
Must not: count a missing usage as zero (a sum is None if one of its parts is).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, field, frozen

from openai_images._util.attrs import Hinted, repr_keys, short_repr
from openai_images._util.json import is_list, is_object
from openai_images.models.image import Image
from openai_images.models.usage import SvgUsage, Usage, sum_usages

if TYPE_CHECKING:
    from decimal import Decimal

    from openai_images.catalog.prices import Prices
    from openai_images.models.notebook import MimeBundle


@short_repr
@frozen(repr=False)
class ImageResult(Hinted):
    """The result of a call: at least one image, and the other fields of the response.

    `created` is in Unix seconds; `size` and `quality` are what the server chose for `auto`; `request_id` is the
    server's id of the request; `attempts` is the number of requests that were sent, `elapsed` the duration in seconds,
    waits included. `model` is the requested model (one named in the response is in `extra`); `edited` is whether images
    were sent with the prompt. `parts` are the results of the requests that a large `n` was split into, empty for one
    request. `missing` is the number of requested images that were not received; it is 0 except in the result of a
    `PartialResultError`.
    """

    images: tuple[Image, ...]
    """The images in order; at least one."""
    created: int | None = None
    background: str | None = None
    """"transparent" or "opaque", as the server says."""
    output_format: str | None = None
    """The format that the server names; that of the bytes is `image.media_type`."""
    quality: str | None = None
    """The quality that the server used."""
    size: str | None = None
    """The size that the server used, as "WIDTHxHEIGHT" in pixels."""
    usage: Usage | None = None
    """The server's token counts, if it sent them."""
    svg_usage: SvgUsage | None = None
    """The token counts of the model that wrote an SVG."""
    safety_identifier: str | None = field(default=None, repr=False)
    """That of the request, repeated by the server."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)
    """Fields of the response that this version does not know, such as the model named by the server."""
    request_id: str | None = None
    attempts: int = 1
    elapsed: float = 0.0
    """Seconds from the start of the call to its end, waits included."""
    model: str | None = None
    edited: bool = False
    """Whether images were sent with the prompt."""
    parts: tuple[ImageResult, ...] = field(default=(), repr=False)
    missing: int = 0

    @property
    def image(self) -> Image:
        """The first image; there is always one."""
        return self.images[0]

    def cost(self, prices: Prices | None = None, *, model: str | None = None) -> Decimal | None:
        """Return the cost in US dollars from the server's token counts; None if it is unknown.

        `prices` defaults to `PUBLISHED_PRICES`; `model` selects the price, by default the requested model (a deployment
        may have any name). See `cost_of`.
        """
        # Imported here: a client starts without Decimal and the price table.
        from openai_images.catalog.prices import PUBLISHED_PRICES  # noqa: PLC0415
        from openai_images.models.cost import cost_of  # noqa: PLC0415

        return cost_of(self, model, PUBLISHED_PRICES if prices is None else prices)

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> MimeBundle:
        """Return the images for a notebook, side by side."""
        from openai_images.models.notebook import mime_bundle  # noqa: PLC0415  only notebooks need it

        return mime_bundle(self.images, repr(self), include, exclude)


def total_usage(results: Iterable[ImageResult]) -> Usage | None:
    """Return the sum of the usages; None if one of them is unknown. See `sum_usages`."""
    return sum_usages(result.usage for result in results)


def with_images(result: ImageResult, images: Sequence[Image]) -> ImageResult:
    """Return a copy with these images in it and in its parts, such as the same images as files."""
    remaining = iter(images)
    parts = tuple(evolve(part, images=tuple(islice(remaining, len(part.images)))) for part in result.parts)
    return evolve(result, images=tuple(images), parts=parts)


@short_repr
@frozen(kw_only=True, repr=False)
class PartialImage(Hinted):
    """A preview of an image that is being generated.

    `partial_image_index` counts from 0; the server may send fewer than requested. `image_index` is the position of the
    image.
    """

    image: Image
    """The decoded preview."""
    partial_image_index: int | None = None
    image_index: int = 0
    created_at: int | None = None
    """When the server sent it, in Unix seconds."""
    background: str | None = None
    """"transparent" or "opaque", as the server says."""
    output_format: str | None = None
    """The format that the server names; that of the bytes is `image.media_type`."""
    quality: str | None = None
    """The quality that the server used."""
    size: str | None = None
    """The size that the server used, as "WIDTHxHEIGHT" in pixels."""
    sequence_number: int | None = None
    """The position of the event in its stream, from 0, if the server counts them."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)
    """Fields that this version does not know."""


@short_repr
@frozen(kw_only=True, repr=False)
class CompletedImage(Hinted):
    """A complete image, with its usage."""

    image: Image
    """The decoded image."""
    image_index: int = 0
    """Its position among the requested images, from 0."""
    created_at: int | None = None
    """When the server sent it, in Unix seconds."""
    background: str | None = None
    """"transparent" or "opaque", as the server says."""
    output_format: str | None = None
    """The format that the server names; that of the bytes is `image.media_type`."""
    quality: str | None = None
    """The quality that the server used."""
    size: str | None = None
    """The size that the server used, as "WIDTHxHEIGHT" in pixels."""
    sequence_number: int | None = None
    """The position of the event in its stream, from 0, if the server counts them."""
    usage: Usage | None = None
    """The server's token counts, if it sent them."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)
    """Fields that this version does not know."""


@frozen
class UnknownEvent:
    """An event that this version does not know: its `type`, and its JSON (or its text), with images as `Image`."""

    type: str
    raw: Any = field(repr=False, hash=False)
    """The decoded JSON of the event, or its text."""


ImageEvent: TypeAlias = PartialImage | CompletedImage | UnknownEvent
"""What a stream yields."""


@frozen
class ModelInfo:
    """A model that the server offers to this key.

    `created` is a Unix time in seconds; `shutdown_date` is the first day on which the model is not available, or None.
    `extra` has the server's other fields.
    """

    id: str
    """The model's name, as in `model=`."""
    created: int | None = None
    owned_by: str | None = None
    """The owner that the server names."""
    shutdown_date: date | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)


def read_models(document: object) -> tuple[ModelInfo, ...] | None:
    """Return the models of a decoded list (`data`, `models`, or a bare array); None if there is no list."""
    if is_object(document):
        document = document.get("data", document.get("models"))
    return tuple(_models(document)) if is_list(document) else None


def _models(items: list[Any]) -> Iterator[ModelInfo]:
    for item in items:
        fields: dict[str, Any] = dict(item) if is_object(item) else {"id": item}
        names = [name for key in ("id", "name") if isinstance(name := fields.get(key), str) and name]
        if not names:
            continue
        known: dict[str, Any] = {
            "created": value if type(value := fields.get("created")) is int else None,
            "owned_by": value if isinstance(value := fields.get("owned_by"), str) else None,
            "shutdown_date": _date(fields.get("shutdown_date")),
        }
        read = {"id", "object", *(name for name, value in known.items() if value is not None)}
        extra = {name: value for name, value in fields.items() if name not in read and value is not None}
        yield ModelInfo(names[0], **known, extra=extra)


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(value[:10]) if isinstance(value, str) else None
    except ValueError:
        return None
