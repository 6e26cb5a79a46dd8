"""Shrinks a picture to a few cells of the terminal and encodes it.

Rules: Pillow is imported only when a picture is drawn (`decoding.py` says which are); this blocks, so it is called in
a thread. It refuses to raise on a picture it does not understand: there is no drawing then.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from attrs import frozen

from openai_images.cli.preview.detect import Way
from openai_images.cli.preview.encode import Pixel, half_blocks, iterm2, kitty

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Drawing", "Preview", "cells"]

_BACKDROP = (226, 226, 230)
_CELL = (10, 20)
"""Pixels sent for each cell by the protocols that show real pictures; a cell is about twice as tall as wide."""


@frozen
class Drawing:
    """What to write at the left edge of `rows` free lines."""

    text: str
    rows: int


@frozen
class Preview:
    """A way to show pictures within `columns` times `rows` cells."""

    way: Way
    columns: int
    rows: int

    def draw(self, data: bytes) -> Drawing | None:
        """The picture, or None where it cannot be decoded. This blocks."""
        from openai_images.cli.decoding import open_picture

        try:
            with open_picture(data) as picture:
                return self._draw(picture)
        except Exception:  # noqa: BLE001  a decoder may raise anything, and the picture is paid for
            return None

    def _draw(self, picture: Image) -> Drawing:
        columns, rows = cells(picture.width, picture.height, self.columns, self.rows)
        if self.way in (Way.BLOCKS_24_BIT, Way.BLOCKS_256):
            pixels = _pixels(picture, columns, rows * 2)
            return Drawing(half_blocks(pixels, in_24_bit=self.way is Way.BLOCKS_24_BIT), rows)
        picture.thumbnail((columns * _CELL[0], rows * _CELL[1]))
        shrunk = io.BytesIO()
        picture.save(shrunk, "PNG", compress_level=3)
        encode = kitty if self.way is Way.KITTY else iterm2
        return Drawing(encode(shrunk.getvalue(), columns, rows), rows)


def cells(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """How many cells a picture fills, at most `columns` times `rows`, in its own proportions."""
    scale = min(columns / width, 2 * rows / height)
    return max(1, min(columns, round(width * scale))), max(1, min(rows, round(height * scale / 2)))


def _pixels(picture: Image, width: int, height: int) -> list[list[Pixel]]:
    """The picture in so many pixels, on a light backdrop where it is transparent."""
    from PIL import Image, ImageOps

    picture.draft("RGB", (width * 2, height * 2))
    whole = ImageOps.fit(picture.convert("RGBA"), (width, height), Image.Resampling.LANCZOS)
    flat = Image.new("RGB", whole.size, _BACKDROP)
    flat.paste(whole, mask=whole.getchannel("A"))
    data = flat.tobytes()
    row = width * 3
    return [
        [(data[at], data[at + 1], data[at + 2]) for at in range(start, start + row, 3)]
        for start in range(0, len(data), row)
    ]
