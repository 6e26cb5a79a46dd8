"""Small images to edit, and the forms that carry them."""

import io
from typing import Any

import aiohttp
from PIL import Image, ImageDraw


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def house(size: tuple[int, int] = (256, 256)) -> Image.Image:
    """A red roof on a green meadow, below a blue sky."""
    image = Image.new("RGB", size, (140, 190, 240))
    width, height = size
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, height * 2 // 3, width, height), fill=(70, 150, 70))
    pen.polygon(
        [(width // 4, height * 2 // 3), (width // 2, height // 4), (width * 3 // 4, height * 2 // 3)], "red"
    )
    return image


def layer(size: tuple[int, int] = (256, 256), *, clear: bool = True) -> Image.Image:
    """A mask whose right half is clear, or nothing of it."""
    image = Image.new("RGBA", size, (0, 0, 0, 255))
    if clear:
        image.paste((0, 0, 0, 0), (size[0] // 2, 0, *size))
    return image


def form(*files: tuple[str, bytes] | tuple[str, bytes, str | None], **fields: str) -> aiohttp.FormData:
    """A form of text and then files: name, bytes, and a type if it is not image/png."""
    made = aiohttp.FormData(default_to_multipart=True)
    for name, text in fields.items():
        made.add_field(name.replace("__", "[").replace("_0", "]"), text)
    for number, (name, data, *kind) in enumerate(files):
        content_type = kind[0] if kind else "image/png"
        made.add_field(name, io.BytesIO(data), filename=f"{number}.png", content_type=content_type)
    return made
