"""Animated gifs: a slow walk around a canvas that is a little larger than the frames, and back to where it began.

Rules: every frame differs from the one before; the last leads on to the first; all share one palette. It refuses to
move anything within a scene.
"""

import io
import math
from collections.abc import Callable

from PIL import Image

from openai_images.server.formats import Animation
from openai_images.server.paint.drawing import Size, scaled

MARGIN = 1.14


def animated(
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
    return scaled(view.convert("RGB"), size)


def _palette(views: list[Image.Image]) -> Image.Image:
    """The colours of them all, from small copies."""
    width, height = (max(8, edge // 4) for edge in views[0].size)
    strip = Image.new("RGB", (width, height * len(views)))
    for number, view in enumerate(views):
        strip.paste(scaled(view, (width, height), Image.Resampling.NEAREST), (0, number * height))
    return strip.quantize(256)
