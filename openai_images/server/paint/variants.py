"""Placeholders other than a scene: edits of source images, the frames of a gif, svgs.

Invariants: only the transparent part of a mask is drawn again; every gif frame differs from the one before, and all
share one palette; an svg has no script, link, external font or pixels, and the part of the prompt in it is escaped.
Must not: follow the prompt of an edit.
"""

import io
import math
from collections.abc import Callable
from random import Random
from typing import Any, Final
from xml.sax.saxutils import escape

import attrs
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from openai_images.server.paint.drawing import (
    STATEMENT,
    Colour,
    Palette,
    Point,
    Size,
    apply_curve,
    blur,
    mix,
    plain_line,
    prompt_rng,
    ramp,
    resize,
    ridge,
    swell,
)
from openai_images.server.paint.scenes import choose_palette, prompt_words
from openai_images.server.protocol.catalog import Animation
from openai_images.server.requests.source_images import CheckedEdit, ImageInfo

MARGIN = 1.14
_MAX_PRINTS: Final = 4
_PAPER: Final[Colour] = (250, 248, 243)


def encode_gif(
    canvas: Image.Image, size: Size, animation: Animation, finish: Callable[[Image.Image], Image.Image]
) -> bytes:
    """Return the gif: frames of `size` from a larger `canvas`, each finished (with its caption) separately."""
    views = [finish(_view(canvas, size, step / animation.frames)) for step in range(animation.frames)]
    colours = _palette(views)
    frames = [view.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG) for view in views]
    file = io.BytesIO()
    options: dict[str, Any] = {"duration": animation.milliseconds, "loop": 0, "optimize": False}
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], **options)
    return file.getvalue()


def _view(canvas: Image.Image, size: Size, turn: float) -> Image.Image:
    """Return the visible part at a time from 0 to 1; the view is closest at 0.5."""
    angle = math.tau * turn
    nearness = 1 - 0.05 * (1 - math.cos(angle)) / 2
    width, height = size[0] * nearness, size[1] * nearness
    left = (canvas.width - width) / 2 * (1 + 0.9 * math.sin(angle))
    top = (canvas.height - height) / 2 * (1 + 0.6 * math.sin(2 * angle) / 2)
    view = canvas.crop((round(left), round(top), round(left + width), round(top + height)))
    return resize(view.convert("RGB"), size)


def _palette(views: list[Image.Image]) -> Image.Image:
    width, height = (max(8, edge // 4) for edge in views[0].size)
    strip = Image.new("RGB", (width, height * len(views)))
    for number, view in enumerate(views):
        strip.paste(resize(view, (width, height), Image.Resampling.NEAREST), (0, number * height))
    return strip.quantize(256)


def apply_edit(edit: CheckedEdit, scene: Image.Image, palette: Palette, rng: Random) -> Image.Image:
    """Return the edited image in the size of `scene`, which is the image for the prompt alone."""
    size = scene.size
    base = _fit(edit.images[0], size)
    if edit.markup is not None and edit.markup.image is not None:
        layer = _cover(edit.markup.image.convert("RGBA"), size)
        base.paste(layer, mask=layer.getchannel("A"))
    mask = edit.mask
    result = _paint_over(base, scene, palette) if mask is None else _fill_clear_parts(base, scene, mask)
    return _add_prints(result, edit.images[1:], rng)


def _fit(info: ImageInfo, size: Size) -> Image.Image:
    """Return an image that fills the frame, cropped around its middle, on a paper colour where it is transparent."""
    source = info.image
    if source is None:
        # Soft colours from its digest: only its reference is known.
        colours = bytes.fromhex(info.digest)[:27]
        return resize(Image.frombytes("RGB", (3, 3), bytes(96 + value // 2 for value in colours)), size)
    whole = _cover(source, size)
    if whole.mode != "RGBA":
        return whole
    paper = Image.new("RGB", size, _PAPER)
    paper.paste(whole, mask=whole.getchannel("A"))
    return paper


def _cover(image: Image.Image, size: Size) -> Image.Image:
    if image.size == size:
        return image.copy()
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def _fill_clear_parts(base: Image.Image, scene: Image.Image, mask: ImageInfo) -> Image.Image:
    """Return the scene where the mask is transparent, with soft edges, and the unchanged image elsewhere."""
    if mask.image is None or mask.image.mode != "RGBA":
        clear = Image.new("L", base.size, 255)
    else:
        clear = ImageChops.invert(_cover(mask.image.getchannel("A"), base.size))
    soft = blur(clear, max(1.0, min(base.size) / 220))
    # Soft on the inside only: the covered part stays unchanged.
    return Image.composite(scene, base, ImageChops.darker(soft, clear))


def _paint_over(base: Image.Image, scene: Image.Image, palette: Palette) -> Image.Image:
    """Return the image in broad strokes, with the prompt's palette and the light of its scene."""
    strokes = _brush_strokes(base)
    grey = ImageOps.autocontrast(strokes.convert("L"), cutoff=1)
    shadows = mix(palette.near, (8, 9, 20), 0.35)
    colours = (shadows, palette.far, palette.middle, palette.low, palette.light)
    grey.putpalette([band for value in range(256) for band in ramp(colours, value / 255)])
    result = Image.blend(strokes, grey.convert("RGB"), 0.48)
    lit = ImageChops.soft_light(result, blur(scene, max(scene.size) / 40))
    result = Image.blend(result, lit, 0.7)
    lines = _pencil_lines(base)
    return ImageChops.multiply(result, Image.merge("RGB", [lines] * 3))


def _brush_strokes(image: Image.Image) -> Image.Image:
    scale = max(1.0, min(image.size) / 512)
    few = max(8, round(image.width / scale)), max(8, round(image.height / scale))
    small = resize(image, few, Image.Resampling.BOX).filter(ImageFilter.MedianFilter(7))
    small = small.filter(ImageFilter.MedianFilter(5))
    return resize(small, image.size)


def _pencil_lines(image: Image.Image) -> Image.Image:
    """Return light pencil lines along the edges in the image; white elsewhere."""
    scale = max(1.0, min(image.size) / 768)
    few = max(8, round(image.width / scale)), max(8, round(image.height / scale))
    grey = resize(image.convert("L"), few, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1.2))
    edges = grey.filter(ImageFilter.FIND_EDGES)
    # The filter does not change the rim.
    ImageDraw.Draw(edges).rectangle((0, 0, few[0] - 1, few[1] - 1), outline=0, width=2)
    return resize(apply_curve(edges, lambda value: 255 - min(110, value * 2.2)), image.size)


def _add_prints(image: Image.Image, rest: tuple[ImageInfo, ...], rng: Random) -> Image.Image:
    visible = rest[:_MAX_PRINTS]
    edge = round(min(image.size) * (0.27 if len(visible) < 4 else 0.22))
    for number, info in enumerate(visible):
        turned = _print(_fit(info, (edge, edge)), rng.uniform(-7, 7))
        left = image.width - turned.width - round(edge * 0.06)
        top = round(edge * 0.06) + number * round(turned.height * 0.86)
        shadow = Image.new("RGB", turned.size, (10, 10, 16))
        dim = blur(apply_curve(turned.getchannel("A"), lambda value: value * 0.45), max(1.0, edge / 30))
        image.paste(shadow, (left + round(edge * 0.02), top + round(edge * 0.035)), dim)
        image.paste(turned, (left, top), turned.getchannel("A"))
    return image


def _print(image: Image.Image, degrees: float) -> Image.Image:
    rim = max(2, round(image.width * 0.05))
    paper = Image.new("RGBA", (image.width + 2 * rim, image.height + 3 * rim), (*_PAPER, 255))
    paper.paste(image, (rim, rim))
    clear = Image.new("RGBA", (paper.width + 4 * rim, paper.height + 2 * rim), (*_PAPER, 0))
    clear.paste(paper, (2 * rim, rim))
    return clear.rotate(degrees, Image.Resampling.BICUBIC)


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
    """Return the svg for a prompt; for an edit, a mosaic in the colours of its first image."""
    width, height = size
    rng = prompt_rng(prompt, index)
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
        line = ridge(rng, 33) if number < 2 else swell(rng, 48, 3, 1.4)
        shade = mix(palette.far, palette.near, number / 4)
        parts.append(_ground(sheet, line, 0.6 + 0.11 * number, 0.2 - 0.025 * number, shade))
    return "".join(parts)


def _mosaic(sheet: _Sheet, source: Image.Image) -> str:
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
