"""What notebooks show of pictures: data by media type, as Jupyter's protocol has it.

Rules: nothing is fetched and nothing raises: a picture behind a URL, or in a file that is gone, is its `repr`. A
picture goes in once, in the form that every frontend shows: PNG and JPEG as they are, base64 in text as the protocol
wants it; the formats that not all frontends know as an `<img>` of HTML. An SVG is in such an `<img>` too, where it
can run no script and load nothing; its text is there for frontends without HTML.
"""

from __future__ import annotations

from base64 import b64encode
from html import escape
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Container, Sequence

    from openai_images.models.image import Image

__all__ = ["MimeBundle", "mime_bundle"]

MimeBundle: TypeAlias = tuple[dict[str, str], dict[str, Any]]
"""The data by media type, and what is to be known of each."""

_AS_THEY_ARE = ("image/png", "image/jpeg")
_SVG = "image/svg+xml"
_IN_HTML = ("image/webp", "image/gif", "image/avif", _SVG)

_ROW = "display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start"
_ALONE, _AMONG_OTHERS = "100%", "min(100%,24em)"


def mime_bundle(
    images: Sequence[Image], text: str, include: Container[str] | None, exclude: Container[str] | None
) -> MimeBundle:
    """Pictures for a notebook, `text` being what is shown without any; `include` and `exclude` are media types."""
    data = {"text/plain": text}
    shown = [(image, _read(image)) for image in images]
    if len(shown) == 1 and shown[0][1] is not None:
        data |= _one(shown[0][0], shown[0][1])
    elif any(read is not None for _, read in shown):
        figures = "".join(_figure(image, read, _AMONG_OTHERS) for image, read in shown)
        data["text/html"] = f'<div style="{_ROW}">{figures}</div>'
    wanted = {
        kind: value
        for kind, value in data.items()
        if (include is None or kind in include) and (exclude is None or kind not in exclude)
    }
    size = {"width": images[0].width, "height": images[0].height}
    is_known = len(images) == 1 and None not in size.values()
    return wanted, {kind: size for kind in wanted if is_known and kind.startswith("image/")}


def _read(image: Image) -> bytes | None:
    """The bytes of a picture of a known kind, None where they are not at hand."""
    if image.media_type not in (*_AS_THEY_ARE, *_IN_HTML) or not image.nbytes:
        return None
    try:
        return image.data
    except OSError:
        return None


def _one(image: Image, data: bytes) -> dict[str, str]:
    """One picture."""
    if image.media_type in _AS_THEY_ARE:
        return {image.media_type: b64encode(data).decode("ascii")}
    shown = {"text/html": _figure(image, data, _ALONE)}
    return shown | {_SVG: data.decode("utf-8-sig", "replace")} if image.media_type == _SVG else shown


def _figure(image: Image, data: bytes | None, most: str) -> str:
    """One picture in HTML, at most as wide as `most`."""
    if data is None:
        return f"<pre>{escape(repr(image))}</pre>"
    size = "" if image.width is None else f' width="{image.width}" height="{image.height}"'
    source = f"data:{image.media_type};base64,{b64encode(data).decode('ascii')}"
    return f'<img src="{source}"{size} style="max-width:{most};height:auto" alt="{escape(repr(image))}">'
