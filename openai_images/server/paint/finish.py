"""What is done to a scene before it is encoded: the caption, edits of source images, frames of a gif.

Invariants: every image and partial image has the caption, which says that no model made it; only what a mask leaves
clear is drawn anew; every gif frame differs from the one before, and all share one palette.
Must not: follow the prompt of an edit, or draw letters that the font lacks.
"""

import io
import math
import unicodedata
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont, ImageOps

from openai_images.server.checks import Animation
from openai_images.server.edits import CheckedEdit
from openai_images.server.image_info import ImageInfo
from openai_images.server.paint.drawing import (
    Colour,
    Palette,
    Size,
    apply_curve,
    blur,
    mix,
    ramp,
    resize,
    rounded_mask,
)

STATEMENT: Final = "local stand-in \u00b7 not a model"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_ELLIPSIS: Final = "\u2026"


MARGIN = 1.14
_MAX_PRINTS: Final = 4
_PAPER: Final[Colour] = (250, 248, 243)


def write_caption(image: Image.Image, prompt: str, *, opaque: bool = False) -> Image.Image:
    """A copy of the image with its caption; an `opaque` one hides another that may be there already."""
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
    _plate(captioned, (left, top, left + width, top + height), unit, 255 if opaque else 120)
    pen = ImageDraw.Draw(captioned)
    for row, (words, font, shade) in enumerate(lines):
        at = left + pad, top + pad * 0.65 + step * (row + 0.5)
        pen.text(at, words, fill=(shade, shade, shade), font=font, anchor="lm")
    return captioned


def _plate(image: Image.Image, box: tuple[float, float, float, float], unit: int, fill: int) -> None:
    left, top, right, bottom = (round(edge) for edge in box)
    mask = rounded_mask((right - left, bottom - top), 0, unit * 0.016, fill)
    plate = Image.new(image.mode, mask.size, (12, 14, 24, 255)[: len(image.getbands())])
    image.paste(plate, (left, top), mask)


def _shorten(prompt: str, font: Font, space: float) -> str:
    line = plain_line(prompt)
    if font.getlength(line) <= space:
        return line
    while line and font.getlength(line + _ELLIPSIS) > space:
        line = line.rpartition(" ")[0] if " " in line else line[:-1]
    return line + _ELLIPSIS


def plain_line(prompt: str) -> str:
    """The start of a prompt in one line of letters every font has; nothing of one in another script."""
    words = unicodedata.normalize("NFKD", " ".join(prompt[:400].split()))
    words = "".join(letter for letter in words if not unicodedata.combining(letter))
    line = "".join(letter for letter in words if " " <= letter <= "~")
    return line if len(line) >= 0.9 * len(words) else ""


@lru_cache(maxsize=32)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def encode_gif(
    canvas: Image.Image, size: Size, animation: Animation, finish: Callable[[Image.Image], Image.Image]
) -> bytes:
    """The gif: frames of `size` cut out of a larger `canvas`, each finished (captioned) by itself."""
    views = [finish(_view(canvas, size, step / animation.frames)) for step in range(animation.frames)]
    colours = _palette(views)
    frames = [view.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG) for view in views]
    file = io.BytesIO()
    frames[0].save(
        file,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=animation.milliseconds,
        loop=0,
        optimize=False,
    )
    return file.getvalue()


def _view(canvas: Image.Image, size: Size, turn: float) -> Image.Image:
    """The part of the canvas that is seen at a time from 0 to 1, nearer in the middle of it."""
    angle = math.tau * turn
    nearness = 1 - 0.05 * (1 - math.cos(angle)) / 2
    width, height = size[0] * nearness, size[1] * nearness
    left = (canvas.width - width) / 2 * (1 + 0.9 * math.sin(angle))
    top = (canvas.height - height) / 2 * (1 + 0.6 * math.sin(2 * angle) / 2)
    view = canvas.crop((round(left), round(top), round(left + width), round(top + height)))
    return resize(view.convert("RGB"), size)


def _palette(views: list[Image.Image]) -> Image.Image:
    """The colours of them all, from small copies."""
    width, height = (max(8, edge // 4) for edge in views[0].size)
    strip = Image.new("RGB", (width, height * len(views)))
    for number, view in enumerate(views):
        strip.paste(resize(view, (width, height), Image.Resampling.NEAREST), (0, number * height))
    return strip.quantize(256)


def apply_edit(edit: CheckedEdit, scene: Image.Image, palette: Palette, rng: Random) -> Image.Image:
    """The edited image in the size of `scene`, which is the image the prompt alone would give."""
    size = scene.size
    base = _fit(edit.images[0], size)
    if edit.markup is not None and edit.markup.image is not None:
        layer = _cover(edit.markup.image.convert("RGBA"), size)
        base.paste(layer, mask=layer.getchannel("A"))
    mask = edit.mask
    result = _paint_over(base, scene, palette) if mask is None else _fill_clear_parts(base, scene, mask)
    return _add_prints(result, edit.images[1:], rng)


def _fit(info: ImageInfo, size: Size) -> Image.Image:
    """An image that fills the frame, cropped around its middle; what one could see through is paper."""
    source = info.image
    if source is None:
        return _placeholder(info, size)
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


def _placeholder(info: ImageInfo, size: Size) -> Image.Image:
    """Soft colours out of the digest of an image that is known by its reference only."""
    colours = bytes.fromhex(info.digest)[:27]
    tiles = Image.frombytes("RGB", (3, 3), bytes(96 + value // 2 for value in colours))
    return resize(tiles, size)


def _fill_clear_parts(base: Image.Image, scene: Image.Image, mask: ImageInfo) -> Image.Image:
    """The scene where the mask is clear, with soft edges, and the image untouched elsewhere."""
    if mask.image is None or mask.image.mode != "RGBA":
        clear = Image.new("L", base.size, 255)
    else:
        clear = ImageChops.invert(_cover(mask.image.getchannel("A"), base.size))
    soft = blur(clear, max(1.0, min(base.size) / 220))
    # Soft on the inside only: what the mask covers stays as it was.
    return Image.composite(scene, base, ImageChops.darker(soft, clear))


def _paint_over(base: Image.Image, scene: Image.Image, palette: Palette) -> Image.Image:
    """The image in broad strokes and in the colours of the prompt's mood, under the light of its scene."""
    strokes = _brush_strokes(base)
    grey = ImageOps.autocontrast(strokes.convert("L"), cutoff=1)
    shadows = mix(palette.near, (8, 9, 20), 0.35)
    tinted = _colourize(grey, (shadows, palette.far, palette.middle, palette.low, palette.light))
    result = Image.blend(strokes, tinted, 0.48)
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


def _colourize(grey: Image.Image, colours: Sequence[Colour]) -> Image.Image:
    tinted = grey.copy()
    tinted.putpalette([band for value in range(256) for band in ramp(colours, value / 255)])
    return tinted.convert("RGB")


def _pencil_lines(image: Image.Image) -> Image.Image:
    """Light lines of a pencil along the edges of what is in the image; white elsewhere."""
    scale = max(1.0, min(image.size) / 768)
    few = max(8, round(image.width / scale)), max(8, round(image.height / scale))
    grey = resize(image.convert("L"), few, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1.2))
    edges = grey.filter(ImageFilter.FIND_EDGES)
    # The filter leaves the rim as it was.
    ImageDraw.Draw(edges).rectangle((0, 0, few[0] - 1, few[1] - 1), outline=0, width=2)
    return resize(apply_curve(edges, lambda value: 255 - min(110, value * 2.2)), image.size)


def _add_prints(image: Image.Image, rest: tuple[ImageInfo, ...], rng: Random) -> Image.Image:
    """The other images as small prints along the right edge."""
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
