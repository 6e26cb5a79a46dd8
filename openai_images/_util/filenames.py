"""File names that are safe on every system, made from keys in any script, and the registries of used names.

Invariants: pure; a name is one path component and is never cut inside a letter with its marks, an emoji sequence or a
UTF-8 sequence; names that some file system treats as equal have the same `casefold_name`. Numbered names are not
stored, so an endless run without keys needs no memory. Must not: access the disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import sys
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import count

# Names that Windows reserves for devices, also with any suffix.
RESERVED = frozenset(
    {
        "aux",
        "con",
        "conin$",
        "conout$",
        "nul",
        "prn",
        *(f"{name}{digit}" for name in ("com", "lpt") for digit in "123456789¹²³"),
    }
)

_JOINERS = "\u200c\u200d"
# Characters without a mark's category that belong to the letter before them (UAX 29): the two joiners, the tones of
# emoji, tags, the halfwidth voiced marks, Thai and Lao AM, and the vowels and finals of old Hangul.
_EXTENDING = re.compile(
    "[\u200c\u200d\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f\uff9e\uff9f\u0e33\u0eb3\u1160-\u11ff\ud7b0-\ud7ff]"
)
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]")
_VIRAMA = 9  # the combining class of the marks that join two consonants

# What ext4 and HFS+ ignore in case-insensitive names: Default_Ignorable_Code_Point.
_IGNORED = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f"
    "\ufeff\uffa0\ufff0-\ufff8\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def extends(mark: str) -> bool:
    """Whether this character belongs to the character before it."""
    return unicodedata.category(mark)[0] == "M" or _EXTENDING.match(mark) is not None


def shorten(text: str, nbytes: int) -> str:
    """Return the longest prefix of at most `nbytes` bytes of UTF-8 that ends between two letters."""
    if len(text.encode(errors="surrogatepass")) <= nbytes:
        return text
    longest = text.encode(errors="surrogatepass")[:nbytes].decode(errors="ignore")
    end = len(longest)
    while end and not _may_end(text, end):
        end -= 1
    return text[:end] if end else longest


def casefold_name(name: str) -> str:
    """Return a form that is equal for all names that some file system treats as equal."""
    if name.isascii():
        return name.lower()
    plain = unicodedata.normalize("NFD", _IGNORED.sub("", name)).casefold()
    return unicodedata.normalize("NFC", plain)


def encodable(text: str) -> str:
    """Replace characters that the file system cannot encode by `?`."""
    encoding = sys.getfilesystemencoding()
    return text.encode(encoding, "replace").decode(encoding)


def _may_end(text: str, end: int) -> bool:
    """Whether a letter ends before the position `end`, which is inside the text."""
    before, after = text[end - 1], text[end]
    if extends(after) or before in _JOINERS or unicodedata.combining(before) == _VIRAMA:
        return False
    if not (_FLAG.match(before) and _FLAG.match(after)):
        return True
    start = end
    while start and _FLAG.match(text[start - 1]):
        start -= 1
    return (end - start) % 2 == 0  # two make a flag


_MAX_NAME_BYTES = 120
"""Bytes of a name: most file systems take 255, and a temporary name and suffixes add to it."""

_FORBIDDEN = re.compile(r'(?:\.{2,}|[<>:"/\\|?*\0])+')
_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".svg", ".avif", ".bin")

# Invisible characters that Persian and Indic words and emoji need; elsewhere these, and all others, are removed.
_INVISIBLE = frozenset("\u200c\u200d") | {chr(tag) for tag in range(0xE0020, 0xE0080)}
_STRAY = re.compile(
    r"""(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])
    |(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]""",
    re.VERBOSE,
)

_ORDINARY = re.compile(rf"[A-Za-z0-9_-]{{1,{_MAX_NAME_BYTES}}}")
_NUMBERED = re.compile(r"([0-9]{5,})(?:-[0-9]+)?")


def default_key(index: int) -> str:
    """Return the key of a request without one: its position in five digits, or more if needed."""
    return f"{index:05d}"


def safe_file_name(key: str) -> str:
    """Make a file name, without suffix, from a key; "" if nothing usable is left.

    Separators, "..", and characters that are control characters, forbidden on Windows or not encodable become hyphens;
    a name over 120 bytes is cut between two letters and ends in eight digits of its hash.
    """
    if _ORDINARY.fullmatch(key) and key.strip("-_") and key.casefold() not in RESERVED:
        return key
    plain = unicodedata.normalize("NFC", key)
    visible = "".join(mark if mark.isprintable() or mark in _INVISIBLE else "\0" for mark in plain)
    visible = encodable(_STRAY.sub("\0", visible))
    name = _FORBIDDEN.sub("-", visible)
    name = name.strip(" ." if name == plain else " .-")
    if not name.strip("-_. "):
        return ""
    if len(name.encode()) > _MAX_NAME_BYTES:
        digest = hashlib.sha256(plain.encode(errors="surrogatepass")).hexdigest()[:8]
        name = f"{shorten(name, _MAX_NAME_BYTES - 9)}-{digest}"
    return f"_{name}" if name.partition(".")[0].strip().casefold() in RESERVED else name


class NameClaims:
    """The file names of all requests so far; `claim` checks that the names of a new request are free."""

    def __init__(self, max_files: int) -> None:
        """A request has at most `max_files` files."""
        self._max_files = max_files
        self._taken: set[str] = set()
        self._keyed: set[int] = set()

    def claim(self, index: int, key: str, image_count: int) -> bool:
        """Claim the names of a request's images; False, and nothing is claimed, if another request has one of them."""
        if not self._taken and key == default_key(index):
            return True
        names = list(_file_names(casefold_name(safe_file_name(key)), min(image_count, self._max_files)))
        if any(other in self._taken for name in names for other in _possible_collisions(name)):
            return False
        if key == default_key(index):
            return True
        if any(self._is_other_default_key(name, index) for name in names):
            return False
        self._taken.update(names)
        self._keyed.add(index)
        return True

    def _is_other_default_key(self, name: str, index: int) -> bool:
        """Whether an earlier request without a key has this name."""
        number = _NUMBERED.fullmatch(_split(name)[0])
        if number is None:
            return False
        other = int(number[1])
        return default_key(other) == number[1] and other < index and other not in self._keyed


def _split(name: str) -> tuple[str, str]:
    """Split a name into stem and suffix, if the suffix is that of an image."""
    stem, dot, rest = name.rpartition(".")
    return (stem, dot + rest) if stem and dot + rest in _SUFFIXES else (name, "")


def _file_names(name: str, image_count: int) -> Iterator[str]:
    """Yield the names of a request's files; keep in sync with `OutputFiles`."""
    if image_count <= 1:
        yield name
        return
    stem, suffix = _split(name)
    yield from (f"{stem}-{number}{suffix}" for number in range(image_count))


def _possible_collisions(name: str) -> Iterator[str]:
    """Yield names that may become the same file: a missing suffix is added later."""
    stem, suffix = _split(name)
    yield name
    if suffix:
        yield stem
    yield from (name + added for added in _SUFFIXES)


def stem_of(path: str) -> str:
    """Return the last part of a path without its suffix."""
    return os.path.splitext(os.path.basename(path))[0]  # noqa: PTH119, PTH122  much faster than a Path


_IMAGE_SUFFIX = re.compile(r"\.(?:png|jpe?g|jpe|webp|gif|svg|avif)$", re.IGNORECASE)


def stem_from_key(key: str) -> str:
    """Make a file name without suffix from a key; `_` if nothing usable is left."""
    return safe_file_name(_IMAGE_SUFFIX.sub("", key.strip())) or "_"


def image_stems(stem: str, image_count: int) -> tuple[str, ...]:
    """Return the names of an item's files without suffixes: the stem for one, numbered from 0 for several."""
    return (stem,) if image_count == 1 else tuple(f"{stem}-{number}" for number in range(image_count))


class NameAllocator:
    """Allocates names that are not used yet."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        """`taken` names, without suffixes, are never returned."""
        self._taken = set(map(casefold_name, taken))
        self._numbers: dict[str, int] = {}

    def reserve(self, stem: str, image_count: int = 1) -> None:
        """Mark a name, and the names of its images, as used."""
        self._taken.update(map(casefold_name, {stem, *image_stems(stem, image_count)}))

    def is_free(self, stem: str, image_count: int = 1) -> bool:
        """Whether neither the name nor any name of its images is used."""
        return self._taken.isdisjoint(map(casefold_name, {stem, *image_stems(stem, image_count)}))

    def new(self, key: str, image_count: int = 1) -> str:
        """Return and reserve a name for this key: the first free one of `key`, `key-2`, `key-3`, …."""
        plain = stem_from_key(key)
        for number in count(self._numbers.get(casefold_name(plain), 1)):
            stem = plain if number == 1 else f"{plain}-{number}"
            if self.is_free(stem, image_count):
                self._numbers[casefold_name(plain)] = number
                self.reserve(stem, image_count)
                return stem
        raise AssertionError
