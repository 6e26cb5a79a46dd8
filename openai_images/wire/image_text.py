"""Recognizes images in JSON: keys whose value is an image, and texts that begin as an image in base64.

Invariants: pure, and fast for other texts, as every text of a response is checked. A signature of two bytes
is not enough: words begin with it.
Must not: read more than `MAX_HELD` characters; whether the rest is base64 is checked by its decoder.
"""

from __future__ import annotations

import binascii
import json
import re

import pybase64

from openai_images.errors import DecodeError
from openai_images.models import media
from openai_images.wire.base64_decoder import JSONUnescaper

BASE64, URL = b"b64_json", b"url"
LONGEST_KEY = 6 * len(BASE64)  # each character written as \uXXXX

MAX_HELD = 128
"""Characters that decide: a `data:` URL may name a type and a character set before its base64."""

# "data:", then the signatures of PNG, JPEG, GIF, WebP, TIFF, ICO, AVIF and HEIC, BMP, SVG, and XML before an SVG.
PREFIXES = (
    b"data:", b"iVBORw0K", b"/9j/", b"_9j_", b"R0lGOD", b"UklGR", b"SUkqA", b"TU0AK", b"AAABAA", b"AAAA",
    b"Qk0", b"Qk1", b"Qk2", b"Qk3", b"PHN2Z", b"PD94bWw",
)  # fmt: skip

FIRST_CHARACTERS = frozenset({prefix[:1] for prefix in PREFIXES} | {b"\\", b""})
"""First characters of these, of an escape, and of a text that has not arrived: most texts begin otherwise."""

_DATA_URL = re.compile(rb"data:image/[^,]*;base64,", re.IGNORECASE)
_SAMPLE = 24
"""Characters to decode: 18 bytes, the length of a BMP's signature."""
_SHORTEST = 16
"""Characters; a shorter text holds no image."""
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_XML = b"<?xml"
_LEAST_MARKER = 0xC0  # of a JPEG; a file path may begin with "/9j/", the characters of its signature


def begins_image(start: bytes, *, is_complete: bool, is_url: bool) -> bool | None:
    """Return whether a text with this start is an image; None if more characters are needed.

    `start` has JSON's escapes; `is_complete`: no more will come; `is_url`: any `data:` is enough.
    """
    if is_url and start.startswith(b"data:"):
        return True
    if b"\\" in start:
        try:
            start = JSONUnescaper().feed(start, last=False)
        except DecodeError:
            return False
    if not any(start.startswith(prefix) or prefix.startswith(start) for prefix in PREFIXES):
        return False
    return (_DATA_URL.match(start) is not None or _is_signature(start)) if is_complete else None


def _is_signature(text: bytes) -> bool:
    """Return whether these are the first characters of an image in base64."""
    sample = text[: min(_SAMPLE, len(text) & ~3)]
    if len(sample) < _SHORTEST:
        return False
    try:
        head = pybase64.b64decode(sample.translate(_URL_SAFE), validate=True)
    except binascii.Error:
        return False
    if head.startswith(b"\xff\xd8") and head[3] < _LEAST_MARKER:
        return False
    return head.startswith(_XML) or media.media_type(head) != media.UNKNOWN


def image_key(raw: bytes) -> bytes:
    """Return the key that these characters stand for, with or without escapes, if it may hold an image; else b""."""
    if b"\\" in raw:
        try:
            raw = json.loads(b'"%s"' % raw).encode()
        except ValueError:
            return b""
    return raw if raw in (BASE64, URL) else b""
