"""What is repeated of a server's words: never the key, the prompt or base64, on one line that one can read.

Rules: pure; every text that comes from a server and is shown, kept or logged passes through here. A secret is found
unchanged, on one line, as JSON and Python write it, and where the text breaks off in the middle of it. What echoes the
prompt by its name (FastAPI's `input`, Azure's `revised_prompt`) is left out whatever it holds. A secret of fewer than
six characters is not sought: without a prompt of a letter or two there would be no text left. Line breaks become
spaces; what controls a terminal, turns the direction of writing, cannot be seen or cannot be encoded is replaced.
"""

from __future__ import annotations

import json
import re
from typing import Any

from openai_images._util.json import is_deeper, is_list, is_object

_HIDDEN = "<hidden>"
_SHORTEST_SECRET = 6
_LONGEST_TEXT = 1000
_LONGEST_READ = 16 * 1024  # what is behind it is not shown, whatever becomes shorter before it
_DEEPEST, _MOST_VALUES = 100, 2000  # of a document that is kept
_ECHOES = (
    "input",
    "prompt",
    "revised_prompt",
    "flagged_input",
)  # the last one is OpenRouter's, cut in its middle

# Not seen, although Unicode counts them as letters, marks or symbols: `str.isprintable` lets them through.
_UNSEEN = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U000e0100-\U000e01ef]")
_STYLES = re.compile("[\ufe00-\ufe0f]")  # how an emoji is to look

# Eighty characters in a row, or lines of forty and more; `++` and `}+` never go back, so this is linear.
_CHARACTER = r"(?:[A-Za-z0-9+/_=-]|\\/|\\u00[0-9A-Fa-f]{2})"
_LINE_END = r"(?:\s|\\[nr])++"
_PERHAPS_BASE64 = re.compile(r"[A-Za-z0-9+/_=\\-]{40}")  # many times as fast, and there wherever the other is
_LONG_RUN = re.compile(r"([A-Za-z0-9+/_=-]{80})[A-Za-z0-9+/_=-]++")  # cut: `_BASE64` is slow
_BASE64 = re.compile(rf"{_CHARACTER}{{80,}}+|{_CHARACTER}{{40,}}+(?:{_LINE_END}{_CHARACTER}{{40,}}+)+")


class Redaction:
    """Blots out these secrets."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        """Know each secret in each of its spellings; the longest first, for one may hold another."""
        spellings = {
            one_line(spelled)
            for secret in secrets
            if len(secret) >= _SHORTEST_SECRET
            for spelled in (
                secret,
                json.dumps(secret)[1:-1],
                json.dumps(secret, ensure_ascii=False)[1:-1],
                repr(secret)[1:-1],
            )
        }
        self._spellings = sorted(
            (spelled for spelled in spellings if len(spelled) >= _SHORTEST_SECRET), key=len, reverse=True
        )
        self._longest_read = _LONGEST_READ + max(map(len, spellings), default=0)

    def text(self, text: str, longest: int = _LONGEST_TEXT) -> str:
        """A text without them and without base64, on one line, cut to a length one can read."""
        text = one_line(text[: self._longest_read])
        for spelled in self._spellings:
            text = text.replace(spelled, _HIDDEN)
        for spelled in self._spellings:
            text = _without_beginning_of(spelled, text)
        text = text[:_LONGEST_READ]
        if _PERHAPS_BASE64.search(text):
            text = _BASE64.sub("<base64>", _LONG_RUN.sub(r"\1", text))
        return text if len(text) <= longest else text[:longest] + "…"

    def document(self, doc: object) -> object:
        """A decoded JSON document without them; None where it is too large or too deep to be copied and pickled."""
        return None if _is_larger(doc, _MOST_VALUES) or is_deeper(doc, _DEEPEST) else self._document(doc)

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


def one_line(text: str) -> str:
    """A text with all white space as single spaces, and a replacement character for what cannot be seen or encoded."""
    text = " ".join(_UNSEEN.sub("\ufffd", _STYLES.sub("", text)).split())
    return text if text.isprintable() else "".join(one if one.isprintable() else "\ufffd" for one in text)


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """`text` without the key, the prompt and base64, and not longer than is good to read."""
    return Redaction(secrets).text(text)


def _is_larger(doc: object, values: int) -> bool:
    """Whether a document has more values than these; looks at no more of them."""
    waiting: list[object] = [doc]
    while waiting and values >= 0:
        value = waiting.pop()
        if is_object(value) or is_list(value):
            values -= len(value)
            waiting.extend((value.values() if is_object(value) else value) if values >= 0 else ())
    return values < 0


def _without_beginning_of(secret: str, text: str) -> str:
    """Blot out the beginning of a secret at the end of a text that was cut there, perhaps in mid-character."""
    beginning, end = secret[:_SHORTEST_SECRET], len(text.rstrip("\ufffd"))
    at = text.find(beginning, max(0, end - len(secret)))
    while at >= 0:
        if secret.startswith(text[at:end]):
            return text[:at] + _HIDDEN
        at = text.find(beginning, at + 1)
    return text
