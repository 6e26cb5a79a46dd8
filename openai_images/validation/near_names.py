"""Finds the known name that an unknown one probably means, and decides whether it is certainly misspelt.

Invariants: pure. A difference that new names do not have is certainly a mistake: other case or separators, two
neighboring letters exchanged, a letter doubled or left out. Another letter (`flame`), more letters at either end
(`xhigh`) or other digits (`gpt-image-3`) may be a new name.
Must not: be imported before a name is unknown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

_SEPARATORS: Final = re.compile(r"[\s_./,'\"`-]+")
_NOT_DIGITS: Final = re.compile(r"\D+")
_DIGITS: Final = re.compile(r"\d+")
_TWO_NUMBERS: Final = re.compile(
    r"\s*([1-9]\d{1,4})\s*(?:px)?(?:\s*(?:x|by|[\u00d7*,;/-])\s*|\s+)([1-9]\d{1,4})\s*(?:px)?\s*",
    re.IGNORECASE,
)
_ONE_NUMBER: Final = re.compile(r"\s*([1-9]\d{2,3})\s*(?:px)?\s*", re.IGNORECASE)
_SHAPES: Final = {
    **dict.fromkeys(("square",), "1024x1024"),
    **dict.fromkeys(("landscape", "wide", "horizontal"), "1536x1024"),
    **dict.fromkeys(("portrait", "tall", "vertical"), "1024x1536"),
    **dict.fromkeys(("2k",), "2048x2048"),
    **dict.fromkeys(("4k", "uhd"), "3840x2160"),
}
_CUTOFF: Final = 0.6
_MOST_LETTERS: Final = 80


def near_name(text: str, names: Iterable[str]) -> str | None:
    """Return the name that was probably meant; None if there is none, or if it may be a newer version or a variant."""
    known = tuple(names)
    if len(text) > _MOST_LETTERS or not text.strip():
        return None
    plain = fold(text)
    for name in known:
        if fold(name) == plain:
            return name
    longer = [name for name in known if name.startswith(f"{text}-")]
    if 1 <= len(longer) <= 2:
        return " or ".join(longer)
    for name in get_close_matches(text.lower(), known, n=1, cutoff=_CUTOFF):
        return None if text.startswith(f"{name}-") or _is_other_version(text, name) else name
    return None


def is_misspelt(text: str, name: str) -> bool:
    """Return whether the text is certainly a misspelling of the name, and not a new name."""
    short, long = sorted((fold(text), fold(name)), key=len)
    if _NOT_DIGITS.sub("", short) != _NOT_DIGITS.sub("", long):
        return False
    at = next(
        (i for i, (one, other) in enumerate(zip(short, long, strict=False)) if one != other), len(short)
    )
    if len(short) == len(long):
        return short == long or short[at:] == long[at + 1 : at + 2] + long[at : at + 1] + long[at + 2 :]
    is_one_more = len(long) == len(short) + 1 and short[at:] == long[at + 1 :]
    if not is_one_more:
        return False
    is_doubled = at > 0 and long[at] == long[at - 1]
    return is_doubled or (long == fold(name) and 0 < at < len(short))


def near_size(text: str) -> tuple[str | None, bool]:
    """Return the size that was probably meant, and whether the text is certainly a misspelt size."""
    if len(text) > _MOST_LETTERS:
        return None, False
    if match := _TWO_NUMBERS.fullmatch(text):
        return f"{match[1]}x{match[2]}", True
    if match := _ONE_NUMBER.fullmatch(text):
        return f"{match[1]}x{match[1]}", False
    if text.strip().lower() in _SHAPES:
        return _SHAPES[text.strip().lower()], False
    near = near_name(text, ("auto",))
    return near, near is not None and is_misspelt(text, near)


def fold(text: str) -> str:
    """Return the letters and digits of a name, in lower case."""
    return _SEPARATORS.sub("", text).lower()


def _is_other_version(text: str, name: str) -> bool:
    """Whether the texts differ only in their digits, and both have some."""
    numbers = _DIGITS.findall(text)
    return (
        bool(numbers) and _DIGITS.findall(name) != numbers and _DIGITS.sub("", text) == _DIGITS.sub("", name)
    )
