"""Token counts of servers, and their sums.

Invariants: a missing count is None, never zero; unknown fields, and known fields of an unexpected type, are kept in
`extra`; a sum has only the counts that all its parts have.
Must not: import the price tables (`cost.py` does).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any, Protocol

from attrs import field, fields_dict, frozen

from openai_images._util.attrs import repr_keys, short_repr
from openai_images._util.json import is_mapping, json_value

if TYPE_CHECKING:
    from openai_images.models.image import Image


@short_repr
@frozen(repr=False)
class TokenDetails:
    """Token counts by kind."""

    image_tokens: int | None = None
    """Tokens of images."""
    text_tokens: int | None = None
    """Tokens of text."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)
    """Counts that this version does not know."""


@short_repr
@frozen(repr=False)
class Usage:
    """Token counts of a response; streams have no `output_tokens_details` (seen on the wire in 2026)."""

    input_tokens: int | None = None
    """Tokens of the prompt and of the input images."""
    output_tokens: int | None = None
    """Tokens of the generated images."""
    total_tokens: int | None = None
    """The sum, as the server counts it."""
    input_tokens_details: TokenDetails | None = None
    """The input tokens by kind."""
    output_tokens_details: TokenDetails | None = None
    """The output tokens by kind."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)
    """Counts that this version does not know."""

    def as_dict(self) -> dict[str, Any]:
        """Return the counts that are not None as a JSON object, with the unknown fields; never raises."""
        return usage_fields(self)


@short_repr
@frozen(repr=False)
class SvgUsage:
    """Token counts of the model that wrote an SVG; they are not part of `Usage`."""

    model: str | None = None
    """The model that wrote the SVG."""
    input_tokens: int | None = None
    """Tokens that it read."""
    output_tokens: int | None = None
    """Tokens that it wrote."""
    reasoning_tokens: int | None = None
    """Tokens of its reasoning, included in the output tokens."""
    total_tokens: int | None = None
    """The sum, as the server counts it."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False, repr=repr_keys)
    """Counts that this version does not know."""


class PricedResult(Protocol):
    """The part of `ImageResult` that its cost depends on."""

    @property
    def images(self) -> Sequence[Image]:
        """The images; an SVG also costs the tokens of the model that wrote it."""
        ...

    @property
    def output_format(self) -> str | None:
        """The format that the server names."""

    @property
    def usage(self) -> Usage | None:
        """The server's token counts."""

    @property
    def svg_usage(self) -> SvgUsage | None:
        """The server's token counts of the model that wrote an SVG."""

    @property
    def model(self) -> str | None:
        """The requested model."""

    @property
    def edited(self) -> bool:
        """Whether images were sent with the prompt."""
        ...

    @property
    def parts(self) -> Sequence[PricedResult]:
        """The results of the requests that a split call consists of."""
        ...


def usage_fields(usage: Usage | SvgUsage | TokenDetails) -> dict[str, Any]:
    """Return a usage as a JSON object without missing counts; values of unexpected types become text; never raises."""
    fields: dict[str, Any] = {}
    for name in fields_dict(type(usage)):
        value = getattr(usage, name)
        if name != "extra" and value is not None:
            fields[name] = usage_fields(value) if isinstance(value, TokenDetails) else json_value(value)
    extra: Any = usage.extra  # callers may be untyped
    extra_fields = json_value(extra) if is_mapping(extra) else None
    return (
        fields | {name: value for name, value in extra_fields.items() if name not in fields}
        if is_mapping(extra_fields)
        else fields
    )


def sum_usages(usages: Iterable[Usage | None]) -> Usage | None:
    """Return the sum of usages and their details; a count that one of them lacks is None.

    The sum is None if one usage is None or all zeros (some servers send zeros for what they did not count): it would be
    too low. In `extra`, numbers of tokens are added, values that are equal in all usages are kept, others are dropped.
    """
    counted = list(usages)
    is_known = all(
        each and (each.input_tokens or each.output_tokens or each.total_tokens) for each in counted
    )
    return reduce(_add, counted) if counted and is_known else None


def _add(first: Any, second: Any, name: str = "tokens") -> Any:
    """Return the sum of two counts, or of all counts in two values; None if there is none."""
    if isinstance(first, Usage | TokenDetails) and type(first) is type(second):
        names = fields_dict(type(first))
        return type(first)(**{key: _add(getattr(first, key), getattr(second, key), key) for key in names})
    if is_mapping(first) and is_mapping(second):
        sums = {key: _add(first[key], second[key], str(key)) for key in first if key in second}
        return {key: value for key, value in sums.items() if value is not None}
    if "tokens" in name and type(first) is type(second) is int:
        return first + second
    return first if type(first) is type(second) and first == second else None
