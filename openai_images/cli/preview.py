"""Small images: previews in the terminal (kitty, iTerm2 or half blocks), and thumbnails of the contact sheet.

Invariants: only the environment chooses the protocol; each text is written at the left edge of free lines and leaves
the cursor below them. Pixels are counted before decoding, and again when Pillow has read the header; one image is
decoded at a time, to limit the memory; an image that cannot be decoded is not shown. Functions block.
Must not: query the terminal (without a reply the query would appear in the shell); import Pillow early.
"""

from __future__ import annotations

import io
import threading
from base64 import b64encode
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

from openai_images import Image

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Pixel: TypeAlias = tuple[int, int, int]

_BACKDROP = (226, 226, 230)
_CELL = (10, 20)  # pixels sent for each cell by kitty and iTerm2; a cell is about twice as tall as wide
_CHUNK = 4096  # kitty's limit for one escape code
_CUBE = (0, 95, 135, 175, 215, 255)
_SAVE, _RESTORE = "\x1b7", "\x1b8"


class TerminalProtocol(Enum):
    """A protocol to show an image in a terminal."""

    KITTY = "the graphics protocol of kitty"
    ITERM2 = "the inline images of iTerm2"
    BLOCKS_24_BIT = "half blocks in 24-bit colours"
    BLOCKS_256 = "half blocks in 256 colours"


# https://sw.kovidgoyal.net/kitty/graphics-protocol/ and https://iterm2.com/documentation-images.html
_KITTY_TERMS = ("xterm-kitty", "xterm-ghostty")
_KITTY_PROGRAMS = ("ghostty",)
_ITERM2_PROGRAMS = ("iTerm.app", "WezTerm", "mintty")
_24_BIT_PROGRAMS = ("Hyper", "vscode")


def detect_protocol(env: Mapping[str, str]) -> TerminalProtocol | None:
    """Choose the best protocol that the environment indicates."""
    term, program = env.get("TERM", ""), env.get("TERM_PROGRAM", "")
    inside = "TMUX" in env or "STY" in env or term.startswith(("tmux", "screen"))
    if term in ("", "dumb"):
        return None
    if not inside:
        if "KITTY_WINDOW_ID" in env or term in _KITTY_TERMS or program in _KITTY_PROGRAMS:
            return TerminalProtocol.KITTY
        if program in _ITERM2_PROGRAMS or env.get("LC_TERMINAL") == "iTerm2":
            return TerminalProtocol.ITERM2
    if env.get("NO_COLOR"):
        return None
    if env.get("COLORTERM", "").lower() in ("truecolor", "24bit") or term.endswith("-direct"):
        return TerminalProtocol.BLOCKS_24_BIT
    if program in _24_BIT_PROGRAMS and not inside:
        return TerminalProtocol.BLOCKS_24_BIT
    return TerminalProtocol.BLOCKS_256 if "256color" in term else None


@frozen
class Drawing:
    """A text to be written at the left edge of `rows` free lines."""

    text: str
    rows: int


@frozen
class Preview:
    """Draws images within `columns` times `rows` cells."""

    protocol: TerminalProtocol
    columns: int
    rows: int

    def draw(self, data: bytes) -> Drawing | None:
        """Draw the image; None if it cannot be decoded. This blocks."""
        try:
            with open_image(data) as image:
                return self._draw(image)
        except Exception:  # noqa: BLE001  a decoder may raise anything
            return None

    def _draw(self, image: PillowImage) -> Drawing:
        columns, rows = fit_cells(image.width, image.height, self.columns, self.rows)
        if self.protocol in (TerminalProtocol.BLOCKS_24_BIT, TerminalProtocol.BLOCKS_256):
            pixels = _scale_pixels(image, columns, rows * 2)
            return Drawing(
                encode_half_blocks(pixels, in_24_bit=self.protocol is TerminalProtocol.BLOCKS_24_BIT), rows
            )
        image.thumbnail((columns * _CELL[0], rows * _CELL[1]))
        shrunk = io.BytesIO()
        image.save(shrunk, "PNG", compress_level=3)
        encode = encode_kitty if self.protocol is TerminalProtocol.KITTY else encode_iterm2
        return Drawing(encode(shrunk.getvalue(), columns, rows), rows)


def fit_cells(width: int, height: int, columns: int, rows: int) -> tuple[int, int]:
    """Compute the cells that an image fills at its own ratio."""
    scale = min(columns / width, 2 * rows / height)
    return max(1, min(columns, round(width * scale))), max(1, min(rows, round(height * scale / 2)))


def _scale_pixels(image: PillowImage, width: int, height: int) -> list[list[Pixel]]:
    from PIL import Image, ImageOps

    image.draft("RGB", (width * 2, height * 2))
    whole = ImageOps.fit(image.convert("RGBA"), (width, height), Image.Resampling.LANCZOS)
    flat = Image.new("RGB", whole.size, _BACKDROP)
    flat.paste(whole, mask=whole.getchannel("A"))
    data = flat.tobytes()
    row = width * 3
    return [
        [(data[at], data[at + 1], data[at + 2]) for at in range(start, start + row, 3)]
        for start in range(0, len(data), row)
    ]


def encode_kitty(png: bytes, columns: int, rows: int) -> str:
    """Encode a PNG for kitty, replacing the image at the cursor."""
    payload = b64encode(png).decode("ascii")
    chunks = [payload[at : at + _CHUNK] for at in range(0, len(payload), _CHUNK)] or [""]
    codes = ["\x1b_Ga=d,d=C,q=2\x1b\\"]
    for number, chunk in enumerate(chunks):
        first = f"a=T,f=100,q=2,c={columns},r={rows},C=1," if number == 0 else ""
        more = int(number < len(chunks) - 1)
        codes.append(f"\x1b_G{first}m={more};{chunk}\x1b\\")
    return f"{_SAVE}{''.join(codes)}{_RESTORE}" + "\n" * rows


def encode_iterm2(png: bytes, columns: int, rows: int) -> str:
    """Encode a PNG for iTerm2."""
    payload = b64encode(png).decode("ascii")
    settings = (
        f"inline=1;size={len(png)};width={columns};height={rows};preserveAspectRatio=0;doNotMoveCursor=1"
    )
    return f"{_SAVE}\x1b]1337;File={settings}:{payload}\x07{_RESTORE}" + "\n" * rows


def encode_half_blocks(pixels: Sequence[Sequence[Pixel]], *, in_24_bit: bool) -> str:
    """Encode two rows of pixels in each line: the upper as foreground, the lower as background."""
    pairs = zip(pixels[::2], pixels[1::2], strict=True)
    return "".join("".join(_block_codes(*pair, in_24_bit=in_24_bit)) + "\x1b[0m\n" for pair in pairs)


def nearest_256(pixel: Pixel) -> int:
    """Return the nearest of the 240 fixed colours of a 256-colour terminal."""
    levels = [min(range(6), key=lambda i: abs(_CUBE[i] - value)) for value in pixel]
    in_cube = tuple(_CUBE[level] for level in levels)
    step = min(23, max(0, round((sum(pixel) / 3 - 8) / 10)))
    grey = 8 + 10 * step
    if _distance(pixel, (grey, grey, grey)) < _distance(pixel, in_cube):
        return 232 + step
    return 16 + 36 * levels[0] + 6 * levels[1] + levels[2]


def _block_codes(upper: Sequence[Pixel], lower: Sequence[Pixel], *, in_24_bit: bool) -> Iterator[str]:
    before: tuple[str, str] = ("", "")
    for above, below in zip(upper, lower, strict=True):
        colours = (_colour(above, in_24_bit=in_24_bit), _colour(below, in_24_bit=in_24_bit))
        codes = [
            f"{ground};{new}"
            for ground, new, old in zip(("38", "48"), colours, before, strict=True)
            if new != old
        ]
        before = colours
        yield f"\x1b[{';'.join(codes)}m▀" if codes else "▀"


def _colour(pixel: Pixel, *, in_24_bit: bool) -> str:
    return f"2;{pixel[0]};{pixel[1]};{pixel[2]}" if in_24_bit else f"5;{nearest_256(pixel)}"


def _distance(one: Sequence[int], other: Sequence[int]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


MAX_PIXELS = 40_000_000
"""Maximum pixels of an image that is decoded: 160 MB, and five times the API's largest image."""

MAX_BYTES = 256 * 1024 * 1024
"""Maximum bytes of a file that is decoded."""

_LONGEST_SIDE = 480
_QUALITY = 78

_decode_lock = threading.Lock()


@contextmanager
def open_image(source: Path | bytes) -> Generator[PillowImage]:
    """Open the image in Pillow, one at a time; this blocks. Raises OSError, or any exception of Pillow."""
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
        raise OSError("an image whose size cannot be determined")
    if image.width * image.height > MAX_PIXELS:
        raise OSError(f"an image of more than {MAX_PIXELS:,} pixels")


def write_thumbnail(source: Path, target: Path) -> None:
    """Write a small WebP copy of `source` to `target`. Raises OSError, or any exception of Pillow."""
    with open_image(source) as image:
        image.draft("RGB", (_LONGEST_SIDE, _LONGEST_SIDE))
        has_alpha = "A" in image.getbands() or "transparency" in image.info
        mode = "RGBA" if has_alpha else "RGB"
        small = image if image.mode == mode else image.convert(mode)
        small.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), reducing_gap=2.0)
        small.save(target, "WEBP", quality=_QUALITY, method=2)
