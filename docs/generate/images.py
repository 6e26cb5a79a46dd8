"""Makes the images of the documentation with the local server: `python -m docs.generate.images`.

They are kept in docs/images/, as README.md and a code host's view of the pages show them too.
"""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Final

from PIL import Image as Pillow

from openai_images import ImagesClient
from openai_images.server import LocalImagesServer

FOLDER: Final = Path(__file__).parents[1] / "images"
PROMPT: Final = "a sailing boat on the sea"
_EDGE: Final = 400
_GAP: Final = 8


async def stages(prompt: str) -> list[Pillow.Image]:
    """Return the partial images and the complete one."""
    async with (
        LocalImagesServer() as server,
        ImagesClient(base_url=server.base_url, api_key=server.api_key, model="gpt-image-2") as client,
        client.stream(prompt, partial_images=3, size="1024x1024") as stream,
    ):
        return [Pillow.open(io.BytesIO(event.image.data)).convert("RGBA") async for event in stream.images()]


def strip(images: list[Pillow.Image]) -> Pillow.Image:
    """Return images side by side."""
    result = Pillow.new("RGBA", (len(images) * (_EDGE + _GAP) - _GAP, _EDGE))
    for index, image in enumerate(images):
        result.paste(_resized(image, _EDGE), (index * (_EDGE + _GAP), 0))
    return result


def _resized(image: Pillow.Image, edge: int) -> Pillow.Image:
    return image.resize((edge, edge))  # pyright: ignore[reportUnknownMemberType]  Pillow's optional numpy


def main() -> None:
    """Write the images."""
    images = asyncio.run(stages(PROMPT))
    FOLDER.mkdir(exist_ok=True)
    strip(images).save(FOLDER / "partials.webp", quality=80)
    _resized(images[-1], 512).save(FOLDER / "boat.webp", quality=80)


if __name__ == "__main__":
    main()
