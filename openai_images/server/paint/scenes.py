"""The four scenes of placeholder images: hills under a sun, a sea with a boat, a flower, cut paper.

Invariants: the words of a prompt only choose a scene and a palette; each scene is a function of size, random generator
and palette that returns a finished canvas, drawn from far to near.
Must not: draw what a prompt describes, or write on the image; the caption is added later.
"""

import math
import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Final, TypeVar

from PIL import Image, ImageChops, ImageDraw

from openai_images.server.paint.drawing import (
    PALETTES,
    Colour,
    Palette,
    Point,
    Size,
    apply_curve,
    blur,
    brush,
    disc,
    glow,
    gradient,
    land,
    mix,
    noise,
    ramp,
    resize,
    ridge,
    scale_values,
    shape_mask,
    swell,
)

Scene = Callable[[Size, Random, Palette], Image.Image]
T = TypeVar("T")

WHITE: Final = (255, 255, 255)
BLACK: Final = (0, 0, 0)
# Scenes and palettes, each with the words of a prompt that suggest it.
_WORDS: Final[Mapping[str, str]] = {
    "hills": "hill hills mountain mountains forest valley meadow sunset sunrise landscape desert night stars snow",
    "sea": "sea ocean beach boat ship wave waves water otter fish whale harbour harbor lighthouse island lake moon",
    "flower": "flower flowers rose garden bee butterfly spring petal bouquet planet space galaxy",
    "cut_paper": "paper map collage pattern poster logo abstract music silk wind",
    "ember": "sunset autumn",
    "dawn": "sunrise",
    "sand": "desert",
    "glacier": "winter snow ice",
    "meadow": "forest spring",
    "citrus": "lemon",
    "rose": "pink",
    "lavender": "purple",
    "lagoon": "tropical",
    "plum": "night moon stars space planet galaxy",
}


def prompt_words(prompt: str) -> frozenset[str]:
    """Return the words of a prompt, in lower case."""
    return frozenset(re.findall(r"[a-z]+", prompt[:4000].lower()))


def choose_scene(rng: Random, words: frozenset[str]) -> Scene:
    """Return the scene that these words suggest, else a random one."""
    return _choose(rng, words, SCENES)


def choose_palette(rng: Random, words: frozenset[str]) -> Palette:
    """Return the palette that these words suggest, else a random one."""
    return _choose(rng, words, PALETTES)


def _choose(rng: Random, words: frozenset[str], options: Mapping[str, T]) -> T:
    by_chance = rng.choice(sorted(options))
    suggested = (name for name, known in _WORDS.items() if name in options and words & set(known.split()))
    return options[next(suggested, by_chance)]


def hills(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Return ridges in haze below a low sun."""
    width, height = size
    unit = min(size)
    image = gradient(size, palette.sky, 0.72)
    _clouds(image, rng, palette.light, 0.55)
    sun = rng.uniform(0.24, 0.76) * width, rng.uniform(0.3, 0.42) * height
    _sun(image, sun, unit * rng.uniform(0.06, 0.1), palette)
    _birds(image, rng, mix(palette.near, palette.middle, 0.2))
    for index in range(6):
        depth = index / 5
        line = ridge(rng, 256) if index < 3 else swell(rng, 256, 4, rng.uniform(0.8, 1.6))
        base = 0.64 + 0.34 * depth**1.25
        haze = 1 - depth
        tone = mix(mix(palette.far, palette.near, depth**1.1), palette.low, 0.45 * haze)
        outline = land(size, line, base, 0.17 - 0.07 * depth)
        fill = gradient(size, (tone, mix(tone, palette.low, 0.55 * haze)), 0.3, base - 0.2)
        image.paste(fill, mask=shape_mask(size, outline))
        if index >= 4:
            tall = unit * (0.02 + 0.035 * (index - 4))
            _firs(image, rng, outline[1:-1], tall, mix(tone, palette.near, 0.5))
    return image


def sea(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Return waves in layers, a half-set sun and a sail."""
    width, height = size
    unit = min(size)
    horizon = rng.uniform(0.44, 0.52)
    image = gradient(size, palette.sky, horizon)
    _clouds(image, rng, palette.light, horizon)
    sun = rng.uniform(0.3, 0.7) * width, horizon * height * rng.uniform(0.86, 0.98)
    _sun(image, sun, unit * rng.uniform(0.1, 0.15), palette)
    sail_row, rows = rng.randint(1, 2), 13
    for index in range(rows):
        depth = index / (rows - 1)
        level, rise = _wave(image, rng, palette, horizon + (1.0 - horizon) * depth**1.6 * 0.95, depth)
        if index == sail_row:
            centre = rng.uniform(0.2, 0.8) * width, (level - rise * 0.4) * height
            _boat(image, centre, unit * 0.085, palette)
        if index < rows - 1:
            _glitter(image, rng, (sun[0], level * height), palette.light, depth)
    _birds(image, rng, mix(palette.near, palette.middle, 0.3))
    return image


def _wave(
    image: Image.Image, rng: Random, palette: Palette, base: float, depth: float
) -> tuple[float, float]:
    """Draw one layer of the sea, lit along its crest; return its level and its rise."""
    deep = mix(palette.high, palette.near, 0.8)
    shades = (mix(palette.low, palette.middle, 0.55), palette.middle, palette.high, deep)
    tone = ramp(shades, depth**0.8)
    rise = 0.005 + 0.03 * depth
    outline = land(image.size, swell(rng, 240, 3, 9 - 7 * depth), base + rise, rise)
    top = round((base - 0.01) * image.height)
    # The next layers cover everything further below.
    reach = image.height - top if depth > 0.9 else min(image.height - top, round(0.2 * image.height))
    fill = gradient((image.width, reach), (mix(tone, palette.light, 0.3), tone), 0.5)
    image.paste(fill, (0, top), shape_mask(fill.size, [(x, y - top) for x, y in outline]))
    thick = max(2, round(min(image.size) * 0.0012 * (1 + 2 * depth)))
    crest = mix(tone, palette.light, 0.3 + 0.2 * depth)
    brush(image).line(outline[1:-1], fill=(*crest, 255), width=thick, joint="curve")
    return base + rise, rise


def _sun(image: Image.Image, centre: Point, radius: float, palette: Palette) -> None:
    glow(image, centre, radius * 7, palette.light, 0.55)
    glow(image, centre, radius * 2.6, palette.light, 0.75)
    disc(image, centre, radius, mix(palette.light, WHITE, 0.35))


def _clouds(image: Image.Image, rng: Random, light: Colour, reach: float) -> None:
    width, height = image.size
    band = max(2, round(height * reach))
    field = noise(rng, (width // 4, band // 4), (3, 7))
    fade = apply_curve(resize(Image.linear_gradient("L"), field.size), lambda value: 255 - abs(value - 150))
    mask = ImageChops.multiply(apply_curve(field, lambda value: (value - 128) * 2.6), fade)
    image.paste(light, (0, 0, width, band), resize(mask, (width, band)))


def _birds(image: Image.Image, rng: Random, colour: Colour) -> None:
    unit = min(image.size)
    x, y = rng.uniform(0.2, 0.75) * image.width, rng.uniform(0.14, 0.26) * image.height
    for _ in range(rng.randint(3, 6)):
        centre = x + rng.gauss(0, 0.06) * unit, y + rng.gauss(0, 0.03) * unit
        wings = [(-1.0, -0.35), (-0.5, -0.5), (0.0, 0.0), (0.5, -0.5), (1.0, -0.3)]
        outline = _transform(wings, centre, unit * rng.uniform(0.011, 0.02))
        brush(image).line(outline, (*colour, 210), max(2, round(unit * 0.0028)), "curve")


def _transform(outline: list[Point], centre: Point, scale: float) -> list[Point]:
    return [(centre[0] + x * scale, centre[1] + y * scale) for x, y in outline]


def _firs(image: Image.Image, rng: Random, line: list[Point], tall: float, colour: Colour) -> None:
    pen = brush(image)
    for _ in range(round(0.46 * image.width / tall)):
        x, y = line[rng.randrange(len(line))]
        x += rng.uniform(-1, 1) * tall * 0.4
        high = tall * rng.uniform(0.6, 1.25)
        for tier in range(3):
            wide = 0.13 + 0.07 * tier
            triangle = [(0.0, -1 + 0.25 * tier), (-wide, -0.54 + 0.25 * tier), (wide, -0.54 + 0.25 * tier)]
            pen.polygon(_transform(triangle, (x, y), high), fill=(*colour, 255))
        pen.rectangle((x - high * 0.025, y - high * 0.1, x + high * 0.025, y + high * 0.1), (*colour, 255))


def _boat(image: Image.Image, centre: Point, tall: float, palette: Palette) -> None:
    hull = [(-0.55, -0.14), (0.6, -0.14), (0.42, 0.06), (-0.4, 0.06)]
    main = [(0.03, -1.2), (0.03, -0.2), (0.56, -0.2)]
    jib = [(-0.03, -1.05), (-0.03, -0.2), (-0.46, -0.2)]
    sail = mix(palette.light, WHITE, 0.5)
    for outline, colour in ((main, sail), (jib, palette.accent), (hull, palette.near)):
        brush(image).polygon(_transform(outline, centre, tall), fill=(*colour, 255))


def _glitter(image: Image.Image, rng: Random, centre: Point, colour: Colour, depth: float) -> None:
    unit = min(image.size)
    thick = max(2, round(unit * 0.0022 * (1 + depth)))
    for _ in range(14):
        half = unit * rng.uniform(0.006, 0.04) * (0.4 + depth)
        x = centre[0] + rng.gauss(0, 0.045 + 0.08 * depth) * unit
        y = centre[1] + rng.uniform(-0.2, 1.0) * unit * (0.012 + 0.07 * depth)
        brush(image).line((x - half, y, x + half, y), fill=(*colour, rng.randint(50, 170)), width=thick)


def flower(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Return a flower seen from above, with rings of petals."""
    width, height = size
    unit = min(size)
    image = gradient(size, (mix(palette.near, palette.high, 0.35), palette.near))
    centre = width * rng.uniform(0.47, 0.53), height * rng.uniform(0.46, 0.52)
    glow(image, centre, unit * 0.95, palette.middle, 0.75)
    for _ in range(26):
        spot = rng.random() * width, rng.random() * height
        tone = ramp(palette.petals, rng.random())
        glow(image, spot, unit * rng.uniform(0.03, 0.12), tone, rng.uniform(0.15, 0.45))
    rings, count, turn = rng.randint(5, 7), rng.choice((8, 10, 12, 14)), rng.random()
    for ring in range(rings):
        share = ring / (rings - 1)
        tone = ramp(palette.petals, 0.1 + 0.75 * share)
        angles = [math.tau * ((index + ring * 0.5) / count + turn) for index in range(count)]
        _petals(image, centre, angles, unit * (0.43 - 0.3 * share), tone, palette)
    disc(image, centre, unit * 0.062, mix(palette.accent, palette.near, 0.35))
    golden = math.pi * (3 - math.sqrt(5))
    for index in range(130):
        reach = unit * 0.058 * math.sqrt(index / 130)
        seed = centre[0] + reach * math.cos(index * golden), centre[1] + reach * math.sin(index * golden)
        disc(image, seed, unit * 0.0032, mix(palette.light, palette.accent, index / 130))
    return image


def _petals(  # noqa: PLR0913, PLR0917  # a ring of them
    image: Image.Image, centre: Point, angles: list[float], length: float, tone: Colour, palette: Palette
) -> None:
    shade = Image.new("L", image.size, 0)
    outlines = [_petal(centre, angle, length, 2.48 / len(angles)) for angle in angles]
    for outline in outlines:
        ImageDraw.Draw(shade).polygon(outline, fill=150)
    image.paste(mix(palette.near, BLACK, 0.4), mask=blur(shade, length * 0.05))
    for angle, outline in zip(angles, outlines, strict=True):
        lit = 0.5 + 0.5 * math.cos(angle + 2.2)
        colour = mix(mix(tone, palette.near, 0.22), mix(tone, palette.light, 0.3), lit)
        brush(image).polygon(outline, fill=(*colour, 245))
        inner = _petal(centre, angle, length * 0.8, 1.364 / len(angles))
        brush(image).polygon(inner, fill=(*mix(colour, palette.light, 0.35), 110))
        tip = centre[0] + math.cos(angle) * length * 0.9, centre[1] + math.sin(angle) * length * 0.9
        vein = (*mix(colour, palette.near, 0.4), 90)
        brush(image).line([centre, tip], fill=vein, width=max(2, round(length * 0.008)))


def _petal(centre: Point, angle: float, length: float, width: float) -> list[Point]:
    cos, sin = math.cos(angle), math.sin(angle)
    side = [(t / 24, math.sin(math.pi * (t / 24) ** 1.35) ** 0.85 * width / 2) for t in range(25)]
    outline = side + [(along, -across) for along, across in reversed(side)]
    turned = [(along * cos - across * sin, along * sin + across * cos) for along, across in outline]
    return _transform(turned, centre, length)


def cut_paper(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Return sheets of paper with curved holes, one above the other, each with a shadow."""
    # The edges are smooth without an oversized canvas.
    size, full = (size[0] * 2 // 3, size[1] * 2 // 3), size
    unit = min(size)
    field = _smooth_field(rng, size)
    steep = 255 * unit / 9
    colours = (palette.near, palette.high, palette.middle, palette.accent, palette.low, palette.light)
    image = Image.new("RGB", size, colours[0])
    for sheet in range(1, 8):
        share = sheet / 8
        mask = scale_values(field, steep, 128 - (0.1 + 0.84 * share) * steep).convert("L")
        shadow = blur(mask, unit * 0.014)
        shadow.paste(shadow.copy(), (round(unit * 0.008), round(unit * 0.014)))
        image.paste(mix(palette.near, BLACK, 0.5), mask=apply_curve(shadow, lambda value: value / 2))
        image.paste(ramp(colours, share * 1.05), mask=mask)
    return resize(image, full)


def _smooth_field(rng: Random, size: Size) -> Image.Image:
    """Return a sum of plane waves, in floating point: with eight bits the edges would have steps."""
    grid, weights = 72, [0.8**index for index in range(5)]
    waves: list[tuple[float, float, float]] = []
    for index in range(5):
        angle, pitch = rng.uniform(0, math.tau), math.tau * rng.uniform(0.5, 1.5) * (1 + index * 0.35)
        waves.append((pitch * math.cos(angle), pitch * math.sin(angle), rng.uniform(0, math.tau)))
    field = Image.new("F", (grid, grid))
    for cell in range(grid * grid):
        x, y = cell % grid * size[0] / grid / min(size), cell // grid * size[1] / grid / min(size)
        heights = [math.sin(x * across + y * down + phase) for across, down, phase in waves]
        value = sum(weight * height for weight, height in zip(weights, heights, strict=True))
        field.putpixel((cell % grid, cell // grid), 0.5 + 0.7 * value / sum(weights))
    return resize(field, size)


SCENES: Final[Mapping[str, Scene]] = {"hills": hills, "sea": sea, "flower": flower, "cut_paper": cut_paper}
