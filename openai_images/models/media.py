"""Reads the media type and pixel size from an image's first bytes, and compares the type with the declared one.

Invariants: pure; nothing is decoded; no bytes raise: an unknown format is `application/octet-stream`, an unknown size
None. The size is the stored one: EXIF orientation is ignored. The size of an SVG is in CSS pixels, 96 per inch, from
its attributes or its `viewBox`.
Must not: check whether the bytes are complete (`completeness.py` does).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from itertools import islice

UNKNOWN = "application/octet-stream"

HEAD_BYTES = 65_536
"""First bytes of an image that contain its size: a JPEG may have a signed manifest of some 22 kB before it."""

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
"""The suffixes of image files."""

_FORMATS = {mime.partition("/")[2].partition("+")[0]: mime for mime in _SUFFIXES} | {"jpg": "image/jpeg"}

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
"""The possible lengths of a BMP's header; the signature "BM" alone is too common in text."""
_BRANDS = {
    "image/avif": frozenset({b"avif", b"avis"}),
    "image/heic": frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}),
}

# Start-of-frame markers hold the size; C4, C8 and CC are none (ITU T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD9)})
"""Markers without a length."""
_JPEG_NO_SIZE = frozenset({0xD9, 0xDA})
"""The end marker and the start of the compressed data: no size follows them."""

_MOST_STEPS = 2_000
"""The most segments to read: a hostile file may consist of megabytes of empty segments."""

# Groups are atomic, (?>…): a page that starts with many comments must not cause exponential backtracking.
# Patterns are compiled at their first use.
_SVG = rb"""(?sx)(?:\xef\xbb\xbf)?(?>(?:
        \s+ | <\?[^>]*> | <!--(?>.*?-->) | <!DOCTYPE(?>[^>\[]*)(?:\[(?>[^\]]*)\](?>[^>]*))?>
    )*)<svg(?=[\s/>])((?>(?:[^>"']+|"[^"]*"|'[^']*')*))"""
_SVG_HEAD = 4096
"""Bytes in which the <svg> tag is searched."""
_ATTRIBUTE = rb"""(?<=[\s"'])(width|height|viewBox)\s*=\s*(?:"([^"]*)"|'([^']*)')|"[^"]*"|'[^']*'"""
_LENGTH = rb"(?i)\s*\+?((?>[0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]{1,3})?))(px|in|cm|mm|q|pt|pc)?\s*"
_BOX = rb"[\s,]+"
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
    """Return the media type of the first bytes, such as `image/png`."""
    for signature, mime in _SIGNATURES:
        if head.startswith(signature):
            return mime
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp":
        return _type_from_brands(head)
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADERS:
        return "image/bmp"
    if head[:4] == b"\0\0\1\0" and head[4:6] != b"\0\0" and head[9:10] == b"\0":
        return "image/x-icon"
    return "image/svg+xml" if re.match(_SVG, head[:_SVG_HEAD]) else UNKNOWN


def file_suffix(mime: str) -> str:
    """Return the usual file suffix of a media type, `.bin` for an unknown one."""
    return _SUFFIXES.get(mime, ".bin")


def format_mismatch(declared: str | None, mime: str) -> bool:
    """Return whether `declared`, such as "png", "jpg" or "image/webp", certainly differs from the media type `mime`.

    None, an unknown name, and an unknown `mime` (a remote image) are not a mismatch.
    """
    expected = _type_from_name(declared)
    return expected is not None and mime in _SUFFIXES and expected != mime


def format_warning(requested: str | None, declared: str | None, mime: str) -> str | None:
    """Return a warning if the bytes' media type `mime` is not the requested or the declared format; else None."""
    if all(name is None or _FORMATS.get(name) == mime for name in (requested, declared)):
        return None
    mismatches = [
        f"{source} {(_type_from_name(name) or '').partition('/')[2].partition('+')[0]}"
        for source, name in (("output_format is", requested), ("the server declares", declared))
        if format_mismatch(name, mime)
    ]
    if not mismatches:
        return None
    names = " and ".join(mismatches)
    return f"an image is {mime} (detected from its bytes), but {names}; media_type and file names follow the bytes"


def pixel_size(head: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels; None if `head`, the first bytes, does not contain them."""
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
    """Return whether this is an SVG whose root element is a self-closing tag."""
    tag = re.match(_SVG, head)
    return tag is not None and tag[1].endswith(b"/")


def _type_from_name(name: str | None) -> str | None:
    """Return the media type of a format's name; None if it is unknown."""
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
    offset = 2
    for _ in range(_MOST_STEPS):
        marker = head[offset + 1]
        if head[offset] != 0xFF or marker in _JPEG_NO_SIZE:
            return None
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, offset + 5)
            return width, height
        if marker == 0xFF:  # any number of FF may precede a marker
            offset += 1
        elif marker in JPEG_ALONE:
            offset += 2
        else:
            offset += 2 + struct.unpack_from(">H", head, offset + 2)[0]
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    chunk = head[12:16]
    if chunk == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L" and head[20] == 0x2F:
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
        return (width, height) if len(head) >= 30 else None
    return None


def _type_from_brands(head: bytes) -> str:
    """Return the media type of an ISO media file from its brand or one of its compatible brands."""
    end = min(int.from_bytes(head[:4]), 256)
    brands = {head[8:12], *(head[offset : offset + 4] for offset in range(16, end, 4))}
    return next((mime for mime, known in _BRANDS.items() if not known.isdisjoint(brands)), UNKNOWN)


def _avif(head: bytes) -> tuple[int, int] | None:
    """Return the largest size of the file's items: tiles and thumbnails are smaller than the image."""
    start, end = 0, len(head)
    for name, skipped in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
        found = [box for box in islice(_boxes(head, start, end), _MOST_STEPS) if box[0] == name]
        if not found:
            return None
        start, end = found[0][1] + skipped, found[0][2]
    items = [box for box in islice(_boxes(head, start, end), _MOST_STEPS) if box[0] == b"ispe"]
    sizes: list[tuple[int, int]] = [
        struct.unpack(">II", head[offset + 4 : min(offset + 12, end)]) for _, offset, end in items
    ]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


def _boxes(data: bytes, offset: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield (name, start of content, end of content) of the boxes of an ISO media file between two offsets."""
    while offset + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, offset)
        start = offset + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        elif size == 0:
            size = end - offset
        if size < start - offset:
            return
        offset += size
        yield name, start, min(offset, end)


def _svg(head: bytes) -> tuple[int, int] | None:
    tag = re.match(_SVG, head[:_SVG_HEAD])
    if tag is None:
        return None
    attributes = {
        match[1]: match[2] or match[3] or b"" for match in re.finditer(_ATTRIBUTE, tag[1]) if match[1]
    }
    width, height = _length(attributes.get(b"width")), _length(attributes.get(b"height"))
    if width is None or height is None:
        box_width, box_height = _view_box(attributes.get(b"viewBox"))
        if not box_width or not box_height:
            return None
        if width is None:
            width = box_width if height is None else height * box_width / box_height
        if height is None:
            height = width * box_height / box_width
    return round(width), round(height)


def _length(text: bytes | None) -> float | None:
    """Return a length in pixels; None if there is none, or if it is relative ("100%")."""
    match = None if text is None else re.fullmatch(_LENGTH, text)
    return None if match is None else float(match[1]) * _PIXELS[(match[2] or b"").lower()]


def _view_box(text: bytes | None) -> tuple[float, float]:
    """Return width and height of a `viewBox`, zeros if it is invalid."""
    sides = [_length(side) or 0.0 for side in re.split(_BOX, (text or b"").strip())[2:]]
    return (sides[0], sides[1]) if len(sides) == 2 else (0.0, 0.0)
