"""How many output tokens a picture takes, by the published tables and formula.

Rules: pure; None where no number is published for a model, a size or a quality, never a guess. Sources: for
gpt-image-2 and 2.5 the formula of OpenAI's calculator (October 2026), which gives the tokens measured on the wire; for
the models before them the fixed table. Of gpt-image-2.6 only this is known: `low` and `medium` take three to four
times the tokens of 2.5, the others as many; here they take four times, which may be more than they do.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SNAPSHOT = re.compile(r"-[0-9]{4}-[0-9]{2}-[0-9]{2}")


def model_family(model: str) -> str:
    """`gpt-image-2` for `gpt-image-2-2026-04-21`; a name without a date is its own."""
    return model[:-11] if _SNAPSHOT.fullmatch(model[-11:]) else model


_FIXED: Final[Mapping[str, Mapping[str, int]]] = {
    "1024x1024": {"low": 272, "medium": 1056, "high": 4160},
    "1024x1536": {"low": 408, "medium": 1584, "high": 6240},
    "1536x1024": {"low": 400, "medium": 1568, "high": 6208},
}
_OF_FIXED_SIZES: Final = ("gpt-image-1.5", "chatgpt-image-latest", "gpt-image-1-mini", "gpt-image-1")

# Patches along the longer side, then how many times as many tokens as the formula says.
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

_SIZE: Final = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
LONGEST_EDGE: Final = 3840
FEWEST_PIXELS, MOST_PIXELS = 655_360, 8_294_400


def qualities(model: str) -> tuple[str, ...]:
    """The qualities this model paints in, from the cheapest to the dearest; none for a model that is not known."""
    family = model_family(model)
    if family in _LADDERS:
        return tuple(_LADDERS[family])
    return ("low", "medium", "high") if family in _OF_FIXED_SIZES else ()


def most_expensive_size(model: str) -> str:
    """The size that takes the most tokens of all that a picture of this model can have, whatever its quality.

    From gpt-image-2 on a picture takes `G * round(G * short / long) * (2,000,000 + pixels) / 4,000,000` tokens, so
    none can take more than a square one of the most pixels, and 2880x2880 is just that: 8,294,400. This bounds the
    sizes that `auto` may choose too, which need not be multiples of 16.
    """
    return "2880x2880" if model_family(model) in _LADDERS else "1024x1536"


def output_tokens(model: str | None, size: str | None, quality: str | None) -> int | None:
    """The output tokens of one picture of `size` ("WIDTHxHEIGHT" in pixels), None where they are not published.

    `auto` is no size and no quality here. Sizes that `auto` gives count although they may not be asked for (1254x1254).
    """
    if model is None or size is None or quality is None:
        return None
    family = model_family(model)
    if family in _OF_FIXED_SIZES:
        return _FIXED.get(size, {}).get(quality)
    patches, times = _LADDERS.get(family, {}).get(quality, (0, 0))
    match = _SIZE.fullmatch(size)
    if not patches or match is None:
        return None
    short, long = sorted((int(match[1]), int(match[2])))
    return times * _formula(patches, short, long) if _is_allowed(short, long) else None


def _is_allowed(short: int, long: int) -> bool:
    """Whether a picture can have these sides, for all that is published."""
    return long <= LONGEST_EDGE and long <= 3 * short and FEWEST_PIXELS <= short * long <= MOST_PIXELS


def _formula(patches: int, short: int, long: int) -> int:
    """Half a patch goes to the even neighbour, half a token up."""
    return -(-patches * round(patches * short / long) * (2_000_000 + short * long) // 4_000_000)
