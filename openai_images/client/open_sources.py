"""Opens and checks the input images of an edit.

Invariants: nothing is opened before the call starts; all problems are reported together, each with position and name; a
one-shot stream is copied into memory once, a file is not copied; threads read files.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import logging
import os
import stat
from collections.abc import AsyncIterable, AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias, cast

from attrs import frozen

from openai_images.client.sources import BytesSource, FileSource, PathSource, read_at, size_of
from openai_images.errors import ImagesError, RequestInvalidError
from openai_images.models import media
from openai_images.models.image import Image
from openai_images.models.requests import (
    EditRequest,
    ImageReference,
    PillowImage,
    Readable,
    as_list,
    reference_of,
)
from openai_images.validation.rules import SourceInfo, image_problems
from openai_images.validation.validator import RequestValidator
from openai_images.wire.requests import EditImages, ImageSource

_log = logging.getLogger("openai_images")

SourceOrReference: TypeAlias = ImageSource | ImageReference

_CHUNK = 256 * 1024
_MAX_BYTES = 512 * 1024 * 1024
"""More than any server accepts: limits the reading of an endless stream."""

_MAX_NAME_LENGTH = 255
"""A longer string is probably an image in base64, not a file name."""

_KEPT_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_NEAREST_MODES = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA", "I": "I;16"}
"""Pillow's modes that PNG supports, and the nearest mode for some others; all others (CMYK, LAB, F) become RGB."""


@frozen(repr=False)
class OpenedImage:
    """An opened image: its request parameter (`part`), its name in messages, its source, and its first bytes."""

    part: str
    name: str
    source: SourceOrReference
    head: bytes = b""


async def open_images(request: EditRequest, validator: RequestValidator) -> EditImages:
    """Open and check the images of an edit; log doubtful ones. Raises `RequestInvalidError`."""
    opened = await open_all(request)
    by_part = {image.part: image.source for image in opened}
    sources = [image.source for image in opened if image.part == "image"]
    images = EditImages(sources, by_part.get("mask"), by_part.get("markup"))
    as_json = request.as_json or images.referred
    problems = image_problems(
        [_source_info(image) for image in opened], official=validator.official, as_json=as_json
    )
    for doubt in validator.pictures(problems):
        _log.warning("%s; the server decides", doubt)
    return images


def _source_info(image: OpenedImage) -> SourceInfo | ImageReference:
    if isinstance(image.source, ImageReference):
        return image.source
    return SourceInfo(image.part, image.name, image.source.nbytes, image.head)


async def open_all(request: EditRequest) -> list[OpenedImage]:
    """Open every image of a request, in order. Raises `RequestInvalidError` that names all unreadable ones."""
    images = as_list(request.image)
    names = ["image"] if len(images) == 1 else [f"image[{number}]" for number in range(len(images))]
    values = [("image", name, image) for name, image in zip(names, images, strict=True)]
    layers = (("mask", request.mask), ("markup", request.markup))
    values += [(part, part, layer) for part, layer in layers if layer is not None]
    opened: list[OpenedImage] = []
    problems: list[str] = []
    for part, name, value in values:
        try:
            source, head = await _open(value)
        except (ImagesError, OSError, ValueError, TypeError) as error:
            problems.append(f"{name}: {_reason(error)}")
        else:
            opened.append(OpenedImage(part, name, source, head))
    if problems:
        raise RequestInvalidError(f"the request was not sent: {'; '.join(problems)}")
    return opened


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        file = "" if error.filename is None else f": {_display_name(error.filename)}"
        return f"it cannot be read ({error.strerror}{file})"
    return str(error) if isinstance(error, ImagesError) else f"it cannot be read ({error})"


def _display_name(name: Any) -> str:
    if len(name) <= _MAX_NAME_LENGTH:
        return repr(name)
    return f"a text of {len(name):,} characters; decode base64 to bytes first"


async def _open(value: Any) -> tuple[SourceOrReference, bytes]:
    """Open an image; return its source and its first bytes."""
    if (reference := reference_of(value)) is not None:
        return reference, b""
    match value:
        case Image():
            return await _open(value.data if value.path is None else value.path)
        case bytes() | bytearray() | memoryview():
            return _open_bytes(memoryview(cast("bytes", value)).cast("B"))
        case str() | os.PathLike():
            return await asyncio.to_thread(_open_path, os.fspath(cast("str", value)))
        case PillowImage():
            return _open_bytes(await asyncio.to_thread(_encode_pillow, value))
        case Readable() | AsyncIterable():
            return await _from_reader(value)
        case _:
            raise RequestInvalidError(
                f"{type(value).__name__} is not an image; pass a path, bytes, a binary file, a Pillow image, an "
                "Image, a URL or an ImageReference"
            )


def _open_bytes(view: memoryview) -> tuple[ImageSource, bytes]:
    head = bytes(view[: media.HEAD_BYTES])
    return BytesSource(view, media.media_type(head)), head


def _open_path(path: str) -> tuple[ImageSource, bytes]:
    with Path(path).open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):  # a pipe, such as `<(…)` of a shell, can be read only once
            gathered = bytearray()
            while chunk := file.read(_CHUNK):
                _append_chunk(gathered, chunk)
            return _open_bytes(memoryview(gathered))
        head = file.read(media.HEAD_BYTES)
        return PathSource(path, status.st_size, media.media_type(head)), head


def _encode_pillow(image: PillowImage) -> memoryview:
    if image.mode not in _KEPT_MODES:
        image = cast("Any", image).convert(_NEAREST_MODES.get(image.mode, "RGB"))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    # Not getbuffer(): an open buffer that is garbage-collected in a cycle (such as an error's) causes a warning.
    return memoryview(buffer.getvalue())


async def _from_reader(value: Any) -> tuple[SourceOrReference, bytes]:
    """Return the file if it can seek, otherwise a copy of its contents."""
    if isinstance(value, io.TextIOBase):
        raise RequestInvalidError("a file opened as text is not an image; open it with 'rb'")
    is_async = not isinstance(value, Readable) or inspect.iscoroutinefunction(value.read)
    if not is_async and await asyncio.to_thread(_can_seek, value):
        return await asyncio.to_thread(_from_file, cast("BinaryIO", value))
    seek: Any = getattr(value, "seek", None)
    if inspect.iscoroutinefunction(seek):
        with contextlib.suppress(OSError):  # it cannot seek: read it from its position
            await seek(0)
    gathered = bytearray()
    source: AsyncIterable[Any] = _chunks(value) if isinstance(value, Readable) else value
    async for chunk in source:
        _append_chunk(gathered, chunk)
    return _open_bytes(memoryview(gathered))


def _append_chunk(gathered: bytearray, chunk: Any) -> None:
    if chunk is None:
        raise RequestInvalidError(
            "it has no data yet, like a non-blocking pipe; pass a blocking file, or bytes"
        )
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise RequestInvalidError(f"reading it gave {type(chunk).__name__} instead of bytes")
    gathered += chunk
    if len(gathered) > _MAX_BYTES:
        raise RequestInvalidError(f"it has more than {_MAX_BYTES:,} bytes; servers accept far less")


async def _chunks(value: Any) -> AsyncIterator[Any]:
    """Read chunks until the end, from a synchronous or asynchronous `read`."""
    is_async = inspect.iscoroutinefunction(value.read)
    while True:
        chunk = value.read(_CHUNK) if is_async else await asyncio.to_thread(partial(value.read, _CHUNK))
        if inspect.isawaitable(chunk):
            chunk = await chunk
        if chunk is not None and not chunk:
            return
        yield chunk


def _can_seek(file: Any) -> bool:
    try:
        return bool(file.seekable())
    except AttributeError:
        return False


def _from_file(file: BinaryIO) -> tuple[ImageSource, bytes]:
    head = read_at(file, 0, media.HEAD_BYTES)
    in_memory = isinstance(file, io.BytesIO)
    return FileSource(file, size_of(file), media.media_type(head), blocks=not in_memory), head
