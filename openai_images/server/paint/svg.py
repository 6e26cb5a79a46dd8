"""Svg stand-ins: hills under a sun as shapes and gradients, or a mosaic of a source image, with the usual caption.

Invariants: no script, no link, no foreign font; text of a prompt is escaped; the same request gives the same text.
Must not: embed pixels.
"""

import hashlib
from random import Random
from typing import Final
from xml.sax.saxutils import escape

import attrs
from PIL import Image, ImageOps

from openai_images.server.edits import CheckedEdit
from openai_images.server.paint.drawing import Colour, Palette, Point, Size, mix, ridge, swell
from openai_images.server.paint.finish import STATEMENT, plain_line
from openai_images.server.paint.scenes import choose_palette, prompt_words

_LETTERS: Final = 44


@attrs.frozen
class _Sheet:
    width: int
    height: int
    rng: Random
    palette: Palette

    @property
    def unit(self) -> int:
        return min(self.width, self.height)


def draw(prompt: str, index: int, size: Size, edit: CheckedEdit | None) -> str:
    """The svg of a prompt's image; that of an edit is a mosaic in the colours of its first image."""
    width, height = size
    seed = hashlib.sha256(f"{index}\x00{prompt}".encode("utf-8", "replace")).digest()
    rng = Random(seed)  # noqa: S311  # draws the same image for the same prompt, guards nothing
    sheet = _Sheet(width, height, rng, choose_palette(rng, prompt_words(prompt)))
    source = None if edit is None else edit.images[0].image
    shapes = _mosaic(sheet, source) if source else _hills(sheet)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">\n'
        f"<title>{escape(STATEMENT)}</title>\n{shapes}{_caption(sheet, prompt)}</svg>\n"
    )


def _hills(sheet: _Sheet) -> str:
    rng, palette = sheet.rng, sheet.palette
    sun = sheet.width * rng.uniform(0.25, 0.75), sheet.height * rng.uniform(0.28, 0.44)
    parts = [_sky(sheet, palette.sky), _glow(sheet, sun), _disc(sun, sheet.unit * 0.075, palette.light)]
    parts += [_cloud(sheet) for _ in range(4)]
    for number in range(5):
        line = ridge(rng, 33, 0.5) if number < 2 else swell(rng, 48, 3, 1.4)
        shade = mix(palette.far, palette.near, number / 4)
        parts.append(_ground(sheet, line, 0.6 + 0.11 * number, 0.2 - 0.025 * number, shade))
    return "".join(parts)


def _mosaic(sheet: _Sheet, source: Image.Image) -> str:
    """Dots in the colours of an image, on the prompt's sky."""
    step = max(sheet.width, sheet.height) / 40
    columns, rows = max(1, round(sheet.width / step)), max(1, round(sheet.height / step))
    data = ImageOps.fit(source.convert("RGB"), (columns, rows)).tobytes()
    parts = [_sky(sheet, sheet.palette.night)]
    for cell in range(columns * rows):
        row, column = divmod(cell, columns)
        red, green, blue = data[cell * 3 : cell * 3 + 3]
        centre = (column + 0.5) * sheet.width / columns, (row + 0.5) * sheet.height / rows
        parts.append(_disc(centre, step * sheet.rng.uniform(0.4, 0.56), (red, green, blue)))
    return "".join(parts)


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _sky(sheet: _Sheet, colours: tuple[Colour, Colour, Colour]) -> str:
    stops = "".join(
        f'<stop offset="{number / 2}" stop-color="{_hex(colour)}"/>' for number, colour in enumerate(colours)
    )
    return (
        f'<defs><linearGradient id="sky" x1="0" y1="0" x2="0" y2="1">{stops}</linearGradient></defs>\n'
        f'<rect width="{sheet.width}" height="{sheet.height}" fill="url(#sky)"/>\n'
    )


def _glow(sheet: _Sheet, centre: Point) -> str:
    stop = f'stop-color="{_hex(sheet.palette.light)}" stop-opacity'
    stops = f'<stop offset="0" {stop}=".85"/><stop offset="1" {stop}="0"/>'
    circle = (
        f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{sheet.unit * 0.42:.1f}" fill="url(#glow)"/>'
    )
    return f'<defs><radialGradient id="glow">{stops}</radialGradient></defs>\n{circle}\n'


def _disc(centre: Point, radius: float, colour: Colour) -> str:
    return f'<circle cx="{centre[0]:.1f}" cy="{centre[1]:.1f}" r="{radius:.1f}" fill="{_hex(colour)}"/>\n'


def _cloud(sheet: _Sheet) -> str:
    rng = sheet.rng
    x, y = rng.uniform(0, sheet.width), sheet.height * rng.uniform(0.06, 0.34)
    wide = sheet.unit * rng.uniform(0.12, 0.3)
    shape = f'cx="{x:.1f}" cy="{y:.1f}" rx="{wide:.1f}" ry="{wide * 0.07:.1f}"'
    return f'<ellipse {shape} fill="{_hex(sheet.palette.light)}" opacity="{rng.uniform(0.15, 0.4):.2f}"/>\n'


def _ground(sheet: _Sheet, line: list[float], base: float, rise: float, colour: Colour) -> str:
    step = sheet.width / (len(line) - 1)
    heights = [(base - value * rise) * sheet.height for value in line]
    points = " ".join(f"L {number * step:.1f} {height:.1f}" for number, height in enumerate(heights))
    path = f"M 0 {sheet.height} {points} L {sheet.width} {sheet.height} Z"
    return f'<path d="{path}" fill="{_hex(colour)}"/>\n'


def _caption(sheet: _Sheet, prompt: str) -> str:
    unit = sheet.unit
    text = plain_line(prompt)
    if len(text) > _LETTERS:
        text = (text[:_LETTERS].rpartition(" ")[0] or text[:_LETTERS]) + "\u2026"
    lines = [(STATEMENT, max(9.0, unit * 0.019), "#cdcdcd"), (text, max(9.0, unit * 0.022), "#ffffff")]
    lines = [line for line in lines if line[0]]
    wide = max(len(words) * size * 0.56 for words, size, _ in lines) + unit * 0.028
    tall = unit * 0.031 * len(lines) + unit * 0.02
    left, top = unit * 0.026, sheet.height - unit * 0.026 - tall
    box = f'x="{left:.1f}" y="{top:.1f}" width="{wide:.1f}" height="{tall:.1f}" rx="{unit * 0.016:.1f}"'
    rows = [
        f'<text x="{left + unit * 0.014:.1f}" y="{top + unit * (0.029 + 0.031 * row):.1f}" font-size="{size:.1f}" '
        f'font-family="sans-serif" fill="{shade}">{escape(words)}</text>\n'
        for row, (words, size, shade) in enumerate(lines)
    ]
    return f'<rect {box} fill="#0c0e18" opacity=".47"/>\n' + "".join(rows)
