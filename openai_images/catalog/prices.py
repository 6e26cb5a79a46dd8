"""A dated table of published token prices, which the user can replace.

Invariants: Decimal throughout, in US dollars for 1,000,000 tokens; an unknown price is None and never 0; a model that
is not in the table has no price.
Must not: fetch prices, or convert currencies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Context, Decimal, InvalidOperation, localcontext
from typing import Final, TypeAlias, TypeGuard

from attrs import asdict, evolve, field, fields_dict, frozen

from openai_images._util.attrs import must_be, repr_keys, safe_repr
from openai_images._util.json import is_mapping
from openai_images.catalog.models import model_family
from openai_images.errors import ConfigurationError

_EXPECTED: Final = 'US dollars for 1,000,000 tokens, such as "8" or "0.25"'
_PER_TOKEN: Final = Decimal("0.000001")
EXACT: Final = Context(prec=100)
"""Arithmetic without rounding, independent of the precision that the program has set."""


def is_amount(value: object) -> bool:
    """Whether this is a finite Decimal of 0 or more."""
    return isinstance(value, Decimal) and value.is_finite() and value >= 0


_usd = must_be(
    "a Decimal of 0 or more, or None where unknown", lambda value: value is None or is_amount(value)
)


@frozen(kw_only=True)
class ModelPrice:
    """The prices of one model in US dollars for 1,000,000 tokens of a kind; None for an unknown price.

    Raises `ConfigurationError` for a price that is not a finite Decimal of 0 or more.
    """

    text_input: Decimal | None = field(default=None, validator=_usd)
    """Tokens of the prompt."""
    cached_text_input: Decimal | None = field(default=None, validator=_usd)
    """Tokens of the prompt that came from the server's cache."""
    image_input: Decimal | None = field(default=None, validator=_usd)
    """Tokens of the images that are sent."""
    cached_image_input: Decimal | None = field(default=None, validator=_usd)
    """Tokens of sent images that came from the server's cache."""
    image_output: Decimal | None = field(default=None, validator=_usd)
    """Tokens of generated images."""
    text_output: Decimal | None = field(default=None, validator=_usd)
    """Tokens of generated text."""


def _copy(models: Mapping[str, ModelPrice]) -> Mapping[str, ModelPrice]:
    """Copy the caller's mapping, so that later changes to it have no effect."""
    return dict(models)


@safe_repr
@frozen
class Prices:
    """The prices of several models, as published on the day `as_of`."""

    as_of: date
    models: Mapping[str, ModelPrice] = field(converter=_copy, hash=False, repr=repr_keys)
    """The prices of each model, by its name."""

    def of(self, model: str | None) -> ModelPrice | None:
        """Return the prices of `model`; None if unknown. A dated snapshot has its model's prices."""
        if model is None:
            return None
        return self.models.get(model) or self.models.get(model_family(model))

    def at_half(self) -> Prices:
        """Return half of these prices, as the Batch API charges."""
        halves = {
            model: ModelPrice(**{name: price and price / 2 for name, price in asdict(row).items()})
            for model, row in self.models.items()
        }
        return evolve(self, models=halves)

    def with_prices(self, changes: Mapping[str, ModelPrice]) -> Prices:
        """Return these prices with `changes` replacing the models they name; prices missing in a change are unknown."""
        return evolve(self, models={**self.models, **changes})


def _price(
    text: tuple[str, str], image: tuple[str, str], out: str, text_out: str | None = None
) -> ModelPrice:
    """Return a row of the published table: each input and its cached price, then the outputs."""
    return ModelPrice(
        text_input=Decimal(text[0]),
        cached_text_input=Decimal(text[1]),
        image_input=Decimal(image[0]),
        cached_image_input=Decimal(image[1]),
        image_output=Decimal(out),
        text_output=None if text_out is None else Decimal(text_out),
    )


_PRICE_SINCE_2: Final = _price(("5", "1.25"), ("8", "2"), "30")
_PRICE_1_5: Final = _price(("5", "1.25"), ("8", "2"), "32", "10")

# Sources: OpenAI's model pages for live models (2.6: developers.openai.com, November 2026), LiteLLM 1.109.1's price
# map for the rest; without the Batch API's half prices.
PUBLISHED_PRICES: Final = Prices(
    as_of=date(2026, 11, 22),
    models={
        "gpt-image-2.6-sunburst": _PRICE_SINCE_2,
        "gpt-image-2.6-flare": _PRICE_SINCE_2,
        "gpt-image-2.5-sunburst": _PRICE_SINCE_2,
        "gpt-image-2.5-flare": _PRICE_SINCE_2,
        "gpt-image-2": _PRICE_SINCE_2,
        "gpt-image-1.5": _PRICE_1_5,
        "chatgpt-image-latest": _PRICE_1_5,
        "gpt-image-1-mini": _price(("2", "0.20"), ("2.50", "0.25"), "8"),
        "gpt-image-1": _price(("5", "1.25"), ("10", "2.50"), "40"),  # shut down on 2026-10-23
    },
)
"""The prices known to this version, of November 2026."""


def read_prices(document: object) -> dict[str, ModelPrice]:
    """Return the prices in a JSON document such as `{"gpt-image-2": {"text_input": "5", "image_output": 30}}`.

    Numbers and texts of numbers are US dollars for 1,000,000 tokens; null and missing prices are unknown. Pass the
    result to `Prices.with_prices`. Raises `ConfigurationError`, which lists all problems.

    `document` is what `json.loads` returned.
    """
    if not is_mapping(document):
        raise ConfigurationError(
            f"the prices cannot be used: they should be an object of models, not {_type_name(document)}"
        )
    problems: list[str] = []
    prices = {model: _read_model(model, row, problems) for model, row in document.items()}
    if problems:
        raise ConfigurationError(f"the prices cannot be used: {'; '.join(problems)}")
    return prices


def _read_model(model: str, row: object, problems: list[str]) -> ModelPrice:
    """Return one model's prices; append their problems to `problems`."""
    if not is_mapping(row):
        problems.append(f"{model!r} should be an object of prices, not {_type_name(row)}")
        return ModelPrice()
    known = fields_dict(ModelPrice)
    found: dict[str, Decimal | None] = {}
    for name, value in row.items():
        price = None if value is None else _read_usd(value)
        if name not in known:
            problems.append(f"{model!r} has {name!r}, which is none of {', '.join(known)}")
        elif value is not None and price is None:
            problems.append(f"{name!r} of {model!r} should be {_EXPECTED}, not {_shorten(value)}")
        else:
            found[name] = price
    return ModelPrice(**found)


def _read_usd(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        return None
    return price if is_amount(price) else None


def _type_name(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}\N{HORIZONTAL ELLIPSIS}"


PricedTokens: TypeAlias = tuple[int, Decimal | None]


def sum_prices(parts: Iterable[PricedTokens]) -> Decimal | None:
    """Return tokens times prices; None if some tokens have no price."""
    with localcontext(EXACT):
        return add_amounts(
            [
                None if tokens and price is None else tokens * (price or 0) * _PER_TOKEN
                for tokens, price in parts
            ]
        )


def add_amounts(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum; None if one of them is unknown."""
    total = Decimal(0)
    with localcontext(EXACT):
        for cost in costs:
            if cost is None:
                return None
            total += cost
    return total


def is_count(value: object) -> TypeGuard[int]:
    """Whether this is a whole number of 0 or more."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
