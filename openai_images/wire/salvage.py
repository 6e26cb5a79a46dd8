"""Finds images in unusual places of a response, by their content and not by the server's name.

Invariants: pure, linear in the document, bounded by `MAX_VALUES`. First values whose own bytes are an image count, then
URLs in fields that could hold an image; fields that echo the request, or are about errors or tasks, are skipped.
Must not: fetch anything, or return more than `MAX_FOUND`.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice, repeat
from typing import Any, TypeAlias

from openai_images._util.json import is_list, is_object
from openai_images.models import media
from openai_images.models.completeness import flaw_of
from openai_images.models.image import Image
from openai_images.wire import codec

MAX_FOUND = 1000
"""The limit of images in a response: four megabytes hold 350,000 short URLs."""

MAX_VALUES = 2_000
"""Maximum values to check: four megabytes hold two million; a response with an image has few others."""

_CONTAINERS = (dict, list)

_MAX_SVGS = 100
"""Texts that are read as SVG, which takes up to a tenth of a millisecond."""

_LONGEST_KEY = 100  # characters of a key that are searched: a server may write megabytes
_LONGEST_URL = 8192
_SKIPPED = "\ufeff \t\r\n"

# Words in a key, in lower case: searching for each is many times as fast as one pattern.
_IMAGE_KEY = (
    "image", "img", "pic", "photo", "uri", "url", "link", "src", "output", "result", "sample", "artifact", "data",
    "file", "content", "asset", "media", "b64", "base64",
)  # fmt: skip
_ECHO_KEY = (
    "input", "request", "prompt", "param", "init_", "source", "mask", "reference", "error", "detail",
)  # fmt: skip
"""Keys of the user's own images, or of words about a failure."""
_OTHER_KEY = (
    "doc", "help", "status", "cancel", "hook", "callback", "poll", "queue", "response", "licen", "terms", "logo",
    "avatar", "thumb",
)  # fmt: skip
_URL = r"(?i)https?://[^\s\"'<>]+"
_IMAGE_FILE = (
    ".png", ".jpg", ".jpeg", ".webp", ".gif", ".svg", ".avif", ".heic", ".tif", ".tiff", ".bmp",
)  # fmt: skip


Leaf: TypeAlias = tuple[str, object]
"""A value that contains no others, and its key."""


def nested_answer(doc: object) -> tuple[dict[str, Any], list[Image]] | None:
    """Return the outermost object with images in their usual place, and the images (at most `MAX_FOUND` + 1)."""
    queue: deque[object] = deque([doc])
    for _ in range(MAX_VALUES):
        if not queue:
            break
        value = queue.popleft()
        if (
            is_object(value)
            and isinstance(value.get("data"), _CONTAINERS)
            and (images := list(islice(codec.structure_images(value), MAX_FOUND + 1)))
        ):
            return value, images
        queue.extend(_children(value))
    return None


def find_leaves(doc: object) -> list[Leaf]:
    """Return the values that contain no others, with the key of each, in document order."""
    leaves: list[Leaf] = []
    stack: list[Iterator[tuple[str, object]]] = [iter([("", doc)])]
    for _ in range(MAX_VALUES):
        entry = next(stack[-1], None)
        while entry is None and len(stack) > 1:
            stack.pop()
            entry = next(stack[-1], None)
        if entry is None:
            break
        key, value = entry
        if _is_echo(key[:_LONGEST_KEY]):
            continue
        if is_object(value):
            stack.append(iter(value.items()))
        elif is_list(value):
            stack.append(zip(repeat(key), value, strict=False))
        else:
            leaves.append((key, value))
    return leaves


def find_images(leaves: Iterable[Leaf]) -> list[Image]:
    """Return the images whose bytes show that they are complete (also SVG as text), in document order."""
    found: list[Image] = []
    texts = 0
    for _, value in leaves:
        if isinstance(value, Image) and value.nbytes and value.flaw is None:
            found.append(value)
        elif isinstance(value, str) and texts < _MAX_SVGS and value.lstrip(_SKIPPED).startswith("<"):
            texts += 1
            if (image := _svg(value)) is not None:
                found.append(image)
        if len(found) == MAX_FOUND:
            break
    return found


def find_urls(leaves: Iterable[Leaf]) -> list[Image]:
    """Return images of the URLs in places that could hold an image."""
    urls = (
        value
        for key, value in leaves
        if isinstance(value, str) and len(value) <= _LONGEST_URL and _may_hold_image(key, value)
    )
    return [Image(url=url) for url in islice(dict.fromkeys(urls), MAX_FOUND)]


def without_images(value: Any) -> Any:
    """Return a copy of a document without its images."""
    if is_object(value):
        return {key: without_images(item) for key, item in value.items() if not isinstance(item, Image)}
    if is_list(value):
        return [without_images(item) for item in value if not isinstance(item, Image)]
    return value


def _children(value: object) -> Iterator[object]:
    if is_object(value):
        for name, item in islice(value.items(), MAX_VALUES):
            if isinstance(item, _CONTAINERS) and not _is_echo(name[:_LONGEST_KEY]):
                yield item
    elif is_list(value):
        yield from (item for item in islice(value, MAX_VALUES) if isinstance(item, _CONTAINERS))


def _may_hold_image(key: str, text: str) -> bool:
    if text[:11].lower() == "data:image/":
        return True
    if not re.fullmatch(_URL, text) or _has_word(key, _OTHER_KEY):
        return False
    return _has_word(key, _IMAGE_KEY) or re.split(r"[?#]", text, maxsplit=1)[0].lower().endswith(_IMAGE_FILE)


@lru_cache(maxsize=1024)
def _is_echo(key: str) -> bool:
    return _has_word(key, _ECHO_KEY)


def _has_word(key: str, words: tuple[str, ...]) -> bool:
    start = key[:_LONGEST_KEY].lower()
    return any(word in start for word in words)


def _svg(text: str) -> Image | None:
    data = text.encode("utf-8", "replace")
    is_svg = media.media_type(data[:4096]) == "image/svg+xml" and flaw_of([data]) is None
    return Image.from_bytes(data) if is_svg else None
