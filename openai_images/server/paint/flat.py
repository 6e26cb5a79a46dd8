"""Fast images for tests: one colour in the format and size of the request, made in milliseconds and cached.

Invariants: another prompt, index, source image or stage gives another colour; a transparent background stays
transparent.
Must not: look like a model's image, or take as long as a drawn one.
"""

import hashlib
import io
from base64 import b64encode
from functools import lru_cache
from typing import Any, Final

from PIL import Image

from openai_images.server.paint.specs import ImageSpec
from openai_images.server.paint.variants import MARGIN

_KEPT: Final = 256
_CLEAR: Final = 128


@lru_cache(_KEPT)
def flat_image(spec: ImageSpec) -> bytes:
    """Return the base64 of one image, or of a partial image of it; an svg is always drawn."""
    canvas, animation = spec.canvas, spec.animation
    margin = 1 if animation is None else MARGIN
    size = round(canvas.width / margin), round(canvas.height / margin)
    frames = [_frame(spec, size, step) for step in range(1 if animation is None else animation.frames)]
    file, options = io.BytesIO(), dict[str, Any]()
    if animation is not None:
        options = {
            "save_all": True,
            "append_images": frames[1:],
            "duration": animation.milliseconds,
            "loop": 0,
        }
    elif spec.output_format == "png":
        options = {"compress_level": 1, "bits": 1} | (
            {"transparency": bytes([_CLEAR])} if canvas.transparent else {}
        )
    elif spec.output_format == "webp":
        options = {"lossless": True, "quality": 0, "method": 0}
    frames[0].save(file, spec.output_format, **options)
    return b64encode(file.getvalue())


def _frame(spec: ImageSpec, size: tuple[int, int], step: int) -> Image.Image:
    canvas = spec.canvas
    identity = repr((canvas.prompt, canvas.index, canvas.sources, spec.progress, step))
    colour = tuple(hashlib.sha256(identity.encode("utf-8", "replace")).digest()[:3])
    if spec.output_format in {"png", "gif"}:
        frame = Image.new("P", size, 0)
        frame.putpalette(colour)
        return frame
    if spec.output_format == "webp" and canvas.transparent:
        return Image.new("RGBA", size, (*colour, _CLEAR))
    return Image.new("RGB", size, colour)
