"""What a picture's own first bytes say: its media type and its size in pixels.

Rules: pure functions on bytes; nothing is decoded, nothing is believed that the bytes do not say, and nothing raises
on bytes that make no sense: an unknown format is `application/octet-stream`, an unknown size is None.
"""

from __future__ import annotations

import re
import struct

__all__ = ["HEAD_BYTES", "UNKNOWN", "is_cut", "media_type", "pixel_size", "suffix"]

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
}

_SIGNATURES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)

# Start-of-frame markers hold the size; C4, C8 and CC in that range are something else (ITU T.81, table B.1).
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}

# Groups are atomic, (?>…): a page that starts with many comments must not be tried in every combination of them.
_SVG = re.compile(
    rb"(?:\xef\xbb\xbf)?(?>\s*)(?><\?xml[^>]*>\s*)?(?>(?:<!--(?>.*?-->)|<!DOCTYPE[^>]*>)\s*)*<svg(?=[\s>])([^>]*)",
    re.DOTALL,
)
_SVG_SIZE = re.compile(rb"""(?<![\w:-])(width|height)\s*=\s*["']\s*((?>[0-9]*\.?[0-9]+))(?:px)?\s*["']""")
_SVG_HEAD = 4096
"""How far into a text its <svg> tag is sought."""


def media_type(head: bytes) -> str:
    """The media type that the first bytes show, such as `image/png`."""
    for signature, kind in _SIGNATURES:
        if head.startswith(signature):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return "image/svg+xml" if _SVG.match(head[:_SVG_HEAD]) else UNKNOWN


def suffix(kind: str) -> str:
    """The file name's usual ending for a media type, `.bin` for an unknown one."""
    return _SUFFIXES.get(kind, ".bin")


def pixel_size(head: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, None where the bytes do not say (or not in what was given of them)."""
    reader = {
        "image/png": _png,
        "image/jpeg": _jpeg,
        "image/webp": _webp,
        "image/gif": _gif,
        "image/svg+xml": _svg,
    }.get(media_type(head))
    try:
        return reader(head) if reader else None
    except (struct.error, IndexError, OverflowError):
        return None


def is_cut(head: bytes, tail: bytes, nbytes: int) -> bool:
    """Whether a picture of `nbytes` bytes, lacks its end, by its first 12 bytes and its last 64."""
    match media_type(head):
        case "image/png":
            return b"IEND\xaeB`\x82" not in tail
        case "image/jpeg":
            return b"\xff\xd9" not in tail
        case "image/gif":
            return not tail.rstrip(b"\0").endswith(b";")
        case "image/webp":
            return nbytes < 8 + int.from_bytes(head[4:8], "little")
        case "image/svg+xml":
            return b"</svg" not in tail
        case _:
            return False


def _png(head: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from(">II", head, 16)
    return width, height


def _gif(head: bytes) -> tuple[int, int] | None:
    width, height = struct.unpack_from("<HH", head, 6)
    return width, height


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while at < len(head):
        if head[at] != 0xFF:
            return None
        marker = head[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        else:
            at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    kind = head[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", head, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", head, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        width = int.from_bytes(head[24:27], "little") + 1
        height = int.from_bytes(head[27:30], "little") + 1
        return (width, height) if len(head) >= 30 else None
    return None


def _svg(head: bytes) -> tuple[int, int] | None:
    tag = _SVG.match(head[:_SVG_HEAD])
    sizes = {name: float(value) for name, value in _SVG_SIZE.findall(tag[1])} if tag else {}
    if len(sizes) < 2:
        return None
    return round(sizes[b"width"]), round(sizes[b"height"])
