"""Removes the key, the prompt and base64 from a server's text, and puts it on one readable line.

Invariants: pure; every text of a server that is shown, kept or logged passes through here. A secret is found unchanged,
with the escapes of JSON and Python, and truncated at the end of the text. Fields that echo the prompt (FastAPI's
`input`, Azure's `revised_prompt`), and control, bidirectional, invisible and unencodable characters are replaced.
Must not: search for secrets under six characters: hiding a prompt of one letter would leave no text.
"""

from __future__ import annotations

import json
import re
from itertools import islice
from typing import Any

from openai_images._util.json import is_list, is_object
from openai_images.models.image import Image
from openai_images.wire.json_text import MAX_DEPTH

_HIDDEN = "<hidden>"
_SHORTEST_SECRET = 6
_LONGEST_TEXT = 1000
_MOST_VALUES = 500  # of a document that an error keeps
_LONGEST_READ = 16 * 1024  # characters; later ones are never shown, even if replacements shorten the text
_LONGEST_SEARCHED = 6 * 1024  # the same, once runs of base64 are shortened
# `flagged_input` is OpenRouter's, which leaves out the middle of the prompt.
_ECHOES = ("input", "prompt", "revised_prompt", "flagged_input")

# Patterns are compiled at their first use.
# Invisible characters that `str.isprintable` accepts: Unicode counts them as letters, marks or symbols.
_INVISIBLE = "[\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\U000e0100-\U000e01ef]"
_STYLES = "[\ufe00-\ufe0f]"  # variation selectors: how to draw an emoji

# Eighty characters in a row, or lines of forty and more; `++` and `}+` never backtrack, so this is linear.
_CHARACTER = r"(?:[A-Za-z0-9+/_=-]|\\/|\\u00[0-9A-Fa-f]{2})"
_LINE_END = r"(?:\s|\\[nr])++"
# `_PERHAPS_BASE64` is many times faster than `_BASE64` and matches wherever it does; `_LONG_RUN` shortens its input.
_SHORT_WORD = r"[A-Za-z0-9_-]{1,39}"  # such as the id of a request
_PERHAPS_BASE64 = r"[A-Za-z0-9+/_=\\-]{40}"
_LONG_RUN = r"([A-Za-z0-9+/_=-]{80})[A-Za-z0-9+/_=-]++"
_BASE64 = rf"{_CHARACTER}{{80,}}+|{_CHARACTER}{{40,}}+(?:{_LINE_END}{_CHARACTER}{{40,}}+)+"


class Redaction:
    """Replaces these secrets by `<hidden>`."""

    def __init__(self, secrets: tuple[str, ...]) -> None:
        forms = {
            one_line(form)
            for secret in secrets
            if len(secret) >= _SHORTEST_SECRET
            for form in (
                secret,
                json.dumps(secret)[1:-1],
                json.dumps(secret, ensure_ascii=False)[1:-1],
                repr(secret)[1:-1],
            )
        }
        # The longest first: a secret may contain another one.
        self._forms = sorted((form for form in forms if len(form) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._longest_read = _LONGEST_READ + max(map(len, forms), default=0)

    def text(self, text: str, limit: int = _LONGEST_TEXT) -> str:
        """Return a text without secrets and base64, on one line of at most `limit` characters."""
        text = one_line(text[: self._longest_read])
        for form in self._forms:
            text = text.replace(form, _HIDDEN)
        for form in self._forms:
            text = _hide_truncated(form, text)
        text = text[:_LONGEST_READ]
        if re.search(_PERHAPS_BASE64, text):
            text = re.sub(_BASE64, "<base64>", re.sub(_LONG_RUN, r"\1", text)[:_LONGEST_SEARCHED])
        return text if len(text) <= limit else text[:limit] + "…"

    def document(self, doc: object) -> Any:
        """Return the first values of a JSON document, texts shortened and images as their repr; None if too deep."""
        remaining = _MOST_VALUES

        def copy(value: object, levels: int) -> Any:
            nonlocal remaining
            remaining -= 1
            if not levels:
                raise RecursionError
            if is_object(value):
                fields: dict[str, Any] = {}
                for key, item in islice(value.items(), remaining):
                    if remaining > 0:
                        copied = copy(item, levels - 1)
                        is_echo = copied and key in _ECHOES
                        fields[self.text(key[:_LONGEST_TEXT])] = _HIDDEN if is_echo else copied
                return fields
            if is_list(value):
                return [copy(item, levels - 1) for item in islice(value, remaining) if remaining > 0]
            text = repr(value) if isinstance(value, Image) else value
            return self.text(text[:_LONGEST_TEXT]) if isinstance(text, str) else text

        try:
            return copy(doc, MAX_DEPTH + 1)
        except RecursionError:
            return None


def one_line(text: str) -> str:
    """Return a text on one line with single spaces, and `\ufffd` for invisible and unencodable characters."""
    text = " ".join(re.sub(_INVISIBLE, "\ufffd", re.sub(_STYLES, "", text)).split())
    return text if text.isprintable() else "".join(char if char.isprintable() else "\ufffd" for char in text)


def redact(text: str, secrets: tuple[str, ...]) -> str:
    """Return `text` without the key, the prompt and base64, on one line of limited length."""
    if re.fullmatch(_SHORT_WORD, text) and not any(_may_begin_in(text, secret) for secret in secrets):
        return text
    return Redaction(secrets).text(text)


def _may_begin_in(word: str, secret: str) -> bool:
    """Return whether the beginning of a secret may be in an ASCII word, which has no escapes."""
    return not secret.isascii() or secret.lstrip()[:_SHORTEST_SECRET] in word


def _hide_truncated(secret: str, text: str) -> str:
    """Replace the beginning of a secret at the end of a truncated text, perhaps cut inside a character."""
    prefix, end = secret[:_SHORTEST_SECRET], len(text.rstrip("\ufffd"))
    offset = text.find(prefix, max(0, end - len(secret)))
    while offset >= 0:
        if secret.startswith(text[offset:end]):
            return text[:offset] + _HIDDEN
        offset = text.find(prefix, offset + 1)
    return text
