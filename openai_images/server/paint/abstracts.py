"""Scenes of the imagination: a flower, ribbons on a field, cut paper, a planet.

Rules: as in `landscapes.py`. It refuses to write on the picture.
"""

import math
from itertools import pairwise
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from openai_images.server.paint.drawing import (
    Colour,
    Palette,
    Point,
    Size,
    brush,
    disc,
    glow,
    gradient,
    linear,
    mapped,
    mix,
    noise,
    ramp,
    scaled,
    soften,
)


def flower(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """A flower seen from above, ring upon ring of petals."""
    width, height = size
    unit = min(size)
    image = gradient(size, (mix(palette.near, palette.high, 0.35), palette.near))
    centre = width * rng.uniform(0.47, 0.53), height * rng.uniform(0.46, 0.52)
    glow(image, centre, unit * 0.95, palette.middle, 0.75)
    for _ in range(26):
        _bokeh(image, rng, unit, ramp(palette.petals, rng.random()))
    rings = rng.randint(5, 7)
    count = rng.choice((8, 10, 12, 14))
    turn = rng.random()
    for ring in range(rings):
        share = ring / (rings - 1)
        length = unit * (0.43 - 0.3 * share)
        tone = ramp(palette.petals, 0.1 + 0.75 * share)
        _ring(image, centre, (count, turn + ring * 0.5 / count, length, 0.62), tone, palette)
    disc(image, centre, unit * 0.062, mix(palette.accent, palette.near, 0.35))
    _seeds(image, centre, unit * 0.058, palette)
    return image


def ribbons(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Bands of silk, folded and see-through."""
    width, height = size
    unit = min(size)
    dark = mix(palette.near, (8, 8, 20), 0.45)
    image = gradient(size, (mix(dark, palette.high, 0.35), dark, mix(dark, palette.middle, 0.22)))
    glow(image, (width * rng.random(), height * rng.uniform(0.2, 0.8)), unit * 0.9, palette.high, 0.55)
    colours = (palette.high, palette.middle, palette.accent, palette.low, palette.light)
    folds = 40
    for _ in range(4):
        waves = [(rng.uniform(0.5, 1.9), rng.uniform(0, math.tau), rng.uniform(0.05, 0.17)) for _ in range(3)]
        place = rng.uniform(0.25, 0.75), rng.uniform(0.12, 0.26), rng.uniform(0.6, 2.2)
        strands = [_strand(size, waves, place, index / folds) for index in range(folds + 1)]
        tint = rng.random()
        for index, (one, other) in enumerate(pairwise(strands)):
            share = index / folds
            colour = ramp(colours, 0.5 * tint + 0.5 * share)
            alpha = round(20 + 95 * math.sin(math.pi * share) ** 1.2)
            brush(image).polygon([*one, *reversed(other)], fill=(*colour, alpha))
    for _ in range(60):
        at = rng.random() * width, rng.random() * height
        disc(image, at, unit * rng.uniform(0.0008, 0.0026), palette.light, rng.randint(60, 190))
    return image


def cut_paper(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Sheets of paper with flowing holes, one above the other, each throwing a shadow."""
    # Its edges are smooth by themselves and need no oversized canvas.
    size, full = (size[0] * 2 // 3, size[1] * 2 // 3), size
    unit = min(size)
    field = _smooth_field(rng, size)
    steep = 255 * unit / 9
    colours = (palette.near, palette.high, palette.middle, palette.accent, palette.low, palette.light)
    sheets = 8
    image = Image.new("RGB", size, colours[0])
    for sheet in range(1, sheets):
        share = sheet / sheets
        mask = linear(field, steep, 128 - (0.1 + 0.84 * share) * steep).convert("L")
        shadow = soften(mask, unit * 0.014)
        shadow.paste(shadow.copy(), (round(unit * 0.008), round(unit * 0.014)))
        image.paste(mix(palette.near, (0, 0, 0), 0.5), mask=mapped(shadow, lambda value: value / 2))
        image.paste(ramp(colours, share * 1.05), mask=mask)
    return scaled(image, full)


def planet(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """A banded planet with a ring before a nebula."""
    width, height = size
    unit = min(size)
    image = gradient(size, (mix(palette.near, (4, 5, 16), 0.7), (6, 7, 20)))
    for colour in (palette.high, palette.middle, palette.accent):
        cloud = noise(rng, (width // 8, height // 8), (3, 3), 4)
        mask = mapped(cloud, lambda value: min(190, (value - 122) * 2.4))
        light = Image.composite(
            Image.new("RGB", size, colour),
            Image.new("RGB", size),
            scaled(mask, size),
        )
        image = ImageChops.screen(image, mapped(light, lambda value: value * 0.62))
    _star_field(image, rng, unit)
    centre = width * rng.uniform(0.42, 0.58), height * rng.uniform(0.42, 0.54)
    radius = unit * rng.uniform(0.22, 0.28)
    tilt = rng.uniform(-0.42, 0.42)
    _ring_half(image, (centre, radius, tilt), palette, front=False)
    _ball(image, centre, radius, _bands(rng, palette, tilt), palette)
    _ring_half(image, (centre, radius, tilt), palette, front=True)
    moon = centre[0] + radius * rng.choice((-1.75, 1.75)), centre[1] - radius * rng.uniform(0.9, 1.2)
    _ball(image, moon, radius * 0.13, Image.new("RGB", (8, 8), palette.light), palette)
    return image


def _smooth_field(rng: Random, size: Size) -> Image.Image:
    """A few plane waves across one another, in floating point: eight bits would show as steps along the edges."""
    grid = 72
    unit = min(size)
    waves = [
        (
            rng.uniform(0, math.tau),
            rng.uniform(0.5, 1.5) * (1 + index * 0.35),
            rng.uniform(0, math.tau),
            0.8**index,
        )
        for index in range(5)
    ]
    field = Image.new("F", (grid, grid))
    total = sum(weight for *_, weight in waves)
    for row in range(grid):
        for column in range(grid):
            x, y = column / grid * size[0] / unit, row / grid * size[1] / unit
            value = sum(
                weight * math.sin(math.tau * pitch * (x * math.cos(way) + y * math.sin(way)) + phase)
                for way, pitch, phase, weight in waves
            )
            field.putpixel((column, row), 0.5 + 0.7 * value / total)
    return scaled(field, size)


def _bokeh(image: Image.Image, rng: Random, unit: int, colour: Colour) -> None:
    at = rng.random() * image.width, rng.random() * image.height
    glow(image, at, unit * rng.uniform(0.03, 0.12), colour, rng.uniform(0.15, 0.45))


def _ring(
    image: Image.Image, centre: Point, form: tuple[int, float, float, float], tone: Colour, palette: Palette
) -> None:
    count, turn, length, fullness = form
    shade = Image.new("L", image.size, 0)
    pen = ImageDraw.Draw(shade)
    outlines = [
        _petal(centre, math.tau * (index / count + turn), length, fullness * 4 / count)
        for index in range(count)
    ]
    for outline in outlines:
        pen.polygon(outline, fill=150)
    image.paste(mix(palette.near, (0, 0, 0), 0.4), mask=soften(shade, length * 0.05))
    for index, outline in enumerate(outlines):
        angle = math.tau * (index / count + turn)
        lit = 0.5 + 0.5 * math.cos(angle + 2.2)
        colour = mix(mix(tone, palette.near, 0.22), mix(tone, palette.light, 0.3), lit)
        brush(image).polygon(outline, fill=(*colour, 245))
        inner = _petal(centre, angle, length * 0.8, fullness * 2.2 / count)
        brush(image).polygon(inner, fill=(*mix(colour, palette.light, 0.35), 110))
        vein = [
            centre,
            (centre[0] + math.cos(angle) * length * 0.9, centre[1] + math.sin(angle) * length * 0.9),
        ]
        brush(image).line(
            vein, fill=(*mix(colour, palette.near, 0.4), 90), width=max(2, round(length * 0.008))
        )


def _petal(centre: Point, angle: float, length: float, width: float) -> list[Point]:
    cos, sin = math.cos(angle), math.sin(angle)
    side = [(t / 24, math.sin(math.pi * (t / 24) ** 1.35) ** 0.85 * width / 2) for t in range(25)]
    outline = side + [(at, -wide) for at, wide in reversed(side)]
    return [
        (centre[0] + (at * cos - wide * sin) * length, centre[1] + (at * sin + wide * cos) * length)
        for at, wide in outline
    ]


def _seeds(image: Image.Image, centre: Point, radius: float, palette: Palette) -> None:
    golden = math.pi * (3 - math.sqrt(5))
    for index in range(130):
        reach = radius * math.sqrt(index / 130)
        at = centre[0] + reach * math.cos(index * golden), centre[1] + reach * math.sin(index * golden)
        disc(image, at, radius * 0.055, mix(palette.light, palette.accent, index / 130))


def _strand(
    size: Size, waves: list[tuple[float, float, float]], place: tuple[float, float, float], share: float
) -> list[Point]:
    width, height = size
    level, spread, shift = place
    points: list[Point] = []
    for step in range(61):
        at = step / 60
        lift = sum(
            deep * math.sin(math.tau * pitch * at + phase + shift * share) for pitch, phase, deep in waves
        )
        fan = (share - 0.5) * spread * (0.35 + 0.65 * math.sin(math.pi * at + shift) ** 2)
        points.append(((at * 1.1 - 0.05) * width, (level + lift + fan) * height))
    return points


def _star_field(image: Image.Image, rng: Random, unit: int) -> None:
    for _ in range(380):
        at = rng.random() * image.width, rng.random() * image.height
        disc(image, at, unit * 0.0011 * (1 + 2 * rng.random() ** 6), (255, 250, 242), rng.randint(60, 240))
    for _ in range(5):
        at = rng.random() * image.width, rng.random() * image.height
        glow(image, at, unit * 0.022, (255, 250, 242), 0.9)


def _bands(rng: Random, palette: Palette, tilt: float) -> Image.Image:
    side = 512
    colours = (palette.middle, palette.low, palette.accent, palette.light, palette.high, palette.middle)
    strip = Image.new("RGB", (1, side))
    edge = [rng.uniform(-0.05, 0.05) for _ in range(24)]
    for row in range(side):
        strip.putpixel((0, row), ramp(colours, row / side + edge[row * 24 // side]))
    bands = scaled(strip.filter(ImageFilter.GaussianBlur(3)), (side, side))
    storm = noise(rng, (side, side), (4, 16), 4)
    swirl = Image.merge("RGB", [storm] * 3)
    return Image.blend(bands, ImageChops.overlay(bands, swirl), 0.55).rotate(
        -math.degrees(tilt), Image.Resampling.BICUBIC
    )


def _ball(image: Image.Image, centre: Point, radius: float, skin: Image.Image, palette: Palette) -> None:
    side = max(4, round(radius * 2))
    ball = scaled(skin, (side, side))
    night = scaled(Image.radial_gradient("L"), (side * 2, side * 2))
    night = night.crop((round(side * 0.72), round(side * 0.74), round(side * 1.72), round(side * 1.74)))
    dark = mapped(night, lambda value: min(250.0, (value / 128) ** 2.6 * 225))
    ball.paste(mix(palette.near, (2, 3, 12), 0.75), mask=dark)
    mask = Image.new("L", (side, side), 0)
    ImageDraw.Draw(mask).ellipse((1, 1, side - 2, side - 2), fill=255)
    glow(image, centre, radius * 1.35, palette.light, 0.35)
    image.paste(ball, (round(centre[0] - radius), round(centre[1] - radius)), mask)


def _ring_half(
    image: Image.Image, place: tuple[Point, float, float], palette: Palette, *, front: bool
) -> None:
    centre, radius, tilt = place
    pen = brush(image)
    colours = (palette.middle, palette.low, palette.light, palette.accent, palette.middle)
    bands = 22
    for band in range(bands):
        share = band / bands
        if 0.58 < share < 0.66:
            continue
        inner, outer = radius * (1.28 + 0.72 * share), radius * (1.28 + 0.72 * (band + 0.94) / bands)
        turn = [(math.pi if not front else 0.0) + math.pi * step / 60 for step in range(61)]
        outline = [_on_ellipse(centre, outer, tilt, at) for at in turn]
        outline += [_on_ellipse(centre, inner, tilt, at) for at in reversed(turn)]
        light = 215 - 130 * abs(share - 0.45)
        pen.polygon(outline, fill=(*ramp(colours, share), round(light)))


def _on_ellipse(centre: Point, long: float, tilt: float, angle: float) -> Point:
    x, y = long * math.cos(angle), long * 0.23 * math.sin(angle)
    cos, sin = math.cos(tilt), math.sin(tilt)
    return centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos
