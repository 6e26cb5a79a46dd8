"""One JSON document whose base64 pictures are decoded while it arrives.

Rules: exact JSON, not a search for a key. Strings are walked with their escapes, keys told from values; the value of a
key that spells `b64_json`, and a data URL under `url`, goes to a base64 decoder and its sink, everything else into a
small envelope, in which the picture's place is taken by `NaN`. That is no legal JSON, so no legal document can
counterfeit it: at the end `json.loads` meets each `NaN` in document order and puts the picture there. Nesting,
duplicate keys and grammar are thus `json.loads`'s own, and the result is what it would give. It refuses envelopes
over `MAX_ENVELOPE_BYTES`, more than `MAX_PICTURES`, and nesting deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from openai_images.errors import DecodeError, ResponseTooLargeError
from openai_images.wire.b64 import MAX_PICTURE_BYTES, Base64Decoder
from openai_images.wire.escapes import Unescaper
from openai_images.wire.jsontypes import MAX_VALUES, has_too_many_values, is_deeper
from openai_images.wire.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_images.models.image import Image
    from openai_images.wire.memory import Sink

__all__ = ["MAX_DEPTH", "MAX_ENVELOPE_BYTES", "MAX_PICTURES", "PayloadScanner"]

MAX_ENVELOPE_BYTES = 4 * 1024 * 1024
"""The JSON without its pictures is about a kilobyte; a prompt echoed back may be 32,000 characters of it."""

MAX_PICTURES = 1000
"""The API gives ten at most; each takes memory, or a file, however few bytes it has."""

MAX_DEPTH = 100
"""Python's own limit depends on who calls, and what passes it here may fail where it is copied or pickled."""

_SPACE = b" \t\r\n"
_N, _I = b"NI"  # as numbers, which are sought faster; legal JSON has neither outside its strings
_BASE64, _URL = b"b64_json", b"url"
_PLAIN = re.compile(rb'(?:[^"NI]++|"(?!(?:b64_json|url)")[^"\\]*+")*+')
"""All up to the next string that needs a closer look: a picture's key, one with escapes, one that is cut."""
_LONGEST_KEY = 6 * len(_BASE64)  # each character spelled \uXXXX
_DATA_URL = b"data:"
_UNFINISHED_WORD = re.compile(r"[\w.+-]*\s*")


class PayloadScanner:
    """Feed it a document's bytes, then `finish` gives the document with an `Image` for each picture."""

    def __init__(
        self,
        new_sink: Callable[[], Sink] = MemorySink,
        *,
        max_picture_bytes: int = MAX_PICTURE_BYTES,
        max_envelope_bytes: int = MAX_ENVELOPE_BYTES,
    ) -> None:
        """Give each picture a sink of its own."""
        self._new_sink = new_sink
        self._max_picture_bytes = max_picture_bytes
        self._max_envelope_bytes = max_envelope_bytes
        self._envelope = bytearray()
        # Functions, not bound methods: a cycle would keep the pictures until the garbage collector comes by.
        self._state = PayloadScanner._between
        self._escaped = False
        self._string_start = 0
        # The key that has just ended, and the one whose value is due, where they may have a picture.
        self._after_key = b""
        self._value_due = b""
        self._constant = False
        self._url = b""  # its first characters, until it is clear whether it is a data URL
        self._escapes = Unescaper()
        self._broken: DecodeError | None = None
        self._failure: DecodeError | None = None
        self._sink: Sink | None = None
        self._decoder: Base64Decoder | None = None
        self._pictures: list[Image | None] = []
        self.is_cut = False

    @property
    def text(self) -> str:
        """The envelope so far; bytes that are not UTF-8 are replaced: a stray one must not cost a paid picture."""
        return self._envelope.decode("utf-8", "replace")

    def feed(self, data: bytes) -> None:
        """Scan the next bytes. Raises `ResponseTooLargeError`; what else is wrong, `finish` says."""
        at, end = 0, len(data)
        while at < end:
            at = self._state(self, data, at)
        if len(self._envelope) > self._max_envelope_bytes:
            msg = f"the answer holds more than {self._max_envelope_bytes:,} bytes beside its pictures and was abandoned"
            raise ResponseTooLargeError(msg)

    def finish(self) -> Any:
        """The document. Raises `DecodeError` where it is not whole, legal JSON; `is_cut` says whether more was due."""
        pictures = iter(self._pictures)
        if self._failure is not None:
            raise self._failure
        if self._state is not PayloadScanner._between:
            self.is_cut = True
            raise DecodeError(_NOT_JSON.format("it ends in a string"))
        if self._constant:
            raise DecodeError(_NOT_JSON.format("it holds NaN or Infinity"))
        if has_too_many_values(self._envelope):
            raise DecodeError(_TOO_LARGE)
        text = self.text
        try:
            doc = json.loads(text, parse_constant=lambda _: next(pictures), parse_int=_int)
        except RecursionError:
            raise DecodeError(_TOO_LARGE) from None
        except json.JSONDecodeError as error:
            more_was_due = _UNFINISHED_WORD.fullmatch(text, error.pos) is not None
            self.is_cut = more_was_due and not error.msg.startswith("Extra data")
            raise DecodeError(
                _NOT_JSON.format(f"{error.msg} at character {error.pos:,} of its envelope")
            ) from None
        if is_deeper(doc, MAX_DEPTH):
            raise DecodeError(_TOO_LARGE)
        return doc

    def discard(self) -> None:
        """The document will not be finished: drop the picture that is being decoded."""
        if self._sink is not None:
            self._sink.discard()
            self._sink = None

    @property
    def is_broken(self) -> bool:
        """Whether a picture is no base64, so that `finish` raises whatever is still to come."""
        return self._failure is not None

    @property
    def is_complete(self) -> bool:
        """Whether the document is closed, so that `finish` would give it."""
        try:
            self.finish()
        except DecodeError:
            return False
        return True

    @property
    def pictures(self) -> list[Image]:
        """The pictures that are complete so far, in document order."""
        return [picture for picture in self._pictures if picture is not None]

    # The five states. Each takes (data, at) and gives the index of the first byte it left alone.

    def _between(self, data: bytes, at: int) -> int:
        """Outside strings: copy, and watch for `key :` before the next string."""
        if not (self._after_key or self._value_due):
            plain = _PLAIN.match(data, at)
            if plain is not None and plain.end() > at:
                self._envelope += plain[0]
                at = plain.end()
        quote = data.find(b'"', at)
        outside = data[at:] if quote < 0 else data[at:quote]
        self._envelope += outside
        self._constant = self._constant or _N in outside or _I in outside
        token = outside.strip(_SPACE)
        if token:
            self._value_due = self._after_key if token == b":" else b""
            self._after_key = b""
        if quote < 0:
            return len(data)
        if self._value_due == _BASE64:
            self._begin_picture()
        elif self._value_due:
            self._state = PayloadScanner._in_url
        else:
            self._begin_string()
        self._after_key = self._value_due = b""
        return quote + 1

    def _in_url(self, data: bytes, at: int) -> int:
        """At the start of a URL: one that is `data:` is a picture, any other one a string."""
        seen, self._url = self._url, b""
        end = at + len(_DATA_URL) - len(seen)
        start = seen + data[at:end]
        if start == _DATA_URL:
            self._begin_picture()
            assert self._decoder is not None  # noqa: S101  it was begun
            self._decoder.feed(_DATA_URL)
            return end
        if _DATA_URL.startswith(start):
            self._url = start
            return len(data)
        self._begin_string()
        self._envelope += seen
        return at

    def _begin_string(self) -> None:
        self._envelope += b'"'
        self._string_start = len(self._envelope)
        self._state = PayloadScanner._in_string

    def _begin_picture(self) -> None:
        if len(self._pictures) == MAX_PICTURES:
            msg = f"the answer holds more than {MAX_PICTURES:,} pictures and was abandoned"
            raise ResponseTooLargeError(msg)
        self._envelope += b"NaN"
        self._sink = self._new_sink()
        self._decoder = Base64Decoder(self._sink.write, self._max_picture_bytes)
        self._state = PayloadScanner._in_picture

    def _in_string(self, data: bytes, at: int) -> int:
        """In a string that is no picture: copy up to its closing quote."""
        quote = self._closing_quote(data, at)
        if quote < 0:
            self._envelope += data[at:]
            return len(data)
        self._envelope += data[at : quote + 1]
        end = len(self._envelope) - 1
        if end - self._string_start <= _LONGEST_KEY:
            self._after_key = _picture_key(bytes(self._envelope[self._string_start : end]))
        self._state = PayloadScanner._between
        return quote + 1

    def _closing_quote(self, data: bytes, at: int) -> int:
        """Where the string that we are in ends, -1 where that is not in here."""
        if self._escaped:
            at, self._escaped = at + 1, False
        quote = data.find(b'"', at)
        while True:
            slash = data.find(b"\\", at, len(data) if quote < 0 else quote)
            if slash < 0:
                break
            at = slash + 2
            if quote >= 0 and at > quote:
                quote = data.find(b'"', at)
        self._escaped = quote < 0 and at > len(data)
        return quote

    def _in_picture(self, data: bytes, at: int) -> int:
        """In a picture: unescape and decode up to the closing quote; one that is broken does not cost the others."""
        assert self._decoder is not None  # noqa: S101  set together with the state
        self._escaped = self._escapes.held == b"\\"
        quote = data.find(b'"', at)
        end = len(data) if quote < 0 else quote
        try:
            if self._escapes.held or data.find(b"\\", at, end) >= 0:
                self._decoder.feed(self._escapes.feed(data[at:end], last=quote >= 0))
            else:
                self._decoder.feed(data if end - at == len(data) else data[at:end])
            if quote >= 0:
                self._escaped = False
                self._end_picture()
        except DecodeError as error:
            self._broken = error
            self._escapes.held = b""
            self.discard()
            self._decoder = None
            self._pictures.append(None)
            self._state = PayloadScanner._in_broken
            return at
        return len(data) if quote < 0 else quote + 1

    def _in_broken(self, data: bytes, at: int) -> int:
        """In a picture that is none: pass over the rest of it. It is a failure when it has ended, till then a cut."""
        quote = self._closing_quote(data, at)
        if quote < 0:
            return len(data)
        self._failure = self._failure or self._broken
        self._state = PayloadScanner._between
        return quote + 1

    def _end_picture(self) -> None:
        assert self._decoder is not None  # noqa: S101  set together with the state
        assert self._sink is not None  # noqa: S101  set together with the state
        self._decoder.close()
        if self._decoder.nbytes:
            self._pictures.append(self._sink.finish())
        else:
            self._sink.discard()
            self._pictures.append(None)
        self._sink = self._decoder = None
        self._state = PayloadScanner._between


_NOT_JSON = "the answer is not valid JSON: {}"
_TOO_LARGE = f"the JSON has over {MAX_VALUES:,} values or is nested more than {MAX_DEPTH} levels deep"


def _picture_key(raw: bytes) -> bytes:
    """The key that these characters spell, plainly or with escapes, if it may have a picture; else nothing."""
    if b"\\" in raw:
        try:
            raw = json.loads(b'"%s"' % raw).encode()
        except ValueError:
            return b""
    return raw if raw in (_BASE64, _URL) else b""


def _int(digits: str) -> int | float:
    """A whole number; as a float where it has more digits than Python reads."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)
