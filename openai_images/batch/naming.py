"""From an item's key to the names of its files.

Rules: pure; a name never leaves its folder, works on every common file system, and differs from all others also where
upper and lower case are the same. Names depend on the items before only, so items that are appended change none. What
a journal or a folder has already given away is never given again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import count

from openai_images._util.filenames import casefold_name as folded, safe_file_name

__all__ = ["Names", "file_stems", "folded", "stem_of"]

_PICTURE = re.compile(r"\.(?:png|jpe?g|jpe|webp|gif|svg|avif)$", re.IGNORECASE)


def stem_of(key: str) -> str:
    """A file name without its suffix, made of a key; `_` where nothing of it could name a file."""
    return safe_file_name(_PICTURE.sub("", key.strip())) or "_"


def file_stems(stem: str, pictures: int) -> tuple[str, ...]:
    """The names of an item's files without their suffixes: one is the stem, several are numbered from 0."""
    return (stem,) if pictures == 1 else tuple(f"{stem}-{number}" for number in range(pictures))


class Names:
    """The names that are given away."""

    def __init__(self, taken: Iterable[str] = ()) -> None:
        """`taken` names without suffixes are not given again."""
        self._taken = set(map(folded, taken))
        self._numbers: dict[str, int] = {}

    def take(self, stem: str, pictures: int = 1) -> None:
        """This name is given away, with what its pictures are called."""
        self._taken.update(map(folded, {stem, *file_stems(stem, pictures)}))

    def is_free(self, stem: str, pictures: int = 1) -> bool:
        """Whether neither the name nor any of its pictures' is given away."""
        return self._taken.isdisjoint(map(folded, {stem, *file_stems(stem, pictures)}))

    def give(self, key: str, pictures: int = 1) -> str:
        """A name for this key; the first free one of `key`, `key-2`, `key-3`, …."""
        plain = stem_of(key)
        for number in count(self._numbers.get(folded(plain), 1)):
            stem = plain if number == 1 else f"{plain}-{number}"
            if self.is_free(stem, pictures):
                self._numbers[folded(plain)] = number
                self.take(stem, pictures)
                return stem
        raise AssertionError
