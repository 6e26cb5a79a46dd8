"""What file names may be made of, in every script of Unicode; knows nothing of keys, prompts or folders.

Invariants: pure; a name is never cut inside a letter with its marks, an emoji sequence or a UTF-8 sequence; names that
some file system takes for one have the same `casefold_name`.
Must not: look at the disk.
"""

from __future__ import annotations

import re
import sys
import unicodedata

# Names that Windows keeps for devices, whatever follows their first dot.
RESERVED = frozenset(
    {"aux", "con", "nul", "prn", *(f"{name}{digit}" for name in ("com", "lpt") for digit in "123456789¹²³")}
)

_JOINERS = "\u200c\u200d"
# Characters without a mark's category that belong to the letter before them (UAX 29): the two joiners, the tones of
# emoji, tags, the halfwidth voiced marks, Thai and Lao AM, and the vowels and finals of old Hangul.
_EXTENDING = re.compile(
    "[\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\uff9e\uff9f\u0e33\u0eb3\u1160-\u11ff\ud7b0-\ud7ff]"
)
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")
_VIRAMA = 9  # the combining class of the marks that join two consonants

# What ext4 and HFS+ ignore in names where case does not count: Default_Ignorable_Code_Point.
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def extends(mark: str) -> bool:
    """Whether this character belongs to the one before it."""
    return unicodedata.category(mark)[0] == "M" or _EXTENDING.match(mark) is not None


def shorten(text: str, nbytes: int) -> str:
    """The longest beginning of at most `nbytes` bytes of UTF-8 that ends between two letters."""
    if len(text.encode(errors="surrogatepass")) <= nbytes:
        return text
    longest = text.encode(errors="surrogatepass")[:nbytes].decode(errors="ignore")
    end = len(longest)
    while end and not _may_end(text, end):
        end -= 1
    return text[:end] if end else longest


def casefold_name(name: str) -> str:
    """The same for all names that some file system takes for one."""
    plain = unicodedata.normalize("NFD", _IGNORED.sub("", name)).casefold()
    return unicodedata.normalize("NFC", plain)


def encodable(text: str) -> str:
    """The text with `?` for what the file system's encoding lacks."""
    encoding = sys.getfilesystemencoding()
    return text.encode(encoding, "replace").decode(encoding)


def _may_end(text: str, end: int) -> bool:
    """Whether a letter ends before the place `end`, which is within the text."""
    before, after = text[end - 1], text[end]
    if extends(after) or before in _JOINERS or unicodedata.combining(before) == _VIRAMA:
        return False
    if not (_FLAG.match(before) and _FLAG.match(after)):
        return True
    start = end
    while start and _FLAG.match(text[start - 1]):
        start -= 1
    return (end - start) % 2 == 0  # two make a flag
