"""What an error repeats of a server's words: never the key, the prompt or base64, and no more than is good to read.

Rules: pure; a secret is found as it is, on one line, and as JSON and Python spell it, and also where the text breaks
off in the middle of it. What echoes the prompt by its name (FastAPI's `input`, Azure's `revised_prompt`) is left out
whatever it holds. A secret of fewer than six characters is not sought: blotting out a prompt of a letter or two would
leave no text to read. What commands a terminal or cannot be encoded is replaced: a text is there to be printed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from openai_images.wire.jsontypes import is_deeper, is_list, is_object

__all__ = ["Redaction", "redact"]

_HIDDEN = "<hidden>"
_SHORTEST_SECRET = 6
_LONGEST_TEXT = 1000
_LONGEST_READ = 64 * 1024  # what is behind it is not shown, whatever becomes shorter before it
_DEEPEST = 100
_ECHOES = ("input", "prompt", "revised_prompt")

# Control characters but the tab and the line feed, what turns the direction of writing, halves of surrogate pairs.
_UNPRINTABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

# Eighty characters in a row, or lines of forty and more; `++` and `}+` never go back, so this is linear.
_CHARACTER = r"(?:[A-Za-z0-9+/_=-]|\\/|\\u00[0-9A-Fa-f]{2})"
_LINE_END = r"(?:\s|\\[nr])++"
_PERHAPS_BASE64 = re.compile(r"[A-Za-z0-9+/_=\\-]{40}")  # many times as fast, and there wherever the other is
_BASE64 = re.compile(rf"{_CHARACTER}{{80,}}+|{_CHARACTER}{{40,}}+(?:{_LINE_END}{_CHARACTER}{{40,}}+)+")


class Redaction:
    """Blots out these secrets."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        """Know each secret in each of its spellings; the longest first, for one may hold another."""
        spellings = {
            spelled
            for secret in secrets
            if len(secret) >= _SHORTEST_SECRET
            for spelled in (
                secret.replace("\r\n", "\n"),
                " ".join(secret.split()),
                json.dumps(secret)[1:-1],
                json.dumps(secret, ensure_ascii=False)[1:-1],
                repr(secret)[1:-1],
            )
        }
        self._spellings = sorted(spellings, key=len, reverse=True)

    def text(self, text: str) -> str:
        """A text without them and without base64, cut to a length one can read."""
        text = text.replace("\r\n", "\n")
        for spelled in self._spellings:
            text = text.replace(spelled, _HIDDEN)
        for spelled in self._spellings:
            text = _without_beginning_of(spelled, text)
        text = text[:_LONGEST_READ]
        if _PERHAPS_BASE64.search(text):
            text = _BASE64.sub("<base64>", text)
        text = _UNPRINTABLE.sub("\ufffd", text)
        return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "…"

    def document(self, doc: object) -> object:
        """A decoded JSON document without them; None where it is nested too deeply to be copied and pickled."""
        return None if is_deeper(doc, _DEEPEST) else self._document(doc)

    def _document(self, doc: Any) -> Any:
        if isinstance(doc, str):
            return self.text(doc)
        if is_object(doc):
            return {
                self.text(key): _HIDDEN if value and key in _ECHOES else self._document(value)
                for key, value in doc.items()
            }
        if is_list(doc):
            return [self._document(value) for value in doc]
        return doc


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without the key, the prompt and base64, and not longer than is good to read."""
    return Redaction(secrets).text(text)


def _without_beginning_of(secret: str, text: str) -> str:
    """Blot out the beginning of a secret at the end of a text that was cut there, perhaps in mid-character."""
    beginning, end = secret[:_SHORTEST_SECRET], len(text.rstrip("\ufffd"))
    at = text.find(beginning, max(0, end - len(secret)))
    while at >= 0:
        if secret.startswith(text[at:end]):
            return text[:at] + _HIDDEN
        at = text.find(beginning, at + 1)
    return text
