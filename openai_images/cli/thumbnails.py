"""Images decoded with Pillow, within bounds, to be shown small; small copies for the contact sheet.

Invariants: only the decoder named by an image's first bytes runs; pixels are counted before decoding and again when
Pillow has read the header; one image is decoded at a time, so that the largest allowed bounds the memory.
Must not: import Pillow before it is needed; without it there are no thumbnails.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from openai_images import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

MAX_PIXELS = 40_000_000
"""Pixels of an image that is decoded: 160 MB, and five times the largest that the API makes."""

MAX_BYTES = 256 * 1024 * 1024
"""Bytes of a file that is decoded."""

_LONGEST_SIDE = 480
_QUALITY = 78

_decode_lock = threading.Lock()


@contextmanager
def open_image(source: Path | bytes) -> Generator[PillowImage]:
    """Open the image in Pillow, one at a time; this blocks. Raises OSError, or whatever Pillow does."""
    with _decode_lock:
        if isinstance(source, Path) and source.stat().st_size > MAX_BYTES:
            raise OSError(f"a file of more than {MAX_BYTES:,} bytes")
        image = Image.from_bytes(source.read_bytes() if isinstance(source, Path) else source)
        _check_size(image)
        with image.open() as pillow_image:
            _check_size(pillow_image)
            yield pillow_image


def _check_size(image: Image | PillowImage) -> None:
    if image.width is None or image.height is None:
        raise OSError("a picture whose size cannot be told")
    if image.width * image.height > MAX_PIXELS:
        raise OSError(f"a picture of more than {MAX_PIXELS:,} pixels")


def find_thumbnail_writer() -> Callable[[Path, Path], object] | None:
    """Return `write_thumbnail`; None without Pillow."""
    return write_thumbnail if find_spec("PIL") is not None else None


def write_thumbnail(source: Path, target: Path) -> None:
    """Write a small WebP copy of `source` to `target`. Raises OSError, or whatever Pillow does."""
    with open_image(source) as image:
        image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        mode = "RGBA" if has_alpha else "RGB"
        small = image if image.mode == mode else image.convert(mode)
        small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), reducing_gap=2.0)
        small.save(target, "WEBP", quality=_QUALITY, method=2)
