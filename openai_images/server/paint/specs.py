"""The values that determine an image: it is drawn once for all requests that have the same ones.

Must not: draw.
"""

import attrs

from openai_images.server.catalog import Animation
from openai_images.server.paint.variants import MARGIN
from openai_images.server.parameters import Parameters


@attrs.frozen(kw_only=True)
class CanvasSpec:
    """The values that determine a canvas; `sources` are the digests of source images."""

    prompt: str
    index: int
    width: int
    height: int
    transparent: bool
    sources: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class ImageSpec:
    """The values that determine the bytes of a file; `progress` is 1 for the final image.

    The canvas of an animation is larger than its frames, by `MARGIN`.
    """

    canvas: CanvasSpec
    output_format: str
    compression: int
    quality: str
    progress: float
    animation: Animation | None = None


def image_spec(parameters: Parameters, index: int, stage: int | None) -> ImageSpec:
    """Return the specification of an image, or of a partial image of it."""
    margin = 1 if parameters.animation is None else MARGIN
    edit = parameters.edit
    sources = () if edit is None else (*edit.images, edit.mask, edit.markup)
    return ImageSpec(
        canvas=CanvasSpec(
            prompt=parameters.prompt,
            index=index,
            width=round(parameters.width * margin),
            height=round(parameters.height * margin),
            transparent=parameters.background == "transparent",
            sources=tuple("" if image is None else image.digest for image in sources),
        ),
        output_format=parameters.output_format,
        compression=parameters.compression,
        quality=parameters.quality,
        progress=1.0 if stage is None else (stage + 1) / (parameters.partials + 1),
        animation=parameters.animation,
    )
