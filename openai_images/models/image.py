"""A picture in people's hands: bytes in memory, or a file that was written while they arrived.

Rules: a value, frozen; its `repr` never shows base64 nor more than a digest of the bytes; `data` is always `bytes`.
What the bytes themselves say (media type, size) is taken from them, never from what the server declared.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import os
import re
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import field, frozen

from openai_images._util.atomic_file import open_part, publish
from openai_images._util.attrs import safe_repr
from openai_images.errors import ConfigurationError, DownloadError
from openai_images.models import media

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    from PIL.Image import Image as PillowImage

MimeBundle: TypeAlias = tuple[dict[str, str], dict[str, Any]]
"""The data by media type, and what is to be known of each."""

_AS_THEY_ARE = ("image/png", "image/jpeg")
_SVG = "image/svg+xml"
_IN_HTML = ("image/webp", "image/gif", "image/avif", _SVG)

_ROW = "display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start"
_ALONE, _AMONG_OTHERS = "100%", "min(100%,24em)"

_PILLOW_FORMATS = {"image/png": "PNG", "image/jpeg": "JPEG", "image/webp": "WEBP", "image/gif": "GIF"}
_SUFFIX = re.compile(r"\.[A-Za-z][A-Za-z0-9]*")
_ENDS_A_FOLDER = tuple(filter(None, (os.sep, os.altsep)))


@safe_repr
@frozen(repr=False)
class Image:
    """One picture.

    `nbytes` is its size in bytes, `media_type` such as `image/png`, `width` and `height` in pixels, as they are stored
    (None where the bytes do not say; of an SVG its own measures in pixels of CSS). `path` is set when it was written
    to a file with `into=`; then `data` reads that file each time.
    `url`, `revised_prompt` and `generation_id` are the server's, `extra` what else it said of this picture.
    `flaw` says what the bytes lack of being a whole image: "no image" or "truncated". Only what an exception has in
    `damaged` has one: it may have been paid for, and is never delivered as an image.
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
    flaw: str | None = None

    @classmethod
    def from_bytes(cls, data: bytes) -> Image:
        """A picture in memory, described by its own bytes."""
        width, height = media.pixel_size(data) or (None, None)
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
        msg = "the server gave a URL in the picture's place: await client.download(image) fetches it from image.url"
        raise DownloadError(msg, url=self.url)

    async def read(self) -> bytes:
        """The picture's bytes; a file is read off the event loop. Raises as `data` does."""
        return self.data if self.path is None else await asyncio.to_thread(self.path.read_bytes)

    def open(self) -> PillowImage:
        """The picture as Pillow opens it, a `PIL.Image.Image`; its pixels are decoded when they are first needed.

        This blocks, and so does the first use of the pixels: in a coroutine do both in one `asyncio.to_thread`. Only
        the decoder of what its first bytes say is tried: PNG, JPEG, WebP or GIF. Raises `ConfigurationError` where
        Pillow is not installed, `PIL.UnidentifiedImageError` (an OSError) for what Pillow cannot read, an SVG above
        all, and what `data` raises.
        """
        try:
            # Here, so that nobody needs Pillow who does not ask for it.
            from PIL import Image as Pillow, UnidentifiedImageError  # noqa: PLC0415
        except ImportError as error:
            msg = "image.open() needs Pillow, which is not installed: pip install 'openai-images[server]' (or pillow)"
            raise ConfigurationError(msg) from error
        if self.media_type == "image/svg+xml":
            msg = "Pillow does not read SVG: save() the picture, or give image.data to a renderer such as CairoSVG"
            raise UnidentifiedImageError(msg)
        # From memory also where there is a file: Pillow would hold that open until the pixels are needed.
        data = self.data
        # Pillow would try all its decoders, one of which hands what it reads to Ghostscript.
        formats = (
            [_PILLOW_FORMATS[kind]] if (kind := media.media_type(data[:4096])) in _PILLOW_FORMATS else []
        )
        try:
            return Pillow.open(io.BytesIO(data), formats=formats)
        except OSError as error:
            msg = f"this Pillow cannot read the picture ({self.media_type}, {self.nbytes:,} bytes); save() it as it is"
            raise UnidentifiedImageError(msg) from error

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the picture to `path`, replacing what is there, and return the path written.

        Folders are made, a leading `~` is the home folder, a missing suffix becomes the real format's (what follows
        the dot in "gpt-image-2.5" is none), and the file appears whole or not at all; another format's suffix is kept,
        and nothing is converted. This blocks; in a coroutine call it through `asyncio.to_thread`, or use `into=`.
        Raises OSError, `IsADirectoryError` where `path` is a folder.
        """
        target = _target(path, media.file_suffix(self.media_type))
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
        what = f"{self.flaw}: {self.media_type}" if self.flaw else self.media_type
        if self._data is not None:
            return f"<{what} {self.nbytes:,} bytes sha256:{self.sha256[:8]}…>"
        if self.path is not None:
            return f"<{what} {self.nbytes:,} bytes at {str(self.path)!r}>"
        return "<image behind a URL>"

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> MimeBundle:
        """What a notebook shows: the picture, but for one behind a URL, which nobody asked to fetch."""
        return mime_bundle([self], repr(self), include, exclude)


def _target(path: str | os.PathLike[str], suffix: str) -> Path:
    """The file that is meant. Raises `IsADirectoryError` where that is a folder."""
    given: str = os.path.expanduser(path)  # noqa: PTH111  Path's raises where nobody has such a home
    target = Path(given)
    if given.endswith(_ENDS_A_FOLDER) or target.is_dir():
        raise IsADirectoryError(
            errno.EISDIR, f"a folder; name a file in it, such as {target / 'otter'}", given
        )
    return target if _SUFFIX.fullmatch(target.suffix) else target.with_name(target.name + suffix)


def is_remote(image: Image) -> bool:
    """Whether the server gave a URL in the image's place, and nobody has fetched it yet."""
    return image.url is not None and not image.nbytes


def mime_bundle(
    images: Sequence[Image], text: str, include: Container[str] | None, exclude: Container[str] | None
) -> MimeBundle:
    """Images for a notebook, `text` being what is shown without any; `include` and `exclude` are media types.

    Nothing is fetched and nothing raises: an image behind a URL, or in a file that is gone, is its `repr`. PNG and JPEG
    go unchanged, as every frontend shows them; the other formats as an `<img>` of HTML, in which an SVG can run no
    script and load nothing. An SVG's text is there as well, for frontends without HTML.
    """
    data = {"text/plain": text}
    shown = [(image, _read(image)) for image in images]
    if len(shown) == 1 and shown[0][1] is not None:
        data |= _one(shown[0][0], shown[0][1])
    elif any(read is not None for _, read in shown):
        figures = "".join(_figure(image, read, _AMONG_OTHERS) for image, read in shown)
        data["text/html"] = f'<div style="{_ROW}">{figures}</div>'
    wanted = {
        kind: value
        for kind, value in data.items()
        if (include is None or kind in include) and (exclude is None or kind not in exclude)
    }
    size = {"width": images[0].width, "height": images[0].height}
    is_known = len(images) == 1 and None not in size.values()
    return wanted, {kind: size for kind in wanted if is_known and kind.startswith("image/")}


def _read(image: Image) -> bytes | None:
    """The bytes of a picture of a known kind, None where they are not at hand."""
    if image.media_type not in (*_AS_THEY_ARE, *_IN_HTML) or not image.nbytes:
        return None
    try:
        return image.data
    except OSError:
        return None


def _one(image: Image, data: bytes) -> dict[str, str]:
    """One picture."""
    if image.media_type in _AS_THEY_ARE:
        return {image.media_type: _base64(data)}
    shown = {"text/html": _figure(image, data, _ALONE)}
    return shown | {_SVG: data.decode("utf-8-sig", "replace")} if image.media_type == _SVG else shown


def _base64(data: bytes) -> str:
    from base64 import b64encode  # noqa: PLC0415  only notebooks need it

    return b64encode(data).decode("ascii")


def _figure(image: Image, data: bytes | None, most: str) -> str:
    """One picture in HTML, at most as wide as `most`."""
    from html import escape  # noqa: PLC0415  only notebooks need it

    if data is None:
        return f"<pre>{escape(repr(image))}</pre>"
    size = "" if image.width is None else f' width="{image.width}" height="{image.height}"'
    source = f"data:{image.media_type};base64,{_base64(data)}"
    return f'<img src="{source}"{size} style="max-width:{most};height:auto" alt="{escape(repr(image))}">'
