"""What is asked of `POST /images/edits`: a request for pictures made from pictures.

Rules: as for `GenerateRequest`, whose parameters it shares; what is handed in as a picture is neither opened nor copied
here, and never shown. Source of names and limits: OpenAI's API reference and the official Python package 3.54.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Sequence
from typing import Any, ClassVar, Protocol, TypeAlias, cast, runtime_checkable

from attrs import field, frozen

from openai_images.errors import RequestInvalidError
from openai_images.models.image import Image
from openai_images.models.requests import GenerateParams, GenerateRequest

__all__ = [
    "EditParams",
    "EditRequest",
    "ImageReference",
    "PillowImage",
    "Readable",
    "SourceImage",
    "as_list",
    "reference_of",
]


@runtime_checkable
class Readable(Protocol):
    """A binary file, or whatever else is read so, also with `await`: an upload of a web framework, aiofiles."""

    def read(self, count: int = -1, /) -> bytes | Awaitable[bytes]:
        """The next bytes, nothing at the end."""
        ...


@runtime_checkable
class PillowImage(Protocol):
    """What is needed of a `PIL.Image.Image`."""

    @property
    def mode(self) -> str:
        """How its pixels are coded, such as RGBA."""
        ...

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002  Pillow's own name
        """Write it as a file of this format."""
        ...


@frozen(kw_only=True)
class ImageReference:
    """A picture that the server has or fetches by itself: `image_url` (http, https or `data:`) or `file_id`, not both.

    A request that has one travels as JSON instead of a form, and its other pictures as `data:` URLs. Raises
    `RequestInvalidError`.
    """

    image_url: str | None = field(default=None, repr=False)
    file_id: str | None = None

    def __attrs_post_init__(self) -> None:
        """Refuse what names no picture, or two."""
        given = [text for text in (self.image_url, self.file_id) if text is not None]
        if len(given) != 1 or not isinstance(given[0], str) or not given[0]:  # pyright: ignore[reportUnnecessaryIsInstance]  unchecked
            msg = "an ImageReference has either an image_url or a file_id, as text"
            raise RequestInvalidError(msg)


SourceImage: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | Readable
    | AsyncIterable[bytes]
    | PillowImage
    | Image
    | ImageReference
)
"""A picture to edit: a path, URL, bytes, binary file, something whose bytes are awaited, Pillow image or `Image`."""


class EditParams(GenerateParams, total=False):
    """The keywords of `edit` and `stream_edit`; keep in step with the fields of `EditRequest`."""

    image: SourceImage | Sequence[SourceImage]
    mask: SourceImage | None
    markup: SourceImage | None
    input_fidelity: str | None
    as_json: bool


def reference_of(image: object) -> ImageReference | None:
    """The reference that was handed in, also as a text that is a URL; None for every other picture."""
    if isinstance(image, ImageReference):
        return image
    if isinstance(image, str) and image.startswith(("http://", "https://", "data:")):
        return ImageReference(image_url=image)
    return None


def as_list(image: object) -> list[Any]:
    """One picture or several, as a list."""
    return list(cast("Sequence[Any]", image)) if isinstance(image, list | tuple) else [image]


def _how_many(image: object) -> str:
    count = len(as_list(image))
    return f"<{count} image{'s' * (count != 1)}>"


def _whether(image: object) -> str:
    return "None" if image is None else "<image>"


@frozen
class EditRequest(GenerateRequest):
    """One request for pictures made from `image`, one or up to 16 of them; only what is set is sent.

    A picture is a path, bytes, a binary file (sent whole, wherever it stands), something whose `read` is awaited, a
    Pillow image, an `Image` of an earlier result, a URL or an `ImageReference`. `mask` is a PNG whose transparent parts
    are to be edited, of the size of the first picture; `markup` a PNG laid over the first picture, not beside a mask;
    `input_fidelity` "high" or "low", older models only. `as_json` sends JSON with `data:` URLs instead of a form, for
    servers that want it. The other parameters are those of `GenerateRequest`.
    """

    path: ClassVar[str] = "/images/edits"

    image: SourceImage | Sequence[SourceImage] = field(kw_only=True, repr=_how_many, hash=False)
    mask: SourceImage | None = field(default=None, kw_only=True, repr=_whether, hash=False)
    markup: SourceImage | None = field(default=None, kw_only=True, repr=_whether, hash=False)
    input_fidelity: str | None = field(default=None, kw_only=True)
    as_json: bool = field(default=False, kw_only=True)
