"""What is known of a source image: format, size, transparency, and pixels where they are needed.

Invariants: the bytes decide, never a name; Pillow opens only what was measured here and has few enough pixels; the
bytes are not kept; what cannot be decoded is None.
Must not: run in several threads at once (the caller has one), or fetch URLs and file ids.
"""

import hashlib
import io
from typing import BinaryIO, Final, Literal, TypeAlias

import attrs
from PIL import Image, ImageOps

Format: TypeAlias = Literal["PNG", "JPEG", "WEBP"]

MAX_SEGMENTS: Final = 1000
"""Segments before the size of a JPEG; a camera writes a dozen, a long colour profile some hundred more."""

_START_BYTES: Final = 32
_SIZED: Final = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BARE: Final = {0x01, *range(0xD0, 0xD9)}
_LAST: Final = {0xD9, 0xDA}


MAX_IMAGES: Final = 16
MAX_IMAGE_BYTES: Final = 50 * 1024 * 1024
FIRST_EDGE: Final = 3840
OTHER_EDGE: Final = 768
MAX_PIXELS: Final = 50_000_000
"""Width x height of an image that is decoded: 200 MB of memory, one image at a time."""
# Pillow copies a decoded WebP while no other thread can run: 50 ms for so many pixels.
MAX_WEBP_PIXELS: Final = 25_000_000
Role = Literal["first", "other", "mask", "markup"]


@attrs.frozen
class ImageHeader:
    """A format, and a size in pixels before EXIF rotation."""

    format: Format
    width: int
    height: int


def read_header(file: BinaryIO) -> ImageHeader | None:
    """The format and size of the image in `file`, or None if it has none of the API's formats; rewinds the file."""
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
        if marker == 0xFF:  # a byte that fills
            offset += 1
        else:
            offset += 2 if marker in _BARE else 2 + int.from_bytes(head[2:4])
    return None


def _webp(start: bytes) -> ImageHeader | None:
    """The canvas, or the size of the only frame."""
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
    """A source image as far as it was inspected; two are equal if their digests are.

    `width` and `height` are in pixels, after EXIF rotation; `image` is None where its pixels are not needed.
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
    """An image known by its URL or file id only; it is not fetched."""
    digest = hashlib.sha256(reference.encode("utf-8", "replace")).hexdigest()
    return ImageInfo(
        digest=digest, format="", width=1024, height=1024, mode="", has_alpha=True, fetched=False
    )


def inspect_image(data: io.BytesIO, digest: str, role: Role, *, pixels: bool) -> ImageInfo | None:
    """The image in `data`, with its pixels if they are needed; None if it cannot be decoded."""
    try:
        return _inspect(data, digest, role, pixels=pixels)
    except Exception:  # noqa: BLE001  # whatever a decoder stumbles over: it is not an image
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
