"""Where an image may be in JSON: under the keys that have one, and in a text that begins as one in base64 does.

Rules: pure, and quick to say no, as it is asked of every text of an answer. A signature of two bytes decides nothing:
words begin so. It refuses to read further than `MAX_HELD`: whether the rest is base64, its decoder says.
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
LONGEST_KEY = 6 * len(BASE64)  # each character spelled \uXXXX

MAX_HELD = 128
"""Characters after which it is decided: a `data:` URL may name a type and a character set before its base64."""

# "data:", then the signatures of PNG, JPEG, GIF, WebP, TIFF, ICO, AVIF and its like, BMP, SVG and XML before it.
PREFIXES = (
    b"data:", b"iVBORw0K", b"/9j/", b"_9j_", b"R0lGOD", b"UklGR", b"SUkqA", b"TU0AK", b"AAABAA", b"AAAA",
    b"Qk0", b"Qk1", b"Qk2", b"Qk3", b"PHN2Z", b"PD94bWw",
)  # fmt: skip

FIRST = frozenset({prefix[:1] for prefix in PREFIXES} | {b"\\", b""})
"""The first characters of these, of an escape, and of what has not come yet: most texts begin otherwise."""

_DATA_URL = re.compile(rb"data:image/[^,]*;base64,", re.IGNORECASE)
_SAMPLE = 24
"""Characters that are decoded: 18 bytes, as many as the signature of a BMP takes."""
_SHORTEST = 16
"""A shorter text holds no image."""
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_XML = b"<?xml"
_LEAST_MARKER = 0xC0  # of a JPEG; a path may begin with the four characters of its signature


def begins_image(start: bytes, *, is_whole: bool, is_url: bool) -> bool | None:
    """Whether the text that begins so is one, None while more has to come; `is_whole`: nothing more will.

    The start is as JSON spells it. Where it `is_url`, any `data:` is enough.
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
    return (_DATA_URL.match(start) is not None or _is_signature(start)) if is_whole else None


def _is_signature(text: bytes) -> bool:
    """Whether these are the first characters of an image in base64."""
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
    """The key that these characters spell, plainly or with escapes, if it may have a picture; else nothing."""
    if b"\\" in raw:
        try:
            raw = json.loads(b'"%s"' % raw).encode()
        except ValueError:
            return b""
    return raw if raw in (BASE64, URL) else b""
