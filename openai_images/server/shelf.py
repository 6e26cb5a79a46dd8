"""Keeps the pictures of answers that carried urls, until they are fetched or there are too many.

Rules: a link is an id that nobody can guess and the number of the picture; what is kept is bounded in bytes, the oldest
going first, as real links end after an hour; a picture on the shelf many times counts once. It refuses to serve.
"""

import uuid
from collections import Counter, OrderedDict
from typing import Final, Literal, TypeAlias

import attrs

Links: TypeAlias = Literal["absolute", "relative"]
"""How urls of pictures are written: with this server's address, or as a path alone."""

SHELF_BYTES: Final = 256 * 1024 * 1024
MOST_LINKS: Final = 100_000


@attrs.frozen
class Shelved:
    """One picture: its base64 and its media type."""

    base64: bytes = attrs.field(repr=lambda text: f"<{len(text):,} characters>")
    media_type: str


class Shelf:
    """The pictures behind the urls of one server."""

    def __init__(self, limit: int = SHELF_BYTES) -> None:
        self._limit = limit
        self._held = 0
        self._times = Counter[int]()
        self._pictures: OrderedDict[str, Shelved] = OrderedDict()

    def put(self, picture: Shelved, number: int) -> str:
        """Keeps a picture and gives the path of its url."""
        path = f"/v1/images/img_{uuid.uuid4().hex}/content?variant={number}"
        self._pictures[path] = picture
        key = id(picture.base64)
        self._held += 0 if self._times[key] else len(picture.base64)
        self._times[key] += 1
        while len(self._pictures) > 1 and (self._held > self._limit or len(self._pictures) > MOST_LINKS):
            self._drop_oldest()
        return path

    def find(self, name: str, number: str) -> Shelved | None:
        """The picture of a link, or None if there is none such or it is over."""
        return self._pictures.get(f"/v1/images/{name}/content?variant={number}")

    def _drop_oldest(self) -> None:
        _, oldest = self._pictures.popitem(last=False)
        key = id(oldest.base64)
        self._times[key] -= 1
        if not self._times[key]:
            del self._times[key]
            self._held -= len(oldest.base64)
