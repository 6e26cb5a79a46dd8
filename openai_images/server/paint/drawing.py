"""Colours, shapes and the caption: palettes, gradients, glows, noise, rolling lines, masks, text.

Invariants: randomness comes from the `Random` passed in; lengths are relative to the canvas, so that a scene fits any
size; the caption states that no model made the image.
Must not: know which scene is drawn, or draw letters that the font lacks.
"""

import hashlib
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from operator import mul
from random import Random
from typing import Final, Protocol

import attrs
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]
Size = tuple[int, int]


class _Plain(Protocol):
    """Methods of `Image` without their annotations, which need numpy."""

    def resize(self, size: Size, resample: int) -> Image.Image: ...
    def point(self, lut: Sequence[float] | Callable[[float], float]) -> Image.Image: ...
    def getbands(self) -> tuple[str, ...]: ...


def prompt_rng(prompt: str, index: int) -> Random:
    """Return the random generator for an image of a prompt: the same for the same prompt; not for security."""
    return Random(hashlib.sha256(f"{index}\x00{prompt}".encode("utf-8", "replace")).digest())  # noqa: S311


def resize(image: _Plain, size: Size, resample: int = Image.Resampling.BICUBIC) -> Image.Image:
    """Return the image in another size."""
    return image.resize(size, resample)


def apply_curve(image: _Plain, curve: Callable[[int], float]) -> Image.Image:
    """Map every value of an eight-bit image by a curve, limited to 0..255."""
    table = [min(255, max(0, round(curve(value)))) for value in range(256)]
    return image.point(table * len(image.getbands()))


def scale_values(image: _Plain, factor: float, offset: float) -> Image.Image:
    """Return a floating-point image with every value times `factor` plus `offset`."""
    return image.point(lambda value: value * factor + offset)


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return a mix of two colours with `share` of the second one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def ramp(colours: Sequence[Colour], position: float) -> Colour:
    """Return the colour at a position from 0 to 1 in a sequence of colours."""
    step = min(max(position, 0.0), 1.0) * (len(colours) - 1)
    left = min(int(step), len(colours) - 2)
    return mix(colours[left], colours[left + 1], step - left)


def gradient(size: Size, colours: Sequence[Colour], reach: float = 1.0, start: float = 0.0) -> Image.Image:
    """Return a vertical gradient through the colours; `start` and `reach` are shares of the height."""
    strip = Image.new("RGB", (1, 512))
    for row in range(512):
        strip.putpixel((0, row), ramp(colours, (row / 511 - start) / reach))
    return resize(strip, size)


def glow(image: Image.Image, centre: Point, radius: float, colour: Colour, strength: float = 1.0) -> None:
    """Draw a soft light around a point."""
    side = max(2, round(radius * 2))
    falling = apply_curve(Image.radial_gradient("L"), lambda v: 255 * strength * max(0.0, 1 - v / 180) ** 2.4)
    mask = resize(falling, (side, side))
    left, top = round(centre[0] - radius), round(centre[1] - radius)
    image.paste(colour, (left, top, left + side, top + side), mask)


def disc(image: Image.Image, centre: Point, radius: float, colour: Colour) -> None:
    """Draw a filled circle."""
    x, y = centre
    brush(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour, 255))


def brush(image: Image.Image) -> ImageDraw.ImageDraw:
    """Return a brush whose colours may have an alpha."""
    return ImageDraw.Draw(image, "RGBA")


def noise(rng: Random, size: Size, cells: Size) -> Image.Image:
    """Return clouds: random grids of smaller and smaller cells, each half as strong as the one before."""
    total = Image.new("L", size, 0)
    weight = 0.5
    for octave in range(4):
        grid = cells[0] << octave, cells[1] << octave
        layer = resize(Image.frombytes("L", grid, rng.randbytes(grid[0] * grid[1])), size)
        total = ImageChops.add(total, apply_curve(layer, partial(mul, weight)))
        weight /= 2
    return total


def ridge(rng: Random, points: int) -> list[float]:
    """Return a mountain line by midpoint displacement, heights from 0 to 1."""
    heights = [rng.random(), rng.random()]
    spread = 1.0
    while len(heights) < points:
        finer = [heights[0]]
        for left, right in pairwise(heights):
            finer += [(left + right) / 2 + rng.uniform(-spread, spread), right]
        heights, spread = finer, spread / 2
    low, high = min(heights), max(heights)
    return [(height - low) / (high - low) for height in heights]


def swell(rng: Random, points: int, count: int, pitch: float) -> list[float]:
    """Return a rolling line of a few sines, heights from 0 to 1."""
    parts = [
        (pitch * (1.7**index) * rng.uniform(0.8, 1.2), rng.uniform(0, math.tau), 0.5**index)
        for index in range(count)
    ]
    total = sum(weight for _, _, weight in parts)
    return [
        0.5 + sum(w * math.sin(math.tau * f * position / points + phase) for f, phase, w in parts) / total / 2
        for position in range(points + 1)
    ]


def land(size: Size, line: Sequence[float], base: float, height: float) -> list[Point]:
    """Return the outline of the area below a line from `base` (value 0) up to `height` above it (value 1)."""
    width, tall = size
    step = width / (len(line) - 1)
    top = [(index * step, (base - value * height) * tall) for index, value in enumerate(line)]
    return [(0.0, float(tall)), *top, (float(width), float(tall))]


def shape_mask(size: Size, outline: Sequence[Point]) -> Image.Image:
    """Return a mask that is full inside an outline."""
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    return mask


def rounded_mask(size: Size, inset: int, radius: float, fill: int = 255) -> Image.Image:
    """Return a mask of `fill` with round, smooth corners, `inset` away from the edges."""
    width, height = size[0] * 2, size[1] * 2
    mask = Image.new("L", (width, height), 0)
    box = (inset * 2, inset * 2, width - inset * 2 - 1, height - inset * 2 - 1)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=radius * 2, fill=fill)
    return mask.reduce(2)


def blur(image: Image.Image, radius: float) -> Image.Image:
    """Return a blurred image, made from a small copy: the time does not depend on the radius."""
    scale = max(1, int(radius / 3))
    if scale == 1:
        return image.filter(ImageFilter.GaussianBlur(radius))
    few = max(1, image.width // scale), max(1, image.height // scale)
    small = resize(image, few, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(radius / scale))
    return resize(small, image.size)


@attrs.frozen
class Palette:
    """Seven colours that go together."""

    high: Colour
    middle: Colour
    low: Colour
    light: Colour
    far: Colour
    near: Colour
    accent: Colour

    @property
    def sky(self) -> tuple[Colour, Colour, Colour]:
        """The colours from the top of the sky to the horizon."""
        return self.high, self.middle, self.low

    @property
    def night(self) -> tuple[Colour, Colour, Colour]:
        """The colours of the same sky at night."""
        dark = (9, 11, 28)
        return mix(self.high, dark, 0.84), mix(self.high, dark, 0.66), mix(self.middle, dark, 0.52)

    @property
    def petals(self) -> tuple[Colour, ...]:
        """The colours from the edge of a flower to its centre."""
        return self.high, self.middle, self.accent, self.low, self.light


def _palette(colours: str) -> Palette:
    red, green, blue = (bytes.fromhex(colours)[band::3] for band in range(3))
    return Palette(*zip(red, green, blue, strict=True))


PALETTES: Final[Mapping[str, Palette]] = {
    "dawn": _palette("34497f 9a74a8 f6ad8c ffe6b8 8a78a8 1f2747 f2705f"),
    "lagoon": _palette("1b6175 56a3a9 cdeadb fff6da 5ea7ab 0c3540 f98f5c"),
    "rose": _palette("6a3f74 cf7a94 fbcbb0 fff1dc a9688a 38203f ffc65c"),
    "meadow": _palette("2f6f8f 86b9a6 f1edc4 fff9dc 86ad8a 1f4034 e8973a"),
    "ember": _palette("4a2040 ab4350 f48f50 ffdf99 8e465f 260f22 ffe2a0"),
    "glacier": _palette("23406f 6f9cc7 dcecf1 ffffff 8fb0cf 14233f f0936b"),
    "lavender": _palette("463d94 9a8adb f6d2e6 fff5e1 8d7fc0 221c4f ffad5e"),
    "citrus": _palette("1c7a6c 7cc09a fde7a4 fffce8 79ba97 0d4034 ee6b4a"),
    "sand": _palette("4d6f86 b9b8a4 f3dfbb fff7e2 b79f86 4a342c d4643f"),
    "plum": _palette("2c2a5c 70508f d98ca6 ffdcc2 6d5590 171536 f7a072"),
}


STATEMENT: Final = "local placeholder \u00b7 not a model"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_ELLIPSIS: Final = "\u2026"


def write_caption(image: Image.Image, prompt: str, *, opaque: bool = False) -> Image.Image:
    """Return a copy of the image with its caption; an `opaque` caption hides an earlier one."""
    unit = min(image.size)
    title, text = _font(max(9, round(unit * 0.019))), _font(max(9, round(unit * 0.022)))
    margin, pad = unit * 0.026, unit * 0.014
    space = image.width - 2 * margin - 2 * pad
    lines = [(STATEMENT, title, 205), (_shorten(prompt, text, min(space, unit * 0.6)), text, 255)]
    lines = [line for line in lines if line[0]]
    step = unit * 0.031
    width = max(font.getlength(words) for words, font, _ in lines) + 2 * pad
    height = step * len(lines) + pad * 1.3
    left, top = margin, image.height - margin - height
    if image.mode == "RGBA":
        left, top = (image.width - width) / 2, top - unit * 0.06
    captioned = image.copy()
    box = round(left), round(top), round(left + width), round(top + height)
    mask = rounded_mask((box[2] - box[0], box[3] - box[1]), 0, unit * 0.016, 255 if opaque else 120)
    plate = Image.new(image.mode, mask.size, (12, 14, 24, 255)[: len(image.getbands())])
    captioned.paste(plate, box[:2], mask)
    pen = ImageDraw.Draw(captioned)
    for row, (words, font, shade) in enumerate(lines):
        at = left + pad, top + pad * 0.65 + step * (row + 0.5)
        pen.text(at, words, fill=(shade, shade, shade), font=font, anchor="lm")
    return captioned


def _shorten(prompt: str, font: Font, space: float) -> str:
    line = plain_line(prompt)
    if font.getlength(line) <= space:
        return line
    while line and font.getlength(line + _ELLIPSIS) > space:
        line = line.rpartition(" ")[0] if " " in line else line[:-1]
    return line + _ELLIPSIS


def plain_line(prompt: str) -> str:
    """Return the start of a prompt on one line, only with letters that every font has."""
    words = unicodedata.normalize("NFKD", " ".join(prompt[:400].split()))
    words = "".join(letter for letter in words if not unicodedata.combining(letter))
    line = "".join(letter for letter in words if " " <= letter <= "~")
    return line if len(line) >= 0.9 * len(words) else ""


@lru_cache(maxsize=32)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)
