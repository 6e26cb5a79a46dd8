"""Calculates the least and the most that a request may cost, in US dollars.

Invariants: Decimal only; an estimate of the most is never below the bill, as far as prices are published. If a model, a
price or a count is missing, the estimate is None, never 0.
Must not: guess the tokens of gif, svg and input images (none are published).
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Final, NamedTuple

from openai_images.catalog.prices import EXACT, PUBLISHED_PRICES, Prices, is_count, sum_prices
from openai_images.catalog.tokens import (
    cheapest_size,
    model_family,
    most_expensive_size,
    output_tokens,
    qualities,
)
from openai_images.models.requests import GenerateRequest, set_parameters

# The tokenizer works on bytes: a prompt has at most as many tokens as UTF-8 bytes. Six more are billed (measured on all
# models in June 2026).
_PROMPT_OVERHEAD: Final = 16

_PER_PARTIAL: Final = 100

# gpt-image-1.5 also bills text that it writes internally: about 200 tokens per image were measured. For 1-mini, the
# published price of an image is up to $0.0033 above the price of its tokens in the table.
_SURCHARGES: Final = {
    "gpt-image-1.5": (1_000, "text_output"),
    "chatgpt-image-latest": (1_000, "text_output"),
    "gpt-image-1-mini": (450, "image_output"),
}

_FORMATS: Final = ("png", "jpeg", "webp")
_KNOWN_PARAMETERS: Final = frozenset(
    {
        *("prompt", "model", "n", "size", "quality", "partial_images"),
        # These cost nothing.
        *("background", "complexity", "moderation", "output_compression", "output_format"),
        *("response_format", "safety_identifier", "stream", "style", "user"),
    }
)


class _PricedRequest(NamedTuple):
    """The parameters that determine the price of a request."""

    prompt_bytes: int
    model: str
    size: str
    quality: str
    n: int
    partial_images: int


def estimate_cost(request: GenerateRequest, prices: Prices = PUBLISHED_PRICES) -> Decimal | None:
    """Return the most that this request may cost, in US dollars; None if that is unknown.

    If quality or size is `auto` or missing, the most expensive one is assumed. The prompt counts as one token per UTF-8
    byte, for each of `n` images; each partial image counts as 100 tokens (streams only). Values in `extra_body` replace
    the others. The cost is unknown without a model, for a model that is not in `prices` or has no published token
    counts, for a size or quality that the model does not have, for gif and svg, for edits, and for a parameter of
    unknown price.

    `request` is not sent; `prices` is the price table to use.
    """
    values = _parse_request(request)
    return None if values is None else _estimate(values, prices)


def estimate_cost_range(
    request: GenerateRequest, prices: Prices = PUBLISHED_PRICES
) -> tuple[Decimal, Decimal] | None:
    """Return the least and the most that this request may cost, in US dollars; None if that is unknown.

    They are equal unless quality or size is `auto` or missing: then the least is that of the cheapest quality and size
    that the model can choose. The most is what `estimate_cost` returns.

    `request` is not sent; `prices` is the price table to use.
    """
    values = _parse_request(request)
    most = None if values is None else _estimate(values, prices)
    if values is None or most is None:
        return None
    if values.size != "auto" and values.quality != "auto":
        return most, most
    names = qualities(values.model)
    quality = names[0] if names and values.quality == "auto" else values.quality
    size = cheapest_size(values.model) if values.size == "auto" else values.size
    least = _estimate(values._replace(size=size, quality=quality), prices)
    return (most if least is None else least), most


@lru_cache(maxsize=4096)
def _estimate(values: _PricedRequest, prices: Prices) -> Decimal | None:
    """Estimate a request's cost, cached: the requests of a batch have few different values."""
    price = prices.of(values.model)
    output = _max_output_tokens(values)
    if price is None or output is None:
        return None
    surcharge, price_name = _SURCHARGES.get(model_family(values.model), (0, "text_output"))
    per_image = sum_prices(
        [
            (values.prompt_bytes + _PROMPT_OVERHEAD, price.text_input),
            (output + _PER_PARTIAL * values.partial_images, price.image_output),
            (surcharge, getattr(price, price_name)),
        ]
    )
    with localcontext(EXACT):
        return None if per_image is None else values.n * per_image


def _parse_request(request: GenerateRequest) -> _PricedRequest | None:
    """Return the parameters of the request, `extra_body` included; None if their price is unknown."""
    if getattr(request, "image", None) is not None:  # an edit: the tokens of input images are not published
        return None
    body = set_parameters(request)
    if extra := body.pop("extra_body", None):
        body = {name: value for name, value in {**body, **extra}.items() if value is not None}
    if not body.keys() <= _KNOWN_PARAMETERS or body.get("output_format", "png") not in _FORMATS:
        return None
    prompt, model = body.get("prompt"), body.get("model")
    size, quality = body.get("size", "auto"), body.get("quality", "auto")
    n, partial_images = body.get("n", 1), body.get("partial_images", 0)
    if not (isinstance(prompt, str) and isinstance(model, str)):
        return None
    if not (isinstance(size, str) and isinstance(quality, str)):
        return None
    if not is_count(n) or not is_count(partial_images) or n == 0:
        return None
    prompt_bytes = len(prompt.encode("utf-8", "surrogatepass"))
    return _PricedRequest(prompt_bytes, model, size, quality, n, partial_images)


def _max_output_tokens(values: _PricedRequest) -> int | None:
    """Return the most output tokens of one image; for `auto` the most expensive size and quality is assumed."""
    names = qualities(values.model)
    quality = names[-1] if names and values.quality == "auto" else values.quality
    return output_tokens(
        values.model, most_expensive_size(values.model) if values.size == "auto" else values.size, quality
    )
