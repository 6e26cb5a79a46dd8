"""One JSON document whose base64 pictures are decoded while it arrives.

Rules: exact JSON, not a search for a key. Strings are walked with their escapes, keys told from values; the value of a
key that spells `b64_json`, a data URL under `url`, and wherever it stands a text that begins as an image in base64
does, go to a base64 decoder and its sink, everything else into a small envelope, in which the picture's place is taken
by `NaN` (`envelope.py`). A picture that is none by its own bytes has a `flaw`. It refuses envelopes over
`MAX_ENVELOPE_BYTES` and more than `MAX_IMAGES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from attrs import evolve

from openai_images._util.json import has_too_many_values
from openai_images.errors import DecodeError, ResponseTooLargeError
from openai_images.models.completeness import ImageProbe
from openai_images.models.image import Image
from openai_images.wire.base64_decoder import MAX_IMAGE_BYTES, Base64Decoder, JSONUnescaper, join_bytes
from openai_images.wire.envelope import TOO_LARGE, IncompleteJSONError, parse_documents
from openai_images.wire.image_text import (
    BASE64,
    FIRST,
    LONGEST_KEY,
    MAX_HELD,
    PREFIXES,
    URL,
    begins_image,
    image_key,
)
from openai_images.wire.sinks import MemorySink, Sink

MAX_ENVELOPE_BYTES = 4 * 1024 * 1024
"""The JSON without its pictures is about a kilobyte; a prompt echoed back may be 32,000 characters of it."""

MAX_IMAGES = 1000
"""The API gives ten at most; each takes memory, or a file, however few bytes it has."""

_SPACE = b" \t\r\n"
_N, _I = b"NI"  # as numbers, which are sought faster; legal JSON has neither outside its strings
_NO_IMAGE_KEYS = re.compile(
    rb'(?:[^"NI]++|"(?!(?:b64_json|url)"|%s)[^"\\]*+")*+' % b"|".join(map(re.escape, PREFIXES))
)
"""All up to the next string that needs a closer look: a picture or its key, one with escapes, one that is cut."""


class JSONImageDecoder:
    """Feed it a document's bytes, then `finish` gives the document with an `Image` for each picture."""

    def __init__(
        self,
        new_sink: Callable[[], Sink] = MemorySink,
        *,
        max_picture_bytes: int = MAX_IMAGE_BYTES,
        max_envelope_bytes: int = MAX_ENVELOPE_BYTES,
    ) -> None:
        """Give each picture a sink of its own."""
        self._new_sink = new_sink
        self._max_picture_bytes = max_picture_bytes
        self._max_envelope_bytes = max_envelope_bytes
        self._envelope = bytearray()
        # Functions, not bound methods: a cycle would keep the pictures until the garbage collector comes by.
        self._state = JSONImageDecoder._outside_strings
        self._escaped = False
        self._string_start = 0
        # The key that has just ended, and the one whose value is due, where they may have a picture.
        self._after_key = b""
        self._value_due = b""
        self._constant_at: int | None = None
        self._start = b""  # a string's first characters, until it is clear whether it is a picture
        self._is_url = False
        self._is_due = False  # whether the picture has a picture's name: one that is broken is a failure then
        self._escapes = JSONUnescaper()
        self._broken: DecodeError | None = None
        self.failure: DecodeError | None = None
        self._sink: Sink | None = None
        self._decoder: Base64Decoder | None = None
        self._probe = ImageProbe()
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
        if self.failure is not None:
            raise self.failure
        return self._documents(strict=True)[0]

    def documents(self) -> list[Any]:
        """The document and those behind it, whatever else is there, a broken picture included. Raises `DecodeError`."""
        return self._documents(strict=False)

    def _documents(self, *, strict: bool) -> list[Any]:
        in_string = self._state is not JSONImageDecoder._outside_strings
        at = self._constant_at
        if has_too_many_values(self._envelope):
            raise DecodeError(TOO_LARGE)
        constant_at = None if at is None else len(self._envelope[:at].decode("utf-8", "replace"))
        try:
            if in_string and strict:
                raise IncompleteJSONError(_IN_STRING)
            return parse_documents(self.text, self._pictures, constant_at, strict=strict)
        except DecodeError as error:
            self.is_cut = in_string or isinstance(error, IncompleteJSONError)
            raise DecodeError(_IN_STRING if in_string else str(error)) from None

    def discard(self) -> None:
        """The document will not be finished: drop the picture that is being decoded."""
        if self._sink is not None:
            self._sink.discard()
            self._sink = None

    @property
    def is_broken(self) -> bool:
        """Whether a picture is no base64, so that `finish` raises whatever is still to come."""
        return self.failure is not None

    @property
    def is_complete(self) -> bool:
        """Whether the document is closed, so that `finish` would give it."""
        try:
            self.finish()
        except DecodeError:
            return False
        return True

    @property
    def images(self) -> list[Image]:
        """The pictures that are complete so far, in document order."""
        return [picture for picture in self._pictures if picture is not None and picture.flaw is None]

    @property
    def damaged(self) -> list[Image]:
        """What came in the place of a picture so far, and is none by its own bytes or lacks its end."""
        return [picture for picture in self._pictures if picture is not None and picture.flaw is not None]

    # The five states. Each takes (data, at) and gives the index of the first byte it left alone.

    def _outside_strings(self, data: bytes, at: int) -> int:
        """Outside strings: copy, and watch for `key :` before the next string."""
        if not (self._after_key or self._value_due):
            plain = _NO_IMAGE_KEYS.match(data, at)
            if plain is not None and plain.end() > at:
                self._envelope += plain[0]
                at = plain.end()
        quote = data.find(b'"', at)
        outside = data[at:] if quote < 0 else data[at:quote]
        if self._constant_at is None and (_N in outside or _I in outside):
            places = (outside.find(letter) for letter in (_N, _I))
            self._constant_at = len(self._envelope) + min(place for place in places if place >= 0)
        self._envelope += outside
        token = outside.strip(_SPACE)
        if token:
            self._value_due = self._after_key if token == b":" else b""
            self._after_key = b""
        if quote < 0:
            return len(data)
        if self._value_due == BASE64:
            self._begin_picture(is_due=True)
        elif data[quote + 1 : quote + 2] not in FIRST:
            self._begin_string()
        else:
            self._is_url = self._value_due == URL
            self._state = JSONImageDecoder._in_start
        self._after_key = self._value_due = b""
        return quote + 1

    def _in_start(self, data: bytes, at: int) -> int:
        """At the start of a string: a picture, or any other text."""
        end = at + MAX_HELD - len(self._start)
        quote = data.find(b'"', at, end)
        end = min(end, len(data)) if quote < 0 else quote
        start = self._start + data[at:end]
        is_whole = quote >= 0 or len(start) == MAX_HELD
        begins = begins_image(start, is_whole=is_whole, is_url=self._is_url)
        self._start = start if begins is None else b""
        if begins:
            self._begin_picture(is_due=self._is_url)
            self._in_picture(start, 0)
        elif begins is not None:
            self._begin_string()
            self._in_string(start, 0)
        return end

    def _begin_string(self) -> None:
        self._envelope += b'"'
        self._string_start = len(self._envelope)
        self._state = JSONImageDecoder._in_string

    def _begin_picture(self, *, is_due: bool) -> None:
        if len(self._pictures) == MAX_IMAGES:
            raise too_many_images()
        self._envelope += b"NaN"
        self._is_due = is_due
        self._sink = self._new_sink()
        self._probe = ImageProbe()
        self._decoder = Base64Decoder(join_bytes(self._probe.feed, self._sink.write), self._max_picture_bytes)
        self._state = JSONImageDecoder._in_picture

    def _in_string(self, data: bytes, at: int) -> int:
        """In a string that is no picture: copy up to its closing quote."""
        quote = self._closing_quote(data, at)
        if quote < 0:
            self._envelope += data[at:]
            return len(data)
        self._envelope += data[at : quote + 1]
        end = len(self._envelope) - 1
        if end - self._string_start <= LONGEST_KEY:
            self._after_key = image_key(bytes(self._envelope[self._string_start : end]))
        self._state = JSONImageDecoder._outside_strings
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
            self._state = JSONImageDecoder._in_invalid_image
            return at
        return len(data) if quote < 0 else quote + 1

    def _in_invalid_image(self, data: bytes, at: int) -> int:
        """In a picture that is none: pass over the rest of it. It is a failure when it has ended, till then a cut."""
        quote = self._closing_quote(data, at)
        if quote < 0:
            return len(data)
        if self._is_due:
            self.failure = self.failure or self._broken
        self._state = JSONImageDecoder._outside_strings
        return quote + 1

    def _end_picture(self) -> None:
        assert self._decoder is not None  # noqa: S101  set together with the state
        assert self._sink is not None  # noqa: S101  set together with the state
        self._decoder.close()
        if self._decoder.nbytes:
            image, flaw = self._sink.finish(), self._probe.flaw
            self._pictures.append(image if flaw is None else evolve(image, flaw=flaw))
        else:
            self._sink.discard()
            self._pictures.append(None)
        self._sink = self._decoder = None
        self._state = JSONImageDecoder._outside_strings


def too_many_images() -> ResponseTooLargeError:
    """The error for an answer with more than `MAX_IMAGES`."""
    return ResponseTooLargeError(f"the answer holds more than {MAX_IMAGES:,} pictures and was abandoned")


_IN_STRING = "the answer is not valid JSON: it ends in a string"
