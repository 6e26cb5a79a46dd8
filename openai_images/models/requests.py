"""What is asked of `POST /images/generations`: one frozen value with a field for each parameter.

Rules: None means "not set", and what is not set is never sent; known values are hints for editors and type checkers,
any other string passes (each new model would break a fixed list); `repr` never shows the prompt. Parameters
that are not fields here go through `extra_body`. Source of names, types and limits: OpenAI's API reference and
the official Python package 3.54.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Sequence
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    Self,
    TypeAlias,
    TypedDict,
    cast,
    runtime_checkable,
)

from attrs import evolve, field, fields_dict, frozen

from openai_images._util.attrs import repr_keys, repr_length
from openai_images.errors import RequestInvalidError
from openai_images.models.image import Image

if TYPE_CHECKING:
    from collections.abc import Mapping

Model: TypeAlias = (
    Literal[
        "gpt-image-2.6-sunburst",
        "gpt-image-2.6-flare",
        "gpt-image-2.5-sunburst",
        "gpt-image-2.5-flare",
        "gpt-image-2",
    ]
    | str
)
Size: TypeAlias = Literal["auto", "1024x1024", "1536x1024", "1024x1536", "2048x2048", "3840x2160"] | str
Quality: TypeAlias = Literal["auto", "low", "medium", "high", "xhigh", "max"] | str
Background: TypeAlias = Literal["auto", "opaque", "transparent"] | str
OutputFormat: TypeAlias = Literal["png", "jpeg", "webp", "gif", "svg"] | str
Moderation: TypeAlias = Literal["auto", "low"] | str
Complexity: TypeAlias = Literal["low", "medium", "high"] | str


class GenerateParams(TypedDict, total=False):
    """The keywords of `generate` and `stream`; keep in step with the fields of `GenerateRequest`."""

    model: Model | None
    n: int | None
    size: Size | None
    quality: Quality | None
    background: Background | None
    output_format: OutputFormat | None
    output_compression: int | None
    moderation: Moderation | None
    partial_images: int | None
    complexity: Complexity | None
    frame_count: int | None
    frame_duration_ms: int | None
    svg: Mapping[str, Any] | None
    safety_identifier: str | None
    user: str | None
    response_format: str | None
    style: str | None
    extra_body: Mapping[str, Any] | None


@frozen
class GenerateRequest:
    """One request for pictures; only what is set is sent.

    `n` pictures, which the client shares out over requests of at most 10; `size` "auto" or "WIDTHxHEIGHT" in pixels;
    `output_compression` 0..100, jpeg and webp only; `partial_images` 0..3, streams only; `frame_count` 2..16 and
    `frame_duration_ms`, gif only; `svg` {"model": …, "reasoning": {…}}, svg only; `user`, `response_format` and `style`
    are for older models and compatible servers. `extra_body` is laid over the body as it is and may hold anything
    JSON can.
    Raises `RequestInvalidError` where the prompt is not text.
    """

    path: ClassVar[str] = "/images/generations"
    """The endpoint's path below the base URL."""

    prompt: str = field(repr=repr_length)
    model: Model | None = field(default=None, kw_only=True)
    n: int | None = field(default=None, kw_only=True)
    size: Size | None = field(default=None, kw_only=True)
    quality: Quality | None = field(default=None, kw_only=True)
    background: Background | None = field(default=None, kw_only=True)
    output_format: OutputFormat | None = field(default=None, kw_only=True)
    output_compression: int | None = field(default=None, kw_only=True)
    moderation: Moderation | None = field(default=None, kw_only=True)
    partial_images: int | None = field(default=None, kw_only=True)
    complexity: Complexity | None = field(default=None, kw_only=True)
    frame_count: int | None = field(default=None, kw_only=True)
    frame_duration_ms: int | None = field(default=None, kw_only=True)
    svg: Mapping[str, Any] | None = field(default=None, kw_only=True, hash=False)
    safety_identifier: str | None = field(default=None, kw_only=True, repr=False)
    user: str | None = field(default=None, kw_only=True, repr=False)
    response_format: str | None = field(default=None, kw_only=True)
    style: str | None = field(default=None, kw_only=True)
    extra_body: Mapping[str, Any] | None = field(default=None, kw_only=True, repr=repr_keys, hash=False)

    def __attrs_post_init__(self) -> None:
        """Refuse what is certainly no prompt: it could only come back as a puzzling answer of the server."""
        if not isinstance(self.prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
            msg = f"the prompt must be text (str), not {type(self.prompt).__name__}"
            raise RequestInvalidError(msg)

    @classmethod
    def of(cls, prompt: str | GenerateRequest, params: Mapping[str, Any]) -> Self:
        """A request from a prompt and keywords; keywords given with a request replace its fields."""
        known = fields_dict(cls).keys()
        if not params.keys() <= known:
            unknown = min(params.keys() - known)
            msg = f"unknown parameter {unknown!r}: send parameters this version does not know with extra_body={{…}}"
            raise TypeError(msg)
        if isinstance(prompt, cls) and prompt.path == cls.path:
            return evolve(prompt, **params) if params else prompt
        if isinstance(prompt, GenerateRequest):
            msg = f"this verb takes a prompt or its own {cls.__name__}, not {type(prompt).__name__}"
            raise TypeError(msg)
        return cls(prompt, **params)


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
