"""Images and values in a notebook: MIME bundles of images, and HTML of everything else.

Invariants: nothing is downloaded and nothing raises; all text is escaped; an SVG becomes an `<img>`, so it can neither
run scripts nor load anything.
Must not: embed large images, or very many, in a list of images (a notebook is saved with its output).
"""

from __future__ import annotations

import io
from collections.abc import Collection, Container, Sequence
from decimal import Decimal
from html import escape
from typing import Any, Protocol, TypeAlias

from attrs import AttrsInstance

from openai_images._util.attrs import set_fields

MimeBundle: TypeAlias = tuple[dict[str, str], dict[str, Any]]
"""The data by media type, and the metadata by media type."""

MAX_EMBEDDED_BYTES = 128 * 1024
"""In a list, a larger image is shown as a thumbnail; a single image is embedded unchanged."""
MAX_EMBEDDED_IMAGES = 24
_THUMBNAIL_EDGE = 384  # pixels: 24 em

_UNCHANGED = ("image/png", "image/jpeg")
_SVG = "image/svg+xml"
_HTML_TYPES = ("image/webp", "image/gif", "image/avif", _SVG)

_ROW = "display:flex;flex-wrap:wrap;gap:8px;align-items:flex-start;margin-top:4px"
_ALONE, _AMONG_OTHERS = "100%", "min(100%,24em)"


_HEAD = '<tr><th style="text-align:left">'
_CELL = '<td style="text-align:left">'
_MAX_NAMES = 5
_SECONDS = ("elapsed", "eta")


class _ShownImage(Protocol):
    """The part of `Image` that is shown."""

    @property
    def data(self) -> bytes: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def media_type(self) -> str: ...
    @property
    def width(self) -> int | None: ...
    @property
    def height(self) -> int | None: ...
    def open(self) -> Any: ...


class _ShownResult(Protocol):
    """The part of `ImageResult` that is shown."""

    @property
    def images(self) -> Sequence[_ShownImage]: ...
    @property
    def model(self) -> str | None: ...
    @property
    def size(self) -> str | None: ...
    @property
    def quality(self) -> str | None: ...
    @property
    def elapsed(self) -> float: ...
    def cost(self) -> Decimal | None: ...


def mime_bundle(
    images: Sequence[_ShownImage], text: str, include: Container[str] | None, exclude: Container[str] | None
) -> MimeBundle:
    """Return images for a notebook, with `text` as plain text; `include` and `exclude` are media types.

    A remote image, or one whose file is missing, is shown as its `repr`. PNG and JPEG are embedded as they are, because
    every frontend shows them; other formats become an HTML `<img>`. The text of an SVG is added for frontends without
    HTML.
    """
    data = {"text/plain": text}
    if len(images) == 1 and (content := _read(images[0])) is not None:
        data |= _single(images[0], content)
    elif len(images) > 1 and any(map(_is_known, images)):
        data["text/html"] = gallery(images)
    selected = {
        mime: value
        for mime, value in data.items()
        if (include is None or mime in include) and (exclude is None or mime not in exclude)
    }
    size = {"width": images[0].width, "height": images[0].height}
    is_known = len(images) == 1 and None not in size.values()
    return selected, {mime: size for mime in selected if is_known and mime.startswith("image/")}


def gallery(images: Sequence[_ShownImage]) -> str:
    """Return images side by side in HTML, large ones as thumbnails."""
    figures = [_figure(image, *_embedded(image), _AMONG_OTHERS) for image in images[:MAX_EMBEDDED_IMAGES]]
    rest = len(images) - len(figures)
    more = f"<span>and {rest:,} more</span>" if rest > 0 else ""
    return f'<div style="{_ROW}">{"".join(figures)}{more}</div>'


def result_card(key: str, prompt: str, result: _ShownResult) -> str:
    """Return an outcome's images in HTML, with its key, the beginning of its prompt, its cost and time."""
    cost = result.cost()
    known = (result.model, result.size, result.quality, None if cost is None else f"${cost:.4f}")
    facts = [*filter(None, known), f"{result.elapsed:.1f} s"]
    return _card(key, prompt, f"<small>{escape(' · '.join(facts))}</small>{gallery(result.images)}")


def error_card(key: str, prompt: str, error: Exception) -> str:
    """Return an outcome's error in HTML, with its key, the beginning of its prompt and the images it has."""
    maybe_billed = " (may have been billed)" if getattr(error, "maybe_billed", False) else ""
    name = f'<span style="color:#d33">{type(error).__name__}</span>{maybe_billed}'
    images: Sequence[_ShownImage] = getattr(error, "images", ())
    return _card(key, prompt, f"{name}: {escape(str(error))}{gallery(images) if images else ''}")


def _card(key: str, prompt: str, body: str) -> str:
    return f"<div><strong>{escape(key)}</strong> {escape(prompt)}<br>{body}</div>"


def table_of_fields(title: str, value: AttrsInstance | None) -> str:
    """Return an HTML table of the fields of an attrs value that are set; a collection as its length and first items."""
    found = () if value is None else set_fields(value)
    cells = [
        (each.name.replace("_", " "), _cell(content) + (" s" if each.name in _SECONDS else ""))
        for each, content in found
    ]
    body = "".join(f"{_HEAD}{escape(name)}</th>{_CELL}{text}</td></tr>" for name, text in cells)
    return f"<div><strong>{escape(title)}</strong><table>{body}</table></div>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, Decimal):
        return f"${value:.4f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if not isinstance(value, str) and isinstance(value, Collection):
        names: list[object] = list(value)  # pyright: ignore[reportUnknownArgumentType]
        more = ", …" if len(names) > _MAX_NAMES else ""
        return escape(f"{len(names):,}: {', '.join(map(str, names[:_MAX_NAMES]))}{more}")
    return escape(str(value))


def _is_known(image: _ShownImage) -> bool:
    return image.media_type in (*_UNCHANGED, *_HTML_TYPES) and image.nbytes > 0


def _read(image: _ShownImage) -> bytes | None:
    """Return the bytes of an image of a known format; None if they are not available."""
    try:
        return image.data if _is_known(image) else None
    except OSError:
        return None


def _embedded(image: _ShownImage) -> tuple[str, bytes | None]:
    """Return media type and bytes to embed for one image of a list; None if it is shown as its `repr`."""
    if image.nbytes <= MAX_EMBEDDED_BYTES:
        return image.media_type, _read(image)
    try:
        with image.open() as picture:
            picture.thumbnail((_THUMBNAIL_EDGE, _THUMBNAIL_EDGE))
            picture.convert("RGBA").save(small := io.BytesIO(), "WEBP")
    except Exception:  # noqa: BLE001  no Pillow, a damaged image, or Pillow's DecompressionBombError
        return "", None
    return "image/webp", small.getvalue()


def _single(image: _ShownImage, data: bytes) -> dict[str, str]:
    if image.media_type in _UNCHANGED:
        return {image.media_type: _base64(data)}
    bundle = {"text/html": _figure(image, image.media_type, data, _ALONE)}
    return bundle | {_SVG: data.decode("utf-8-sig", "replace")} if image.media_type == _SVG else bundle


def _base64(data: bytes) -> str:
    from base64 import b64encode  # noqa: PLC0415  only images need it

    return b64encode(data).decode("ascii")


def _figure(image: _ShownImage, media_type: str, data: bytes | None, max_width: str) -> str:
    """Return one image in HTML, at most `max_width` wide."""
    if data is None:
        return f"<pre>{escape(repr(image))}</pre>"
    size = "" if image.width is None else f' width="{image.width}" height="{image.height}"'
    source = f"data:{media_type};base64,{_base64(data)}"
    return f'<img src="{source}"{size} style="max-width:{max_width};height:auto" alt="{escape(repr(image))}">'
