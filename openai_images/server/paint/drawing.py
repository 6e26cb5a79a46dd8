"""Brushes shared by the scenes: colours, gradients, glows, noise and rolling lines.

Rules: everything random comes from the `Random` handed in; lengths are in units of the canvas, so that a scene fits
any size. It refuses to know what is being painted.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from operator import mul
from random import Random
from typing import Protocol

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
Point = tuple[float, float]
Size = tuple[int, int]


class _Plain(Protocol):
    """The methods of `Image` whose own types speak of arrays, as they are used here."""

    def resize(self, size: Size, resample: int) -> Image.Image: ...
    def point(self, lut: Sequence[float] | Callable[[float], float]) -> Image.Image: ...
    def getbands(self) -> tuple[str, ...]: ...


def scaled(image: _Plain, size: Size, resample: int = Image.Resampling.BICUBIC) -> Image.Image:
    """The image in another size."""
    return image.resize(size, resample)


def mapped(image: _Plain, curve: Callable[[int], float]) -> Image.Image:
    """Every value of an eight-bit image through a curve, kept within 0 and 255."""
    table = [min(255, max(0, round(curve(value)))) for value in range(256)]
    return image.point(table * len(image.getbands()))


def linear(image: _Plain, factor: float, offset: float) -> Image.Image:
    """Every value of a floating-point image times `factor` plus `offset`."""
    return image.point(lambda value: value * factor + offset)


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """`share` of the other colour in the one."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def ramp(colours: Sequence[Colour], at: float) -> Colour:
    """The colour at a position from 0 to 1 along several."""
    scaled = min(max(at, 0.0), 1.0) * (len(colours) - 1)
    left = min(int(scaled), len(colours) - 2)
    return mix(colours[left], colours[left + 1], scaled - left)


def gradient(size: Size, colours: Sequence[Colour], reach: float = 1.0) -> Image.Image:
    """A vertical gradient through the colours, which has come to the last at `reach` of the height."""
    strip = Image.new("RGB", (1, 512))
    for row in range(512):
        strip.putpixel((0, row), ramp(colours, row / 511 / reach))
    return scaled(strip, size)


def glow(image: Image.Image, centre: Point, radius: float, colour: Colour, strength: float = 1.0) -> None:
    """A soft light around a point."""
    side = max(2, round(radius * 2))
    falling = mapped(Image.radial_gradient("L"), lambda v: 255 * strength * max(0.0, 1 - v / 180) ** 2.4)
    mask = scaled(falling, (side, side))
    left, top = round(centre[0] - radius), round(centre[1] - radius)
    image.paste(colour, (left, top, left + side, top + side), mask)


def disc(image: Image.Image, centre: Point, radius: float, colour: Colour, alpha: int = 255) -> None:
    """A filled circle."""
    x, y = centre
    brush(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*colour, alpha))


def brush(image: Image.Image) -> ImageDraw.ImageDraw:
    """A brush whose colours may have an alpha."""
    return ImageDraw.Draw(image, "RGBA")


def noise(rng: Random, size: Size, cells: Size, octaves: int = 4) -> Image.Image:
    """Clouds: random grids of ever smaller cells, each half as strong as the one before."""
    total = Image.new("L", size, 0)
    weight = 0.5
    for octave in range(octaves):
        grid = cells[0] << octave, cells[1] << octave
        layer = scaled(Image.frombytes("L", grid, rng.randbytes(grid[0] * grid[1])), size)
        total = ImageChops.add(total, mapped(layer, partial(mul, weight)))
        weight /= 2
    return total


def ridge(rng: Random, points: int, roughness: float) -> list[float]:
    """A mountain line by midpoint displacement, heights from 0 to 1."""
    heights = [rng.random(), rng.random()]
    spread = 1.0
    while len(heights) < points:
        finer = [heights[0]]
        for left, right in pairwise(heights):
            finer += [(left + right) / 2 + rng.uniform(-spread, spread), right]
        heights, spread = finer, spread * roughness
    low, high = min(heights), max(heights)
    return [(height - low) / (high - low) for height in heights]


def swell(rng: Random, points: int, count: int, pitch: float) -> list[float]:
    """A rolling line of a few sines, heights from 0 to 1."""
    parts = [
        (pitch * (1.7**index) * rng.uniform(0.8, 1.2), rng.uniform(0, math.tau), 0.5**index)
        for index in range(count)
    ]
    total = sum(weight for _, _, weight in parts)
    return [
        0.5 + sum(w * math.sin(math.tau * f * at / points + phase) for f, phase, w in parts) / total / 2
        for at in range(points + 1)
    ]


def land(size: Size, line: Sequence[float], base: float, height: float) -> list[Point]:
    """The outline of everything below a line whose feet stand at `base` and whose peaks rise by `height`."""
    width, tall = size
    step = width / (len(line) - 1)
    top = [(index * step, (base - value * height) * tall) for index, value in enumerate(line)]
    return [(0.0, float(tall)), *top, (float(width), float(tall))]


def shape_mask(size: Size, outline: Sequence[Point]) -> Image.Image:
    """A mask that is full inside an outline."""
    mask = Image.new("L", size, 0)
    ImageDraw.Draw(mask).polygon(outline, fill=255)
    return mask


def soften(image: Image.Image, radius: float) -> Image.Image:
    """A blur made on a small copy: at any radius in the same short time."""
    scale = max(1, int(radius / 3))
    if scale == 1:
        return image.filter(ImageFilter.GaussianBlur(radius))
    few = max(1, image.width // scale), max(1, image.height // scale)
    small = scaled(image, few, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(radius / scale))
    return scaled(small, image.size)
