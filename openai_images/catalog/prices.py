"""What tokens cost: a dated table of published prices, and a user's own in its place.

Rules: Decimal throughout, in US dollars for 1,000,000 tokens; a price that is not known is None and never 0; a
model that is not in the table has no price. It refuses to fetch prices and to convert currencies. Sources: the
published model pages for what is live (2.6: developers.openai.com, November 2026), LiteLLM 1.109.1's price map for
the rest; the Batch API's halved prices are not in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from attrs import Attribute, evolve, field, fields_dict, frozen

from openai_images._util.attrs import repr_keys, safe_repr
from openai_images._util.json import is_mapping
from openai_images.catalog.tokens import model_family
from openai_images.errors import ConfigurationError

_WANTED: Final = 'US dollars for 1,000,000 tokens, such as "8" or "0.25"'


def _usd(_: Any, attribute: Attribute[Any], value: object) -> None:
    """Refuse what is no price."""
    if value is not None and not (isinstance(value, Decimal) and value.is_finite() and value >= 0):
        msg = f"ModelPrice({attribute.name}={value!r}): must be a Decimal of 0 or more, or None where unknown"
        raise ConfigurationError(msg)


@frozen(kw_only=True)
class ModelPrice:
    """The prices of one model in US dollars for 1,000,000 tokens of a kind; None where a price is not known.

    Raises `ConfigurationError` for a price that is not a finite Decimal of 0 or more.
    """

    text_input: Decimal | None = field(default=None, validator=_usd)
    cached_text_input: Decimal | None = field(default=None, validator=_usd)
    image_input: Decimal | None = field(default=None, validator=_usd)
    cached_image_input: Decimal | None = field(default=None, validator=_usd)
    image_output: Decimal | None = field(default=None, validator=_usd)
    text_output: Decimal | None = field(default=None, validator=_usd)


def _copied(models: Mapping[str, ModelPrice]) -> Mapping[str, ModelPrice]:
    """What the caller does to their mapping afterwards changes nothing here."""
    return dict(models)


@safe_repr
@frozen
class Prices:
    """The prices of several models, as they were published on the day `as_of`."""

    as_of: date
    models: Mapping[str, ModelPrice] = field(converter=_copied, hash=False, repr=repr_keys)

    def of(self, model: str | None) -> ModelPrice | None:
        """The prices of `model`, None where they are not known; a dated snapshot counts as its model."""
        if model is None:
            return None
        return self.models.get(model) or self.models.get(model_family(model))

    def with_prices(self, changes: Mapping[str, ModelPrice]) -> Prices:
        """These prices with `changes` in place of the models they name; what a change leaves out is unknown."""
        return evolve(self, models={**self.models, **changes})


def _price(
    text: tuple[str, str], image: tuple[str, str], out: str, text_out: str | None = None
) -> ModelPrice:
    """A row of the published table: each input and its cached price, then the outputs."""
    return ModelPrice(
        text_input=Decimal(text[0]),
        cached_text_input=Decimal(text[1]),
        image_input=Decimal(image[0]),
        cached_image_input=Decimal(image[1]),
        image_output=Decimal(out),
        text_output=None if text_out is None else Decimal(text_out),
    )


_FROM_2_ON: Final = _price(("5", "1.25"), ("8", "2"), "30")
_OF_1_5: Final = _price(("5", "1.25"), ("8", "2"), "32", "10")

PUBLISHED_PRICES: Final = Prices(
    as_of=date(2026, 11, 22),
    models={
        "gpt-image-2.6-sunburst": _FROM_2_ON,
        "gpt-image-2.6-flare": _FROM_2_ON,
        "gpt-image-2.5-sunburst": _FROM_2_ON,
        "gpt-image-2.5-flare": _FROM_2_ON,
        "gpt-image-2": _FROM_2_ON,
        "gpt-image-1.5": _OF_1_5,
        "chatgpt-image-latest": _OF_1_5,
        "gpt-image-1-mini": _price(("2", "0.20"), ("2.50", "0.25"), "8"),
        "gpt-image-1": _price(("5", "1.25"), ("10", "2.50"), "40"),  # shut down on 2026-10-23
    },
)
"""The prices this version knows, of November 2026."""


def read_prices(document: object) -> dict[str, ModelPrice]:
    """The prices in a JSON document such as `{"gpt-image-2": {"text_input": "5", "image_output": 30}}`.

    Numbers and texts of numbers are US dollars for 1,000,000 tokens; null and what is left out are unknown prices.
    Give the answer to `Prices.with_prices`. Raises `ConfigurationError`, which names everything that is wrong.
    """
    if not is_mapping(document):
        msg = f"the prices cannot be used: they should be an object of models, not {_kind(document)}"
        raise ConfigurationError(msg)
    problems: list[str] = []
    prices = {model: _read_model(model, given, problems) for model, given in document.items()}
    if problems:
        msg = f"the prices cannot be used: {'; '.join(problems)}"
        raise ConfigurationError(msg)
    return prices


def _read_model(model: str, given: object, problems: list[str]) -> ModelPrice:
    """One model's prices; what is wrong with them goes to `problems`."""
    if not is_mapping(given):
        problems.append(f"{model!r} should be an object of prices, not {_kind(given)}")
        return ModelPrice()
    known = fields_dict(ModelPrice)
    found: dict[str, Decimal | None] = {}
    for name, value in given.items():
        price = None if value is None else _read_usd(value)
        if name not in known:
            problems.append(f"{model!r} has {name!r}, which is none of {', '.join(known)}")
        elif value is not None and price is None:
            problems.append(f"{name!r} of {model!r} should be {_WANTED}, not {_shown(value)}")
        else:
            found[name] = price
    return ModelPrice(**found)


def _read_usd(value: object) -> Decimal | None:
    """A price as it stands in a document, None where it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        return None
    return price if price.is_finite() and price >= 0 else None


def _kind(value: object) -> str:
    return "null" if value is None else type(value).__name__


def _shown(value: object) -> str:
    """A value, as far as a message has room for it."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}\N{HORIZONTAL ELLIPSIS}"
