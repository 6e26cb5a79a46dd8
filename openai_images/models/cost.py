"""Calculates the cost of a result, and the least and the most that a request may cost, in US dollars.

Invariants: Decimal only; costs follow from the server's token counts; an estimate of the most is never below the bill,
as far as prices are published. If a model, a price or a count is missing, or counts contradict each other, cost and
estimate are None, never 0.
Must not: guess the tokens of gif, svg and input images (none are published).
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from functools import lru_cache
from typing import Any, Final, NamedTuple

from openai_images._util.json import is_mapping
from openai_images.catalog.models import (
    cheapest_size,
    model_family,
    most_expensive_size,
    output_tokens,
    qualities,
)
from openai_images.catalog.prices import (
    EXACT,
    PUBLISHED_PRICES,
    ModelPrice,
    PricedTokens,
    Prices,
    add_amounts,
    is_count,
    sum_prices,
)
from openai_images.models.requests import GenerateRequest, set_parameters
from openai_images.models.usage import PricedResult, TokenDetails, Usage

_MOST_TOKENS: Final = 1_000_000_000
"""More tokens than this in one response are a mistake of the server."""

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


def cost_of(result: PricedResult, model: str | None, prices: Prices = PUBLISHED_PRICES) -> Decimal | None:
    """Return the cost of this result in US dollars, from the server's token counts; None if it is unknown.

    `model` selects the price in `prices`; None means the requested model of the result. The cost of a split call is the
    sum of its parts. Output tokens without details count as image tokens; input tokens without details count as text
    tokens, because a generation sends only the prompt. Cached tokens have their own price if the server counts them.
    The cost is unknown if the usage is missing or zero (some servers send zeros for what they did not count); if counts
    are missing, too large or contradictory; if a model or kind of token has no price; for an edit without input
    details; for an SVG whose author model is not counted or has no price; and if it is unknown for one of the parts.

    `result` is an `ImageResult`, or any object with the same fields.
    """
    if result.parts:
        return add_amounts([cost_of(part, model, prices) for part in result.parts])
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
    return sum_prices([*inputs, *outputs, *author])


def _is_consistent(tokens_in: object, tokens_out: object, total: object) -> bool:
    """Return whether input and output are counts above 0 and the total, if any, is their sum."""
    if not is_count(tokens_in) or not is_count(tokens_out) or not tokens_in or not tokens_out:
        return False
    sums = total is None or (is_count(total) and total in (0, tokens_in + tokens_out))
    return tokens_in + tokens_out <= _MOST_TOKENS and sums


def _is_readable(usage: Usage) -> bool:
    """Return whether its details have the expected types: a result that the caller made may have others."""
    parts: tuple[Any, ...] = (usage.input_tokens_details, usage.output_tokens_details)
    objects: tuple[Any, ...] = (
        usage.extra,
        *(part.extra for part in parts if isinstance(part, TokenDetails)),
    )
    return all(part is None or isinstance(part, TokenDetails) for part in parts) and all(
        map(is_mapping, objects)
    )


def _inputs(usage: Usage, price: ModelPrice, *, edited: bool) -> list[PricedTokens] | None:
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


def _outputs(usage: Usage, price: ModelPrice) -> list[PricedTokens] | None:
    """Return the output tokens by kind, with their prices."""
    details = usage.output_tokens_details
    split = _split(usage.output_tokens, TokenDetails(text_tokens=0) if _is_empty(details) else details)
    return None if split is None else [(split[0], price.text_output), (split[1], price.image_output)]


def _author(result: PricedResult, prices: Prices) -> list[PricedTokens] | None:
    """Return the tokens of the model that wrote an SVG, with prices; [] for other images, None if unknown."""
    usage = result.svg_usage
    if usage is None:
        is_svg = any(image.media_type == "image/svg+xml" for image in result.images)
        return None if is_svg or result.output_format == "svg" else []
    model: Any = usage.model
    price = prices.of(model) if isinstance(model, str) else None
    tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
    # It is not documented whether reasoning tokens are part of the output tokens; the total shows it.
    reasoning, total = 0 if usage.reasoning_tokens is None else usage.reasoning_tokens, usage.total_tokens
    if price is None or not is_count(tokens_in) or not is_count(tokens_out) or not is_count(reasoning):
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
    """Return tokens as (text, image), without details all as text; None if the counts do not add up."""
    text, image = (None, None) if details is None else (details.text_tokens, details.image_tokens)
    if not is_count(total):
        return None
    if text is None and image is None:
        image = 0
    if text is None and is_count(image):
        text = total - image
    elif image is None and is_count(text):
        image = total - text
    return (text, image) if is_count(text) and is_count(image) and text + image == total else None


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


class _PricedRequest(NamedTuple):
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
    return None if values is None else _estimate(_resolve_auto(values), prices)


def estimate_cost_range(
    request: GenerateRequest, prices: Prices = PUBLISHED_PRICES
) -> tuple[Decimal, Decimal] | None:
    """Return the least and the most that this request may cost, in US dollars; None if that is unknown.

    They are equal unless quality or size is `auto` or missing: then the least is that of the cheapest quality and size
    that the model can choose. The most is what `estimate_cost` returns.

    `request` is not sent; `prices` is the price table to use.
    """
    values = _parse_request(request)
    most = None if values is None else _estimate(_resolve_auto(values), prices)
    if values is None or most is None:
        return None
    least = _estimate(_resolve_auto(values, cheapest=True), prices)
    return (most if least is None else least), most


def _resolve_auto(values: _PricedRequest, *, cheapest: bool = False) -> _PricedRequest:
    """Replace a quality or size that is `auto` by the most expensive one, or the cheapest."""
    names = qualities(values.model) if values.quality == "auto" else ()
    quality = names[0 if cheapest else -1] if names else values.quality
    size_of = cheapest_size if cheapest else most_expensive_size
    size = size_of(values.model) if values.size == "auto" else values.size
    return values._replace(size=size, quality=quality)


@lru_cache(maxsize=4096)
def _estimate(values: _PricedRequest, prices: Prices) -> Decimal | None:
    """Estimate a request's cost, cached: the requests of a batch have few different values."""
    price = prices.of(values.model)
    output = output_tokens(values.model, values.size, values.quality)
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
    match {"size": "auto", "quality": "auto", "n": 1, "partial_images": 0} | body:
        case {
            "prompt": str(prompt),
            "model": str(model),
            "size": str(size),
            "quality": str(quality),
            "n": n,
            "partial_images": partial_images,
        } if is_count(n) and n and is_count(partial_images):
            prompt_bytes = len(prompt.encode("utf-8", "surrogatepass"))
            return _PricedRequest(prompt_bytes, model, size, quality, n, partial_images)
        case _:
            return None
