"""Reads the texts in a JSON response: unescapes strings, recognizes images in base64, and parses the envelope.

Invariants: pure; the envelope has `NaN`, which is not legal JSON, in place of each image, and parsing inserts the
images in order. More documents may follow (gateways append an error); text that is not JSON ends the list without an
error. To reject other texts fast, recognizing reads at most `MAX_HELD` characters; a signature of two bytes is not
enough.
Must not: accept nesting deeper than `MAX_DEPTH`, or read more than `MAX_DOCUMENTS`.
"""

from __future__ import annotations

import binascii
import json
import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any

import pybase64

from openai_images._util.json import MAX_VALUES, is_deeper, is_list, is_object
from openai_images.errors import DecodeError
from openai_images.models import media

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_UNFINISHED = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LONGEST_ESCAPE = len(rb"\u002")
_SHORT_ESCAPES = {b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"f": b"\f"}
_INVALID_ESCAPE = "the response has an image with an escape that is no base64"

BASE64, URL = b"b64_json", b"url"
LONGEST_KEY = 6 * len(BASE64)  # each character written as \uXXXX

MAX_HELD = 128
"""Characters needed to decide: a `data:` URL may name a type and a character set before its base64."""

# "data:", then the signatures of PNG, JPEG, GIF, WebP, TIFF, ICO, AVIF and HEIC, BMP, SVG, and XML before an SVG.
PREFIXES = (
    b"data:", b"iVBORw0K", b"/9j/", b"_9j_", b"R0lGOD", b"UklGR", b"SUkqA", b"TU0AK", b"AAABAA", b"AAAA",
    b"Qk0", b"Qk1", b"Qk2", b"Qk3", b"PHN2Z", b"PD94bWw",
)  # fmt: skip

FIRST_CHARACTERS = frozenset({prefix[:1] for prefix in PREFIXES} | {b"\\", b""})
"""First characters of `PREFIXES`, of an escape, and of a text that has not arrived: most texts begin with others."""

_DATA_URL = re.compile(rb"data:image/[^,]*;base64,", re.IGNORECASE)
_SAMPLE = 24
"""Characters to decode: 18 bytes, the length of a BMP's signature."""
_SHORTEST = 16
"""Characters; a shorter text holds no image."""
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_XML = b"<?xml"
_LEAST_MARKER = 0xC0  # of a JPEG; a file path may begin with "/9j/", the characters of its signature

MAX_DEPTH = 100
"""Python's own limit depends on the caller's stack, and a document below it may still fail to copy or pickle."""

MAX_DOCUMENTS = 100
"""Four megabytes hold two million empty objects, each of which costs a call."""

_LONGEST_INT = 500
"""Digits; four megabytes of numbers of this length are read in 20 ms, of the longest that Python reads in 70 ms."""

_NOT_JSON = "the response is not valid JSON: {}"
TOO_LARGE = (
    f"the response's JSON has over {MAX_VALUES:,} values or is nested more than {MAX_DEPTH} levels deep"
)
_SPACE = re.compile(r"[ \t\r\n]*")
_UNFINISHED_WORD = re.compile(r"[\w.+-]{0,10000}+\s*+")
"""Longer ones are no JSON; possessive, as megabytes of other text would be walked back through."""


class JSONUnescaper:
    """Removes JSON escapes from a string that arrives in pieces.

    `pending` is the incomplete escape at the end of the text fed so far.
    """

    def __init__(self) -> None:
        self.pending = b""

    def feed(self, text: bytes, *, last: bool) -> bytes:
        """Return `text` without escapes; `last`: the string ends here. Raises `DecodeError`."""
        text = self.pending + text
        self.pending = _incomplete_escape(text)
        if self.pending:
            if last:
                raise DecodeError(_INVALID_ESCAPE)
            text = text[: -len(self.pending)]
        # PHP writes every slash as \/, the only escape that occurs thousands of times in an image.
        text = text.replace(b"\\/", b"/") if b"\\\\" not in text else text
        return _ESCAPE.sub(_unescape, text) if b"\\" in text else text


def _incomplete_escape(text: bytes) -> bytes:
    """Return the incomplete escape at the end of `text`; an escaped backslash begins none."""
    found = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_ESCAPE))
    if found is None:
        return b""
    before = text[: found.start()]
    return b"" if (len(before) - len(before.rstrip(b"\\"))) % 2 else found[0]


def _unescape(escape: re.Match[bytes]) -> bytes:
    """Return the character that an escape stands for; only ASCII can be base64."""
    code, simple = escape.groups()
    if code is not None and int(code, 16) < 0x80:
        return bytes((int(code, 16),))
    character = _SHORT_ESCAPES.get(simple or b"")
    if character is None:
        raise DecodeError(_INVALID_ESCAPE)
    return character


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


class IncompleteJSONError(DecodeError):
    """More text could complete the document. Never leaves the decoder."""


def parse_documents(
    text: str, images: Iterable[object], constant_offset: int | None = None, *, strict: bool
) -> list[Any]:
    """Return the document, and those after it if it is an object or a list.

    `constant_offset`: index of a `NaN` or `Infinity` that the server itself wrote. Raises `DecodeError` if the
    first document is not legal JSON (`IncompleteJSONError` if more text could complete it), or if `strict`
    and other text follows it.
    """
    _parser.images = iter(images)
    try:
        return _parse(text, constant_offset, strict=strict)
    finally:
        _parser.images = iter(())


class _Parser(threading.local):
    """A decoder for each thread: making one takes longer than parsing. `images` replace the next `NaN`s, in order."""

    def __init__(self) -> None:
        self.images: Iterator[object] = iter(())
        self.decode = json.JSONDecoder(
            parse_constant=lambda _: next(self.images, None), parse_int=_parse_int
        ).raw_decode


def _parse(text: str, constant_offset: int | None, *, strict: bool) -> list[Any]:
    first, end = _decode_at(text, 0)
    if constant_offset is not None and (strict or constant_offset < end):
        raise DecodeError(_NOT_JSON.format("it has NaN or Infinity"))
    found = [first]
    rest = text if constant_offset is None else text[:constant_offset]
    if end < len(text) and (strict or not (is_object(first) or is_list(first))):
        raise DecodeError(_NOT_JSON.format(f"Extra data at character {end:,} of its envelope"))
    if end == len(text):
        return found
    with suppress(DecodeError):
        while end < len(rest) and len(found) < MAX_DOCUMENTS:
            document, end = _decode_at(rest, end)
            found.append(document)
    return found


def _decode_at(text: str, start: int) -> tuple[Any, int]:
    """Return the document that begins at `start`, and the index at which the next one would begin."""
    try:
        document, end = _parser.decode(text, _skip_space(text, start))
    except RecursionError:
        raise DecodeError(TOO_LARGE) from None
    except json.JSONDecodeError as error:
        cls = IncompleteJSONError if _UNFINISHED_WORD.fullmatch(text, error.pos) else DecodeError
        raise cls(_NOT_JSON.format(f"{error.msg} at character {error.pos:,} of its envelope")) from None
    brackets = text.count("{", start, end) + text.count("[", start, end)
    if brackets > MAX_DEPTH and is_deeper(document, MAX_DEPTH):
        raise DecodeError(TOO_LARGE)
    return document, _skip_space(text, end)


def _skip_space(text: str, offset: int) -> int:
    found = _SPACE.match(text, offset)
    return offset if found is None else found.end()


def _parse_int(digits: str) -> int | float:
    """Return a whole number; a float if it is very long, because the time for reading it is quadratic."""
    return int(digits) if len(digits) <= _LONGEST_INT else float(digits)


_parser = _Parser()
