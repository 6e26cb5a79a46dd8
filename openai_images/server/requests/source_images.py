"""Inspects and checks the source images of an edit: format, size, transparency, and pixels if needed.

Invariants: the bytes decide, never a name; Pillow opens only images whose size was read here and is small enough; the
bytes are not kept; an image that cannot be decoded is None. The first wrong image gets the API's own message, if it is
known; an image by URL or file id is not checked.
Must not: run in several threads concurrently (the caller has one), or fetch URLs and file ids.
"""

import hashlib
import io
from collections.abc import Mapping
from typing import Any, BinaryIO, Final, Literal, TypeAlias

import attrs
from PIL import Image, ImageOps

from openai_images.server.protocol.catalog import ServedModel, input_tokens
from openai_images.server.protocol.error_replies import (
    USER_ERROR,
    bad_request,
    choice,
    invalid_value,
    missing_parameter,
    unknown_parameter,
)

Format: TypeAlias = Literal["PNG", "JPEG", "WEBP"]

MAX_SEGMENTS: Final = 1000
"""Maximum segments before the size of a JPEG; a camera writes a dozen, a long colour profile some hundred more."""

_START_BYTES: Final = 32
_SIZED: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE: Final = {0x01, *range(0xD0, 0xD9)}
_LAST: Final = {0xD9, 0xDA}

MAX_IMAGES: Final = 16
MAX_IMAGE_BYTES: Final = 50 * 1024 * 1024
_MEDIA_TYPES: Final = ("image/jpeg", "image/png", "image/webp")
FIRST_EDGE: Final = 3840
OTHER_EDGE: Final = 768
MAX_PIXELS: Final = 50_000_000
"""Width x height of an image that is decoded: 200 MB of memory, one image at a time."""
# Pillow copies a decoded WebP while no other thread can run: 50 ms for this many pixels.
MAX_WEBP_PIXELS: Final = 25_000_000
Role = Literal["first", "other", "mask", "markup"]


@attrs.frozen
class ImageHeader:
    """A format, and a size in pixels before EXIF rotation."""

    format: Format
    width: int
    height: int


def read_header(file: BinaryIO) -> ImageHeader | None:
    """Return the format and size of the image in `file`, None for a format that the API lacks; rewind the file."""
    file.seek(0)
    start = file.read(_START_BYTES)
    header = None
    if start.startswith(b"\x89PNG\r\n\x1a\n") and start[12:16] == b"IHDR":
        header = ImageHeader("PNG", int.from_bytes(start[16:20]), int.from_bytes(start[20:24]))
    elif start.startswith(b"\xff\xd8\xff"):
        header = _jpeg(file)
    elif start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        header = _webp(start)
    file.seek(0)
    return header if header is not None and header.width and header.height else None


def _jpeg(file: BinaryIO) -> ImageHeader | None:
    offset = 2
    for _ in range(MAX_SEGMENTS):
        file.seek(offset)
        head = file.read(9)
        if len(head) < 4 or head[0] != 0xFF:
            return None
        marker = head[1]
        if marker in _SIZED:
            return ImageHeader("JPEG", int.from_bytes(head[7:9]), int.from_bytes(head[5:7]))
        if marker in _LAST:
            return None
        if marker == 0xFF:  # a fill byte
            offset += 1
        else:
            offset += 2 if marker in _BARE else 2 + int.from_bytes(head[2:4])
    return None


def _webp(start: bytes) -> ImageHeader | None:
    match start[12:16]:
        case b"VP8X":
            width, height = (int.from_bytes(start[at : at + 3], "little") for at in (24, 27))
            return ImageHeader("WEBP", width + 1, height + 1)
        case b"VP8L":
            bits = int.from_bytes(start[21:25], "little")
            return ImageHeader("WEBP", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
        case b"VP8 ":
            width, height = (int.from_bytes(start[at : at + 2], "little") & 0x3FFF for at in (26, 28))
            return ImageHeader("WEBP", width, height)
        case _:
            return None


@attrs.frozen(kw_only=True)
class ImageInfo:
    """An inspected source image; two are equal if their digests are.

    `width` and `height` are in pixels, after EXIF rotation; `image` is None if its pixels are not needed.
    """

    digest: str
    format: str = attrs.field(eq=False)
    width: int = attrs.field(eq=False)
    height: int = attrs.field(eq=False)
    mode: str = attrs.field(eq=False)
    has_alpha: bool = attrs.field(eq=False)
    has_clear_pixels: bool = attrs.field(eq=False, default=False)
    image: Image.Image | None = attrs.field(eq=False, repr=False, default=None)
    fetched: bool = attrs.field(eq=False, default=True)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


@attrs.frozen(kw_only=True)
class UploadedImage:
    """A source image as it was uploaded: its parameter, declared type and size.

    `media_type` is None if none was declared, `info` if the bytes cannot be decoded.
    """

    name: str
    media_type: str | None
    nbytes: int
    info: ImageInfo | None


@attrs.frozen(kw_only=True)
class UploadedImages:
    """The source images of an edit, unchecked; `parameter` is the name of the parameter of `images`."""

    parameter: Literal["image", "images"]
    images: tuple[UploadedImage, ...] = ()
    mask: UploadedImage | None = None
    markup: UploadedImage | None = None


def unresolved_image(reference: str) -> ImageInfo:
    """Return an image of which only the URL or file id is known; it is not fetched."""
    digest = hashlib.sha256(reference.encode("utf-8", "replace")).hexdigest()
    return ImageInfo(
        digest=digest, format="", width=1024, height=1024, mode="", has_alpha=True, fetched=False
    )


def inspect_image(data: io.BytesIO, digest: str, role: Role, *, pixels: bool) -> ImageInfo | None:
    """Return the image in `data`, with its pixels if they are needed; None if it cannot be decoded."""
    try:
        return _inspect(data, digest, role, pixels=pixels)
    except Exception:  # noqa: BLE001  # decoders raise any exception for bytes that are not an image
        return None


def _inspect(data: io.BytesIO, digest: str, role: Role, *, pixels: bool) -> ImageInfo | None:
    header = read_header(data)
    limit = MAX_WEBP_PIXELS if header is not None and header.format == "WEBP" else MAX_PIXELS
    if header is None or header.width * header.height > limit:
        return None
    image: Image.Image = Image.open(data, formats=(header.format,))
    if image.size != (header.width, header.height):
        return None
    mode = image.mode
    has_alpha = mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info
    turned = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    width, height = (image.height, image.width) if turned else image.size
    reduced = None
    clear = False
    if pixels or role in {"mask", "markup"}:
        edge = OTHER_EDGE if role == "other" else FIRST_EDGE
        image.thumbnail((edge, edge))
        reduced = ImageOps.exif_transpose(image).convert("RGBA" if has_alpha else "RGB")
        clear = has_alpha and reduced.getchannel("A").getextrema()[0] != 255
    return ImageInfo(
        digest=digest,
        format=header.format,
        width=width,
        height=height,
        mode=mode,
        has_alpha=has_alpha,
        has_clear_pixels=clear,
        image=reduced if pixels else None,
    )


@attrs.frozen(kw_only=True)
class CheckedEdit:
    """The images of an accepted edit, and their number of tokens."""

    images: tuple[ImageInfo, ...]
    mask: ImageInfo | None = None
    markup: ImageInfo | None = None
    tokens: int = 0

    @property
    def size(self) -> tuple[int, int] | None:
        """Width and height of the first image, None if it is unresolved."""
        return self.images[0].size if self.images[0].fetched else None


def check_edit(values: Mapping[str, Any], uploads: UploadedImages, model: ServedModel) -> CheckedEdit:
    """Return the checked images of an edit with `model`. Raises `RequestRejectedError`."""
    high = _fidelity(values, model)
    if not uploads.images:
        raise missing_parameter(uploads.parameter)
    check_image_count(len(uploads.images), uploads.parameter)
    images = tuple(_check_image(item, index) for index, item in enumerate(uploads.images, 1))
    first = images[0]
    mask = None if uploads.mask is None else _check_image(uploads.mask, None)
    markup = None if uploads.markup is None else _check_image(uploads.markup, None)
    if markup is not None:
        if model.generation not in {"2.5", "2.6"}:
            raise unknown_parameter("markup")
        if mask is not None:
            raise invalid_value("markup", "The 'markup' parameter cannot be used together with 'mask'.")
        _check_layer(markup, first, "markup")
        if markup.fetched and not markup.has_clear_pixels:
            message = "Invalid markup image format - markup image has no transparent pixels"
            raise invalid_value("markup", message)
    if mask is not None:
        _check_layer(mask, first, "mask")
    tokens = sum(input_tokens(model, *item.size, high_fidelity=high) for item in images)
    return CheckedEdit(images=images, mask=mask, markup=markup, tokens=tokens)


def _fidelity(values: Mapping[str, Any], model: ServedModel) -> bool:
    if "input_fidelity" not in values:
        return False
    if model.generation == "2":
        problem = f"The model '{model.name}' does not support the 'input_fidelity' parameter."
    elif choice(values, "input_fidelity", ("high", "low"), "low") == "low":
        return False
    elif model.name != "gpt-image-1-mini":
        return True
    else:
        problem = f"input_fidelity 'high' is not supported for model '{model.name}'."
    code = "invalid_input_fidelity_model"
    raise bad_request(problem, code=code, param="input_fidelity", error_type=USER_ERROR)


def check_image_count(number: int, name: str) -> None:
    """Reject more images than the API accepts."""
    if number > MAX_IMAGES:
        message = (
            f"Invalid '{name}': array too long. Expected an array with maximum length {MAX_IMAGES}, "
            f"but got an array with length {number} instead."
        )
        raise bad_request(message, code="array_above_max_length", param=name)


def _check_image(upload: UploadedImage, number: int | None) -> ImageInfo:
    """Check that an image has an accepted type and size and can be decoded; `number` counts images from 1."""
    if upload.info is None or upload.info.fetched:
        declared = (upload.media_type or "application/octet-stream").partition(";")[0].strip().lower()
        if declared not in (_MEDIA_TYPES if number is not None else ("image/png",)):
            listed = "'image/png'" if number is None else "'image/jpeg', 'image/png', and 'image/webp'"
            message = (
                f"Invalid file '{upload.name}': unsupported mimetype ('{declared[:80]}'). "
                f"Supported file formats are {listed}."
            )
            raise bad_request(message, code="unsupported_file_mimetype", param=upload.name)
    if upload.nbytes >= MAX_IMAGE_BYTES:
        message = f"Invalid file '{upload.name}': file too large. Images must be less than 50MB."
        raise invalid_value(upload.name, message)
    if upload.info is None:
        subject = f"image {number}" if number is not None else upload.name
        message = f"Invalid image file or mode for {subject}, please check your image file."
        raise bad_request(message, code="invalid_image_file", error_type=USER_ERROR)
    return upload.info


def _check_layer(layer: ImageInfo, first: ImageInfo, name: str) -> None:
    if not layer.fetched:
        return
    problem = None
    if layer.format != "PNG":
        problem = f"{name} image must be a PNG"
    elif not layer.has_alpha:
        problem = f"{name} image missing alpha channel"
    elif first.fetched and layer.size != first.size:
        problem = f"{name} size does not match image size"
    if problem is not None:
        raise invalid_value(name, f"Invalid {name} image format - {problem}")
