r"""JSON's escapes inside base64, resolved while the text arrives: `\/` (PHP), `\u002B` (.NET), `\u003d` (Gson).

Rules: an escape that is cut is held back; only ASCII can be base64, so every other escape is a `DecodeError`.
"""

from __future__ import annotations

import re

from openai_images.errors import DecodeError

_ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_UNFINISHED = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_LONGEST = len(rb"\u002")
_SIMPLE = {b"/": b"/", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"f": b"\f"}
_BAD = "the answer holds a picture with an escape that is no base64"


class Unescaper:
    """Feed it the text of a string; `held` is the beginning of an escape, at the end of what has come."""

    def __init__(self) -> None:
        """Hold nothing."""
        self.held = b""

    def feed(self, text: bytes, *, last: bool) -> bytes:
        """The same without escapes; `last` says that the string ends here. Raises `DecodeError`."""
        text = self.held + text
        self.held = _unfinished(text)
        if self.held:
            if last:
                raise DecodeError(_BAD)
            text = text[: -len(self.held)]
        # PHP writes every slash as \/, which is the one escape that comes by the thousand.
        text = text.replace(b"\\/", b"/") if b"\\\\" not in text else text
        return _ESCAPE.sub(_plain, text) if b"\\" in text else text


def _unfinished(text: bytes) -> bytes:
    """The beginning of an escape at the end, unless its backslash is the second one of an escape."""
    found = _UNFINISHED.search(text, max(0, len(text) - _LONGEST))
    if found is None:
        return b""
    before = text[: found.start()]
    return b"" if (len(before) - len(before.rstrip(b"\\"))) % 2 else found[0]


def _plain(escape: re.Match[bytes]) -> bytes:
    """The character behind an escape; only ASCII can be base64."""
    code, simple = escape.groups()
    if code is not None and int(code, 16) < 0x80:
        return bytes((int(code, 16),))
    plain = _SIMPLE.get(simple or b"")
    if plain is None:
        raise DecodeError(_BAD)
    return plain
