"""From pixels or PNG bytes to what a terminal understands.

Rules: pure. Each text is written at the left edge of an area whose lines are free, and leaves the cursor at the
start of the line below that area. It refuses to decode pictures.
"""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Pixel", "half_blocks", "iterm2", "kitty", "nearest_256"]

Pixel: TypeAlias = tuple[int, int, int]

_CHUNK = 4096  # the most that one escape code of kitty may carry
_CUBE = (0, 95, 135, 175, 215, 255)
_SAVE, _RESTORE = "\x1b7", "\x1b8"


def kitty(png: bytes, columns: int, rows: int) -> str:
    """The PNG over so many cells; a picture that was there before goes."""
    payload = b64encode(png).decode("ascii")
    chunks = [payload[at : at + _CHUNK] for at in range(0, len(payload), _CHUNK)] or [""]
    codes = ["\x1b_Ga=d,d=C,q=2\x1b\\"]
    for number, chunk in enumerate(chunks):
        first = f"a=T,f=100,q=2,c={columns},r={rows},C=1," if number == 0 else ""
        more = int(number < len(chunks) - 1)
        codes.append(f"\x1b_G{first}m={more};{chunk}\x1b\\")
    return f"{_SAVE}{''.join(codes)}{_RESTORE}" + "\n" * rows


def iterm2(png: bytes, columns: int, rows: int) -> str:
    """The PNG over so many cells."""
    payload = b64encode(png).decode("ascii")
    settings = (
        f"inline=1;size={len(png)};width={columns};height={rows};preserveAspectRatio=0;doNotMoveCursor=1"
    )
    return f"{_SAVE}\x1b]1337;File={settings}:{payload}\x07{_RESTORE}" + "\n" * rows


def half_blocks(pixels: Sequence[Sequence[Pixel]], *, in_24_bit: bool) -> str:
    """Two rows of pixels in each line: the upper one in the colour of the block, the lower one behind it."""
    pairs = zip(pixels[::2], pixels[1::2], strict=True)
    return "".join("".join(_cells(*pair, in_24_bit=in_24_bit)) + "\x1b[0m\n" for pair in pairs)


def nearest_256(pixel: Pixel) -> int:
    """The number of the nearest of the 240 fixed colours of a 256-colour terminal."""
    levels = [min(range(6), key=lambda i: abs(_CUBE[i] - value)) for value in pixel]
    in_cube = tuple(_CUBE[level] for level in levels)
    step = min(23, max(0, round((sum(pixel) / 3 - 8) / 10)))
    grey = 8 + 10 * step
    if _distance(pixel, (grey, grey, grey)) < _distance(pixel, in_cube):
        return 232 + step
    return 16 + 36 * levels[0] + 6 * levels[1] + levels[2]


def _cells(upper: Sequence[Pixel], lower: Sequence[Pixel], *, in_24_bit: bool) -> Iterator[str]:
    """A line of blocks; a colour is named only where it changes."""
    before: tuple[str, str] = ("", "")
    for above, below in zip(upper, lower, strict=True):
        colours = (_colour(above, in_24_bit=in_24_bit), _colour(below, in_24_bit=in_24_bit))
        codes = [
            f"{ground};{new}"
            for ground, new, old in zip(("38", "48"), colours, before, strict=True)
            if new != old
        ]
        before = colours
        yield f"\x1b[{';'.join(codes)}m▀" if codes else "▀"


def _colour(pixel: Pixel, *, in_24_bit: bool) -> str:
    return f"2;{pixel[0]};{pixel[1]};{pixel[2]}" if in_24_bit else f"5;{nearest_256(pixel)}"


def _distance(one: Sequence[int], other: Sequence[int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))
