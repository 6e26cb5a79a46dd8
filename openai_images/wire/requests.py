"""The requests of `POST /images/generations` and `/images/edits`, as URL, headers and body.

Rules: pure; only what was set is sent. Answers are read by `reader.py`, refusals by `refusals.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

from attrs import field, frozen

from openai_images._util.json import is_mapping
from openai_images._version import __version__
from openai_images.errors import RequestInvalidError
from openai_images.models import media
from openai_images.models.requests import ImageReference
from openai_images.wire.codec import encode_json, encode_request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.requests import GenerateRequest

_USER_AGENT = f"openai-images/{__version__}"


@frozen
class HTTPRequest:
    """What goes over the wire; always a POST."""

    url: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes | CompositeBody = field(repr=False)


def generate_request(
    url: str, request: GenerateRequest, headers: Mapping[str, str], *, stream: bool
) -> HTTPRequest:
    """A request for pictures; `headers` (authorization, the user's own) win over ours."""
    ours = _headers("application/json", stream)
    return HTTPRequest(url, merge_headers(ours, headers), encode_request(request, stream=stream))


def edit_request(  # noqa: PLR0913  a generation's, the pictures, and what parts them
    url: str,
    body: Mapping[str, Any],
    pictures: EditImages,
    headers: Mapping[str, str],
    *,
    stream: bool,
    boundary: str | None,
) -> HTTPRequest:
    """A request for pictures made from `pictures`: a form with this `boundary`, or JSON without one.

    Raises `RequestInvalidError`.
    """
    if boundary is None:
        ours = _headers("application/json", stream)
        return HTTPRequest(url, merge_headers(ours, headers), json_edit_body(encode_json(body), pictures))
    ours = _headers(f"multipart/form-data; boundary={boundary}", stream)
    theirs = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return HTTPRequest(url, merge_headers(ours, theirs), multipart_body(body, pictures, boundary))


def _headers(content_type: str, stream: bool) -> dict[str, str]:
    """Base64 hardly compresses, and inflating it costs ten times what decoding it does: we ask for it plain."""
    return {
        "Content-Type": content_type,
        "Accept": "text/event-stream, application/json" if stream else "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": _USER_AGENT,
    }


def merge_headers(ours: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
    """Both, and no name twice: theirs win, however they are spelled."""
    names = {name.lower() for name in theirs}
    return {name: value for name, value in ours.items() if name.lower() not in names} | dict(theirs)


class ImageReader(Protocol):
    """A picture that is being read, from its start."""

    def read(self, count: int, /) -> bytes | memoryview:
        """The next bytes; may block."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class ImageSource(Protocol):
    """A picture to be sent: its bytes may be read several times."""

    @property
    def nbytes(self) -> int:
        """Its size."""
        ...

    @property
    def media_type(self) -> str:
        """By its bytes."""
        ...

    @property
    def blocks(self) -> bool:
        """Whether reading waits for a disk."""
        ...

    def open(self) -> ImageReader:
        """Start to read. Raises OSError and `RequestInvalidError`."""
        ...


@frozen
class Base64Source:
    """A picture's bytes in base64."""

    source: ImageSource

    def __len__(self) -> int:
        """Characters."""
        return (self.source.nbytes + 2) // 3 * 4


Piece: TypeAlias = bytes | ImageSource | Base64Source


@frozen(repr=False)
class CompositeBody:
    """A body in pieces; `len` is its length in bytes."""

    pieces: tuple[Piece, ...]

    def __len__(self) -> int:
        """All of it."""
        return sum(
            len(piece) if isinstance(piece, bytes | Base64Source) else piece.nbytes for piece in self.pieces
        )


@frozen(repr=False)
class EditImages:
    """The opened pictures of a request."""

    images: Sequence[ImageSource | ImageReference]
    mask: ImageSource | ImageReference | None = None
    markup: ImageSource | ImageReference | None = None

    @property
    def referred(self) -> bool:
        """Whether any of them is with the server already, which only JSON can say."""
        return any(isinstance(image, ImageReference) for _, image in self.named)

    @property
    def named(self) -> list[tuple[str, ImageSource | ImageReference]]:
        """Each with its field in a form."""
        field = "image" if len(self.images) == 1 else "image[]"
        layers = (("mask", self.mask), ("markup", self.markup))
        return [
            *((field, image) for image in self.images),
            *((name, one) for name, one in layers if one is not None),
        ]


def multipart_body(body: Mapping[str, Any], pictures: EditImages, boundary: str) -> CompositeBody:
    """A `multipart/form-data` body of these parameters and pictures. Raises `RequestInvalidError`."""
    pieces: list[Piece] = []
    for name, text in _texts(body):
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n\r\n'
        pieces.append(_bytes(head + text + "\r\n"))
    for number, (name, source) in enumerate(pictures.named):
        if isinstance(source, ImageReference):
            msg = "a form cannot hold an ImageReference"
            raise RequestInvalidError(msg)
        file = f"{name.removesuffix('[]')}-{number}{media.file_suffix(source.media_type)}"
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file}"\r\n'
        pieces += (f"{head}Content-Type: {source.media_type}\r\n\r\n".encode(), source, b"\r\n")
    return CompositeBody((*pieces, f"--{boundary}--\r\n".encode()))


def json_edit_body(encoded: bytes, pictures: EditImages) -> CompositeBody:
    """A JSON body: the parameters as they were encoded, and the pictures behind them as references."""
    pieces: list[Piece] = [encoded.removesuffix(b"}")]
    separator = b"" if encoded == b"{}" else b","
    pieces.append(separator + b'"images":[')
    for number, image in enumerate(pictures.images):
        pieces += (b"," * (number > 0), *_reference(image))
    pieces.append(b"]")
    for name, layer in (("mask", pictures.mask), ("markup", pictures.markup)):
        if layer is not None:
            pieces += (f',"{name}":'.encode(), *_reference(layer))
    return CompositeBody((*pieces, b"}"))


def _reference(image: ImageSource | ImageReference) -> Iterator[Piece]:
    """`{"image_url": …}` or `{"file_id": …}`."""
    if isinstance(image, ImageReference):
        kind = "file_id" if image.image_url is None else "image_url"
        yield encode_json({kind: image.image_url or image.file_id})
        return
    yield f'{{"image_url":"data:{image.media_type};base64,'.encode()
    yield Base64Source(image)
    yield b'"}'


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """The fields of a form, nested names in brackets; what is None is not sent."""
    if is_mapping(value):
        for key, item in value.items():
            yield from _texts(item, f"{name}[{key}]" if name else str(key))
    elif isinstance(value, list | tuple):
        for item in cast("list[Any]", value):
            yield from _texts(item, f"{name}[]")
    elif isinstance(value, bool):
        yield name, "true" if value else "false"
    elif isinstance(value, str | int | float):
        yield name, str(value)
    elif value is not None:
        msg = f"{name[:40]} cannot be sent in a form: it is of type {type(value).__name__}"
        raise RequestInvalidError(msg)


def _quoted(name: str) -> str:
    """A field's name as the HTML standard has it quoted."""
    return name.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22")


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        pass
    msg = "the request holds half of a surrogate pair, which is no character; check the prompt's encoding"
    raise RequestInvalidError(msg)
