"""What comes back: results and their usage.

Rules: frozen values; everything but the pictures may be missing (None); fields of the answer that are not known here
are kept in `extra`, and so are known ones with a value of a strange type. A missing usage is None, never zero; a
sum of usages leaves nothing out that it was not told: what one of them lacks, the sum lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeGuard

from attrs import AttrsInstance, evolve, field, fields_dict, frozen, has

from openai_images._util.attrs import names
from openai_images.models.image import Image, MimeBundle, mime_bundle

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Sequence
    from decimal import Decimal

    from openai_images.catalog.prices import Prices

__all__ = [
    "ImageResult",
    "SvgUsage",
    "TokenDetails",
    "Usage",
    "sum_usages",
    "total_usage",
    "usage_fields",
    "with_images",
]


@frozen
class TokenDetails:
    """Tokens by kind."""

    image_tokens: int | None = None
    text_tokens: int | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)


@frozen
class Usage:
    """Tokens as the server counted them; streams come without `output_tokens_details` (seen on the wire in 2026)."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)

    def as_dict(self) -> dict[str, Any]:
        """All counts that are there, as JSON can hold them, unknown fields among the others; never raises."""
        return usage_fields(self)


@frozen
class SvgUsage:
    """Tokens of the model that wrote an SVG, counted apart."""

    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    total_tokens: int | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)


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
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=names)
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


def usage_fields(usage: Usage | SvgUsage | TokenDetails) -> dict[str, Any]:
    """What is there of a usage as a JSON object; a server's odd values are written as text. Never raises."""
    # Here, so that a client is built without Decimal.
    from openai_images.models.plain import json_value  # noqa: PLC0415

    fields: dict[str, Any] = {}
    for name in fields_dict(type(usage)):
        value = getattr(usage, name)
        if name != "extra" and value is not None:
            fields[name] = usage_fields(value) if isinstance(value, TokenDetails) else json_value(value)
    extra: Any = usage.extra  # callers may be untyped
    more = json_value(extra) if _is_object(extra) else None
    return (
        fields | {name: value for name, value in more.items() if name not in fields}
        if _is_object(more)
        else fields
    )


def total_usage(results: Iterable[ImageResult]) -> Usage | None:
    """The usage of several results together; None where one of them has none. See `sum_usages`."""
    return sum_usages(result.usage for result in results)


def sum_usages(usages: Iterable[Usage | None]) -> Usage | None:
    """Several usages as one, with their details; a count that one of them lacks is None.

    None where one of them is None, or all zeros, which some servers write for what they did not count: a sum without
    it would be too low. In `extra`, whole numbers of tokens are added up, what all say alike is kept, and all else left
    out.
    """
    counted = list(usages)
    if not counted or not all(usage and _is_counted(usage) for usage in counted):
        return None
    return reduce(_add, counted)


def with_images(result: ImageResult, images: Sequence[Image]) -> ImageResult:
    """The result with other forms of the same pictures, such as files; its parts have them too."""
    left = iter(images)
    parts = tuple(evolve(part, images=tuple(islice(left, len(part.images)))) for part in result.parts)
    return evolve(result, images=tuple(images), parts=parts)


def _is_counted(usage: Usage) -> bool:
    return any((usage.input_tokens, usage.output_tokens, usage.total_tokens))


def _add(one: Any, other: Any, name: str = "tokens") -> Any:
    """The sum of two counts, or of all counts in two values; None where there is none."""
    if _is_value(one) and type(one) is type(other):
        return type(one)(
            **{key: _add(getattr(one, key), getattr(other, key), key) for key in fields_dict(type(one))}
        )
    if _is_object(one) and _is_object(other):
        both = {key: _add(one[key], other[key], str(key)) for key in one if key in other}
        return {key: value for key, value in both.items() if value is not None}
    if "tokens" in name and type(one) is type(other) is int:
        return one + other
    return one if type(one) is type(other) and one == other else None


def _is_value(value: object) -> TypeGuard[AttrsInstance]:
    return has(type(value))


def _is_object(value: object) -> TypeGuard[Mapping[str, Any]]:
    return isinstance(value, Mapping)
