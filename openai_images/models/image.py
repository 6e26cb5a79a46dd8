"""A picture in people's hands: bytes in memory, or a file that was written while they arrived.

Rules: a value, frozen; its `repr` never shows base64 nor more than a digest of the bytes; `data` is always `bytes`.
What the bytes themselves say (media type, size) is taken from them, never from what the server declared.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from openai_images.errors import DownloadError
from openai_images.models import media
from openai_images.models.parts import open_part, publish

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Image"]


@frozen(repr=False)
class Image:
    """One picture.

    `nbytes` is its size in bytes, `media_type` such as `image/png`, `width` and `height` in pixels (None where the
    bytes do not say). `path` is set when it was written to a file with `into=`; then `data` reads that file each time.
    `url`, `revised_prompt` and `generation_id` are the server's, `extra` what else it said of this picture.
    """

    _data: bytes | None = field(default=None, alias="data")
    path: Path | None = None
    nbytes: int = 0
    media_type: str = media.UNKNOWN
    width: int | None = None
    height: int | None = None
    url: str | None = None
    revised_prompt: str | None = None
    generation_id: str | None = None
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False)

    @classmethod
    def from_bytes(cls, data: bytes) -> Image:
        """A picture in memory, described by its own bytes."""
        width, height = media.pixel_size(data[: media.HEAD_BYTES]) or (None, None)
        return cls(
            data=data, nbytes=len(data), media_type=media.media_type(data[:4096]), width=width, height=height
        )

    @classmethod
    def from_file(cls, path: Path, head: bytes, nbytes: int) -> Image:
        """A picture in the file `path`, described by its first bytes."""
        width, height = media.pixel_size(head) or (None, None)
        return cls(
            path=path, nbytes=nbytes, media_type=media.media_type(head[:4096]), width=width, height=height
        )

    @property
    def data(self) -> bytes:
        """The picture's bytes; read from `path`, not cached, where it was written to a file.

        Raises `DownloadError` where the server answered with a URL only, and OSError where the file is gone.
        """
        if self._data is not None:
            return self._data
        if self.path is not None:
            return self.path.read_bytes()
        msg = "the server answered with a URL instead of the picture's bytes; fetch it from image.url"
        raise DownloadError(msg, url=self.url)

    async def read(self) -> bytes:
        """The picture's bytes; a file is read off the event loop. Raises as `data` does."""
        return self.data if self.path is None else await asyncio.to_thread(self.path.read_bytes)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to `path`, replacing what is there, and return the path written.

        Folders are made, a missing suffix becomes the real format's, and the file appears whole or not at all.
        This blocks; in a coroutine call it through `asyncio.to_thread`, or use `into=`. Raises OSError.
        """
        target = Path(path)
        if not target.suffix:
            target = target.with_name(target.name + media.suffix(self.media_type))
        data = self.data
        file, part = open_part(target.parent, target.name)
        try:
            with file:
                written = 0
                while written < len(data):  # a nearly full disk takes a part, without an error
                    written += file.write(memoryview(data)[written:])
            return publish(part, target, overwrite=True)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the bytes, in hex; computed when first asked for."""
        return hashlib.sha256(self.data).hexdigest()

    def __repr__(self) -> str:
        """The kind, the size, and where it is or its digest."""
        if self._data is not None:
            return f"<{self.media_type} {self.nbytes:,} bytes sha256:{self.sha256[:8]}…>"
        if self.path is not None:
            return f"<{self.media_type} {self.nbytes:,} bytes at {str(self.path)!r}>"
        return "<image behind a URL>"
