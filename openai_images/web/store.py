"""`PictureStore`: images that browsers fetch by URL, kept for a limited time.

Invariants: limited in bytes and time; names cannot be guessed and are never used again. The response has the image's
own bytes, with headers that let a browser show it but run no script.
Must not: keep the only copy of an image; the application saves results that it needs for longer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import field, frozen

from openai_images import ConfigurationError, Image
from openai_images.web.background import keep_running

__all__ = ["MEDIA_TYPES", "SUFFIXES", "PictureStore", "StoredPicture"]

_log = logging.getLogger("openai_images")

SUFFIXES: Final = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/avif": ".avif",
    "image/svg+xml": ".svg",
}
MEDIA_TYPES: Final = {suffix: media_type for media_type, suffix in SUFFIXES.items()}
_NAME = re.compile(r"[A-Za-z0-9_-]{32}\.[a-z]{3,4}")
_PIECE_BYTES: Final = 64 * 1024
# An SVG may have scripts: in a sandbox without its own origin they do not run.
_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:"


class _File:
    """An open file, which can be read after it was removed; it is closed with its last reference."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __del__(self) -> None:
        with suppress(AttributeError):  # it was not opened
            os.close(self._descriptor)

    def __len__(self) -> int:
        return os.fstat(self._descriptor).st_size

    def read(self, start: int, count: int) -> bytes:
        os.lseek(self._descriptor, start, os.SEEK_SET)
        return os.read(self._descriptor, count)


@frozen
class StoredPicture:
    """The response for one image: a status, headers and the bytes (none for a 304).

    `data` is the body: bytes, or an open file.
    """

    status: int
    """The HTTP status."""
    headers: dict[str, str]
    """The response's headers."""
    _data: bytes | _File = field(repr=False)

    @property
    def body(self) -> bytes:
        """The image's bytes. An image of a store with a folder is read from its file each time, which blocks."""
        return self._data if isinstance(self._data, bytes) else self._data.read(0, len(self._data))

    async def pieces(self) -> AsyncGenerator[bytes]:
        """Yield the body in pieces of at most 64 KiB: what a server has not sent yet, it holds a copy of."""
        data = self._data
        for start in range(0, len(data), _PIECE_BYTES):
            if isinstance(data, bytes):
                yield data[start : start + _PIECE_BYTES]
            else:
                yield await asyncio.to_thread(data.read, start, _PIECE_BYTES)


class PictureStore:
    """Images for browsers, in memory or in `folder`, with URLs that begin with `url_prefix`.

    At most `max_bytes` bytes are kept, each image for at most `max_age` seconds; the oldest are removed first. Only one
    store may use a folder, which has no other files: files of a previous store are served until they are `max_age`
    seconds old. Raises `ConfigurationError` for invalid values, and OSError for the folder.

    `now` returns Unix seconds; tests replace it.
    """

    def __init__(
        self,
        *,
        max_bytes: int = 256 * 1024 * 1024,
        max_age: float = 3600.0,
        folder: str | Path | None = None,
        url_prefix: str = "/images/",
        now: Callable[[], float] = time.time,
    ) -> None:
        if max_bytes <= 0 or max_age <= 0:
            raise ConfigurationError("PictureStore: max_bytes and max_age must be above 0")
        if not url_prefix.endswith("/"):
            raise ConfigurationError(f"PictureStore: url_prefix must end with '/', and is {url_prefix!r}")
        self._max_bytes = max_bytes
        self._max_age = max_age
        self.url_prefix = url_prefix
        self._now = now
        self._nbytes = 0
        self._unremoved: list[str] = []
        self._entries: OrderedDict[str, tuple[float, int, bytes | None]] = OrderedDict()
        self._folder = None if folder is None else Path(folder).absolute()
        if self._folder is not None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._adopt(self._folder)

    async def put(self, image: Image) -> str | None:
        """Keep the image and return its URL; None if it alone has more than `max_bytes`. Raises OSError.

        `image` must be local; its bytes are copied.
        """
        data = await image.read()
        if len(data) > self._max_bytes:
            return None
        name = secrets.token_urlsafe(24) + SUFFIXES.get(image.media_type, ".bin")
        if self._folder is None:
            self._add(name, self._now(), len(data), data)
        else:  # a cancellation does not stop the thread: its file must be known
            await asyncio.shield(keep_running(self._save(self._folder, name, data)))
        await self._evict()
        return self.url_prefix + name

    async def get(self, name: str, *, if_none_match: str | None = None, head: bool = False) -> StoredPicture:
        """Return the response for the URL `url_prefix` + `name`; 404 if the image is unknown or no longer kept.

        `if_none_match` is the request's header of this name, for a 304; `head=True` leaves out the body.
        """
        await self._evict()
        entry = self._entries.get(name) if _NAME.fullmatch(name) else None
        data = None if entry is None else await self._open(name, entry[2])
        if entry is None or data is None:
            return StoredPicture(
                404, {"Cache-Control": "no-store", "Content-Type": "text/plain"}, b"not found"
            )
        suffix = name[name.rindex(".") :]
        etag = f'"{name}"'
        headers = {
            "Content-Type": MEDIA_TYPES.get(suffix, "application/octet-stream"),
            "Content-Disposition": f'inline; filename="image{suffix}"',
            "Content-Security-Policy": _POLICY,
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": f"private, max-age={int(self._max_age)}, immutable",
            "ETag": etag,
        }
        if if_none_match is not None and (if_none_match.strip() == "*" or etag in if_none_match):
            return StoredPicture(304, headers, b"")
        return StoredPicture(200, headers | {"Content-Length": str(len(data))}, b"" if head else data)

    @property
    def image_count(self) -> int:
        """Number of images that are kept."""
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<PictureStore {self.image_count} images, {self._nbytes:,} bytes>"

    async def _save(self, folder: Path, name: str, data: bytes) -> None:
        await asyncio.to_thread(Image.from_bytes(data).save, folder / name)
        self._add(name, self._now(), len(data), None)

    async def _open(self, name: str, data: bytes | None) -> bytes | _File | None:
        if data is not None or self._folder is None:
            return data
        try:
            return await asyncio.to_thread(_File, self._folder / name)
        except FileNotFoundError:  # evicted in the meantime, or deleted manually
            return None

    def _add(self, name: str, added: float, nbytes: int, data: bytes | None) -> None:
        self._entries[name] = (added, nbytes, data)
        self._nbytes += nbytes

    async def _evict(self) -> None:
        """Remove the oldest images while they are too old or too many."""
        expired = self._forget_oldest()
        if expired and self._folder is not None:
            await asyncio.shield(keep_running(self._remove(self._folder, expired)))

    async def _remove(self, folder: Path, expired: list[str]) -> None:
        names, self._unremoved = self._unremoved + expired, []
        failed = await asyncio.to_thread(_remove_files, folder, names)
        self._unremoved += failed  # in a statement without `await`: another request may change it meanwhile

    def _forget_oldest(self) -> list[str]:
        """Forget the images that are to be removed, and return their names."""
        oldest, names = self._now() - self._max_age, list[str]()
        while self._entries:
            name, (added, nbytes, _) = next(iter(self._entries.items()))
            if added > oldest and self._nbytes <= self._max_bytes:
                break
            del self._entries[name]
            self._nbytes -= nbytes
            names.append(name)
        return names

    def _adopt(self, folder: Path) -> None:
        """Adopt the files of a previous store, oldest first."""
        images = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_file()]
        files = [(path.stat(), path.name) for path in images]
        for stat, name in sorted(files, key=lambda found: (found[0].st_mtime, found[1])):
            self._add(name, stat.st_mtime, stat.st_size, None)
        self._unremoved = _remove_files(folder, self._forget_oldest())


def _remove_files(folder: Path, names: list[str]) -> list[str]:
    """Remove files, and return the names of those that cannot be removed now. Blocks."""
    failed, reason = list[str](), ""
    for name in names:
        try:
            (folder / name).unlink(missing_ok=True)
        except OSError as error:  # another program has it open (Windows), or the folder became read-only
            failed.append(name)
            reason = error.strerror or type(error).__name__
    if failed:
        _log.warning("old images of a PictureStore could not be removed (%d): %s", len(failed), reason)
    return failed
