"""What comes back: results and their usage.

Rules: frozen values; everything but the pictures may be missing (None); fields of the answer that are not known here
are kept in `extra`, and so are known ones with a value of a strange type. A missing usage is None, never zero; a
sum of usages leaves nothing out that it was not told: what one of them lacks, the sum lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import evolve, field, frozen

from openai_images._util.attrs import repr_keys
from openai_images.models.image import Image, MimeBundle, mime_bundle
from openai_images.models.usage import SvgUsage, Usage, sum_usages

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence
    from decimal import Decimal

    from openai_images.catalog.prices import Prices
    from openai_images.models.image import Image


@frozen
class ImageResult:
    """A finished call: at least one picture, and what the server said about them.

    `created` is in Unix seconds; `size` and `quality` are what the server resolved `auto` to; `request_id` is the
    server's name for the request; `attempts` counts the requests made, `elapsed` the seconds, waits included.
    `model` is the one that was asked for (what the answer says of a model is in `extra`), `edited` whether pictures
    were sent with the prompt; `parts` are the results of the requests that a large `n` was shared out over, none where
    it was one request.
    """

    images: tuple[Image, ...]
    created: int | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    usage: Usage | None = None
    svg_usage: SvgUsage | None = None
    safety_identifier: str | None = field(default=None, repr=False)
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)
    request_id: str | None = None
    attempts: int = 1
    elapsed: float = 0.0
    model: str | None = None
    edited: bool = False
    parts: tuple[ImageResult, ...] = field(default=(), repr=False)

    @property
    def image(self) -> Image:
        """The first picture; there always is one."""
        return self.images[0]

    def cost(self, prices: Prices | None = None, *, model: str | None = None) -> Decimal | None:
        """What this result cost, in US dollars, from the tokens that the server counted; None where they do not say.

        `prices` are `PUBLISHED_PRICES` unless given; `model` names the one whose prices hold, where that is not the
        `model` that was asked for (a deployment may have any name). See `cost_of`.
        """
        # Here, so that a client is built without Decimal and a table of prices.
        from openai_images.catalog.prices import PUBLISHED_PRICES  # noqa: PLC0415
        from openai_images.models.cost import cost_of  # noqa: PLC0415

        return cost_of(self, model, PUBLISHED_PRICES if prices is None else prices)

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> MimeBundle:
        """What a notebook shows: the picture, or all of them side by side."""
        return mime_bundle(self.images, repr(self), include, exclude)


def total_usage(results: Iterable[ImageResult]) -> Usage | None:
    """The usage of several results together; None where one of them has none. See `sum_usages`."""
    return sum_usages(result.usage for result in results)


def with_images(result: ImageResult, images: Sequence[Image]) -> ImageResult:
    """The result with other forms of the same pictures, such as files; its parts have them too."""
    left = iter(images)
    parts = tuple(evolve(part, images=tuple(islice(left, len(part.images)))) for part in result.parts)
    return evolve(result, images=tuple(images), parts=parts)


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
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)


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
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)


@frozen
class UnknownEvent:
    """An event this version does not know: its `type` and its decoded JSON (or its text), pictures as `Image`."""

    type: str
    raw: Any = field(repr=False, hash=False)


Event: TypeAlias = PartialImage | CompletedImage | UnknownEvent
