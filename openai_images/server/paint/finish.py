"""The small caption that says what a picture is.

Rules: it is on every picture and partial image, at the lower left (on a sticker in its middle), and says that no
model made it; the prompt follows, shortened to what fits. It refuses to set letters the font does not have: accents
fall away, and of a prompt in another script it shows nothing.
"""

import unicodedata
from functools import lru_cache
from typing import Final

from PIL import Image, ImageDraw, ImageFont

STATEMENT: Final = "local stand-in \u00b7 not a model"
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
_ELLIPSIS: Final = "\u2026"


def write_caption(image: Image.Image, prompt: str, *, opaque: bool = False) -> Image.Image:
    """A copy of the image with its caption; an `opaque` one hides another that may be there already."""
    unit = min(image.size)
    title, text = _font(max(9, round(unit * 0.019))), _font(max(9, round(unit * 0.022)))
    margin, pad = unit * 0.026, unit * 0.014
    room = image.width - 2 * margin - 2 * pad
    lines = [(STATEMENT, title, 205), (_shortened(prompt, text, min(room, unit * 0.6)), text, 255)]
    lines = [line for line in lines if line[0]]
    step = unit * 0.031
    wide = max(font.getlength(words) for words, font, _ in lines) + 2 * pad
    tall = step * len(lines) + pad * 1.3
    left, top = margin, image.height - margin - tall
    if image.mode == "RGBA":
        left, top = (image.width - wide) / 2, top - unit * 0.06
    captioned = image.copy()
    _plate(captioned, (left, top, left + wide, top + tall), unit, 255 if opaque else 120)
    pen = ImageDraw.Draw(captioned)
    for row, (words, font, shade) in enumerate(lines):
        at = left + pad, top + pad * 0.65 + step * (row + 0.5)
        pen.text(at, words, fill=(shade, shade, shade), font=font, anchor="lm")
    return captioned


def _plate(image: Image.Image, box: tuple[float, float, float, float], unit: int, fill: int) -> None:
    """A dark plate with round, smooth corners, translucent unless `fill` is 255."""
    left, top, right, bottom = (round(edge) for edge in box)
    wide, tall = right - left, bottom - top
    mask = Image.new("L", (wide * 2, tall * 2), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, wide * 2 - 1, tall * 2 - 1), radius=unit * 0.032, fill=fill)
    plate = Image.new(image.mode, (wide, tall), (12, 14, 24, 255)[: len(image.getbands())])
    image.paste(plate, (left, top), mask.reduce(2))


def _shortened(prompt: str, font: Font, room: float) -> str:
    """The prompt in one line, cut at a word to fit."""
    line = plain_line(prompt)
    if font.getlength(line) <= room:
        return line
    while line and font.getlength(line + _ELLIPSIS) > room:
        line = line.rpartition(" ")[0] if " " in line else line[:-1]
    return line + _ELLIPSIS


def plain_line(prompt: str) -> str:
    """The start of a prompt in one line of letters every font has; nothing of one in another script."""
    words = unicodedata.normalize("NFKD", " ".join(prompt[:400].split()))
    words = "".join(letter for letter in words if not unicodedata.combining(letter))
    line = "".join(letter for letter in words if " " <= letter <= "~")
    return line if len(line) >= 0.9 * len(words) else ""


@lru_cache(maxsize=32)
def _font(size: int) -> Font:
    return ImageFont.load_default(size)
