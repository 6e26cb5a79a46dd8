"""Calculates the output tokens of an image by the published tables and formula.

Invariants: pure; None, never a guess, if no number is published for a model, a size or a quality.
Must not: estimate too low: the upper end of a published range is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_SNAPSHOT: Final = r"-[0-9]{4}-[0-9]{2}-[0-9]{2}"  # patterns are compiled at their first use


def model_family(model: str) -> str:
    """Return `gpt-image-2` for `gpt-image-2-2026-04-21`; a name without a date unchanged."""
    return model[:-11] if re.fullmatch(_SNAPSHOT, model[-11:]) else model


# Models before gpt-image-2: OpenAI's fixed table.
_FIXED: Final[Mapping[str, Mapping[str, int]]] = {
    "1024x1024": {"low": 272, "medium": 1056, "high": 4160},
    "1024x1536": {"low": 408, "medium": 1584, "high": 6240},
    "1536x1024": {"low": 400, "medium": 1568, "high": 6208},
}
_FIXED_SIZE_MODELS: Final = ("gpt-image-1.5", "chatgpt-image-latest", "gpt-image-1-mini", "gpt-image-1")

# Patches along the longer side, and a factor for the formula of OpenAI's calculator (October 2026), which gives the
# tokens measured on the wire for gpt-image-2 and 2.5. Of gpt-image-2.6 it is only known that `low` and `medium` take
# three to four times the tokens of 2.5 (four are assumed here); the other qualities take the same as in 2.5.
_2: Final = {"low": (16, 1), "medium": (48, 1), "high": (96, 1)}
_2_5: Final = {"low": (16, 1), "medium": (24, 1), "high": (48, 1), "xhigh": (64, 1), "max": (96, 1)}
_2_6: Final = {**_2_5, "low": (16, 4), "medium": (24, 4)}
_LADDERS: Final[Mapping[str, Mapping[str, tuple[int, int]]]] = {
    "gpt-image-2": _2,
    "gpt-image-2.5-sunburst": _2_5,
    "gpt-image-2.5-flare": _2_5,
    "gpt-image-2.6-sunburst": _2_6,
    "gpt-image-2.6-flare": _2_6,
}

_SIZE: Final = r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})"
LONGEST_EDGE: Final = 3840
FEWEST_PIXELS, MOST_PIXELS = 655_360, 8_294_400


def qualities(model: str) -> tuple[str, ...]:
    """Return the model's qualities, from the cheapest to the most expensive; none for an unknown model."""
    family = model_family(model)
    if family in _LADDERS:
        return tuple(_LADDERS[family])
    return ("low", "medium", "high") if family in _FIXED_SIZE_MODELS else ()


def most_expensive_size(model: str) -> str:
    """Return the size that takes the most tokens of all sizes of a model, at any quality.

    Since gpt-image-2 an image takes `G * round(G * short / long) * (2,000,000 + pixels) / 4,000,000` tokens, so a
    square image of the maximum number of pixels takes the most: 2880x2880 (8,294,400 pixels). This also bounds the
    sizes that `auto` may choose, which need not be multiples of 16.
    """
    return "2880x2880" if model_family(model) in _LADDERS else "1024x1536"


def cheapest_size(model: str) -> str:
    """Return the size with the fewest tokens among the sizes that `auto` is known to choose, at any quality."""
    return "1024x1536" if model_family(model) in _LADDERS else "1024x1024"


def output_tokens(model: str | None, size: str | None, quality: str | None) -> int | None:
    """Return the output tokens of one image of `size` ("WIDTHxHEIGHT" in pixels); None if they are not published.

    `auto` is neither a size nor a quality here. Sizes that only `auto` chooses, such as 1254x1254, are accepted.
    """
    if model is None or size is None or quality is None:
        return None
    family = model_family(model)
    if family in _FIXED_SIZE_MODELS:
        return _FIXED.get(size, {}).get(quality)
    patches, factor = _LADDERS.get(family, {}).get(quality, (0, 0))
    match = re.fullmatch(_SIZE, size)
    if not patches or match is None:
        return None
    short, long = sorted((int(match[1]), int(match[2])))
    if long > min(LONGEST_EDGE, 3 * short) or not FEWEST_PIXELS <= short * long <= MOST_PIXELS:
        return None
    # Half a patch rounds to the even neighbor, half a token up.
    tokens = -(-patches * round(patches * short / long) * (2_000_000 + short * long) // 4_000_000)
    return factor * tokens
