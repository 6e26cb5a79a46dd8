"""Small copies of pictures, for a page with thousands of them.

Rules: Pillow is imported where it is needed, and where it is missing there are no copies: the page shows the originals.
Which pictures are decoded at all is `decoding.py`'s to say.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["find_thumbnail", "write_thumbnail"]

_LONGEST_SIDE = 480
_QUALITY = 78


def find_thumbnail() -> Callable[[Path, Path], object] | None:
    """What makes small copies; None without Pillow."""
    return write_thumbnail if find_spec("PIL") is not None else None


def write_thumbnail(source: Path, target: Path) -> None:
    """Write a small WebP copy of the picture in `source` to `target`. Raises whatever Pillow does."""
    from openai_images.cli.decoding import open_picture

    with open_picture(source) as picture:
        picture.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
        has_alpha = "A" in picture.getbands() or "transparency" in picture.info
        mode = "RGBA" if has_alpha else "RGB"
        small = picture if picture.mode == mode else picture.convert(mode)
        small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), reducing_gap=2.0)
        small.save(target, "WEBP", quality=_QUALITY, method=2)
