"""Looks at the pictures of an edit: what format they have, how large they are, whether one can see through them.

Rules: the bytes decide, never a name; Pillow opens nothing but what they say, and only after its width and height were
read from them; a picture is kept no larger than painting needs it, and its bytes are not kept; what cannot be decoded
is None. It refuses to run in several threads at once (its caller has one), and to fetch: a url or a file id stands for
a picture nobody has seen.
"""

import hashlib
import io
from typing import Final, Literal

import attrs
from PIL import Image, ImageOps

from openai_images.server.image_info import measure

MOST_IMAGES: Final = 16
PICTURE_BYTES: Final = 50 * 1024 * 1024
FIRST_EDGE: Final = 3840
OTHER_EDGE: Final = 768
MOST_PIXELS: Final = 50_000_000
"""Width x height of a picture that is decoded: 200 MB of memory, one picture at a time."""
# Pillow copies a decoded WebP while no other thread can run: 50 ms for so many pixels.
MOST_WEBP_PIXELS: Final = 25_000_000

Role = Literal["first", "other", "mask", "markup"]


@attrs.frozen(kw_only=True)
class Picture:
    """One picture of an edit as far as it was looked at; it is its digest, wherever two are compared.

    `width` and `height` are in pixels, after the turn its EXIF data ask for; `image` is None where nobody needs it.
    """

    digest: str
    format: str = attrs.field(eq=False)
    width: int = attrs.field(eq=False)
    height: int = attrs.field(eq=False)
    mode: str = attrs.field(eq=False)
    has_alpha: bool = attrs.field(eq=False)
    is_clear_somewhere: bool = attrs.field(eq=False, default=False)
    image: Image.Image | None = attrs.field(eq=False, repr=False, default=None)
    fetched: bool = attrs.field(eq=False, default=True)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height


@attrs.frozen(kw_only=True)
class Given:
    """A picture as it was given: under which name of the API, with which declared type, and what it was.

    `media_type` is None where none was declared, `picture` where the bytes are none that can be decoded.
    """

    name: str
    media_type: str | None
    nbytes: int
    picture: Picture | None


@attrs.frozen(kw_only=True)
class GivenPictures:
    """The pictures of an edit, before they are checked; `asked_as` is the name of the parameter of the images."""

    asked_as: Literal["image", "images"]
    images: tuple[Given, ...] = ()
    mask: Given | None = None
    markup: Given | None = None


def unseen(reference: str) -> Picture:
    """The picture behind a url or a file id, which nobody fetches."""
    digest = hashlib.sha256(reference.encode("utf-8", "replace")).hexdigest()
    return Picture(digest=digest, format="", width=1024, height=1024, mode="", has_alpha=True, fetched=False)


def look_at(data: io.BytesIO, digest: str, role: Role, *, pixels: bool) -> Picture | None:
    """The picture in `data`, with pixels to paint from where they are wanted; None if it is none."""
    try:
        return _look_at(data, digest, role, pixels=pixels)
    except Exception:  # noqa: BLE001  # whatever a decoder stumbles over: it is no picture
        return None


def _look_at(data: io.BytesIO, digest: str, role: Role, *, pixels: bool) -> Picture | None:
    measured = measure(data)
    most = MOST_WEBP_PIXELS if measured is not None and measured.kind == "WEBP" else MOST_PIXELS
    if measured is None or measured.width * measured.height > most:
        return None
    image: Image.Image = Image.open(data, formats=(measured.kind,))
    if image.size != (measured.width, measured.height):
        return None
    mode = image.mode
    has_alpha = mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info
    turned = image.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    width, height = (image.height, image.width) if turned else image.size
    drawn = None
    clear = False
    if pixels or role in {"mask", "markup"}:
        edge = OTHER_EDGE if role == "other" else FIRST_EDGE
        image.thumbnail((edge, edge))
        drawn = ImageOps.exif_transpose(image).convert("RGBA" if has_alpha else "RGB")
        clear = has_alpha and _least_alpha(drawn) < 255
    return Picture(
        digest=digest,
        format=measured.kind,
        width=width,
        height=height,
        mode=mode,
        has_alpha=has_alpha,
        is_clear_somewhere=clear,
        image=drawn if pixels else None,
    )


def _least_alpha(image: Image.Image) -> int:
    least = image.getchannel("A").getextrema()[0]
    return int(least) if isinstance(least, int | float) else 255
