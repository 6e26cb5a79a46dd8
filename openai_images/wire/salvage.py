"""Images of an answer that stand anywhere but where they belong: found by what they are, not by who answered.

Rules: pure, linear in the document and bounded (`MAX_VALUES`). It guesses in one order only: what is an image by its
own bytes, then what is a URL in a place where an image could be. What the request itself said, and what speaks of
errors or of tasks, is no such place. It refuses to fetch, and to find more than `MAX_FOUND`.
"""

from __future__ import annotations

import re
from collections import deque
from itertools import islice, repeat
from typing import TYPE_CHECKING, Any

from openai_images._util.json import is_list, is_object
from openai_images.models import media
from openai_images.models.completeness import flaw_of
from openai_images.models.image import Image
from openai_images.wire import codec
from openai_images.wire.envelope import MAX_DEPTH

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FOUND = 1000
"""As many as an answer may have pictures: four megabytes hold 350,000 short URLs."""

MAX_VALUES = 20_000
"""How many values are looked at: four megabytes hold two million, and an answer with an image few beside it."""

_MAX_OUTLINED = 1000
"""Values of a document that an error keeps."""
_LONGEST_TEXT = 1000
_LONGEST_KEY = 200  # characters of a key that are looked at: a server may write megabytes
_LONGEST_URL = 8192

_PLACE = re.compile(
    r"im(?:age|g)|pic|photo|ur[li]|link|src|output|result|sample|artifact|data|file|content|asset|media|b(?:ase)?64",
    re.IGNORECASE,
)
_ECHO = re.compile(r"input|request|prompt|param|init_|source|mask|reference|error|detail", re.IGNORECASE)
"""What holds the user's own pictures, or words about a failure."""
_OTHER_LINK = re.compile(
    r"doc|help|status|cancel|hook|callback|poll|queue|response|licen|terms|logo|avatar|thumb", re.IGNORECASE
)
_URL = re.compile(r"https?://[^\s\"'<>]+", re.IGNORECASE)
_IMAGE_FILE = re.compile(r"[^?#]*\.(?:png|jpe?g|webp|gif|svg|avif|heic|tiff?|bmp)(?:[?#].*)?", re.IGNORECASE)


def nested_answer(doc: object) -> dict[str, Any] | None:
    """The object nearest to the top that holds images where they belong, as where an answer is wrapped in another."""
    left: deque[object] = deque([doc])
    for _ in range(MAX_VALUES):
        if not left:
            break
        value = left.popleft()
        if is_object(value) and next(codec.structure_images(value), None) is not None:
            return value
        left.extend(islice(_inner(value), MAX_VALUES))
    return None


def find_images(doc: object) -> list[Image]:
    """The images that are whole by their own bytes, an SVG in plain text among them, in document order."""
    found: list[Image] = []
    for _, value in _values(doc):
        if isinstance(value, Image) and value.nbytes and value.flaw is None:
            found.append(value)
        elif isinstance(value, str) and (image := _svg(value)) is not None:
            found.append(image)
        if len(found) == MAX_FOUND:
            break
    return found


def find_urls(doc: object) -> list[Image]:
    """What is behind the URLs that stand where an image could."""
    urls = (
        value
        for key, value in _values(doc)
        if isinstance(value, str) and len(value) <= _LONGEST_URL and _is_place(key, value)
    )
    return [Image(url=url) for url in islice(dict.fromkeys(urls), MAX_FOUND)]


def without_images(value: Any) -> Any:
    """A copy of a document in which no image is left: they are in the result."""
    if is_object(value):
        return {key: without_images(item) for key, item in value.items() if not isinstance(item, Image)}
    if is_list(value):
        return [without_images(item) for item in value if not isinstance(item, Image)]
    return value


def outline(doc: object) -> object:
    """The document as far as it is small: its first values, texts cut, an image as what it is; None of a deep one."""
    left = [_MAX_OUTLINED]

    def copied(value: object, levels: int) -> object:
        left[0] -= 1
        if not levels:
            raise RecursionError
        if is_object(value):
            return {
                key[:_LONGEST_TEXT]: copied(item, levels - 1)
                for key, item in islice(value.items(), left[0])
                if left[0] > 0
            }
        if is_list(value):
            return [copied(item, levels - 1) for item in islice(value, left[0]) if left[0] > 0]
        if isinstance(value, Image):
            return repr(value)
        return value[:_LONGEST_TEXT] if isinstance(value, str) else value

    try:
        return copied(doc, MAX_DEPTH + 1)
    except RecursionError:
        return None


def _values(doc: object) -> Iterator[tuple[str, object]]:
    """The values that hold no others, with the key that each stands under, in document order."""
    left: list[Iterator[tuple[str, object]]] = [iter([("", doc)])]
    for _ in range(MAX_VALUES):
        entry = next(left[-1], None)
        while entry is None and len(left) > 1:
            left.pop()
            entry = next(left[-1], None)
        if entry is None:
            break
        key, value = entry
        if is_object(value):
            left.append(
                (name, item) for name, item in value.items() if not _ECHO.search(name, 0, _LONGEST_KEY)
            )
        elif is_list(value):
            left.append(zip(repeat(key), value, strict=False))
        else:
            yield key, value


def _inner(value: object) -> Iterator[object]:
    """The objects and lists in this one."""
    if is_object(value):
        for name, item in value.items():
            if (is_object(item) or is_list(item)) and not _ECHO.search(name, 0, _LONGEST_KEY):
                yield item
    elif is_list(value):
        yield from (item for item in value if is_object(item) or is_list(item))


def _is_place(key: str, text: str) -> bool:
    """Whether an image could be behind this text."""
    if text[:11].lower() == "data:image/":
        return True
    if not _URL.fullmatch(text) or _OTHER_LINK.search(key, 0, _LONGEST_KEY):
        return False
    return _PLACE.search(key, 0, _LONGEST_KEY) is not None or _IMAGE_FILE.fullmatch(text) is not None


def _svg(text: str) -> Image | None:
    """The SVG that the text is, if it is one and whole."""
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return None
    data = text.encode("utf-8", "replace")
    is_svg = media.media_type(data[:4096]) == "image/svg+xml" and flaw_of([data]) is None
    return Image.from_bytes(data) if is_svg else None
