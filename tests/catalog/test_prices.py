"""The table of prices, a user's own prices, and the tokens of an image."""

import copy
import json
import pickle
from datetime import date
from decimal import Decimal
from typing import Any

import attrs
import pytest

from openai_images import PUBLISHED_PRICES, ConfigurationError, ModelPrice, Prices, read_prices
from openai_images.catalog.models import most_expensive_size, output_tokens, qualities
from openai_images.server.protocol.catalog import MODELS, output_tokens as served_tokens, size_problem

SUNBURST, FLARE = "gpt-image-2.5-sunburst", "gpt-image-2.5-flare"
NAMES = [
    "text_input",
    "cached_text_input",
    "image_input",
    "cached_image_input",
    "image_output",
    "text_output",
]


@pytest.mark.parametrize(
    ("models", "prices"),
    [
        (["gpt-image-1"], "5 1.25 10 2.50 40 -"),
        (["gpt-image-1-mini"], "2 0.20 2.50 0.25 8 -"),
        (["gpt-image-1.5", "chatgpt-image-latest"], "5 1.25 8 2 32 10"),
        (["gpt-image-2", SUNBURST, FLARE, "gpt-image-2.6-sunburst"], "5 1.25 8 2 30 -"),
        (["gpt-image-2.6-flare", "gpt-image-2-2026-04-21", f"{FLARE}-2026-09-08"], "5 1.25 8 2 30 -"),
    ],
)
def test_published_prices(models: list[str], prices: str) -> None:
    """Each row of the table; a dated snapshot costs what its model does."""
    for model in models:
        price = PUBLISHED_PRICES.of(model)
        assert price is not None
        found = [getattr(price, name) for name in NAMES]
        assert found == [None if text == "-" else Decimal(text) for text in prices.split()]


@pytest.mark.parametrize(
    "model",
    [None, "", "dall-e-3", "gpt-image-2.5", "gpt-image-2-2026", "gpt-image-3-2027-01-01", "GPT-IMAGE-2"],
)
def test_a_model_without_a_price(model: str | None) -> None:
    """It is None, never the price of something like it."""
    assert PUBLISHED_PRICES.of(model) is None


def test_prices_of_ones_own() -> None:
    """They take the place of a model's, whole; a snapshot may have its own; the table they came from stays."""
    given = {
        "gpt-image-2": ModelPrice(image_output=Decimal(15)),
        "mine": ModelPrice(text_input=Decimal(1)),
        "gpt-image-2-2026-04-21": ModelPrice(image_output=Decimal(12)),
    }
    prices = PUBLISHED_PRICES.with_prices(given)
    given.clear()
    assert prices.of("gpt-image-2") == ModelPrice(image_output=Decimal(15))
    assert prices.of("gpt-image-2-2026-04-21") == ModelPrice(image_output=Decimal(12))
    assert prices.of("gpt-image-2-2027-01-01") == ModelPrice(image_output=Decimal(15))
    assert prices.of("mine") == ModelPrice(text_input=Decimal(1))
    assert prices.of(FLARE) == PUBLISHED_PRICES.of(FLARE)
    assert prices.as_of == PUBLISHED_PRICES.as_of == date(2026, 11, 22)
    assert PUBLISHED_PRICES.of("mine") is None


def test_half_of_all_prices() -> None:
    """Those of batches at the provider; unknown ones stay so."""
    prices = Prices(date(2026, 1, 1), {"m": ModelPrice(text_input=Decimal(5), image_output=Decimal("0.3"))})
    assert prices.at_half().of("m") == ModelPrice(text_input=Decimal("2.5"), image_output=Decimal("0.15"))


def test_prices_are_values() -> None:
    """Frozen, slotted, hashable, and the same after pickling and copying; a repr names the models."""
    for value in (PUBLISHED_PRICES, ModelPrice(text_input=Decimal(1))):
        assert not hasattr(value, "__dict__")
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, attrs.fields(type(value))[0].name, None)
        for other in (pickle.loads(pickle.dumps(value)), copy.deepcopy(value)):
            assert (other, hash(other)) == (value, hash(value))
    assert (
        repr(Prices(date(2026, 1, 1), {"a": ModelPrice()}))
        == "Prices(as_of=datetime.date(2026, 1, 1), models=<a>)"
    )


@pytest.mark.parametrize("value", [Decimal(-1), Decimal("nan"), Decimal("inf"), 5, 0.2, "5", True])
def test_a_price_is_a_decimal(value: Any) -> None:
    """A float would bring its rounding along; a negative price is none."""
    with pytest.raises(ConfigurationError, match=r"ModelPrice\(image_output=.*\): must be a Decimal"):
        ModelPrice(image_output=value)


def test_reading_prices() -> None:
    """Texts and numbers of JSON alike, exactly as they are written."""
    text = '{"m": {"text_input": "5", "image_input": 0.1, "image_output": 30, "text_output": null}, "n": {}}'
    assert read_prices(json.loads(text)) == {
        "m": ModelPrice(text_input=Decimal(5), image_input=Decimal("0.1"), image_output=Decimal(30)),
        "n": ModelPrice(),
    }


def test_all_that_is_wrong_with_prices_is_said_at_once() -> None:
    """Each with its model; long values are cut."""
    document = json.loads(
        '{"a": {"text_input": "five", "image_output": -1, "output": "3"}, "b": 7, "c": {"text_output": true},'
        f' "d": {{"text_output": NaN, "image_input": []}}, "e": {{"text_input": "{"x" * 99}"}}, "f": null}}'
    )
    with pytest.raises(ConfigurationError) as caught:
        read_prices(document)
    said = str(caught.value)
    assert said.startswith(
        "the prices cannot be used: 'text_input' of 'a' should be US dollars for 1,000,000 "
    )
    assert said.count(";") == 8
    for part in (
        "'text_input' of 'a' should be US dollars for 1,000,000 tokens, such as \"8\" or \"0.25\", not 'five'",
        "'image_output' of 'a' should be",
        "'a' has 'output', which is none of text_input, cached_text_input,",
        "'b' should be an object of prices, not int",
        "'text_output' of 'c' should be US dollars",
        "not nan",
        "'image_input' of 'd' should be",
        f"not '{'x' * 39}…",
        "'f' should be an object of prices, not null",
    ):
        assert part in said


@pytest.mark.parametrize("document", [None, [], "gpt-image-2", 5])
def test_prices_are_an_object(document: object) -> None:
    """Anything else is refused."""
    with pytest.raises(ConfigurationError, match="should be an object of models, not "):
        read_prices(document)


FIXED = {"1024x1024": (272, 1056, 4160), "1024x1536": (408, 1584, 6240), "1536x1024": (400, 1568, 6208)}


@pytest.mark.parametrize(
    "model", ["gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "chatgpt-image-latest"]
)
def test_tokens_of_the_fixed_table(model: str) -> None:
    """Each cell; no other size exists."""
    found = {
        size: tuple(output_tokens(model, size, quality) for quality in qualities(model)) for size in FIXED
    }
    assert found == FIXED
    assert output_tokens(model, "1024x1280", "low") is output_tokens(model, "1024x1024", "max") is None


PATCHES = {  # size: tokens with 16, 24, 48, 64 and 96 patches along the longer side
    "1024x1024": (196, 439, 1756, 3122, 7024),
    "1536x1024": (158, 343, 1372, 2459, 5488),
    "1536x864": (120, 280, 1078, 1917, 4312),
    "2048x2048": (397, 892, 3568, 6343, 14272),
    "2560x1440": (205, 478, 1843, 3276, 7370),
    "3840x2160": (371, 865, 3336, 5930, 13342),
}


@pytest.mark.parametrize("size", PATCHES)
def test_tokens_of_the_formula(size: str) -> None:
    """Each cell of the calculator's table, for every model that has it; a portrait takes what its landscape does."""
    a, b, c, d, e = PATCHES[size]
    portrait = "x".join(reversed(size.split("x")))
    for model, tokens in {
        "gpt-image-2": (a, c, e),
        "gpt-image-2-2026-04-21": (a, c, e),
        SUNBURST: (a, b, c, d, e),
        FLARE: (a, b, c, d, e),
        f"{FLARE}-2026-09-08": (a, b, c, d, e),
        "gpt-image-2.6-sunburst": (4 * a, 4 * b, c, d, e),
        "gpt-image-2.6-flare": (4 * a, 4 * b, c, d, e),
    }.items():
        assert tuple(output_tokens(model, size, quality) for quality in qualities(model)) == tokens
        assert tuple(output_tokens(model, portrait, quality) for quality in qualities(model)) == tokens


@pytest.mark.parametrize(
    ("model", "size", "quality"),
    [
        (None, "1024x1024", "low"),
        ("dall-e-3", "1024x1024", "low"),
        ("gpt-image-2", None, "low"),
        ("gpt-image-2", "auto", "low"),
        ("gpt-image-2", "1024", "low"),
        ("gpt-image-2", "1024x", "low"),
        ("gpt-image-2", "01024x1024", "low"),
        ("gpt-image-2", "1024x1024\n", "low"),
        ("gpt-image-2", "\N{ARABIC-INDIC DIGIT ONE}024x1024", "low"),
        ("gpt-image-2", "512x512", "low"),
        ("gpt-image-2", "3856x1600", "low"),
        ("gpt-image-2", "3840x2176", "low"),
        ("gpt-image-2", "3088x1024", "low"),
        ("gpt-image-2", "1024x1024", None),
        ("gpt-image-2", "1024x1024", "auto"),
        ("gpt-image-2", "1024x1024", "max"),
        (FLARE, "1024x1024", "ultra"),
    ],
)
def test_tokens_nobody_published(model: str | None, size: str | None, quality: str | None) -> None:
    """No number is made up."""
    assert output_tokens(model, size, quality) is None


def test_a_size_that_auto_gives_counts() -> None:
    """1254x1254 may not be asked for, and is a common answer to `auto`."""
    assert output_tokens("gpt-image-2", "1254x1254", "low") == 229


def sizes() -> list[tuple[int, int]]:
    """Every size that may be asked for from gpt-image-2 on."""
    edges = range(16, 3841, 16)
    model = MODELS["gpt-image-2"]
    return [(w, h) for w in edges for h in edges if w >= h and size_problem(model, "", w, h) is None]


@pytest.mark.parametrize("model", ["gpt-image-2", FLARE, "gpt-image-2.6-flare"])
def test_the_dearest_size(model: str) -> None:
    """No size that may be asked for takes more tokens, in any quality; nor does the local server count more."""
    everything = sizes()
    assert len(everything) > 10_000
    assert most_expensive_size(model) == "2880x2880"
    for quality in qualities(model):
        counts = {size: output_tokens(model, f"{size[0]}x{size[1]}", quality) or 0 for size in everything}
        assert max(counts.values()) == counts[2880, 2880]
        assert all(count >= served_tokens(MODELS[model], *size, quality) for size, count in counts.items())


def test_the_dearest_size_of_the_fixed_ones() -> None:
    """Portrait."""
    assert most_expensive_size("gpt-image-1.5") == max(FIXED, key=FIXED.__getitem__) == "1024x1536"


def test_the_dearest_quality_is_the_last() -> None:
    """At every size, so that `auto` can be counted as it."""
    for model in (name for name in MODELS if not name.startswith("dall-e")):
        for size in FIXED:
            counts = [output_tokens(model, size, quality) or 0 for quality in qualities(model)]
            assert max(counts) == counts[-1] > 0
    assert qualities("dall-e-3") == ()
