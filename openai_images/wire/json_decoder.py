"""Decodes one JSON document, and the base64 images in it, while it arrives.

Invariants: escapes in strings are respected, and keys are not mistaken for values. The value of a `b64_json` key, a
data URL under `url`, and any text that begins as an image in base64, go to a base64 decoder and a sink; all else to a
small envelope, where `NaN` replaces each image (`json_text.py`). An image whose own bytes are wrong has a `flaw`.
Must not: accept an envelope over `MAX_ENVELOPE_BYTES`, or more than `MAX_IMAGES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from attrs import evolve

from openai_images._util.json import has_too_many_values
from openai_images.errors import DecodeError, ResponseTooLargeError
from openai_images.models.completeness import ImageProbe
from openai_images.models.image import Image
from openai_images.wire.base64_decoder import MAX_IMAGE_BYTES, Base64Decoder, MemorySink, Sink, join_bytes
from openai_images.wire.json_text import (
    BASE64,
    FIRST_CHARACTERS,
    LONGEST_KEY,
    MAX_HELD,
    PREFIXES,
    TOO_LARGE,
    URL,
    IncompleteJSONError,
    JSONUnescaper,
    begins_image,
    image_key,
    parse_documents,
)

MAX_ENVELOPE_BYTES = 4 * 1024 * 1024
"""The JSON without its images is about 1 kB; an echoed prompt adds up to 32,000 characters."""

MAX_IMAGES = 1000
"""The API sends ten at most; each takes memory or a file, however small it is."""

_IN_STRING = "the response is not valid JSON: it ends in a string"
_SPACE = b" \t\r\n"
_N, _I = b"NI"  # as numbers: faster to find; legal JSON has neither outside of strings
_NO_IMAGE_KEYS = re.compile(
    rb'(?:[^"NI]++|"(?!(?:b64_json|url)"|%s)[^"\\]*+")*+' % b"|".join(map(re.escape, PREFIXES))
)
"""Everything up to the next string that may matter: an image, its key, a string with escapes, or an incomplete one."""


class _OpenImage(NamedTuple):
    decoder: Base64Decoder
    sink: Sink
    probe: ImageProbe


class JSONImageDecoder:
    """Decodes a document whose bytes are fed to it; `finish` returns it with an `Image` in each image's place."""

    def __init__(
        self,
        new_sink: Callable[[], Sink] = MemorySink,
        *,
        max_picture_bytes: int = MAX_IMAGE_BYTES,
        max_envelope_bytes: int = MAX_ENVELOPE_BYTES,
    ) -> None:
        self._new_sink = new_sink
        self._max_image_bytes = max_picture_bytes
        self._max_envelope_bytes = max_envelope_bytes
        self._envelope = bytearray()
        # A function, not a bound method: a cycle would keep the images until the next garbage collection.
        self._state = JSONImageDecoder._outside_strings
        self._escaped = False
        self._string_start = 0
        # The last key read, and the key of the next value, if the value may be an image.
        self._last_key = self._value_key = b""
        self._constant_offset: int | None = None
        self._start = b""  # a string's first characters, until it is clear whether it is an image
        self._is_url = False
        self._is_declared = False  # whether its key is an image's: invalid base64 is a failure then
        self._escapes = JSONUnescaper()
        self._invalid_image: DecodeError | None = None
        self.failure: DecodeError | None = None  # of an image that is not base64: `finish` raises it
        self._open_image: _OpenImage | None = None
        self._images: list[Image | None] = []
        self._docs: list[Any] | None = None  # parsed by `is_complete`
        self.is_cut = False

    @property
    def text(self) -> str:
        """The envelope so far; invalid UTF-8 is replaced: a stray byte must not cost a paid image."""
        return self._envelope.decode("utf-8", "replace")

    def feed(self, data: bytes) -> None:
        """Scan the next bytes. Raises `ResponseTooLargeError`; `finish` raises all other errors."""
        offset, end = 0, len(data)
        while offset < end:
            offset = self._state(self, data, offset)
        if len(self._envelope) > self._max_envelope_bytes:
            raise ResponseTooLargeError(
                f"the response has more than {self._max_envelope_bytes:,} bytes in addition to its images "
                "and was not read further"
            )

    @property
    def feed_image(self) -> Callable[[bytes], bool] | None:
        """What decodes bytes of the image that has begun if they are nothing but base64; None outside of one."""
        image = self._open_image
        return None if image is None or self._escapes.pending else image.decoder.feed_plain

    def finish(self) -> Any:
        """Return the document.

        Raises `DecodeError` if it is not complete, legal JSON; `is_cut` is True if more bytes could complete it.
        """
        if self.failure is not None:
            raise self.failure
        return self.documents(strict=True)[0]

    def documents(self, *, strict: bool = False) -> list[Any]:
        """Return the document and those after it (none if `strict`), also with an invalid image.

        Raises `DecodeError`.
        """
        if self._docs is not None:
            return self._docs
        if has_too_many_values(self._envelope):
            raise DecodeError(TOO_LARGE)
        in_string = self._state is not JSONImageDecoder._outside_strings
        offset = self._constant_offset  # in bytes
        constant = None if offset is None else len(self._envelope[:offset].decode("utf-8", "replace"))
        try:
            if in_string and strict:
                raise IncompleteJSONError(_IN_STRING)
            return parse_documents(self.text, self._images, constant, strict=strict)
        except DecodeError as error:
            self.is_cut = in_string or isinstance(error, IncompleteJSONError)
            raise DecodeError(_IN_STRING if in_string else str(error)) from None

    def discard(self) -> None:
        """Drop the image that is being decoded."""
        if self._open_image is not None:
            self._open_image.sink.discard()
            self._open_image = None

    @property
    def is_complete(self) -> bool:
        """Whether the document is closed, so that `finish` would return it; nothing may be fed after that."""
        try:
            self._docs = [self.finish()]
        except DecodeError:
            return False
        return True

    @property
    def images(self) -> list[Image]:
        """The images that are complete so far, in document order."""
        return [image for image in self._images if image is not None and image.flaw is None]

    @property
    def damaged(self) -> list[Image]:
        """The content that came in place of an image so far: bytes that are no image, or a truncated one."""
        return [image for image in self._images if image is not None and image.flaw is not None]

    # The states. Each takes (data, offset) and returns the offset of the first byte that it has not read.

    def _outside_strings(self, data: bytes, offset: int) -> int:
        """Outside of strings: copy, and look for a key and a colon before the next string."""
        if not (self._last_key or self._value_key):
            skipped = _NO_IMAGE_KEYS.match(data, offset)
            if skipped is not None:
                self._envelope += skipped[0]
                offset = skipped.end()
        quote = data.find(b'"', offset)
        outside = data[offset:] if quote < 0 else data[offset:quote]
        if self._constant_offset is None and (_N in outside or _I in outside):
            self._constant_offset = len(self._envelope) + outside.replace(b"I", b"N").find(b"N")
        self._envelope += outside
        if token := outside.strip(_SPACE):
            self._value_key = self._last_key if token == b":" else b""
            self._last_key = b""
        if quote < 0:
            return len(data)
        if self._value_key == BASE64:
            self._begin_image(is_declared=True)
        elif data[quote + 1 : quote + 2] not in FIRST_CHARACTERS:
            self._begin_string()
        else:
            self._is_url = self._value_key == URL
            self._state = JSONImageDecoder._in_start
        self._last_key = self._value_key = b""
        return quote + 1

    def _in_start(self, data: bytes, offset: int) -> int:
        """At the start of a string that may be an image."""
        end = offset + MAX_HELD - len(self._start)
        quote = data.find(b'"', offset, end)
        end = min(end, len(data)) if quote < 0 else quote
        start = self._start + data[offset:end]
        is_complete = quote >= 0 or len(start) == MAX_HELD
        begins = begins_image(start, is_complete=is_complete, is_url=self._is_url)
        self._start = start if begins is None else b""
        if begins:
            self._begin_image(is_declared=self._is_url)
            self._in_image(start, 0)
        elif begins is not None:
            self._begin_string()
            self._in_string(start, 0)
        return end

    def _begin_string(self) -> None:
        self._envelope += b'"'
        self._string_start = len(self._envelope)
        self._state = JSONImageDecoder._in_string

    def _begin_image(self, *, is_declared: bool) -> None:
        if len(self._images) == MAX_IMAGES:
            raise too_many_images()
        self._envelope += b"NaN"
        self._is_declared = is_declared
        sink, probe = self._new_sink(), ImageProbe()
        decoder = Base64Decoder(join_bytes(probe.feed, sink.write), self._max_image_bytes)
        self._open_image = _OpenImage(decoder, sink, probe)
        self._state = JSONImageDecoder._in_image

    def _in_string(self, data: bytes, offset: int) -> int:
        """In a string that is no image: copy up to its closing quote."""
        if (quote := self._closing_quote(data, offset)) < 0:
            self._envelope += data[offset:]
            return len(data)
        self._envelope += data[offset : quote + 1]
        end = len(self._envelope) - 1
        if end - self._string_start <= LONGEST_KEY:
            self._last_key = image_key(bytes(self._envelope[self._string_start : end]))
        self._state = JSONImageDecoder._outside_strings
        return quote + 1

    def _closing_quote(self, data: bytes, offset: int) -> int:
        """Return the offset of the quote that ends the current string; -1 if it is not in `data`."""
        if self._escaped:
            offset, self._escaped = offset + 1, False
        quote = data.find(b'"', offset)
        while (slash := data.find(b"\\", offset, len(data) if quote < 0 else quote)) >= 0:
            offset = slash + 2
            if quote >= 0 and offset > quote:
                quote = data.find(b'"', offset)
        self._escaped = quote < 0 and offset > len(data)
        return quote

    def _in_image(self, data: bytes, offset: int) -> int:
        """In an image: unescape and decode up to the closing quote; an invalid image does not affect the others."""
        assert self._open_image is not None  # noqa: S101  set together with the state
        decoder = self._open_image.decoder
        self._escaped = self._escapes.pending == b"\\"
        quote = data.find(b'"', offset)
        end = len(data) if quote < 0 else quote
        try:
            if self._escapes.pending or data.find(b"\\", offset, end) >= 0:
                decoder.feed(self._escapes.feed(data[offset:end], last=quote >= 0))
            else:
                decoder.feed(data if end - offset == len(data) else data[offset:end])
            if quote >= 0:
                self._escaped = False
                self._end_image(self._open_image)
        except DecodeError as error:
            self._invalid_image, self._escapes.pending = error, b""
            self.discard()
            self._images.append(None)
            self._state = JSONImageDecoder._in_invalid_image
            return offset
        return len(data) if quote < 0 else quote + 1

    def _in_invalid_image(self, data: bytes, offset: int) -> int:
        """In an invalid image: skip to its end. It fails only if that arrives; else the document is truncated."""
        if (quote := self._closing_quote(data, offset)) < 0:
            return len(data)
        if self._is_declared:
            self.failure = self.failure or self._invalid_image
        self._state = JSONImageDecoder._outside_strings
        return quote + 1

    def _end_image(self, opened: _OpenImage) -> None:
        opened.decoder.close()
        if opened.decoder.nbytes:
            image, flaw = opened.sink.finish(), opened.probe.flaw
            self._images.append(image if flaw is None else evolve(image, flaw=flaw))
        else:
            opened.sink.discard()
            self._images.append(None)
        self._open_image = None
        self._state = JSONImageDecoder._outside_strings


def too_many_images() -> ResponseTooLargeError:
    """Return the error for a response with more than `MAX_IMAGES`."""
    return ResponseTooLargeError(f"the response has more than {MAX_IMAGES:,} images and was not read further")
