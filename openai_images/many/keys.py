"""Names of the files of many calls: made safe from the keys that people give, and no two of one run alike.

Rules: pure; a name is one part of a path on every system, whatever the key; two keys that name the same file where
case does not count are a clash. Numbered names are not remembered, so an endless run without keys needs no memory.
It refuses to look at the disk: what is there already is `FileDestination`'s.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import TYPE_CHECKING

from openai_images._util.filenames import RESERVED, casefold_name, encodable, shorten
from openai_images.catalog.models import MAX_IMAGES_PER_CALL

if TYPE_CHECKING:
    from collections.abc import Iterator

_LONGEST = 120
"""Bytes of a name: most file systems take 255, and a temporary name and suffixes add to it."""

_NEVER = re.compile(r'(?:\.{2,}|[<>:"/\\|?*\0])+')
_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".webp", ".gif", ".svg", ".avif", ".bin")

# Parts of words in Persian and Indic scripts, and of emoji: nothing else that is invisible stays, and these only there.
_INVISIBLE = frozenset("\u200c\u200d") | {chr(tag) for tag in range(0xE0020, 0xE0080)}
_STRAY = re.compile(
    r"""(?<![^\x00-\x7f\u200c\u200d])[\u200c\u200d]|[\u200c\u200d](?![^\x00-\x7f\u200c\u200d])
    |(?<![\U0001f3f4\U000e0020-\U000e007f])[\U000e0020-\U000e007f]""",
    re.VERBOSE,
)

_NUMBERED = re.compile(r"([0-9]{5,})(?:-[0-9]+)?")


def index_key(index: int) -> str:
    """The key of a request that was given none: five digits, more where they are needed."""
    return f"{index:05d}"


def file_name(key: str) -> str:
    """A file's name, without suffix, from a key; "" where nothing is left that could name a file.

    Separators, "..", control characters, what Windows forbids and what the file system cannot encode become hyphens; a
    name over 120 bytes is cut between two letters and ends in eight digits of its hash.
    """
    plain = unicodedata.normalize("NFC", key)
    shown = "".join(mark if mark.isprintable() or mark in _INVISIBLE else "\0" for mark in plain)
    shown = encodable(_STRAY.sub("\0", shown))
    name = _NEVER.sub("-", shown)
    name = name.strip(" ." if name == plain else " .-")
    if not name.strip("-_. "):
        return ""
    if len(name.encode()) > _LONGEST:
        digest = hashlib.sha256(plain.encode(errors="surrogatepass")).hexdigest()[:8]
        name = f"{shorten(name, _LONGEST - 9)}-{digest}"
    return f"_{name}" if name.partition(".")[0].strip().casefold() in RESERVED else name


class Keys:
    """`claim` says whether the files of a request have names of their own."""

    def __init__(self) -> None:
        """Nothing is claimed yet."""
        self._taken: set[str] = set()
        self._keyed: set[int] = set()

    def claim(self, index: int, key: str, pictures: int) -> bool:
        """Take the names of this request's pictures; False, and nothing taken, where one of them has another owner."""
        places = list(_places(casefold_name(file_name(key)), pictures))
        if any(name in self._taken for place in places for name in _relatives(place)):
            return False
        if key == index_key(index):
            return True
        if any(self._is_number_of_another(place, index) for place in places):
            return False
        self._taken.update(places)
        self._keyed.add(index)
        return True

    def _is_number_of_another(self, place: str, index: int) -> bool:
        """Whether a request before this one, without a key, has this name."""
        number = _NUMBERED.fullmatch(_split(place)[0])
        if number is None:
            return False
        other = int(number[1])
        return index_key(other) == number[1] and other < index and other not in self._keyed


def _split(name: str) -> tuple[str, str]:
    """The name and its suffix, if that is a picture's."""
    stem, dot, rest = name.rpartition(".")
    return (stem, dot + rest) if stem and dot + rest in _SUFFIXES else (name, "")


def _places(name: str, pictures: int) -> Iterator[str]:
    """The names that a request's pictures get; keep in step with `FileDestination`."""
    if pictures <= 1:
        yield name
        return
    stem, suffix = _split(name)
    yield from (f"{stem}-{number}{suffix}" for number in range(min(pictures, MAX_IMAGES_PER_CALL)))


def _relatives(place: str) -> Iterator[str]:
    """Names which may be the same file, since a suffix that is missing is added."""
    stem, suffix = _split(place)
    yield place
    if suffix:
        yield stem
    yield from (place + more for more in _SUFFIXES)
