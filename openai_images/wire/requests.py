"""Builds the requests of `POST /images/generations` and `/images/edits`: URL, headers and body.

Invariants: pure; only parameters that were set are sent.
Must not: read responses (`response.py` does) or errors (`error_mapping.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

from openai_images._util.json import is_mapping
from openai_images._version import __version__
from openai_images.errors import RequestInvalidError
from openai_images.models import media
from openai_images.models.requests import GenerateRequest, ImageReference
from openai_images.wire.codec import encode_json, encode_text, request_params

_USER_AGENT = f"openai-images/{__version__}"


class HTTPRequest(NamedTuple):
    """A request to send; always a POST."""

    url: str
    headers: Mapping[str, str]
    body: bytes | CompositeBody

    def __repr__(self) -> str:
        return f"<HTTPRequest to {self.url}>"  # not the key or the prompt


def generate_request(
    url: str, request: GenerateRequest, headers: Mapping[str, str], *, stream: bool
) -> HTTPRequest:
    """Return a request for images; `headers` (authorization, the user's own) override the defaults.

    Raises `RequestInvalidError`.
    """
    defaults = _headers("application/json", stream)
    return HTTPRequest(
        url, merge_headers(defaults, headers), encode_json(request_params(request, stream=stream))
    )


def edit_request(  # noqa: PLR0913  a generation's parameters, the images and the boundary
    url: str,
    body: Mapping[str, Any],
    images: EditImages,
    headers: Mapping[str, str],
    *,
    stream: bool,
    boundary: str | None,
) -> HTTPRequest:
    """Return a request for images made from `images`: a form with this `boundary`, or JSON without one.

    Raises `RequestInvalidError`.
    """
    if boundary is None:
        defaults = _headers("application/json", stream)
        return HTTPRequest(url, merge_headers(defaults, headers), json_edit_body(encode_json(body), images))
    defaults = _headers(f"multipart/form-data; boundary={boundary}", stream)
    overrides = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return HTTPRequest(url, merge_headers(defaults, overrides), multipart_body(body, images, boundary))


def _headers(content_type: str, stream: bool) -> dict[str, str]:
    """Return the default headers; they decline compression, which costs ten times as much as decoding base64."""
    return {
        "Content-Type": content_type,
        "Accept": "text/event-stream, application/json" if stream else "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": _USER_AGENT,
    }


def merge_headers(defaults: Mapping[str, str], overrides: Mapping[str, str]) -> dict[str, str]:
    """Return both, each name once: `overrides` win, in any case of letters."""
    if not overrides:
        return dict(defaults)
    names = {name.lower() for name in overrides}
    return {name: value for name, value in defaults.items() if name.lower() not in names} | dict(overrides)


class ImageReader(Protocol):
    """Reads an image once, from its start."""

    def read(self, count: int, /) -> bytes | memoryview:
        """Return the next bytes; may block."""
        ...

    def close(self) -> None:
        """Close the reader."""
        ...


class ImageSource(Protocol):
    """An image to send, which can be read several times."""

    @property
    def nbytes(self) -> int:
        """The size in bytes."""
        ...

    @property
    def media_type(self) -> str:
        """The media type, from the image's own bytes."""
        ...

    @property
    def blocks(self) -> bool:
        """Whether reading may wait for a disk."""
        ...

    def open(self) -> ImageReader:
        """Return a new reader. Raises OSError and `RequestInvalidError`."""
        ...


class Base64Source:
    """An image's bytes in base64; `len` is the number of characters."""

    def __init__(self, source: ImageSource) -> None:
        self.source = source

    def __len__(self) -> int:
        return (self.source.nbytes + 2) // 3 * 4


Piece: TypeAlias = bytes | ImageSource | Base64Source


class CompositeBody:
    """A body in pieces; `len` is its length in bytes."""

    def __init__(self, pieces: tuple[Piece, ...]) -> None:
        self.pieces = pieces

    def __len__(self) -> int:
        return sum(
            len(piece) if isinstance(piece, bytes | Base64Source) else piece.nbytes for piece in self.pieces
        )


class EditImages(NamedTuple):
    """The opened images of a request."""

    images: Sequence[ImageSource | ImageReference]
    mask: ImageSource | ImageReference | None = None
    markup: ImageSource | ImageReference | None = None

    def __repr__(self) -> str:
        return f"<EditImages, {len(self.images)}>"  # their URLs may be signed

    @property
    def referred(self) -> bool:
        """Whether any is an `ImageReference`, which only JSON can send."""
        return any(isinstance(image, ImageReference) for _, image in self.named)

    @property
    def named(self) -> list[tuple[str, ImageSource | ImageReference]]:
        """Each image with the name of its form field."""
        field = "image" if len(self.images) == 1 else "image[]"
        layers = (("mask", self.mask), ("markup", self.markup))
        return [
            *((field, image) for image in self.images),
            *((name, image) for name, image in layers if image is not None),
        ]


def multipart_body(body: Mapping[str, Any], images: EditImages, boundary: str) -> CompositeBody:
    """Return a `multipart/form-data` body of these parameters and images. Raises `RequestInvalidError`."""
    pieces: list[Piece] = []
    for name, text in _form_fields(body):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quote(name)}"\r\n\r\n'
        pieces.append(encode_text(head + text + "\r\n"))
    for number, (name, source) in enumerate(images.named):
        if isinstance(source, ImageReference):
            raise RequestInvalidError("a form cannot hold an ImageReference")
        file = f"{name.removesuffix('[]')}-{number}{media.file_suffix(source.media_type)}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
        pieces += (f"{head}Content-Type: {source.media_type}\r\n\r\n".encode(), source, b"\r\n")
    return CompositeBody((*pieces, f"--{boundary}--\r\n".encode()))


def json_edit_body(encoded: bytes, images: EditImages) -> CompositeBody:
    """Return a JSON body: the encoded parameters, followed by the images as references."""
    pieces: list[Piece] = [encoded.removesuffix(b"}")]
    separator = b"" if encoded == b"{}" else b","
    pieces.append(separator + b'"images":[')
    for number, image in enumerate(images.images):
        pieces += (b"," * (number > 0), *_reference(image))
    pieces.append(b"]")
    for name, layer in (("mask", images.mask), ("markup", images.markup)):
        if layer is not None:
            pieces += (f',"{name}":'.encode(), *_reference(layer))
    return CompositeBody((*pieces, b"}"))


def _reference(image: ImageSource | ImageReference) -> Iterator[Piece]:
    """Yield `{"image_url": …}` or `{"file_id": …}`."""
    if isinstance(image, ImageReference):
        key = "file_id" if image.image_url is None else "image_url"
        yield encode_json({key: image.image_url or image.file_id})
        return
    yield f'{{"image_url":"data:{image.media_type};base64,'.encode()
    yield Base64Source(image)
    yield b'"}'


def _form_fields(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields of a form, nested names in brackets, without those that are None."""
    if is_mapping(value):
        for key, item in value.items():
            yield from _form_fields(item, f"{name}[{key}]" if name else str(key))
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _form_fields(item, f"{name}[]")
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif isinstance(value, str | int | float):
        yield name, str(value)
    elif value is not None:
        raise RequestInvalidError(
            f"{name[:40]} cannot be sent in a form: it is of type {type(value).__name__}"
        )


def _quote(name: str) -> str:
    """Quote a field's name by the HTML standard."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")
