"""The images passed by the caller for an edit: opened, measured, checked, ready to be sent.

Invariants: nothing is opened before the call begins; all problems are reported together, each with its position and
name. Memory holds one copy of what can be read only once, and none of what is on a disk; threads read the disk.
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
from openai_images.validation.edit_rules import SourceInfo, image_problems
from openai_images.validation.validator import RequestValidator
from openai_images.wire.requests import EditImages, ImageSource

_log = logging.getLogger("openai_images")

SourceOrReference: TypeAlias = ImageSource | ImageReference

_CHUNK = 256 * 1024
_MOST_BYTES = 512 * 1024 * 1024
"""More than any server takes: what never ends is not read for ever."""

_LONGEST_NAME = 255
"""What is longer and no file's name may be a picture in base64."""

_KEPT_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
_NEAREST_MODES = {"La": "LA", "PA": "RGBA", "RGBa": "RGBA", "I": "I;16"}
"""Pillow's modes that PNG knows, and those that come nearest; of all others (CMYK, LAB, F) a screen's colours."""


@frozen(repr=False)
class OpenedImage:
    """An opened picture with the part of the request it is, what messages call it, and its first bytes."""

    part: str
    name: str
    picture: SourceOrReference
    head: bytes = b""


async def open_images(request: EditRequest, validator: RequestValidator) -> EditImages:
    """The images of an edit, opened and checked; doubtful ones are logged. Raises `RequestInvalidError`."""
    found = await open_all(request)
    by_part = {one.part: one.picture for one in found}
    images = [one.picture for one in found if one.part == "image"]
    pictures = EditImages(images, by_part.get("mask"), by_part.get("markup"))
    as_json = request.as_json or pictures.referred
    problems = image_problems([_facts(one) for one in found], official=validator.official, as_json=as_json)
    for doubt in validator.pictures(problems):
        _log.warning("%s; it is sent all the same", doubt)
    return pictures


def _facts(one: OpenedImage) -> SourceInfo | ImageReference:
    if isinstance(one.picture, ImageReference):
        return one.picture
    return SourceInfo(one.part, one.name, one.picture.nbytes, one.head)


async def open_all(request: EditRequest) -> list[OpenedImage]:
    """Every picture of a request, in order. Raises `RequestInvalidError` with all that cannot be read."""
    images = as_list(request.image)
    names = ["image"] if len(images) == 1 else [f"image[{number}]" for number in range(len(images))]
    wanted = [("image", name, image) for name, image in zip(names, images, strict=True)]
    layers = (("mask", request.mask), ("markup", request.markup))
    wanted += [(part, part, layer) for part, layer in layers if layer is not None]
    found: list[OpenedImage] = []
    problems: list[str] = []
    for part, name, given in wanted:
        try:
            picture, head = await _open(given)
        except (ImagesError, OSError, ValueError, TypeError) as error:
            problems.append(f"{name}: {_why(error)}")
        else:
            found.append(OpenedImage(part, name, picture, head))
    if problems:
        raise RequestInvalidError(f"the request was not sent: {'; '.join(problems)}")
    return found


def _why(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        where = "" if error.filename is None else f": {_shown(error.filename)}"
        return f"it cannot be read ({error.strerror}{where})"
    return str(error) if isinstance(error, ImagesError) else f"it cannot be read ({error})"


def _shown(name: Any) -> str:
    if len(name) <= _LONGEST_NAME:
        return repr(name)
    return f"a text of {len(name):,} characters; base64 has to be decoded to bytes first"


async def _open(given: Any) -> tuple[SourceOrReference, bytes]:
    """The picture, and its first bytes."""
    if (reference := reference_of(given)) is not None:
        return reference, b""
    match given:
        case Image():
            return await _open(given.data if given.path is None else given.path)
        case bytes() | bytearray() | memoryview():
            return _open_bytes(memoryview(cast("bytes", given)).cast("B"))
        case str() | os.PathLike():
            return await asyncio.to_thread(_open_path, os.fspath(cast("str", given)))
        case PillowImage():
            return _open_bytes(await asyncio.to_thread(_encode_pillow, given))
        case Readable() | AsyncIterable():
            return await _from_reader(given)
        case _:
            raise RequestInvalidError(
                f"a {type(given).__name__} is no picture; give a path, bytes, a binary file, a Pillow image, an Image, "
                "a URL or an ImageReference"
            )


def _open_bytes(view: memoryview) -> tuple[ImageSource, bytes]:
    head = bytes(view[: media.HEAD_BYTES])
    return BytesSource(view, media.media_type(head)), head


def _open_path(path: str) -> tuple[ImageSource, bytes]:
    with Path(path).open("rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):  # a pipe, such as the `<(…)` of a shell, can be read once
            gathered = bytearray()
            while chunk := file.read(_CHUNK):
                _append_chunk(gathered, chunk)
            return _open_bytes(memoryview(gathered))
        head = file.read(media.HEAD_BYTES)
        return PathSource(path, status.st_size, media.media_type(head)), head


def _encode_pillow(image: PillowImage) -> memoryview:
    """A Pillow image as PNG, which loses nothing."""
    if image.mode not in _KEPT_MODES:
        image = cast("Any", image).convert(_NEAREST_MODES.get(image.mode, "RGB"))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    # Not getbuffer(): collected in a cycle, as that of an error, it would be complained about.
    return memoryview(buffer.getvalue())


async def _from_reader(given: Any) -> tuple[SourceOrReference, bytes]:
    """A binary file where it can be read again, and otherwise a copy of all that comes."""
    if isinstance(given, io.TextIOBase):
        raise RequestInvalidError("a file opened as text is no picture; open it with 'rb'")
    asks = not isinstance(given, Readable) or inspect.iscoroutinefunction(given.read)
    if not asks and await asyncio.to_thread(_can_seek, given):
        return await asyncio.to_thread(_from_file, cast("BinaryIO", given))
    seek: Any = getattr(given, "seek", None)
    if inspect.iscoroutinefunction(seek):
        with contextlib.suppress(OSError):  # it can be read once
            await seek(0)
    gathered = bytearray()
    source: AsyncIterable[Any] = _chunks(given) if isinstance(given, Readable) else given
    async for chunk in source:
        _append_chunk(gathered, chunk)
    return _open_bytes(memoryview(gathered))


def _append_chunk(gathered: bytearray, chunk: Any) -> None:
    """Add what was read. Raises `RequestInvalidError`."""
    if chunk is None:
        raise RequestInvalidError("it has nothing to read yet, as a pipe that does not block")
    if not isinstance(chunk, bytes | bytearray | memoryview):
        raise RequestInvalidError(f"reading it gave {type(chunk).__name__} instead of bytes")
    gathered += chunk
    if len(gathered) > _MOST_BYTES:
        raise RequestInvalidError(f"it has more than {_MOST_BYTES:,} bytes; servers take far less")


async def _chunks(given: Any) -> AsyncIterator[Any]:
    """What an object whose `read` may have to be awaited gives, until it gives nothing."""
    asks = inspect.iscoroutinefunction(given.read)
    while True:
        chunk = given.read(_CHUNK) if asks else await asyncio.to_thread(partial(given.read, _CHUNK))
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
    memory = isinstance(file, io.BytesIO)
    return FileSource(file, size_of(file), media.media_type(head), blocks=not memory), head
