"""Drawings: svg text in the style of the painted scenes, with the same caption.

Rules: plain shapes and gradients, no script, no link, no foreign font; whatever of a prompt is shown is escaped; the
same request gives the same text. It refuses to embed pixels: what is edited becomes dots.
"""

import hashlib
from collections.abc import Callable, Mapping
from random import Random
from typing import Final
from xml.sax.saxutils import escape

import attrs
from PIL import Image, ImageOps

from openai_images.server.edits import Edit
from openai_images.server.paint.drawing import Colour, Palette, Point, Size, choose_palette, mix, ridge, swell
from openai_images.server.paint.finish import STATEMENT, plain_line
from openai_images.server.paint.scenes import words_of

_LETTERS: Final = 44


@attrs.frozen
class _Sheet:
    """What a drawing is made on: its size in pixels, chance, and colours."""

    width: int
    height: int
    rng: Random
    palette: Palette


def draw(prompt: str, index: int, size: Size, edit: Edit | None) -> str:
    """The svg of a prompt's picture in its size; that of an edit is a mosaic in the colours of its first picture."""
    width, height = size
    seed = hashlib.sha256(f"{index}\x00{prompt}".encode("utf-8", "replace")).digest()
    rng = Random(seed)  # noqa: S311  # draws the same picture for the same prompt, guards nothing
    words = words_of(prompt)
    palette = choose_palette(rng, words)
    by_chance = rng.choice(sorted(_DRAWINGS))
    suggested = [name for name, known in _WORDS.items() if words & frozenset(known.split())]
    sheet = _Sheet(width, height, rng, palette)
    source = None if edit is None else edit.images[0].image
    drawn = _mosaic(sheet, source) if source else _DRAWINGS[suggested[0] if suggested else by_chance](sheet)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{escape(STATEMENT)}</title>\n{drawn}{_caption(sheet, prompt)}</svg>\n"
    )


def _hills(sheet: _Sheet) -> str:
    """A sun above ranges of hills, each nearer and darker."""
    rng, palette = sheet.rng, sheet.palette
    sun = sheet.width * rng.uniform(0.25, 0.75), sheet.height * rng.uniform(0.28, 0.44)
    parts = [
        _sky(sheet, palette.sky),
        _glow(sheet, sun, 0.42),
        _disc(sun, _unit(sheet) * 0.075, palette.light),
    ]
    parts += [_cloud(sheet) for _ in range(4)]
    for number in range(5):
        share = number / 4
        line = ridge(rng, 33, 0.5) if number < 2 else swell(rng, 48, 3, 1.4)
        shade = mix(palette.far, palette.near, share)
        parts.append(_ground(sheet, line, 0.6 + 0.11 * number, 0.2 - 0.025 * number, shade))
    return "".join(parts)


def _sea(sheet: _Sheet) -> str:
    """A low sun, its road of light on the water, and a sail."""
    rng, palette = sheet.rng, sheet.palette
    horizon = sheet.height * 0.52
    sun = sheet.width * rng.uniform(0.35, 0.65), horizon - _unit(sheet) * 0.09
    parts = [
        _sky(sheet, palette.sky),
        _glow(sheet, sun, 0.5),
        _disc(sun, _unit(sheet) * 0.085, palette.light),
    ]
    for number in range(7):
        share = number / 6
        line = swell(rng, 60, 2, 2.0 + 1.5 * number)
        shade = mix(palette.far, palette.near, 0.15 + 0.85 * share)
        parts.append(_ground(sheet, line, 0.53 + 0.46 * share**1.4, 0.004 + 0.028 * share, shade))
    for number in range(16):
        depth = (number + 1) / 16
        wide = _unit(sheet) * (0.03 + 0.12 * depth) * rng.uniform(0.5, 1.2)
        x, y = sun[0] + rng.uniform(-1, 1) * wide * 0.6, horizon + sheet.height * 0.4 * depth
        glint = f'rx="{wide / 2:.1f}" ry="{_unit(sheet) * 0.003 + depth:.1f}" fill="{_hex(palette.light)}"'
        parts.append(f'<ellipse cx="{x:.1f}" cy="{y:.1f}" {glint} opacity="{0.75 - 0.5 * depth:.2f}"/>\n')
    return "".join([*parts, _sail(sheet, horizon)])


def _night(sheet: _Sheet) -> str:
    """A ringed planet among stars."""
    rng, palette = sheet.rng, sheet.palette
    unit = _unit(sheet)
    parts = [_sky(sheet, palette.night)]
    for _ in range(110):
        at = rng.uniform(0, sheet.width), rng.uniform(0, sheet.height)
        parts.append(_disc(at, unit * rng.uniform(0.0008, 0.0028), palette.light, rng.uniform(0.4, 1)))
    centre = sheet.width * rng.uniform(0.42, 0.58), sheet.height * rng.uniform(0.4, 0.52)
    radius = unit * rng.uniform(0.19, 0.25)
    parts.append(_glow(sheet, centre, radius / unit * 2.2, 0.35))
    tilt = f'transform="rotate({rng.uniform(-24, 24):.1f} {centre[0]:.1f} {centre[1]:.1f})"'
    front = f"M {centre[0] - radius * 1.9:.1f} {centre[1]:.1f} a {radius * 1.9:.1f} {radius * 0.5:.1f} 0 0"
    ring = f'fill="none" stroke="{_hex(palette.low)}" stroke-width="{radius * 0.13:.1f}"'
    parts += [
        f'<g {tilt}>\n<path d="{front} 1 {radius * 3.8:.1f} 0" {ring} opacity=".8"/>\n',
        _ball(centre, radius, (palette.light, palette.accent, palette.high)),
        f'<path d="{front} 0 {radius * 3.8:.1f} 0" {ring} opacity=".95"/>\n</g>\n',
    ]
    return "".join(parts)


def _flower(sheet: _Sheet) -> str:
    """Rings of petals around a heart."""
    rng, palette = sheet.rng, sheet.palette
    unit, centre = _unit(sheet), (sheet.width / 2, sheet.height * 0.47)
    parts = [_sky(sheet, (palette.light, mix(palette.light, palette.low, 0.6), palette.low))]
    parts.append(_glow(sheet, centre, 0.62))
    for ring, colour in enumerate(palette.petals[:4]):
        count, length = 14 - 2 * ring, unit * (0.4 - 0.085 * ring)
        start = rng.uniform(0, 360)
        wide, low, high = length * 0.32, length * 0.35, length * 0.85
        right = f"C {wide:.1f} {-low:.1f} {wide:.1f} {-high:.1f} 0 {-length:.1f}"
        shape = f"M 0 0 {right} C {-wide:.1f} {-high:.1f} {-wide:.1f} {-low:.1f} 0 0 Z"
        rim = _hex(mix(colour, (255, 255, 255), 0.35))
        for number in range(count):
            turn = f"translate({centre[0]:.1f} {centre[1]:.1f}) rotate({start + 360 * number / count:.1f})"
            look = f'fill="{_hex(colour)}" stroke="{rim}" stroke-width="{unit * 0.002:.1f}" opacity=".9"'
            parts.append(f'<path d="{shape}" transform="{turn}" {look}/>\n')
    return "".join([*parts, _ball(centre, unit * 0.07, (palette.light, palette.accent, palette.near))])


def _mosaic(sheet: _Sheet, source: Image.Image) -> str:
    """Dots in the colours of a picture, on the prompt's sky."""
    step = max(sheet.width, sheet.height) / 40
    columns, rows = max(1, round(sheet.width / step)), max(1, round(sheet.height / step))
    small = ImageOps.fit(source.convert("RGB"), (columns, rows))
    data = small.tobytes()
    parts = [_sky(sheet, sheet.palette.night)]
    for at in range(columns * rows):
        row, column = divmod(at, columns)
        red, green, blue = data[at * 3 : at * 3 + 3]
        centre = (column + 0.5) * sheet.width / columns, (row + 0.5) * sheet.height / rows
        parts.append(_disc(centre, step * sheet.rng.uniform(0.4, 0.56), (red, green, blue)))
    return "".join(parts)


_DRAWINGS: Final[Mapping[str, Callable[[_Sheet], str]]] = {
    "hills": _hills,
    "sea": _sea,
    "night": _night,
    "flower": _flower,
}
_WORDS: Final[Mapping[str, str]] = {
    "night": "night star stars moon planet space galaxy robot rocket astronaut universe aurora",
    "sea": "sea ocean beach boat ship wave waves water otter fish whale harbour harbor lighthouse island",
    "flower": "flower flowers rose garden bee butterfly spring petal bouquet",
    "hills": "hill hills mountain mountains forest valley meadow sunset sunrise landscape desert autumn",
}


def _unit(sheet: _Sheet) -> int:
    return min(sheet.width, sheet.height)


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _sky(sheet: _Sheet, colours: tuple[Colour, ...]) -> str:
    stops = "".join(
        f'<stop offset="{number / (len(colours) - 1):.2f}" stop-color="{_hex(colour)}"/>'
        for number, colour in enumerate(colours)
    )
    return (
        f'<defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">{stops}</linearGradient></defs>\n'
        f'<rect width="{sheet.width}" height="{sheet.height}" fill="url(#sky)"/>\n'
    )


def _glow(sheet: _Sheet, at: Point, radius: float, strength: float = 0.85) -> str:
    light = _hex(sheet.palette.light)
    stops = (
        f'<stop offset="0" stop-color="{light}" stop-opacity="{strength}"/>'
        f'<stop offset="1" stop-color="{light}" stop-opacity="0"/>'
    )
    circle = f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{_unit(sheet) * radius:.1f}" fill="url(#glow)"/>'
    return f'<defs><radialGradient id="glow">{stops}</radialGradient></defs>\n{circle}\n'


def _disc(at: Point, radius: float, colour: Colour, opacity: float = 1) -> str:
    place = f'cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:.1f}"'
    return f'<circle {place} fill="{_hex(colour)}" opacity="{opacity:.2f}"/>\n'


def _ball(at: Point, radius: float, colours: tuple[Colour, Colour, Colour]) -> str:
    stops = "".join(
        f'<stop offset="{number / 2}" stop-color="{_hex(colour)}"/>' for number, colour in enumerate(colours)
    )
    gradient = f'<radialGradient id="ball" cx=".35" cy=".32" r=".75">{stops}</radialGradient>'
    circle = f'<circle cx="{at[0]:.1f}" cy="{at[1]:.1f}" r="{radius:.1f}" fill="url(#ball)"/>'
    return f"<defs>{gradient}</defs>\n{circle}\n"


def _cloud(sheet: _Sheet) -> str:
    rng = sheet.rng
    x, y = rng.uniform(0, sheet.width), sheet.height * rng.uniform(0.06, 0.34)
    wide = _unit(sheet) * rng.uniform(0.12, 0.3)
    shape = f'cx="{x:.1f}" cy="{y:.1f}" rx="{wide:.1f}" ry="{wide * 0.07:.1f}"'
    return f'<ellipse {shape} fill="{_hex(sheet.palette.light)}" opacity="{rng.uniform(0.15, 0.4):.2f}"/>\n'


def _ground(sheet: _Sheet, line: list[float], base: float, rise: float, colour: Colour) -> str:
    step = sheet.width / (len(line) - 1)
    points = " ".join(
        f"L {at * step:.1f} {(base - value * rise) * sheet.height:.1f}" for at, value in enumerate(line)
    )
    path = f"M 0 {sheet.height} {points} L {sheet.width} {sheet.height} Z"
    return f'<path d="{path}" fill="{_hex(colour)}"/>\n'


def _sail(sheet: _Sheet, horizon: float) -> str:
    unit, palette = _unit(sheet) * 0.055, sheet.palette
    x = sheet.width * sheet.rng.choice((0.22, 0.28, 0.72, 0.78))
    y = horizon + sheet.height * 0.06
    sail = f"M {x:.1f} {y:.1f} v {-unit * 1.9:.1f} l {unit * 0.95:.1f} {unit * 1.7:.1f} Z"
    side = f"l {-unit * 0.4:.1f} {unit * 0.4:.1f} h {-unit * 1.3:.1f} Z"
    hull = f"M {x - unit:.1f} {y + unit * 0.1:.1f} h {unit * 2.1:.1f} {side}"
    return (
        f'<path d="{sail}" fill="{_hex(palette.accent)}"/>\n<path d="{hull}" fill="{_hex(palette.near)}"/>\n'
    )


def _caption(sheet: _Sheet, prompt: str) -> str:
    """The statement and the prompt on a dark plate at the lower left."""
    unit = _unit(sheet)
    title, text = max(9.0, unit * 0.019), max(9.0, unit * 0.022)
    shown = plain_line(prompt)
    if len(shown) > _LETTERS:
        shown = shown[:_LETTERS].rpartition(" ")[0] or shown[:_LETTERS]
        shown += "\u2026"
    lines = [(STATEMENT, title, "#cdcdcd"), (shown, text, "#ffffff")]
    lines = [line for line in lines if line[0]]
    wide = max(len(words) * size * 0.56 for words, size, _ in lines) + unit * 0.028
    tall = unit * 0.031 * len(lines) + unit * 0.02
    left, top = unit * 0.026, sheet.height - unit * 0.026 - tall
    place = f'x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="{unit * 0.016:.1f}"'
    plate = f'<rect {place} fill="#0c0e18" opacity=".47"/>\n'
    rows = [
        f'<text x="{left + unit * 0.014:.1f}" y="{top + unit * (0.029 + 0.031 * row):.1f}" font-size="{size:.1f}" '
        f'font-family="sans-serif" fill="{shade}">{escape(words)}</text>\n'
        for row, (words, size, shade) in enumerate(lines)
    ]
    return plate + "".join(rows)
