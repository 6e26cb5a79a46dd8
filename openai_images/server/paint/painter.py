"""From a request to the bytes of a file: paint the canvas, soften it as far as it is unfinished, caption, encode.

Rules: pure functions of their arguments; a canvas is painted once and developed once per stage. It refuses to cache
and to know about threads: the studio does.
"""

import hashlib
import io
import math
from functools import partial
from random import Random
from typing import Final

import attrs
from PIL import Image, ImageChops, ImageDraw, PngImagePlugin

from openai_images.server.edits import Edit
from openai_images.server.formats import Animation
from openai_images.server.paint.drawing import Size, mapped, scaled, soften
from openai_images.server.paint.finish import STATEMENT, write_caption
from openai_images.server.paint.motion import MARGIN, animated
from openai_images.server.paint.palette import choose_palette
from openai_images.server.paint.retouch import retouch
from openai_images.server.paint.scenes import choose_scene, words_of
from openai_images.server.parameters import Parameters

# Scenes are painted larger than asked for, which makes smooth edges, up to so many pixels: more is slow.
OVERSIZE: Final = 1.5
MOST_PIXELS: Final = 9_500_000
_GRAIN_TILE: Final = 512
_GRAIN_DEPTH: Final = 4


@attrs.frozen(kw_only=True)
class CanvasSpec:
    """What decides the motif; `pictures` are the digests of those that are edited."""

    prompt: str
    index: int
    width: int
    height: int
    transparent: bool
    pictures: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class PictureSpec:
    """What decides the bytes of a file; `progress` is 1 for the finished picture.

    The canvas of an animation is larger than its frames, by `MARGIN`.
    """

    canvas: CanvasSpec
    output_format: str
    compression: int
    quality: str
    progress: float
    animation: Animation | None = None

    @property
    def size(self) -> Size:
        """Width and height of the file's picture."""
        margin = 1 if self.animation is None else MARGIN
        return round(self.canvas.width / margin), round(self.canvas.height / margin)


def spec_of(asked: Parameters, index: int, stage: int | None) -> PictureSpec:
    """What decides the picture of this index, or a partial image of it."""
    margin = 1 if asked.animation is None else MARGIN
    edit = asked.edit
    pictures = () if edit is None else (*edit.images, edit.mask, edit.markup)
    return PictureSpec(
        canvas=CanvasSpec(
            prompt=asked.prompt,
            index=index,
            width=round(asked.width * margin),
            height=round(asked.height * margin),
            transparent=asked.background == "transparent",
            pictures=tuple("" if picture is None else picture.digest for picture in pictures),
        ),
        output_format=asked.output_format,
        compression=asked.compression,
        quality=asked.quality,
        progress=1.0 if stage is None else (stage + 1) / (asked.partials + 1),
        animation=asked.animation,
    )


def paint_canvas(spec: CanvasSpec, edit: Edit | None = None) -> Image.Image:
    """The finished picture in its full size, without its caption; `edit` holds the pictures `spec` names."""
    seed = hashlib.sha256(f"{spec.index}\x00{spec.prompt}".encode("utf-8", "replace")).digest()
    rng = Random(seed)  # noqa: S311  # paints the same picture for the same prompt, guards nothing
    words = words_of(spec.prompt)
    palette, scene = choose_palette(rng, words), choose_scene(rng, words)
    scale = min(OVERSIZE, math.sqrt(MOST_PIXELS / (spec.width * spec.height)))
    size = max(2, round(spec.width * scale)), max(2, round(spec.height * scale))
    painted = scene(size, rng, palette)
    image = scaled(painted, (spec.width, spec.height), Image.Resampling.LANCZOS)
    image = _grained(image, rng)
    if edit is not None:
        image = retouch(edit, image, palette, rng)
    return _as_sticker(image) if spec.transparent else image


def develop(canvas: Image.Image, spec: PictureSpec) -> bytes:
    """The bytes of the file: the canvas as sharp as `progress` says, captioned and encoded.

    That of an animation is cut out of its canvas, frame by frame.
    """
    caption = partial(write_caption, prompt=spec.canvas.prompt, opaque=bool(spec.canvas.pictures))
    if spec.animation is not None:
        return animated(canvas, spec.size, spec.animation, caption)
    image = canvas
    if spec.progress < 1:
        image = soften(canvas, (1 - spec.progress) ** 1.6 * max(canvas.size) / 18)
    return _encoded(caption(image), spec.output_format, spec.compression)


def _grained(image: Image.Image, rng: Random) -> Image.Image:
    """The image with a breath of film grain, which also hides the steps of gradients."""
    tile = Image.frombytes("L", (_GRAIN_TILE, _GRAIN_TILE), rng.randbytes(_GRAIN_TILE * _GRAIN_TILE))
    tile = mapped(tile, lambda value: 128 + (value - 128) * _GRAIN_DEPTH / 128)
    grain = Image.new("L", image.size)
    for left in range(0, image.width, _GRAIN_TILE):
        for top in range(0, image.height, _GRAIN_TILE):
            grain.paste(tile, (left, top))
    return ImageChops.add(image, Image.merge("RGB", [grain] * 3), 1, -128)


def _as_sticker(image: Image.Image) -> Image.Image:
    """The picture as a round sticker with a white rim on a transparent ground."""
    width, height = image.size
    edge = round(min(image.size) * 0.04)
    corner = round(min(image.size) * 0.3)
    outer, inner = (_rounded((width, height), inset, corner) for inset in (edge, round(edge * 1.7)))
    sticker = Image.new("RGB", image.size, (255, 255, 255))
    sticker.paste(image, mask=inner)
    sticker.putalpha(outer)
    return sticker


def _rounded(size: tuple[int, int], inset: int, corner: int) -> Image.Image:
    mask = Image.new("L", (size[0] * 2, size[1] * 2), 0)
    box = (inset * 2, inset * 2, (size[0] - inset) * 2, (size[1] - inset) * 2)
    ImageDraw.Draw(mask).rounded_rectangle(box, radius=(corner - inset) * 2, fill=255)
    return mask.reduce(2)


def _encoded(image: Image.Image, output_format: str, compression: int) -> bytes:
    file = io.BytesIO()
    if output_format == "png":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", STATEMENT, zip=False)
        image.save(file, "PNG", compress_level=1, pnginfo=info)
    elif output_format == "jpeg":
        image.save(file, "JPEG", quality=max(1, min(95, compression)))
    else:
        image.save(file, "WEBP", quality=compression, method=1)
    return file.getvalue()
