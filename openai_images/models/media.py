"""What a picture's own first bytes say: its media type and its size in pixels; and whether that is what was declared.

Rules: pure functions on bytes; nothing is decoded, nothing is believed that the bytes do not say, and nothing raises
on bytes that make no sense: an unknown format is `application/octet-stream`, an unknown size is None. A size is the
stored one: that a camera's JPEG is to be shown on its side (EXIF) does not turn it. An SVG has the size that it gives
itself in pixels of CSS, 96 to the inch; where it gives none, that of its `viewBox`. Whether the bytes are all there is
for `completeness.py` to say.
"""

from __future__ import annotations

import re
import struct
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

UNKNOWN = "application/octet-stream"

HEAD_BYTES = 65_536
"""How much of a picture's start is enough: a JPEG may carry a signed manifest of some 22 kB before its size."""

_SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/svg+xml": ".svg",
    "image/avif": ".avif",
    "image/heic": ".heic",
    "image/tiff": ".tiff",
    "image/bmp": ".bmp",
    "image/x-icon": ".ico",
    "image/jxl": ".jxl",
    "image/jp2": ".jp2",
}

SUFFIXES = tuple(_SUFFIXES.values())
"""The endings of the names that pictures get."""

_FORMATS = {kind.partition("/")[2].partition("+")[0]: kind for kind in _SUFFIXES} | {"jpg": "image/jpeg"}

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"II*\0", "image/tiff"),
    (b"MM\0*", "image/tiff"),
    (b"\xff\x0a", "image/jxl"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "image/jp2"),
)
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})
"""The lengths that the header of a BMP may have; its two letters alone begin many a word."""
_BRANDS = {
    "image/avif": frozenset({b"avif", b"avis"}),
    "image/heic": frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}),
}

# Start-of-frame markers hold the size; C4, C8 and CC in that range are something else (ITU T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers that no length follows."""
_JPEG_PICTURE = frozenset({0xD9, 0xDA})
"""The end, and the start of the compressed data: behind these no size comes."""

_MOST_STEPS = 2_000
"""How many segments are looked at: a hostile file of megabytes may consist of nothing else."""

# Groups are atomic, (?>…): a page that starts with many comments must not be tried in every combination of them.
_SVG = re.compile(
    rb"""(?:\xef\xbb\xbf)?(?>(?:
        \s+ | <\?[^>]*> | <!--(?>.*?-->) | <!DOCTYPE(?>[^>\[]*)(?:\[(?>[^\]]*)\](?>[^>]*))?>
    )*)<svg(?=[\s/>])((?>(?:[^>"']+|"[^"]*"|'[^']*')*))""",
    re.DOTALL | re.VERBOSE,
)
_SVG_HEAD = 4096
"""How far into a text its <svg> tag is sought."""
_ATTRIBUTE = re.compile(
    rb"""(?<=[\s"'])(width|height|viewBox)\s*=\s*(?:"([^"]*)"|'([^']*)')|"[^"]*"|'[^']*'"""
)
_LENGTH = re.compile(
    rb"\s*\+?((?>[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,3})?))(px|in|cm|mm|q|pt|pc)?\s*", re.IGNORECASE
)
_BOX = re.compile(rb"[\s,]+")
_PIXELS = {
    b"": 1.0,
    b"px": 1.0,
    b"in": 96.0,
    b"cm": 96 / 2.54,
    b"mm": 96 / 25.4,
    b"q": 96 / 101.6,
    b"pt": 96 / 72,
    b"pc": 16.0,
}


def media_type(head: bytes) -> str:
    """The media type that the first bytes show, such as `image/png`."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    if head[:4] == b"\0\0\1\0" and head[4:6] != b"\0\0" and head[9:10] == b"\0":
        return "image/x-icon"
    return "image/svg+xml" if _SVG.match(head[:_SVG_HEAD]) else UNKNOWN


def file_suffix(kind: str) -> str:
    """The file name's usual ending for a media type, `.bin` for an unknown one."""
    return _SUFFIXES.get(kind, ".bin")


def format_mismatch(declared: str | None, kind: str) -> bool:
    """Whether `declared`, such as "png", "jpg" or "image/webp", is surely not the media type `kind` of the bytes.

    What is not declared, not known by name, or not known by its bytes (as a picture behind a URL is) is no mismatch.
    """
    said = _declared(declared)
    return said is not None and kind in _SUFFIXES and said != kind


def format_warning(asked: str | None, declared: str | None, kind: str) -> str | None:
    """A sentence where bytes of the media type `kind` are not of the format `asked` for or `declared` by the server."""
    wrong = [
        f"{said} {(_declared(name) or '').partition('/')[2].partition('+')[0]}"
        for said, name in (("output_format asked for", asked), ("the server calls it", declared))
        if format_mismatch(name, kind)
    ]
    if not wrong:
        return None
    listed = " and ".join(wrong)
    return f"a picture is {kind} by its bytes, but {listed}; media_type and new file names follow the bytes"


def pixel_size(head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, None where the bytes do not say (or not in what was given of them)."""
    reader = {
        "image/png": _png,
        "image/jpeg": _jpeg,
        "image/webp": _webp,
        "image/gif": _gif,
        "image/svg+xml": _svg,
        "image/avif": _avif,
    }.get(media_type(head[:_SVG_HEAD]))
    try:
        size = reader(head) if reader else None
    except (struct.error, IndexError, OverflowError):
        return None
    return size if size is not None and min(size) > 0 else None


def is_empty_svg(head: bytes) -> bool:
    """Whether this is an SVG whose root closes itself."""
    tag = _SVG.match(head)
    return tag is not None and tag[1].endswith(b"/")


def _declared(name: str | None) -> str | None:
    """The media type of a format's name, None where it is not known."""
    if name is None:
        return None
    return _FORMATS.get(name.strip().lower().removeprefix("image/").removeprefix(".").removesuffix("+xml"))


def _png(head: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", head, 16)
    return (width, height) if head[12:16] == b"IHDR" else None


def _gif(head: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from("<HH", head, 6)
    return width, height


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    for _ in range(_MOST_STEPS):
        marker = head[at + 1]
        if head[at] != 0xFF or marker in _JPEG_PICTURE:
            return None
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        if marker == 0xFF:  # any number of FF may stand before a marker
            at += 1
        elif marker in JPEG_ALONE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and head[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
        return (width, height) if len(head) >= 30 else None
    return None


def _of_brands(head: bytes) -> str:
    """What the file-type box of an ISO media file names: its brand, or one of those it is compatible with."""
    end = min(int.from_bytes(head[:4]), 256)
    brands = {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}
    return next((kind for kind, known in _BRANDS.items() if not known.isdisjoint(brands)), UNKNOWN)


def _avif(head: bytes) -> tuple[int, int] | None:
    """The largest of the sizes that its items have: tiles and thumbnails are smaller than the picture."""
    start, end = 0, len(head)
    for wanted, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
        found = [box for box in islice(_boxes(head, start, end), _MOST_STEPS) if box[0] == wanted]
        if not found:
            return None
        start, end = found[0][1] + skipped, found[0][2]
    items = [box for box in islice(_boxes(head, start, end), _MOST_STEPS) if box[0] == b"ispe"]
    sizes: list[tuple[int, int]] = [
        struct.unpack(">II", head[at + 4 : min(at + 12, end)]) for _, at, end in items
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _boxes(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """The boxes of an ISO media file between two places: kind, start and end of what is in them."""
    while at + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        elif size == 0:
            size = end - at
        if size < start - at:
            return
        at += size
        yield kind, start, min(at, end)


def _svg(head: bytes) -> tuple[int, int] | None:
    tag = _SVG.match(head[:_SVG_HEAD])
    if tag is None:
        return None
    given = {match[1]: match[2] or match[3] or b"" for match in _ATTRIBUTE.finditer(tag[1]) if match[1]}
    width, height = _length(given.get(b"width")), _length(given.get(b"height"))
    if width is None or height is None:
        across, down = _box(given.get(b"viewBox"))
        if not across or not down:
            return None
        if width is None:
            width = across if height is None else height * across / down
        if height is None:
            height = width * down / across
    return round(width), round(height)


def _length(text: bytes | None) -> float | None:
    """A length in pixels; None where there is none, or one that depends on the surroundings ("100%")."""
    match = None if text is None else _LENGTH.fullmatch(text)
    return None if match is None else float(match[1]) * _PIXELS[(match[2] or b"").lower()]


def _box(text: bytes | None) -> tuple[float, float]:
    """Width and height of a `viewBox`, zeros where it makes no sense."""
    sides = [_length(side) or 0.0 for side in _BOX.split((text or b"").strip())[2:]]
    return (sides[0], sides[1]) if len(sides) == 2 else (0.0, 0.0)
