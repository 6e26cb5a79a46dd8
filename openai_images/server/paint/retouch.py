"""Edits: a picture made from the pictures that were given, painted over by what the prompt's hash says.

Rules: the first picture fills the frame and stays recognisable; where there is a mask, only what it leaves clear is
painted anew; a markup lies on the first picture; further pictures stand at the side as prints. A picture nobody
has fetched is painted from its reference. It refuses to follow what a prompt asks for: the caption says so.
"""

from random import Random
from typing import Final

from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageOps

from openai_images.server.edits import Edit
from openai_images.server.inputs import Picture
from openai_images.server.paint.drawing import Colour, Size, mapped, mix, scaled, soften
from openai_images.server.paint.palette import Palette

_MOST_PRINTS: Final = 4
_PAPER: Final[Colour] = (250, 248, 243)


def retouch(edit: Edit, scene: Image.Image, palette: Palette, rng: Random) -> Image.Image:
    """The edited picture in the size of `scene`, which is the picture the prompt alone would give."""
    size = scene.size
    base = _fitted(edit.images[0], size)
    if edit.markup is not None and edit.markup.image is not None:
        layer = _cover(edit.markup.image.convert("RGBA"), size)
        base.paste(layer, mask=layer.getchannel("A"))
    mask = edit.mask
    painted = _painted_over(base, scene, palette) if mask is None else _painted_in(base, scene, mask)
    return _with_prints(painted, edit.images[1:], rng)


def _fitted(picture: Picture, size: Size) -> Image.Image:
    """A picture that fills the frame, cropped around its middle; what one could see through is paper."""
    source = picture.image
    if source is None:
        return _unseen(picture, size)
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


def _unseen(picture: Picture, size: Size) -> Image.Image:
    """Soft colours out of the digest of a picture that is known by its reference only."""
    colours = bytes.fromhex(picture.digest)[:27]
    tiles = Image.frombytes("RGB", (3, 3), bytes(96 + value // 2 for value in colours))
    return scaled(tiles, size)


def _painted_in(base: Image.Image, scene: Image.Image, mask: Picture) -> Image.Image:
    """The scene where the mask is clear, with soft edges, and the picture untouched elsewhere."""
    if mask.image is None or mask.image.mode != "RGBA":
        clear = Image.new("L", base.size, 255)
    else:
        clear = ImageChops.invert(_cover(mask.image.getchannel("A"), base.size))
    soft = soften(clear, max(1.0, min(base.size) / 220))
    # Soft on the inside only: what the mask covers stays as it was.
    return Image.composite(scene, base, ImageChops.darker(soft, clear))


def _painted_over(base: Image.Image, scene: Image.Image, palette: Palette) -> Image.Image:
    """The picture in broad strokes and in the colours of the prompt's mood, under the light of its scene."""
    strokes = _in_strokes(base)
    grey = ImageOps.autocontrast(strokes.convert("L"), cutoff=1)
    ramp = (mix(palette.near, (8, 9, 20), 0.35), palette.far, palette.middle, palette.low, palette.light)
    toned = _toned(grey, ramp)
    painted = Image.blend(strokes, toned, 0.48)
    lit = ImageChops.soft_light(painted, soften(scene, max(scene.size) / 40))
    painted = Image.blend(painted, lit, 0.7)
    lines = _outlines(base)
    return ImageChops.multiply(painted, Image.merge("RGB", [lines] * 3))


def _in_strokes(image: Image.Image) -> Image.Image:
    """The image without its small detail, as if by a brush."""
    scale = max(1.0, min(image.size) / 512)
    few = max(8, round(image.width / scale)), max(8, round(image.height / scale))
    small = scaled(image, few, Image.Resampling.BOX).filter(ImageFilter.MedianFilter(7))
    small = small.filter(ImageFilter.MedianFilter(5))
    return scaled(small, image.size)


def _toned(grey: Image.Image, ramp: tuple[Colour, ...]) -> Image.Image:
    """A grey picture in colours, from its shadows to its lights."""
    steps = len(ramp) - 1
    bands: list[Image.Image] = []
    for band in range(3):
        levels = [colour[band] for colour in ramp]

        def curve(value: int, levels: list[int] = levels) -> float:
            at = value / 255 * steps
            left = min(int(at), steps - 1)
            return levels[left] + (levels[left + 1] - levels[left]) * (at - left)

        bands.append(mapped(grey, curve))
    return Image.merge("RGB", bands)


def _outlines(image: Image.Image) -> Image.Image:
    """Light lines of a pencil along the edges of what is in the picture; white elsewhere."""
    scale = max(1.0, min(image.size) / 768)
    few = max(8, round(image.width / scale)), max(8, round(image.height / scale))
    grey = scaled(image.convert("L"), few, Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1.2))
    edges = grey.filter(ImageFilter.FIND_EDGES)
    # The filter leaves the rim as it was.
    ImageDraw.Draw(edges).rectangle((0, 0, few[0] - 1, few[1] - 1), outline=0, width=2)
    return scaled(mapped(edges, lambda value: 255 - min(110, value * 2.2)), image.size)


def _with_prints(image: Image.Image, others: tuple[Picture, ...], rng: Random) -> Image.Image:
    """The further pictures as small prints along the right edge."""
    shown = others[:_MOST_PRINTS]
    edge = round(min(image.size) * (0.27 if len(shown) < 4 else 0.22))
    for number, other in enumerate(shown):
        turned = _print(_fitted(other, (edge, edge)), rng.uniform(-7, 7))
        left = image.width - turned.width - round(edge * 0.06)
        top = round(edge * 0.06) + number * round(turned.height * 0.86)
        shadow = Image.new("RGB", turned.size, (10, 10, 16))
        dim = soften(mapped(turned.getchannel("A"), lambda value: value * 0.45), max(1.0, edge / 30))
        image.paste(shadow, (left + round(edge * 0.02), top + round(edge * 0.035)), dim)
        image.paste(turned, (left, top), turned.getchannel("A"))
    return image


def _print(image: Image.Image, degrees: float) -> Image.Image:
    """A print on white paper, slightly turned."""
    rim = max(2, round(image.width * 0.05))
    paper = Image.new("RGBA", (image.width + 2 * rim, image.height + 3 * rim), (*_PAPER, 255))
    paper.paste(image, (rim, rim))
    clear = Image.new("RGBA", (paper.width + 4 * rim, paper.height + 2 * rim), (*_PAPER, 0))
    clear.paste(paper, (2 * rim, rim))
    return clear.rotate(degrees, Image.Resampling.BICUBIC)
