"""One JSON document whose base64 pictures are decoded while it arrives.

Rules: exact JSON, not a search for a key. Strings are walked with their escapes, keys told from values; the value of a
key that spells `b64_json` goes to a base64 decoder and its sink, everything else into a small envelope, in which
the picture's place is taken by `NaN`. That is no legal JSON, so no legal document can counterfeit it: at the end
`json.loads` meets each `NaN` in document order and puts the picture there. Nesting, duplicate keys and grammar are
thus `json.loads`'s own, and the result is what it would give. It refuses envelopes over `MAX_ENVELOPE_BYTES`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from openai_images.errors import DecodeError, ResponseTooLargeError
from openai_images.wire.b64 import MAX_PICTURE_BYTES, Base64Decoder
from openai_images.wire.memory import MemorySink

if TYPE_CHECKING:
    from collections.abc import Callable

    from openai_images.models.image import Image
    from openai_images.wire.memory import Sink

__all__ = ["MAX_ENVELOPE_BYTES", "PayloadScanner"]

MAX_ENVELOPE_BYTES = 4 * 1024 * 1024
"""The JSON without its pictures is about a kilobyte; a prompt echoed back may be 32,000 characters of it."""

_SPACE = b" \t\r\n"
_N, _I = b"NI"  # as numbers, which are sought faster; legal JSON has neither outside its strings
_PICTURE_KEY = b"b64_json"
_PLAIN = re.compile(rb'(?:[^"NI]++|"(?!b64_json")[^"\\]*+")*+')
"""All up to the next string that needs a closer look: the picture's key, one with escapes, one that is cut."""
_LONGEST_KEY = 6 * len(_PICTURE_KEY)  # each character spelled \uXXXX
_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_UNFINISHED_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_UNFINISHED_WORD = re.compile(r"[\w.+-]*\s*")
_SIMPLE_ESCAPES = {b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"f": b"\f"}


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
        self._after_key = False
        self._value_due = False
        self._constant = False
        self._carry = b""
        self._sink: Sink | None = None
        self._decoder: Base64Decoder | None = None
        self._pictures: list[Image | None] = []
        self.is_cut = False

    @property
    def text(self) -> str:
        """The envelope so far; bytes that are not UTF-8 are replaced: a stray one must not cost a paid picture."""
        return self._envelope.decode("utf-8", "replace")

    def feed(self, data: bytes) -> None:
        """Scan the next bytes. Raises `DecodeError` and `ResponseTooLargeError`."""
        at, end = 0, len(data)
        while at < end:
            at = self._state(self, data, at)
        if len(self._envelope) > self._max_envelope_bytes:
            msg = f"the answer holds more than {self._max_envelope_bytes:,} bytes beside its pictures and was abandoned"
            raise ResponseTooLargeError(msg)

    def finish(self) -> Any:
        """The document. Raises `DecodeError` where it is not whole, legal JSON; `is_cut` says whether more was due."""
        pictures = iter(self._pictures)
        if self._state is not PayloadScanner._between:
            self.is_cut = True
            raise DecodeError(_NOT_JSON.format("it ends in a string"))
        if self._constant:
            raise DecodeError(_NOT_JSON.format("it holds NaN or Infinity"))
        text = self.text
        try:
            return json.loads(text, parse_constant=lambda _: next(pictures))
        except RecursionError:
            raise DecodeError(_NOT_JSON.format("it is nested too deeply")) from None
        except json.JSONDecodeError as error:
            more_was_due = _UNFINISHED_WORD.fullmatch(text, error.pos) is not None
            self.is_cut = more_was_due and not error.msg.startswith("Extra data")
            raise DecodeError(
                _NOT_JSON.format(f"{error.msg} at character {error.pos:,} of its envelope")
            ) from None
        except ValueError:
            raise DecodeError(_NOT_JSON.format("a number has too many digits")) from None

    def discard(self) -> None:
        """The document will not be finished: drop the picture that is being decoded."""
        if self._sink is not None:
            self._sink.discard()
            self._sink = None

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

    # The three states. Each takes (data, at) and gives the index of the first byte it left alone.

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
            self._value_due = self._after_key and token == b":"
            self._after_key = False
        if quote < 0:
            return len(data)
        if self._value_due:
            self._envelope += b"NaN"
            self._sink = self._new_sink()
            self._decoder = Base64Decoder(self._sink.write, self._max_picture_bytes)
            self._state = PayloadScanner._in_picture
        else:
            self._envelope += b'"'
            self._string_start = len(self._envelope)
            self._state = PayloadScanner._in_string
        self._after_key = self._value_due = False
        return quote + 1

    def _in_string(self, data: bytes, at: int) -> int:
        """In a string that is no picture: copy up to its closing quote."""
        start = at
        if self._escaped:
            at, self._escaped = at + 1, False
        quote = data.find(b'"', at)
        while True:
            end = len(data) if quote < 0 else quote
            slash = data.find(b"\\", at, end)
            if slash < 0:
                break
            at = slash + 2
            if quote >= 0 and at > quote:
                quote = data.find(b'"', at)
        if quote < 0:
            self._escaped = at > len(data)
            self._envelope += data[start:]
            return len(data)
        self._envelope += data[start : quote + 1]
        end = len(self._envelope) - 1
        if end - self._string_start <= _LONGEST_KEY:
            self._after_key = _spells_picture_key(bytes(self._envelope[self._string_start : end]))
        self._state = PayloadScanner._between
        return quote + 1

    def _in_picture(self, data: bytes, at: int) -> int:
        """In a picture: unescape and decode up to the closing quote."""
        assert self._decoder is not None  # noqa: S101  set together with the state
        quote = data.find(b'"', at)
        end = len(data) if quote < 0 else quote
        if self._carry or data.find(b"\\", at, end) >= 0:
            self._decoder.feed(self._unescape(self._carry + data[at:end], last=quote >= 0))
        else:
            self._decoder.feed(data if end - at == len(data) else data[at:end])
        if quote < 0:
            return end
        self._end_picture()
        return quote + 1

    def _unescape(self, text: bytes, *, last: bool) -> bytes:
        """Resolve JSON escapes; hold back one that is cut at the end."""
        unfinished = _UNFINISHED_ESCAPE.search(text)
        self._carry = text[unfinished.start() :] if unfinished else b""
        if self._carry:
            if last:
                raise DecodeError(_BAD_ESCAPE)
            text = text[: -len(self._carry)]
        # PHP writes every slash as \/, which is the one escape that comes by the thousand.
        text = text.replace(b"\\/", b"/") if b"\\\\" not in text else text
        return _ESCAPE.sub(_plain, text) if b"\\" in text else text

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
_BAD_ESCAPE = "the answer holds a picture with an escape that is no base64"


def _spells_picture_key(raw: bytes) -> bool:
    """Whether a key's raw characters spell b64_json, plainly or with escapes."""
    if b"\\" not in raw:
        return raw == _PICTURE_KEY
    try:
        return bool(json.loads(b'"%s"' % raw) == _PICTURE_KEY.decode())
    except ValueError:
        return False


def _plain(escape: re.Match[bytes]) -> bytes:
    """The character behind an escape; only ASCII can be base64."""
    code, simple = escape.groups()
    if code is not None and int(code, 16) < 0x80:
        return bytes((int(code, 16),))
    plain = _SIMPLE_ESCAPES.get(simple or b"")
    if plain is None:
        raise DecodeError(_BAD_ESCAPE)
    return plain
