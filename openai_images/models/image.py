"""One generated image: bytes in memory, or a file that was written while the bytes arrived.

Invariants: a frozen value; its `repr` shows a digest of the bytes at most, never base64; `data` is always `bytes`;
media type and size are read from the bytes.
Must not: use the media type or size that the server declares.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import re
from collections.abc import Container, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from openai_images._util.atomic_file import replace_file
from openai_images._util.attrs import Hinted, safe_repr
from openai_images.errors import ConfigurationError, DownloadError
from openai_images.models import media

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from openai_images.models.notebook import MimeBundle

_PILLOW_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
_HASHED_BYTES = 64 * 1024
"""Bytes that `repr` hashes: hashing a whole large image would block the event loop for milliseconds."""

_SUFFIX = r"\.[A-Za-z][A-Za-z0-9]*"
_SEPARATORS = tuple(filter(None, (os.sep, os.altsep)))


@safe_repr
@frozen(repr=False)
class Image(Hinted):
    """One image.

    `nbytes` is its length in bytes, `media_type` is one such as `image/png`, `width` and `height` are the stored size
    in pixels (CSS pixels for an SVG; None if the bytes do not contain it). `path` is set if the image was written to a
    file with `into=`; then `data` reads that file at each use. `url`, `revised_prompt` and `generation_id` come from
    the server; `extra` has its other fields for this image. `flaw` is "no image" or "truncated" if the bytes are not a
    complete image. Only images in an exception's `damaged` have a flaw: they may have been paid for, but are never
    returned as images.
    """

    _data: bytes | None = field(default=None, alias="data")
    path: Path | None = None
    nbytes: int = 0
    media_type: str = media.UNKNOWN
    """Such as "image/png", detected from the bytes."""
    width: int | None = None
    """The stored width in pixels, None if the bytes do not contain it."""
    height: int | None = None
    """The stored height in pixels, None if the bytes do not contain it."""
    url: str | None = None
    """The server's URL of the image; None if it sent the bytes."""
    revised_prompt: str | None = None
    """The prompt as the server changed it."""
    generation_id: str | None = None
    """The server's id of the image."""
    extra: Mapping[str, Any] = field(factory=dict[str, Any], hash=False)
    """The server's other fields for this image."""
    flaw: str | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> Image:
        """Return an image in memory; media type and size are read from its bytes.

        `data` is a complete image file; unknown formats are accepted, too.
        """
        width, height = media.pixel_size(data) or (None, None)
        return cls(
            data=data, nbytes=len(data), media_type=media.media_type(data[:4096]), width=width, height=height
        )

    @classmethod
    def from_file(cls, path: Path, head: bytes, nbytes: int) -> Image:
        """Return an image in the file `path`; media type and size are read from its first bytes.

        `head` is the beginning of the file, enough to find its size in pixels; `nbytes` is its length in bytes.
        """
        width, height = media.pixel_size(head) or (None, None)
        return cls(
            path=path, nbytes=nbytes, media_type=media.media_type(head[:4096]), width=width, height=height
        )

    @property
    def content_type(self) -> str:
        """The same as `media_type`, under its HTTP name."""
        return self.media_type

    @property
    def data(self) -> bytes:
        """The image's bytes; if it was written to a file, they are read from `path` at each use.

        Raises `DownloadError` if the server returned a URL only, and OSError if the file is missing.
        """
        if self._data is not None:
            return self._data
        if self.path is not None:
            return self.path.read_bytes()
        raise DownloadError(
            "the server returned a URL instead of the image: await client.download(image) downloads it from image.url",
            url=self.url,
        )

    async def read(self) -> bytes:
        """Return the image's bytes; a file is read in a thread. Raises as `data` does."""
        return self.data if self.path is None else await asyncio.to_thread(self.path.read_bytes)

    def __bytes__(self) -> bytes:
        return self.data

    def data_url(self) -> str:
        """Return the image as a `data:` URL (base64), for HTML or JSON. Raises as `data` does."""
        # Imported here: a client that sends no data URL starts without it.
        from base64 import b64encode  # noqa: PLC0415

        return f"data:{self.media_type};base64,{b64encode(self.data).decode('ascii')}"

    def show(self) -> None:
        """Open the image in a desktop viewer, and return without waiting until it is closed.

        The viewer is the one that Pillow finds, which gets a copy as PNG; if there is no Pillow or no such viewer, it
        is the web browser, which gets the bytes in a temporary file. Raises `ConfigurationError` if there is neither,
        and for an SVG; also raises what `data` and `open` raise.
        """
        if self.media_type == "image/svg+xml":
            raise ConfigurationError(
                "image.show() does not open an SVG, which may contain a script: save() it, or show it in a notebook"
            )
        if not (_open_viewer(self) or _open_browser(self)):
            raise ConfigurationError(
                "image.show() found no image viewer and no web browser on this machine: save() the image, or show it "
                "in a notebook"
            )

    def open(self) -> PillowImage:
        """Return the image as a `PIL.Image.Image`, whose pixels are decoded at their first use.

        This blocks, and so does the first use of the pixels: in a coroutine do both in one `asyncio.to_thread`. Only
        PNG, JPEG, WebP and GIF are decoded. Raises `ConfigurationError` if Pillow is not installed,
        `PIL.UnidentifiedImageError` (an OSError) if Pillow cannot read the image, such as an SVG, and what `data`
        raises.
        """
        try:
            # Imported here: Pillow is optional.
            from PIL import Image as Pillow, UnidentifiedImageError  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                "image.open() needs Pillow, which is not installed: pip install 'openai-images[server]' (or pillow)"
            ) from error
        if self.media_type == "image/svg+xml":
            raise UnidentifiedImageError(
                "Pillow cannot read an SVG: save() the image, or pass image.data to a renderer such as CairoSVG"
            )
        # Read into memory even if there is a file: Pillow would keep the file open until the pixels are used.
        data = self.data
        # Without `formats` Pillow tries all its decoders, one of which runs Ghostscript.
        formats = (
            [_PILLOW_FORMATS[mime]] if (mime := media.media_type(data[:4096])) in _PILLOW_FORMATS else []
        )
        try:
            return Pillow.open(io.BytesIO(data), formats=formats)
        except OSError as error:
            raise UnidentifiedImageError(
                f"Pillow cannot read the image ({self.media_type}, {self.nbytes:,} bytes); save() writes it unchanged"
            ) from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the image to `path`, replacing an existing file, and return the path that was written.

        Missing folders are created; a leading `~` is the home folder. If `path` has no suffix, that of the image's
        format is added (".5" in "gpt-image-2.5" is not taken for a suffix); nothing is converted. The file is written
        completely or not at all. This blocks; in a coroutine call it through `asyncio.to_thread`, or use `into=`.
        Raises OSError; `IsADirectoryError` if `path` is a folder.
        """
        target = _target(path, media.file_suffix(self.media_type))
        return replace_file(target.parent, target.name, [self.data])

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the bytes in hex; computed at the first use."""
        return hashlib.sha256(self.data).hexdigest()

    def __repr__(self) -> str:
        description = f"{self.flaw}: {self.media_type}" if self.flaw else self.media_type
        if self._data is not None:
            digest = hashlib.sha256(self._data[:_HASHED_BYTES]).hexdigest()[:8]
            beginning = "first 64 KiB " if len(self._data) > _HASHED_BYTES else ""
            return f"<{description} {self.nbytes:,} bytes {beginning}sha256:{digest}…>"
        if self.path is not None:
            return f"<{description} {self.nbytes:,} bytes at {str(self.path)!r}>"
        return "<image behind a URL>"

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> MimeBundle:
        """Return the image for a notebook; a remote image is not downloaded."""
        from openai_images.models.notebook import mime_bundle  # noqa: PLC0415  only notebooks need it

        return mime_bundle([self], repr(self), include, exclude)


def _target(path: str | os.PathLike[str], suffix: str) -> Path:
    """Return the file to write. Raises `IsADirectoryError` if `path` is a folder."""
    text: str = os.path.expanduser(path)  # noqa: PTH111  Path.expanduser raises for an unknown user's home
    target = Path(text)
    if text.endswith(_SEPARATORS) or target.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, f"a folder; name a file in it, such as {target / 'otter'}", text
        )
    return target if re.fullmatch(_SUFFIX, target.suffix) else target.with_name(target.name + suffix)


def is_remote(image: Image) -> bool:
    """Return whether the server returned a URL that is not downloaded yet."""
    return image.url is not None and not image.nbytes


def _open_viewer(image: Image) -> bool:
    """Open Pillow's viewer; False without Pillow or a viewer."""
    try:
        from PIL import ImageShow  # noqa: PLC0415  Pillow is optional
    except ImportError:
        return False
    with image.open() as picture:
        return ImageShow.show(picture)


def _open_browser(image: Image) -> bool:
    """Open the bytes in the web browser; False without one."""
    import tempfile  # noqa: PLC0415  only this needs it
    import webbrowser  # noqa: PLC0415  likewise

    suffix, data = media.file_suffix(image.media_type), image.data
    with tempfile.NamedTemporaryFile(prefix="image-", suffix=suffix, delete=False) as file:
        file.write(data)
    if webbrowser.open(Path(file.name).as_uri()):
        return True
    Path(file.name).unlink()
    return False
