"""Calculates the most that a request may cost, and what a result did cost, in US dollars.

Invariants: Decimal throughout; an estimate is never below the bill, as far as prices are published; a cost is what the
server's own counts prove. If a model, a price or a count is missing, or counts contradict each other, the result is
None, never 0.
Must not: guess the tokens of gif and svg images, or of input images: none are published.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Context, Decimal, localcontext
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeGuard

from openai_images._util.json import is_mapping
from openai_images.catalog.prices import PUBLISHED_PRICES, ModelPrice, Prices
from openai_images.catalog.tokens import model_family, most_expensive_size, output_tokens, qualities
from openai_images.models.requests import GenerateRequest, set_parameters
from openai_images.models.usage import PricedResult, TokenDetails, Usage

_PER_TOKEN: Final = Decimal("0.000001")
_EXACT: Final = Context(prec=100)
"""No rounding, whatever precision the program has set."""

_MOST_TOKENS: Final = 1_000_000_000
"""More in one response is a mistake of the server's."""

# The tokenizer works on bytes, so a prompt has at most as many tokens as its UTF-8 has bytes; six more are billed
# (measured on all models in June 2026).
_PROMPT_OVERHEAD: Final = 16

_PER_PARTIAL: Final = 100

# 1.5 bills text that it writes for itself: about 200 tokens an image were measured. The published price of an image of
# 1-mini is up to $0.0033 above the price of its tokens in the table.
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
    """What decides the price of a request."""

    prompt_bytes: int
    model: str
    size: str
    quality: str
    n: int
    partial_images: int


def estimate_cost(request: GenerateRequest, prices: Prices = PUBLISHED_PRICES) -> Decimal | None:
    """Return the most that this request may cost, in US dollars; None if that is unknown.

    For a quality or size that is `auto` or missing, the most expensive one is assumed. The prompt counts as one token
    per byte of its UTF-8, for each of `n` images, and each partial image as 100 tokens (only streams have them). Values
    in `extra_body` count as they are sent. None: no model, a model that is not in `prices` or has no published token
    counts, a size or quality that it does not have, a gif or svg, images to edit, or a parameter of unknown price.
    """
    values = _parse_request(request)
    return None if values is None else _estimate(values, prices)


@lru_cache(maxsize=4096)
def _estimate(values: _PricedRequest, prices: Prices) -> Decimal | None:
    """Estimate a request's cost: requests of a batch have only a few different values."""
    price = prices.of(values.model)
    output = _max_output_tokens(values)
    if price is None or output is None:
        return None
    surcharge, price_name = _SURCHARGES.get(model_family(values.model), (0, "text_output"))
    per_image = _sum(
        [
            (values.prompt_bytes + _PROMPT_OVERHEAD, price.text_input),
            (output + _PER_PARTIAL * values.partial_images, price.image_output),
            (surcharge, getattr(price, price_name)),
        ]
    )
    with localcontext(_EXACT):
        return None if per_image is None else values.n * per_image


def cost_of(result: PricedResult, model: str | None, prices: Prices = PUBLISHED_PRICES) -> Decimal | None:
    """Return what this result cost, in US dollars, from the server's token counts; None if they do not suffice.

    `model` is the one to price by; None means the requested model of the result. A result of several requests costs the
    sum of its parts. Output tokens without details are image tokens, input tokens without details text tokens, as a
    generation sends only the prompt. Cached tokens have their own price if the server counts them. None: no usage, or
    zeros in it (some servers send them for what they did not count), counts that are missing, absurd or contradictory,
    a model or kind of token without a price, an edit without input details, an SVG whose author's tokens were not
    counted or whose author is not in `prices`, or a part of which any of this is true.
    """
    if result.parts:
        return _add_costs([cost_of(part, model, prices) for part in result.parts])
    name: Any = result.model if model is None else model  # callers may be untyped
    price, usage = prices.of(name) if isinstance(name, str) else None, result.usage
    if (
        price is None
        or usage is None
        or not _is_readable(usage)
        or not _is_consistent(usage.input_tokens, usage.output_tokens, usage.total_tokens)
    ):
        return None
    inputs, outputs = _inputs(usage, price, edited=result.edited), _outputs(usage, price)
    author = _author(result, prices)
    if inputs is None or outputs is None or author is None:
        return None
    return _sum([*inputs, *outputs, *author])


_PricedTokens = tuple[int, Decimal | None]


def _sum(parts: Iterable[_PricedTokens]) -> Decimal | None:
    """Return tokens times prices; None if some tokens have no price."""
    with localcontext(_EXACT):
        return _add_costs(
            [
                None if tokens and price is None else tokens * (price or 0) * _PER_TOKEN
                for tokens, price in parts
            ]
        )


def _add_costs(costs: Iterable[Decimal | None]) -> Decimal | None:
    """Return the sum; None if one of them is unknown."""
    total = Decimal(0)
    with localcontext(_EXACT):
        for cost in costs:
            if cost is None:
                return None
            total += cost
    return total


# Estimates


def _parse_request(request: GenerateRequest) -> _PricedRequest | None:
    """Return the values of the request's body, `extra_body` included; None if its price is unknown."""
    if getattr(request, "image", None) is not None:  # an edit: tokens of input images are not published
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
    if not _is_count(n) or not _is_count(partial_images) or n == 0:
        return None
    prompt_bytes = len(prompt.encode("utf-8", "surrogatepass"))
    return _PricedRequest(prompt_bytes, model, size, quality, n, partial_images)


def _max_output_tokens(values: _PricedRequest) -> int | None:
    """Return the most tokens of one image of this size and quality; `auto` counts as the most expensive."""
    names = qualities(values.model)
    quality = names[-1] if names and values.quality == "auto" else values.quality
    return output_tokens(
        values.model, most_expensive_size(values.model) if values.size == "auto" else values.size, quality
    )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# Results


def _is_consistent(tokens_in: object, tokens_out: object, total: object) -> bool:
    """Return whether input and output are counts above 0, of which the total (if any) is the sum."""
    if not _is_count(tokens_in) or not _is_count(tokens_out) or not tokens_in or not tokens_out:
        return False
    sums = total is None or (_is_count(total) and total in (0, tokens_in + tokens_out))
    return tokens_in + tokens_out <= _MOST_TOKENS and sums


def _is_readable(usage: Usage) -> bool:
    """Return whether its details have the expected types: a result made by hand may have others."""
    parts: tuple[Any, ...] = (usage.input_tokens_details, usage.output_tokens_details)
    objects: tuple[Any, ...] = (
        usage.extra,
        *(part.extra for part in parts if isinstance(part, TokenDetails)),
    )
    return all(part is None or isinstance(part, TokenDetails) for part in parts) and all(
        map(is_mapping, objects)
    )


def _inputs(usage: Usage, price: ModelPrice, *, edited: bool) -> list[_PricedTokens] | None:
    """Return the input tokens by kind, fresh and cached, with their prices."""
    by_text, by_image = (
        (price.text_input, price.cached_text_input),
        (price.image_input, price.cached_image_input),
    )
    if edited and by_text != by_image and _is_empty(usage.input_tokens_details):
        return None
    split = _split(usage.input_tokens, usage.input_tokens_details)
    cached = None if split is None else _cached(usage, *split)
    if split is None or cached is None:
        return None
    (text, image), (cached_text, cached_image) = split, cached
    return [
        (text - cached_text, price.text_input),
        (cached_text, price.cached_text_input),
        (image - cached_image, price.image_input),
        (cached_image, price.cached_image_input),
    ]


def _outputs(usage: Usage, price: ModelPrice) -> list[_PricedTokens] | None:
    """Return the output tokens by kind, with their prices."""
    details = usage.output_tokens_details
    split = _split(usage.output_tokens, TokenDetails(text_tokens=0) if _is_empty(details) else details)
    return None if split is None else [(split[0], price.text_output), (split[1], price.image_output)]


def _author(result: PricedResult, prices: Prices) -> list[_PricedTokens] | None:
    """Return the tokens of the model that wrote an SVG, with their prices; none for other images."""
    usage = result.svg_usage
    if usage is None:
        is_svg = any(image.media_type == "image/svg+xml" for image in result.images)
        return None if is_svg or result.output_format == "svg" else []
    model: Any = usage.model
    price = prices.of(model) if isinstance(model, str) else None
    tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
    # Whether reasoning tokens are part of the output tokens is documented nowhere; the total shows it.
    reasoning, total = 0 if usage.reasoning_tokens is None else usage.reasoning_tokens, usage.total_tokens
    if price is None or not _is_count(tokens_in) or not _is_count(tokens_out) or not _is_count(reasoning):
        return None
    if reasoning and total == tokens_in + tokens_out:
        reasoning = 0
    if (reasoning and not total) or not _is_consistent(tokens_in, tokens_out + reasoning, total):
        return None
    return [(tokens_in, price.text_input), (tokens_out + reasoning, price.text_output)]


def _is_empty(details: TokenDetails | None) -> bool:
    """Return whether there are no counts by kind."""
    return details is None or (details.text_tokens is None and details.image_tokens is None)


def _split(total: object, details: TokenDetails | None) -> tuple[int, int] | None:
    """Return tokens as (text, image), all of them text without details; None if the counts do not add up."""
    text, image = (None, None) if details is None else (details.text_tokens, details.image_tokens)
    if not _is_count(total):
        return None
    if text is None and image is None:
        image = 0
    if text is None and _is_count(image):
        text = total - image
    elif image is None and _is_count(text):
        image = total - text
    return (text, image) if _is_count(text) and _is_count(image) and text + image == total else None


def _cached(usage: Usage, text: int, image: int) -> tuple[int, int] | None:
    """Return the cached input tokens as (text, image); None if their kinds are unclear."""
    extra = {**usage.extra, **(usage.input_tokens_details or TokenDetails()).extra}
    total, kinds = extra.get("cached_tokens"), extra.get("cached_tokens_details")
    if total is None and kinds is None:
        return 0, 0
    details = TokenDetails(kinds.get("image_tokens"), kinds.get("text_tokens")) if is_mapping(kinds) else None
    if details is None and text == 0:
        details = TokenDetails(text_tokens=0)
    elif details is None and image != 0 and total != 0:
        return None
    split = _split(total, details)
    return split if split is not None and split[0] <= text and split[1] <= image else None
