"""Sizes in pixels: the rules for any size, the nearest size within them, and sizes of a ratio.

Invariants: pure arithmetic on whole pixels; a requested size is never changed, an accepted one is only suggested.
Must not: round a ratio: a size has exactly the requested ratio, or none is returned.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from openai_images.catalog.models import FEWEST_PIXELS, LONGEST_EDGE, MOST_PIXELS, SIZE_RULES, find_model
from openai_images.errors import RequestInvalidError

if TYPE_CHECKING:
    from fractions import Fraction


# Sources: OpenAI's API reference; the limits on pixels as the API's errors state them; the limits of a gif's sheet
# were found by third parties in experiments.

PROVEN_PIXELS: Final = 2560 * 1440
"""Above this many pixels OpenAI calls sizes experimental."""

_STEP: Final = SIZE_RULES.step
_WIDEST: Final = SIZE_RULES.max_ratio

_SIZE: Final = r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})"  # patterns are compiled at their first use
_NUMBER: Final = r"([0-9]{1,4}(?:\.[0-9]{1,3})?)"
_RATIO: Final = f"{_NUMBER}:{_NUMBER}"

# The frames of a gif are generated on one sheet: (most frames, columns, rows), or with rows and columns swapped.
_GRIDS: Final = ((8, 4, 2), (9, 3, 3), (12, 4, 3), (16, 4, 4))


def parse_size(text: str) -> tuple[int, int] | None:
    """Return width and height in pixels of a text such as "1536x864"; None for another text."""
    match = re.fullmatch(_SIZE, text)
    return None if match is None else (int(match[1]), int(match[2]))


def parse_ratio(text: str) -> Fraction | None:
    """Return width divided by height of a text such as "16:9" or "2.35:1"; None for another text."""
    # Imported here: most clients use no ratio, and it imports Decimal.
    from fractions import Fraction  # noqa: PLC0415

    match = re.fullmatch(_RATIO, text)
    if match is None or not Fraction(match[1]) or not Fraction(match[2]):
        return None
    return Fraction(match[1]) / Fraction(match[2])


def size_problems(width: int, height: int) -> list[str]:
    """Return each rule that this size breaks, for a model that accepts any size within the rules."""
    long, short, pixels = max(width, height), min(width, height), width * height
    checks = {
        f"width and height must be multiples of {_STEP}": width % _STEP or height % _STEP,
        f"no edge may be longer than {LONGEST_EDGE}": long > LONGEST_EDGE,
        "its ratio must be between 1:3 and 3:1": long > _WIDEST * short,
        f"{pixels:,} pixels are fewer than {FEWEST_PIXELS:,}": pixels < FEWEST_PIXELS,
        f"{pixels:,} pixels are more than {MOST_PIXELS:,}": pixels > MOST_PIXELS,
    }
    return [problem for problem, is_broken in checks.items() if is_broken]


def gif_sheet_problems(width: int, height: int, frames: int, gifs: int = 1) -> list[str]:
    """Return the probable problems of gifs of 2 to 16 frames of this size; the limits are measured, not published."""
    columns, rows = next((grid[1], grid[2]) for grid in _GRIDS if frames <= grid[0])
    long = min(max(width * columns, height * rows), max(width * rows, height * columns))
    pixels = columns * rows * width * height
    sheet = f"the sheet of {frames} frames"
    checks = {
        f"width and height must be multiples of {_STEP}": width % _STEP or height % _STEP,
        f"{sheet} has an edge of {long}, longer than {LONGEST_EDGE}": long > LONGEST_EDGE,
        f"{sheet} has {pixels:,} pixels, fewer than {FEWEST_PIXELS:,}": pixels < FEWEST_PIXELS,
        f"{sheet} has {pixels:,} pixels, more than {MOST_PIXELS:,}": pixels > MOST_PIXELS,
        f"{gifs} sheets have {gifs * pixels:,} pixels, more than {MOST_PIXELS:,}": (
            pixels <= MOST_PIXELS < gifs * pixels
        ),
    }
    return [problem for problem, is_broken in checks.items() if is_broken]


def nearest_size(width: float, height: float) -> tuple[int, int]:
    """Return the nearest size within the rules; this size itself if it is within.

    The size is first brought within the limits, keeping its ratio as far as the rules allow, and then rounded.
    """
    w, h = float(width), float(height)
    too_wide = max(w / h, h / w) / _WIDEST
    if too_wide > 1:
        factor = math.sqrt(too_wide)
        w, h = (w / factor, h * factor) if w > h else (w * factor, h / factor)
    factor = math.sqrt(min(max(w * h, FEWEST_PIXELS), MOST_PIXELS) / (w * h))
    factor = min(factor, LONGEST_EDGE / max(w, h))
    w, h = w * factor, h * factor
    column, row = round(w / _STEP), round(h / _STEP)
    candidates = [((column + i) * _STEP, (row + j) * _STEP) for i in range(-2, 3) for j in range(-2, 3)]
    valid = [size for size in candidates if not size_problems(*size)]
    return min(valid, key=lambda size: math.log(size[0] / w) ** 2 + math.log(size[1] / h) ** 2)


def largest_size(ratio: Fraction, most_pixels: int = PROVEN_PIXELS) -> str | None:
    """Return the largest size within the rules that has exactly this ratio; None if there is none."""
    wide, high = ratio.numerator, ratio.denominator
    unit = math.lcm(_STEP // math.gcd(_STEP, wide), _STEP // math.gcd(_STEP, high))
    width, height = wide * unit, high * unit
    times = min(LONGEST_EDGE // max(width, height), math.isqrt(max(most_pixels, 0) // (width * height)))
    size = width * times, height * times
    return None if not times or size_problems(*size) else f"{size[0]}x{size[1]}"


def size_of_ratio(ratio: str, model: str | None = None, *, most_pixels: int = PROVEN_PIXELS) -> str:
    """Return the largest size of exactly this ratio ("16:9") that `model` accepts, of at most `most_pixels` pixels.

    Without a model, the size is for models that accept any size within the rules (all since gpt-image-2). For a model
    with three fixed sizes, it is the one of this ratio. Raises `RequestInvalidError` if there is none (nothing is
    rounded; the error names the nearest size), and for a model whose sizes are unknown. The default of `most_pixels` is
    2560x1440: OpenAI calls larger sizes experimental.

    `ratio` is "WIDTH:HEIGHT", such as "16:9" or "2.35:1".
    """
    shape, row = parse_ratio(ratio), None if model is None else find_model(model)[0]
    if shape is None:
        raise RequestInvalidError(f"{ratio[:20]!r} is not a ratio; write one such as 16:9")
    if row is None and model is not None:
        raise RequestInvalidError(
            f"the sizes of the model {model[:80]!r} are not known here; give size as WIDTHxHEIGHT"
        )
    sizes = () if row is None else row.sizes
    found = _fixed_size(shape, sizes) if sizes else largest_size(shape, most_pixels)
    if found is None:
        subject = "there is" if row is None else f"{row.name} has"
        raise RequestInvalidError(
            f"{subject} no size of exactly {ratio}; {_suggestion(shape, sizes, most_pixels)}"
        )
    return found


def _fixed_size(shape: Fraction, sizes: tuple[str, ...]) -> str | None:
    pixel_sizes = [(size, *(parse_size(size) or (1, 1))) for size in sizes]
    fitting = [(width * height, size) for size, width, height in pixel_sizes if width == height * shape]
    return max(fitting)[1] if fitting else None


def _suggestion(shape: Fraction, sizes: tuple[str, ...], most_pixels: int) -> str:
    """Return the advice for a ratio that no size has."""
    if sizes:
        return f"its sizes are {', '.join(sizes)}"
    if not 1 <= shape * _WIDEST <= _WIDEST * _WIDEST:
        return "ratios must be between 1:3 and 3:1"
    high = math.sqrt(max(most_pixels, FEWEST_PIXELS) / shape)
    width, height = nearest_size(high * shape, high)
    return f"the nearest is {width}x{height}"
