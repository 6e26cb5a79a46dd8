"""Reads the fields and images of an edit, from a multipart form or from JSON; records the parts of a form.

Invariants: of a form one file is in memory at a time and inspected in a thread, and only if it may be an image and is
small enough; a malformed form is rejected after it was recorded. In JSON, images are data: URLs, other URLs and ids of
files: nothing is fetched, and the image of a URL, or of an unknown file id, stays unresolved.
Must not: check images and parameters; `source_images.py` and `parameters.py` do.
"""

import asyncio
import binascii
import hashlib
import io
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import attrs

from openai_images.server.protocol.error_replies import (
    RequestRejectedError,
    bad_request,
    check_length,
    check_members,
    missing_parameter,
    too_large,
    wrong_type,
)
from openai_images.server.requests.files import FileStore
from openai_images.server.requests.multipart import (
    FormParser,
    MalformedFormError,
    PartEnd,
    PartEvent,
    PartStart,
    parse_boundary,
    parse_text,
    set_field,
)
from openai_images.server.requests.records import RecordedPart
from openai_images.server.requests.request_body import BodyChunks, UnreadableBodyError
from openai_images.server.requests.source_images import (
    MAX_IMAGE_BYTES,
    MAX_IMAGES,
    Role,
    UploadedImage,
    UploadedImages,
    check_image_count,
    inspect_image,
    unresolved_image,
)

TEXT_BYTES: Final = 1024 * 1024
_PARTS_A_TURN: Final = 32  # parts after which other tasks run; one chunk may have a thousand

_FILE: Final = object()  # replaces a file in a field that should be text


@attrs.define
class Form:
    """A complete multipart body; `problem` is the reason why it cannot be used."""

    fields: dict[str, Any] = attrs.field(factory=dict[str, Any])
    images: list[UploadedImage] = attrs.field(factory=list[UploadedImage])
    extras: dict[str, UploadedImage] = attrs.field(factory=dict[str, UploadedImage])
    parts: list[RecordedPart] = attrs.field(factory=list[RecordedPart])
    problem: RequestRejectedError | None = None

    @property
    def uploads(self) -> UploadedImages:
        """Its images."""
        images = tuple(self.images)
        if len(images) > 1 or (images and images[0].name.endswith("]")):
            images = tuple(attrs.evolve(image, name=f"image[{index}]") for index, image in enumerate(images))
        return UploadedImages(
            parameter="image", images=images, mask=self.extras.get("mask"), markup=self.extras.get("markup")
        )


@attrs.define
class _PartBuffer:
    start: PartStart
    role: Role | None
    content: io.BytesIO = attrs.field(factory=io.BytesIO)
    nbytes: int = 0
    digest: Any = attrs.field(factory=hashlib.sha256)

    @property
    def is_file(self) -> bool:
        return self.start.filename is not None

    def add(self, data: bytes) -> None:
        self.nbytes += len(data)
        self.digest.update(data)
        if not self.is_file:
            if self.nbytes > TEXT_BYTES:
                raise too_large(TEXT_BYTES)
            self.content.write(data)
        elif self.role is not None:
            if self.nbytes < MAX_IMAGE_BYTES:
                self.content.write(data)
            else:
                self.content = io.BytesIO()

    def record(self) -> RecordedPart:
        return RecordedPart(
            name=self.start.name or "",
            filename=self.start.filename,
            content_type=self.start.headers.get("content-type"),
            nbytes=self.nbytes,
            sha256=self.digest.hexdigest(),
            text=None if self.is_file else self.text,
            headers=self.start.headers,
        )

    @property
    def text(self) -> str:
        return self.content.getvalue().decode("utf-8", "replace")


@attrs.define(kw_only=True)
class FormReader:
    """Reads one form; `inspect`: its images are needed; `pixels`: images are drawn from their pixels.

    Images are opened in `thread`.
    """

    inspect: bool
    pixels: bool
    thread: Executor
    _form: Form = attrs.field(init=False, factory=Form)
    _part: _PartBuffer = attrs.field(init=False, factory=lambda: _PartBuffer(PartStart({}), None))

    async def read(self, chunks: BodyChunks, content_type: str) -> Form:
        """Return the form in the body."""
        broken: MalformedFormError | None = None
        try:
            parser = FormParser(parse_boundary(content_type))
            async for chunk in chunks:
                # A malformed form is read to its end, so that its sender reads the response.
                if broken is None:
                    try:
                        await self._handle(parser.feed(chunk))
                    except MalformedFormError as error:
                        broken = error
            if broken is not None:
                raise broken
            parser.close()
        except MalformedFormError as error:
            self._form.problem = bad_request(f"Could not parse your multipart form: {error}.", code=None)
        except UnreadableBodyError:
            self._form.problem = bad_request("Could not parse your multipart form.", code=None)
        return self._form

    async def _handle(self, pieces: Iterator[PartEvent]) -> None:
        for event in pieces:
            if isinstance(event, PartStart):
                self._part = _PartBuffer(event, self._role(event))
            elif isinstance(event, PartEnd):
                await self._add(self._part)
            else:
                self._part.add(event)

    def _role(self, start: PartStart) -> Role | None:
        """Return the role of a file; None if it is not read."""
        name = start.name
        if start.filename is None or not self.inspect:
            return None
        if name in {"image", "image[]"} and len(self._form.images) < MAX_IMAGES:
            return "other" if self._form.images else "first"
        return "mask" if name == "mask" else "markup" if name == "markup" else None

    async def _add(self, part: _PartBuffer) -> None:
        self._form.parts.append(part.record())
        name = part.start.name
        if name is None:
            message = "Could not parse your multipart form: a part has no name."
            self._reject(bad_request(message, code=None))
        elif part.is_file and name in {"image", "image[]", "mask", "markup"}:
            await self._add_image(name, part)
            part.content = io.BytesIO()
        elif not set_field(self._form.fields, name, _FILE if part.is_file else parse_text(name, part.text)):
            self._reject_duplicate(name)
        if len(self._form.parts) % _PARTS_A_TURN == 0:
            await asyncio.sleep(0)

    async def _add_image(self, name: str, part: _PartBuffer) -> None:
        info = None
        if part.role is not None and part.content.getbuffer().nbytes:
            digest = part.digest.hexdigest()
            inspect = partial(inspect_image, part.content, digest, part.role, pixels=self.pixels)
            info = await asyncio.get_running_loop().run_in_executor(self.thread, inspect)
        media_type = part.start.headers.get("content-type")
        upload = UploadedImage(name=name, media_type=media_type, nbytes=part.nbytes, info=info)
        if name in {"image", "image[]"}:
            self._form.images.append(upload)
        elif name in self._form.extras:
            self._reject_duplicate(name)
        else:
            self._form.extras[name] = upload

    def _reject_duplicate(self, name: str) -> None:
        message = (
            f"Duplicate parameter: '{name[:200]}'. You provided multiple values for this parameter, whereas only one "
            "is allowed."
        )
        self._reject(bad_request(message, code="duplicate_parameter", param=name[:200]))

    def _reject(self, problem: RequestRejectedError) -> None:
        self._form.problem = self._form.problem or problem


_MAX_URL: Final = 20_971_520
_DATA_URL: Final = re.compile(r"data:(image/[a-z0-9.+-]{1,100});base64,", re.IGNORECASE)
_BASE64_SLICE: Final = 1024 * 1024  # characters per step, a multiple of four


def read_references(values: dict[str, Any], files: FileStore, *, pixels: bool) -> UploadedImages:
    """Remove the images from the parameters of a JSON edit and return them; blocking.

    `pixels`: images are drawn from the source images' pixels.
    """
    images = values.pop("images", None)
    if images is None:
        raise missing_parameter("images")
    if not isinstance(images, list):
        raise wrong_type("images", "an array of objects", images)
    listed = cast("list[object]", images)
    if not listed:
        message = (
            "Invalid 'images': empty array. Expected an array with minimum length 1, but got an empty array."
        )
        raise bad_request(message, code="empty_array", param="images")
    check_image_count(len(listed), "images")
    read = partial(_read_reference, files=files, pixels=pixels)
    return UploadedImages(
        parameter="images",
        images=tuple(
            read(item, f"images[{index}]", "other" if index else "first") for index, item in enumerate(listed)
        ),
        **{
            role: read(item, role, role)
            for role in ("mask", "markup")
            if (item := values.pop(role, None)) is not None
        },
    )


def _read_reference(item: object, name: str, role: Role, *, files: FileStore, pixels: bool) -> UploadedImage:
    present = check_members(name, item, {"image_url": str, "file_id": str})
    if len(present) != 1:
        message = f"Invalid '{name}': expected exactly one of 'image_url' and 'file_id'."
        raise bad_request(message, code="invalid_value", param=name)
    ((name, value),) = present.items()
    is_file = name.endswith(".file_id")
    data, media_type = (_read_file(value, files), None) if is_file else _read_url(value, name)
    if data is None:
        return UploadedImage(name=name, media_type=None, nbytes=0, info=unresolved_image(value))
    info = inspect_image(io.BytesIO(data), hashlib.sha256(data).hexdigest(), role, pixels=pixels)
    if is_file and info is not None:
        media_type = f"image/{info.format.lower()}"
    return UploadedImage(name=name, media_type=media_type, nbytes=len(data), info=info)


def _read_file(file_id: str, files: FileStore) -> bytes | None:
    if (path := files.find_path(file_id)) is not None:
        with suppress(FileNotFoundError), path.open("rb") as file:  # it may be deleted in the meantime
            return file.read(MAX_IMAGE_BYTES)
    return None


def _read_url(url: str, name: str) -> tuple[bytes | None, str | None]:
    """Return the bytes and the media type in a data: URL, None for a URL that would have to be fetched."""
    check_length(name, url, _MAX_URL)
    if re.match(r"https?://[^/\s]", url):
        return None, None
    if (match := _DATA_URL.match(url)) is None:
        message = (
            f"Invalid '{name}'. Expected a valid URL or a base64-encoded data URL with an image MIME type (e.g. "
            "'data:image/png;base64,aW1nIGJ5dGVzIGhlcmU='), but got a value with an invalid format."
        )
        raise bad_request(message, code="invalid_value", param=name)
    try:
        return _decode(url, match.end()), match[1].lower()
    except ValueError:
        message = (
            f"Invalid '{name}'. Expected a base64-encoded data URL, but got a value with invalid base64."
        )
        raise bad_request(message, code="invalid_value", param=name) from None


def _decode(text: str, start: int) -> bytes:
    """Decode the base64 that begins at `start`, in slices, so that other threads can run in between."""
    if 0 <= text.find("=", start) < len(text) - 2:
        raise ValueError("padding before the end")
    slices = (text[index : index + _BASE64_SLICE] for index in range(start, len(text), _BASE64_SLICE))
    return b"".join(binascii.a2b_base64(piece, strict_mode=True) for piece in slices)
