"""The parameters of `POST /images/generations` and `/images/edits`, as fields of frozen values.

Invariants: None means "not set" and is never sent; the literal values are for editors and type checkers: any string is
accepted, because new models bring new values; other parameters go into `extra_body`. Names, types and limits are those
of OpenAI's API reference and the official Python package 3.54.
Must not: show the prompt in a `repr`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Awaitable, Mapping, Sequence
from functools import cache
from operator import attrgetter
from typing import (
    Any,
    ClassVar,
    Final,
    Literal,
    Protocol,
    Self,
    TypeAlias,
    TypedDict,
    cast,
    runtime_checkable,
)

from attrs import evolve, field, fields_dict, frozen

from openai_images._util.attrs import keyword_hints, repr_keys, repr_length, short_repr
from openai_images.errors import RequestInvalidError
from openai_images.models.image import Image

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


_NO_IMAGE: Final = (
    "edit() and stream_edit() need the image to edit: pass image=…, such as a path, bytes, a binary file, or a list "
    "of them"
)


class GenerateParams(TypedDict, total=False):
    """The keywords of `generate` and `stream`: the fields of `GenerateRequest`."""

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


@keyword_hints
@short_repr
@frozen(repr=False)
class GenerateRequest:
    """One request for images; only parameters that are set are sent.

    `n` images, which the client splits into requests of at most 10; `size` "auto" or "WIDTHxHEIGHT" in pixels;
    `output_compression` 0..100, jpeg and webp only; `partial_images` 0..3, streams only; `frame_count` 2..16 and
    `frame_duration_ms`, gif only; `svg` {"model": …, "reasoning": {…}}, svg only; `user`, `response_format` and `style`
    are for older models and compatible servers. `extra_body`, any JSON object, is merged unchanged into the body and
    replaces parameters of the same name.
    Raises `RequestInvalidError` if the prompt is not a str.
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
        # For other types the server's error is unclear.
        if not isinstance(self.prompt, str):  # pyright: ignore[reportUnnecessaryIsInstance]  callers may be untyped
            raise RequestInvalidError(f"the prompt must be text (str), not {type(self.prompt).__name__}")

    @classmethod
    def of(cls, prompt: str | GenerateRequest, params: Mapping[str, Any]) -> Self:
        """Return a request from a prompt and keywords.

        `prompt` is a text or a request of this class, whose fields are replaced; `params` are fields by name. Raises
        TypeError for an unknown keyword, and for a request of another class.
        """
        kind: Any = cls  # mypy confuses its hash with that of an instance
        known: frozenset[str] = _names_of(kind)
        if not params.keys() <= known:
            # Imported here: valid requests never load it.
            from openai_images._util.keyword_hints import VERB_KEYWORDS, unknown_keyword  # noqa: PLC0415

            raise TypeError(unknown_keyword(min(params.keys() - known), (*known, *VERB_KEYWORDS)))
        if isinstance(prompt, cls) and prompt.path == cls.path:
            return evolve(prompt, **params) if params else prompt
        if isinstance(prompt, GenerateRequest):
            raise TypeError(
                f"this method takes a prompt or its own {cls.__name__}, not {type(prompt).__name__}"
            )
        if "image" in known and "image" not in params:
            raise TypeError(_NO_IMAGE)
        return cls(prompt, **params)


def set_parameters(request: GenerateRequest) -> dict[str, Any]:
    """Return the fields that are not None, by name."""
    cls: Any = type(request)  # mypy confuses its hash with that of an instance
    names, get_values = _fields_of(cls)
    return {name: value for name, value in zip(names, get_values(request), strict=True) if value is not None}


@cache
def _names_of(cls: type[GenerateRequest]) -> frozenset[str]:
    return frozenset(fields_dict(cls))


@cache
def _fields_of(cls: type[GenerateRequest]) -> tuple[tuple[str, ...], attrgetter[tuple[Any, ...]]]:
    names = tuple(fields_dict(cls))
    return names, attrgetter(*names)


@runtime_checkable
class Readable(Protocol):
    """A binary file, or an object with a sync or async `read`: an upload of a web framework, aiofiles."""

    def read(self, count: int = -1, /) -> bytes | Awaitable[bytes]:
        """Return the next bytes; no bytes at the end."""
        ...


@runtime_checkable
class PillowImage(Protocol):
    """The part of a `PIL.Image.Image` that is used."""

    @property
    def mode(self) -> str:
        """The pixel format, such as RGBA."""
        ...

    def save(self, fp: Any, format: str | None = None, **params: Any) -> None:  # noqa: A002  Pillow's own name
        """Write a file of this format."""
        ...


@frozen(kw_only=True)
class ImageReference:
    """An image that the server stores or downloads: `image_url` (http, https or `data:`) or `file_id`, not both.

    A request with a reference is sent as JSON instead of a form, with its other images as `data:` URLs. Raises
    `RequestInvalidError` if not exactly one of the two is set.
    """

    image_url: str | None = field(default=None, repr=False)
    file_id: str | None = None

    def __attrs_post_init__(self) -> None:
        names = [text for text in (self.image_url, self.file_id) if text is not None]
        if len(names) != 1 or not isinstance(names[0], str) or not names[0]:  # pyright: ignore[reportUnnecessaryIsInstance]  unchecked
            raise RequestInvalidError("an ImageReference has either an image_url or a file_id, as text")


ImageInput: TypeAlias = (
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
"""An image to edit: a path, URL, bytes, binary file, object with an async `read`, Pillow image or `Image`."""


class EditParams(GenerateParams, total=False):
    """The keywords of `edit` and `stream_edit`: the fields of `EditRequest`."""

    image: ImageInput | Sequence[ImageInput]
    mask: ImageInput | None
    markup: ImageInput | None
    input_fidelity: str | None
    as_json: bool


def reference_of(image: object) -> ImageReference | None:
    """Return the `ImageReference` of an image that is one or is a URL; None for any other image."""
    if isinstance(image, ImageReference):
        return image
    if isinstance(image, str) and image.startswith(("http://", "https://", "data:")):
        return ImageReference(image_url=image)
    return None


def as_list(image: object) -> list[Any]:
    """Return one or more images as a list."""
    return list(cast("Sequence[Any]", image)) if isinstance(image, list | tuple) else [image]


def _repr_images(image: object) -> str:
    count = len(as_list(image))
    return f"<{count} image{'s' * (count != 1)}>"


def _repr_layer(image: object) -> str:
    return "None" if image is None else "<image>"


@keyword_hints
@frozen(repr=False)
class EditRequest(GenerateRequest):
    """One request for images made from the 1 to 16 images in `image`; only parameters that are set are sent.

    An image is a path, bytes, a binary file (always sent from its first byte), an object with an async `read`, a Pillow
    image, an `Image` of an earlier result, a URL or an `ImageReference`. `mask` is a PNG of the size of the first
    image, whose transparent parts are edited; `markup` is a PNG that is drawn over the first image, not together with a
    mask; `input_fidelity` is "high" or "low", for older models only. `as_json` sends JSON with `data:` URLs instead of
    a form, for servers that need it. The other parameters are those of `GenerateRequest`.
    Raises `RequestInvalidError` if the prompt is not a str, or an image is a tuple of a name and its content.
    """

    path: ClassVar[str] = "/images/edits"

    image: ImageInput | Sequence[ImageInput] = field(kw_only=True, repr=_repr_images, hash=False)
    mask: ImageInput | None = field(default=None, kw_only=True, repr=_repr_layer, hash=False)
    markup: ImageInput | None = field(default=None, kw_only=True, repr=_repr_layer, hash=False)
    input_fidelity: str | None = field(default=None, kw_only=True)
    as_json: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        GenerateRequest.__attrs_post_init__(self)
        for part in ("image", "mask", "markup"):
            value: object = getattr(self, part)
            if any(_is_named_content(each) for each in (value, *as_list(value))):
                raise RequestInvalidError(
                    f"{part}: a tuple of a name, a content and a type, as in the official package, is not needed: pass "
                    "the content alone, whose type is read from its bytes; a list holds several images"
                )


def _is_named_content(image: object) -> bool:
    """Whether this is `(name, content)` or `(name, content, type)`, which would be taken for several images."""
    if not isinstance(image, tuple) or len(cast("tuple[object, ...]", image)) < 2:
        return False
    name, content = cast("tuple[object, ...]", image)[:2]
    is_content = isinstance(content, bytes | bytearray | memoryview | Readable)
    return isinstance(name, str | None) and is_content and not isinstance(content, Image)
