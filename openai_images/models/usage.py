"""Tokens as servers count them, and their sums.

Invariants: a missing count is None, never zero; fields that are not known here are kept in `extra`, and so are known
ones with a value of an unexpected type; a sum has only what all of its parts have.
Must not: import what costs money; `cost.py` and `results.py` do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard

from attrs import AttrsInstance, field, fields_dict, frozen, has

from openai_images._util.attrs import repr_keys
from openai_images._util.json import is_mapping

if TYPE_CHECKING:
    from openai_images.models.image import Image


@frozen
class TokenDetails:
    """Tokens by kind."""

    image_tokens: int | None = None
    text_tokens: int | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)


@frozen
class Usage:
    """Tokens as the server counted them; streams come without `output_tokens_details` (seen on the wire in 2026)."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: TokenDetails | None = None
    output_tokens_details: TokenDetails | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)

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
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)


class PricedResult(Protocol):
    """What decides the cost of a result: `ImageResult` has it."""

    @property
    def images(self) -> Sequence[Image]:
        """The images; an SVG among them has an author."""
        ...

    @property
    def output_format(self) -> str | None:
        """The format that the server names."""

    @property
    def usage(self) -> Usage | None:
        """What the server counted."""

    @property
    def svg_usage(self) -> SvgUsage | None:
        """What it counted for the author of an SVG."""

    @property
    def model(self) -> str | None:
        """The model that was asked for."""

    @property
    def edited(self) -> bool:
        """Whether images were sent with the prompt."""
        ...

    @property
    def parts(self) -> Sequence[PricedResult]:
        """The results of the requests that the call was split into."""
        ...


def usage_fields(usage: Usage | SvgUsage | TokenDetails) -> dict[str, Any]:
    """What is there of a usage as a JSON object; a server's odd values are written as text. Never raises."""
    # Here, so that a client is built without Decimal.
    from openai_images._util.plain_json import json_value  # noqa: PLC0415

    fields: dict[str, Any] = {}
    for name in fields_dict(type(usage)):
        value = getattr(usage, name)
        if name != "extra" and value is not None:
            fields[name] = usage_fields(value) if isinstance(value, TokenDetails) else json_value(value)
    extra: Any = usage.extra  # callers may be untyped
    more = json_value(extra) if is_mapping(extra) else None
    return (
        fields | {name: value for name, value in more.items() if name not in fields}
        if is_mapping(more)
        else fields
    )


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


def _is_counted(usage: Usage) -> bool:
    return any((usage.input_tokens, usage.output_tokens, usage.total_tokens))


def _add(one: Any, other: Any, name: str = "tokens") -> Any:
    """The sum of two counts, or of all counts in two values; None where there is none."""
    if _is_value(one) and type(one) is type(other):
        return type(one)(
            **{key: _add(getattr(one, key), getattr(other, key), key) for key in fields_dict(type(one))}
        )
    if is_mapping(one) and is_mapping(other):
        both = {key: _add(one[key], other[key], str(key)) for key in one if key in other}
        return {key: value for key, value in both.items() if value is not None}
    if "tokens" in name and type(one) is type(other) is int:
        return one + other
    return one if type(one) is type(other) and one == other else None


def _is_value(value: object) -> TypeGuard[AttrsInstance]:
    return has(type(value))
