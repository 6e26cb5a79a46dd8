"""What a request may cost at most, and what a result did cost, in US dollars.

Rules: Decimal throughout; an estimate is never below the bill as far as anything is published, a cost is what the
server's own numbers prove; where a model, a price or a number is missing, or numbers contradict each other, the
answer is None and never 0. It refuses to guess what gif and svg pictures take, and what pictures that are sent to be
edited do: nothing is published about them.
"""

from __future__ import annotations

from decimal import Context, Decimal, localcontext
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from attrs import asdict, frozen

from openai_images._util.json import is_mapping
from openai_images.catalog.prices import PUBLISHED_PRICES, ModelPrice, Prices
from openai_images.catalog.tokens import model_family, most_expensive_size, output_tokens, qualities
from openai_images.models.usage import PricedResult, TokenDetails

if TYPE_CHECKING:
    from collections.abc import Iterable

    from openai_images.models.requests import GenerateRequest
    from openai_images.models.usage import Usage

_PER_TOKEN: Final = Decimal("0.000001")
_EXACT: Final = Context(prec=100)
"""Whatever precision the program has set for itself, nothing here is rounded."""

_MOST_TOKENS: Final = 1_000_000_000
"""More in one answer is a mistake of the server's."""

# The tokenizer works on bytes, so a prompt has at most as many tokens as its UTF-8 has bytes; six more are billed
# (measured on all models in June 2026).
_AROUND_THE_PROMPT: Final = 16

_PER_PARTIAL: Final = 100

# 1.5 bills text that it writes for itself and nobody sees: about 200 tokens a picture were measured. The published
# price of a picture of 1-mini is up to $0.0033 above the price of its tokens in the table.
_BESIDES: Final = {
    "gpt-image-1.5": (1_000, "text_output"),
    "chatgpt-image-latest": (1_000, "text_output"),
    "gpt-image-1-mini": (450, "image_output"),
}

_FORMATS: Final = ("png", "jpeg", "webp")
_COUNTED: Final = frozenset({"prompt", "model", "n", "size", "quality", "partial_images"})
_FREE: Final = frozenset(
    {
        *("background", "complexity", "moderation", "output_compression", "output_format"),
        *("response_format", "safety_identifier", "stream", "style", "user"),
    }
)


@frozen
class _PricedRequest:
    """What decides the price of a request."""

    prompt: str
    model: str
    size: str
    quality: str
    n: int
    partial_images: int


def estimate_cost(request: GenerateRequest, prices: Prices = PUBLISHED_PRICES) -> Decimal | None:
    """What this request may cost at most, in US dollars; None where that is not known.

    `auto`, or nothing, as quality or size counts as the dearest it can become. The prompt counts as a token for each
    byte of its UTF-8, once for each of `n` pictures, and each partial image as 100 tokens (they come only in streams).
    What is in `extra_body` counts as it is sent. None: the request names no model or one that is not in `prices`
    or has no published token counts, a size or quality that this model does not have, a gif or svg, pictures to edit,
    or a parameter whose price is unknown.
    """
    asked = _priced_request(request)
    price = None if asked is None else prices.of(asked.model)
    if asked is None or price is None:
        return None
    output = _most_tokens(asked)
    if output is None:
        return None
    beside, kind = _BESIDES.get(model_family(asked.model), (0, "text_output"))
    once = _sum(
        [
            (len(asked.prompt.encode("utf-8", "surrogatepass")) + _AROUND_THE_PROMPT, price.text_input),
            (output + _PER_PARTIAL * asked.partial_images, price.image_output),
            (beside, getattr(price, kind)),
        ]
    )
    with localcontext(_EXACT):
        return None if once is None else asked.n * once


def cost_of(result: PricedResult, model: str | None, prices: Prices = PUBLISHED_PRICES) -> Decimal | None:
    """What this result cost, in US dollars, from the tokens that the server counted; None where they do not say.

    `model` is the one whose prices hold, None for the one that the result says was asked for. A result of several
    requests costs what its parts cost together. Output tokens without details are those of pictures, input tokens
    without details those of the prompt, which is all that a generation sends. Cached tokens count where the server
    tells them, at their own price. None: no usage, or zeros in it (some servers write them for what they did not
    count), numbers that are missing, absurd or contradict each other, a model or a kind of token without a price, an
    edit whose input is not told apart, an SVG whose author's tokens were not counted, or whose author is not in
    `prices`, and a part of which any of this is true.
    """
    if result.parts:
        return _together([cost_of(part, model, prices) for part in result.parts])
    name: Any = result.model if model is None else model  # callers may be untyped
    price, usage = prices.of(name) if isinstance(name, str) else None, result.usage
    if (
        price is None
        or usage is None
        or not _is_readable(usage)
        or not _adds_up(usage.input_tokens, usage.output_tokens, usage.total_tokens)
    ):
        return None
    inputs, outputs = _inputs(usage, price, edited=result.edited), _outputs(usage, price)
    author = _author(result, prices)
    if inputs is None or outputs is None or author is None:
        return None
    return _sum([*inputs, *outputs, *author])


_Priced = tuple[int, Decimal | None]


def _sum(parts: Iterable[_Priced]) -> Decimal | None:
    """Tokens times prices; None where some tokens have no price."""
    with localcontext(_EXACT):
        return _together(
            [
                None if tokens and price is None else tokens * (price or 0) * _PER_TOKEN
                for tokens, price in parts
            ]
        )


def _together(costs: Iterable[Decimal | None]) -> Decimal | None:
    """The sum; None where one of them is not known."""
    total = Decimal(0)
    with localcontext(_EXACT):
        for cost in costs:
            if cost is None:
                return None
            total += cost
    return total


# Estimates


def _priced_request(request: GenerateRequest) -> _PricedRequest | None:
    """What the body will say, `extra_body` laid over it; None where its price cannot be known."""
    if (
        getattr(request, "image", None) is not None
    ):  # an edit: how many tokens its pictures take is not published
        return None
    body = asdict(request, recurse=False)
    body |= body.pop("extra_body") or {}
    body = {name: value for name, value in body.items() if value is not None}
    if not body.keys() <= _COUNTED | _FREE or body.get("output_format", "png") not in _FORMATS:
        return None
    prompt, model = body.get("prompt"), body.get("model")
    size, quality = body.get("size", "auto"), body.get("quality", "auto")
    n, partial_images = body.get("n", 1), body.get("partial_images", 0)
    if not all(isinstance(text, str) for text in (prompt, model, size, quality)):
        return None
    if not _is_count(n) or not _is_count(partial_images) or n == 0:
        return None
    return _PricedRequest(str(prompt), str(model), size, quality, n, partial_images)


def _most_tokens(asked: _PricedRequest) -> int | None:
    """The most tokens that one picture of this size and quality can take, `auto` being the dearest."""
    names = qualities(asked.model)
    quality = names[-1] if names and asked.quality == "auto" else asked.quality
    return output_tokens(
        asked.model, most_expensive_size(asked.model) if asked.size == "auto" else asked.size, quality
    )


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


# Results


def _adds_up(given: object, written: object, total: object) -> bool:
    """Whether these are counts of something that was sent and something that came, and their total (if it is said)."""
    if not _is_count(given) or not _is_count(written) or not given or not written:
        return False
    sums = total is None or (_is_count(total) and total in (0, given + written))
    return given + written <= _MOST_TOKENS and sums


def _is_readable(usage: Usage) -> bool:
    """Whether its parts are what they should be; who makes a result by hand may be untyped."""
    parts: tuple[Any, ...] = (usage.input_tokens_details, usage.output_tokens_details)
    objects: tuple[Any, ...] = (
        usage.extra,
        *(part.extra for part in parts if isinstance(part, TokenDetails)),
    )
    return all(part is None or isinstance(part, TokenDetails) for part in parts) and all(
        map(is_mapping, objects)
    )


def _inputs(usage: Usage, price: ModelPrice, *, edited: bool) -> list[_Priced] | None:
    """The input tokens by kind, fresh and cached."""
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


def _outputs(usage: Usage, price: ModelPrice) -> list[_Priced] | None:
    """The output tokens by kind."""
    details = usage.output_tokens_details
    split = _split(usage.output_tokens, TokenDetails(text_tokens=0) if _is_empty(details) else details)
    return None if split is None else [(split[0], price.text_output), (split[1], price.image_output)]


def _author(result: PricedResult, prices: Prices) -> list[_Priced] | None:
    """The tokens of the model that wrote an SVG; none for other pictures."""
    usage = result.svg_usage
    if usage is None:
        is_svg = any(image.media_type == "image/svg+xml" for image in result.images)
        return None if is_svg or result.output_format == "svg" else []
    model: Any = usage.model
    price = prices.of(model) if isinstance(model, str) else None
    given, written = usage.input_tokens, usage.output_tokens
    # Nothing says whether reasoning is a part of the output: the total shows it.
    apart, total = 0 if usage.reasoning_tokens is None else usage.reasoning_tokens, usage.total_tokens
    if price is None or not _is_count(given) or not _is_count(written) or not _is_count(apart):
        return None
    if apart and total == given + written:
        apart = 0
    if (apart and not total) or not _adds_up(given, written + apart, total):
        return None
    return [(given, price.text_input), (written + apart, price.text_output)]


def _is_empty(details: TokenDetails | None) -> bool:
    """Whether nothing is said of the kinds of tokens."""
    return details is None or (details.text_tokens is None and details.image_tokens is None)


def _split(total: object, details: TokenDetails | None) -> tuple[int, int] | None:
    """Tokens as (text, image), all of them text where nothing is said; None where the numbers do not add up."""
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
    """The cached ones among the input tokens as (text, image); None where it is not clear which they are."""
    said = {**usage.extra, **(usage.input_tokens_details or TokenDetails()).extra}
    total, kinds = said.get("cached_tokens"), said.get("cached_tokens_details")
    if total is None and kinds is None:
        return 0, 0
    found = TokenDetails(kinds.get("image_tokens"), kinds.get("text_tokens")) if is_mapping(kinds) else None
    if found is None and text == 0:
        found = TokenDetails(text_tokens=0)
    elif found is None and image != 0 and total != 0:
        return None
    split = _split(total, found)
    return split if split is not None and split[0] <= text and split[1] <= image else None
