"""Scenes out of doors: hills under a sun, a night with northern lights, a sea with a boat.

Rules: each is a function of size, chance and palette that gives a finished canvas, painted from far to near.
It refuses to write on the picture: the caption comes later.
"""

from random import Random
from typing import Final

from PIL import Image, ImageChops, ImageFilter

from openai_images.server.paint.drawing import (
    Colour,
    Palette,
    Point,
    Size,
    brush,
    disc,
    glow,
    gradient,
    land,
    mapped,
    mix,
    noise,
    ramp,
    ridge,
    scaled,
    shape_mask,
    soften,
    swell,
)

_LIGHTS: Final[tuple[Colour, ...]] = ((70, 226, 160), (64, 170, 214), (168, 96, 214))


def hills(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Ridges in haze below a low sun."""
    width, height = size
    unit = min(size)
    image = gradient(size, palette.sky, 0.72)
    _clouds(image, rng, palette.light, 0.55)
    sun = rng.uniform(0.24, 0.76) * width, rng.uniform(0.3, 0.42) * height
    _sun(image, sun, unit * rng.uniform(0.06, 0.1), palette)
    _birds(image, rng, unit, mix(palette.near, palette.middle, 0.2))
    layers = 6
    for index in range(layers):
        depth = index / (layers - 1)
        line = ridge(rng, 256, 0.5) if index < 3 else swell(rng, 256, 4, rng.uniform(0.8, 1.6))
        base = 0.64 + 0.34 * depth**1.25
        tone = mix(palette.far, palette.near, depth**1.1)
        tone = mix(tone, palette.low, 0.45 * (1 - depth))
        outline = land(size, line, base, 0.17 - 0.07 * depth)
        foot = mix(tone, palette.low, 0.55 * (1 - depth))
        image.paste(_hazy(size, tone, foot, base - 0.2), mask=shape_mask(size, outline))
        if index >= 4:
            _firs(
                image, rng, outline[1:-1], unit * (0.02 + 0.035 * (index - 4)), mix(tone, palette.near, 0.5)
            )
    return image


def northern_lights(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Stars and curtains of light above mountains and their mirror in a lake."""
    width, height = size
    shore = round(height * 0.7)
    sky = gradient((width, shore), palette.night)
    _stars(sky, rng, 420)
    for index in range(3):
        _curtain(sky, rng, _LIGHTS[index])
    moon = rng.uniform(0.15, 0.85) * width, rng.uniform(0.14, 0.26) * height
    glow(sky, moon, min(size) * 0.2, palette.light, 0.5)
    disc(sky, moon, min(size) * 0.032, mix(palette.light, (255, 255, 255), 0.4))
    for index, (tone, rise) in enumerate(((0.55, 0.34), (0.8, 0.22), (0.95, 0.1))):
        line = ridge(rng, 256, 0.5)
        colour = mix(palette.far, (8, 10, 24), tone)
        outline = land((width, shore), line, 1.0 - 0.015 * (2 - index), rise)
        fill = _hazy(sky.size, colour, mix(colour, palette.middle, 0.25), 0.8)
        sky.paste(fill, mask=shape_mask(sky.size, outline))
    image = Image.new("RGB", size)
    image.paste(sky)
    image.paste(_lake(sky, (width, height - shore), rng, palette), (0, shore))
    return image


def sea(size: Size, rng: Random, palette: Palette) -> Image.Image:
    """Waves in layers, a sun half set, a sail."""
    width, height = size
    unit = min(size)
    horizon = rng.uniform(0.44, 0.52)
    image = gradient(size, palette.sky, horizon)
    _clouds(image, rng, palette.light, horizon)
    sun = rng.uniform(0.3, 0.7) * width, horizon * height * rng.uniform(0.86, 0.98)
    _sun(image, sun, unit * rng.uniform(0.1, 0.15), palette)
    sail_row = rng.randint(1, 2)
    rows = 13
    for index in range(rows):
        depth = index / (rows - 1)
        base = horizon + (1.0 - horizon) * depth**1.6 * 0.95
        level, rise = _wave(image, rng, palette, (base, depth))
        if index == sail_row:
            _boat(
                image, (rng.uniform(0.2, 0.8) * width, (level - rise * 0.4) * height), unit * 0.085, palette
            )
        if index < rows - 1:
            _glitter(image, rng, (sun[0], level * height), palette.light, depth)
    _birds(image, rng, unit, mix(palette.near, palette.middle, 0.3))
    return image


def _wave(
    image: Image.Image, rng: Random, palette: Palette, place: tuple[float, float]
) -> tuple[float, float]:
    """One layer of the sea: lit along its crest; gives its level and its rise."""
    base, depth = place
    unit = min(image.size)
    shades = (
        mix(palette.low, palette.middle, 0.55),
        palette.middle,
        palette.high,
        mix(palette.high, palette.near, 0.8),
    )
    tone = ramp(shades, depth**0.8)
    rise = 0.005 + 0.03 * depth
    outline = land(image.size, swell(rng, 240, 3, 9 - 7 * depth), base + rise, rise)
    top = round((base - 0.01) * image.height)
    # What lies further below is covered by the next layers.
    reach = image.height - top if depth > 0.9 else min(image.height - top, round(0.2 * image.height))
    fill = _hazy((image.width, reach), mix(tone, palette.light, 0.3), tone, 0.0, 0.5)
    image.paste(fill, (0, top), shape_mask(fill.size, [(x, y - top) for x, y in outline]))
    thick = max(2, round(unit * 0.0012 * (1 + 2 * depth)))
    crest = mix(tone, palette.light, 0.3 + 0.2 * depth)
    brush(image).line(outline[1:-1], fill=(*crest, 255), width=thick, joint="curve")
    return base + rise, rise


def _hazy(size: Size, top: Colour, bottom: Colour, start: float, reach: float = 0.3) -> Image.Image:
    """A canvas that goes from one tone to the other within `reach` below `start`."""
    strip = Image.new("RGB", (1, 512))
    for row in range(512):
        strip.putpixel((0, row), mix(top, bottom, min(1.0, max(0.0, (row / 511 - start) / reach))))
    return scaled(strip, size)


def _sun(image: Image.Image, centre: Point, radius: float, palette: Palette) -> None:
    glow(image, centre, radius * 7, palette.light, 0.55)
    glow(image, centre, radius * 2.6, palette.light, 0.75)
    disc(image, centre, radius, mix(palette.light, (255, 255, 255), 0.35))


def _clouds(image: Image.Image, rng: Random, light: Colour, reach: float) -> None:
    width, height = image.size
    band = max(2, round(height * reach))
    field = noise(rng, (width // 4, band // 4), (3, 7), 4)
    fade = mapped(scaled(Image.linear_gradient("L"), field.size), lambda value: 255 - abs(value - 150))
    mask = ImageChops.multiply(mapped(field, lambda value: (value - 128) * 2.6), fade)
    image.paste(light, (0, 0, width, band), scaled(mask, (width, band)))


def _birds(image: Image.Image, rng: Random, unit: int, colour: Colour) -> None:
    pen = brush(image)
    x, y = rng.uniform(0.2, 0.75) * image.width, rng.uniform(0.14, 0.26) * image.height
    for _ in range(rng.randint(3, 6)):
        span = unit * rng.uniform(0.011, 0.02)
        at = x + rng.gauss(0, 0.06) * unit, y + rng.gauss(0, 0.03) * unit
        wing = [(-1.0, -0.35), (-0.5, -0.5), (0.0, 0.0), (0.5, -0.5), (1.0, -0.3)]
        pen.line(
            [(at[0] + dx * span, at[1] + dy * span) for dx, dy in wing],
            (*colour, 210),
            max(2, round(unit * 0.0028)),
            "curve",
        )


def _firs(image: Image.Image, rng: Random, line: list[Point], tall: float, colour: Colour) -> None:
    pen = brush(image)
    for _ in range(round(46 * 0.02 * image.width / tall / 2)):
        x, y = line[rng.randrange(len(line))]
        x += rng.uniform(-1, 1) * tall * 0.4
        high = tall * rng.uniform(0.6, 1.25)
        for tier in range(3):
            top, wide = y - high * (1 - 0.25 * tier), high * (0.13 + 0.07 * tier)
            pen.polygon(
                [(x, top), (x - wide, top + high * 0.46), (x + wide, top + high * 0.46)], fill=(*colour, 255)
            )
        pen.rectangle(
            (x - high * 0.025, y - high * 0.1, x + high * 0.025, y + high * 0.1), fill=(*colour, 255)
        )


def _stars(image: Image.Image, rng: Random, count: int) -> None:
    pen = brush(image)
    unit = min(image.size)
    for _ in range(count):
        x, y = rng.random() * image.width, rng.random() ** 1.3 * image.height
        radius = unit * 0.0011 * (1 + 2.2 * rng.random() ** 6)
        pen.ellipse(
            (x - radius, y - radius, x + radius, y + radius), fill=(255, 250, 240, rng.randint(70, 240))
        )


def _curtain(image: Image.Image, rng: Random, colour: Colour) -> None:
    width, height = image.size
    small = width // 8, height // 8
    mask = Image.new("L", small, 0)
    line = swell(rng, small[0], 3, rng.uniform(0.7, 1.6))
    shine = swell(rng, small[0], 5, 6)
    base, reach = rng.uniform(0.5, 0.72), rng.uniform(0.35, 0.55)
    for x in range(small[0]):
        foot = (base - 0.28 * line[x]) * small[1]
        length = reach * small[1] * (0.6 + 0.4 * shine[x])
        _ray(mask, x, foot, length, 0.35 + 0.65 * shine[x])
    soft = scaled(mask.filter(ImageFilter.GaussianBlur(1.2)), image.size)
    light = Image.new("RGB", image.size, colour)
    light = Image.composite(light, Image.new("RGB", image.size), soft)
    image.paste(ImageChops.screen(image, light))


def _ray(mask: Image.Image, x: int, foot: float, length: float, strength: float) -> None:
    for step in range(max(1, round(length))):
        y = round(foot) - step
        if 0 <= y < mask.height:
            rise = step / length
            mask.putpixel((x, y), round(200 * strength * min(1.0, rise * 9) * (1 - rise) ** 1.6))


def _lake(sky: Image.Image, size: Size, rng: Random, palette: Palette) -> Image.Image:
    width, height = size
    part = sky.crop((0, sky.height - height, width, sky.height)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    part = soften(part, min(sky.size) / 250)
    water = Image.blend(part, Image.new("RGB", size, mix(palette.near, (6, 8, 20), 0.6)), 0.4)
    pen = brush(water)
    for _ in range(90):
        y = rng.random() ** 1.5 * height
        x, half = rng.random() * width, width * (0.02 + 0.1 * rng.random()) * (0.3 + y / height)
        pen.line(
            (x - half, y, x + half, y),
            fill=(255, 255, 255, rng.randint(8, 26)),
            width=max(1, round(height * 0.004)),
        )
    return water


def _boat(image: Image.Image, at: Point, tall: float, palette: Palette) -> None:
    pen = brush(image)
    x, y = at
    hull = [(-0.55, -0.14), (0.6, -0.14), (0.42, 0.06), (-0.4, 0.06)]
    main = [(0.03, -1.2), (0.03, -0.2), (0.56, -0.2)]
    jib = [(-0.03, -1.05), (-0.03, -0.2), (-0.46, -0.2)]
    for outline, colour in (
        (main, mix(palette.light, (255, 255, 255), 0.5)),
        (jib, palette.accent),
        (hull, palette.near),
    ):
        pen.polygon([(x + dx * tall, y + dy * tall) for dx, dy in outline], fill=(*colour, 255))


def _glitter(image: Image.Image, rng: Random, at: Point, colour: Colour, depth: float) -> None:
    """Flashes of the sun on the water."""
    pen = brush(image)
    unit = min(image.size)
    thick = max(2, round(unit * 0.0022 * (1 + depth)))
    for _ in range(14):
        half = unit * rng.uniform(0.006, 0.04) * (0.4 + depth)
        x = at[0] + rng.gauss(0, 0.045 + 0.08 * depth) * unit
        y = at[1] + rng.uniform(-0.2, 1.0) * unit * (0.012 + 0.07 * depth)
        pen.line((x - half, y, x + half, y), fill=(*colour, rng.randint(50, 170)), width=thick)
