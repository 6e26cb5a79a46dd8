"""What a notebook shows of images and results."""

import base64
import io
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image as Pillow

from openai_images import Image, ImageResult

SVG = '\ufeff<svg xmlns="http://www.w3.org/2000/svg" width="4" height="3"><text>Füße &lt;</text></svg>'
SOURCE = re.compile(r'src="data:([^;]+);base64,([^"]+)"')


def painted(kind: str) -> Image:
    """A small image by Pillow."""
    out = io.BytesIO()
    Pillow.new("RGB", (4, 3)).save(out, kind)
    return Image.from_bytes(out.getvalue())


def shown(value: Any, **which: Any) -> tuple[dict[str, str], dict[str, Any]]:
    """What Jupyter is given."""
    data, metadata = value._repr_mimebundle_(**which)
    assert all(type(text) is str for text in data.values())
    assert metadata.keys() <= data.keys()
    return data, metadata


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_png_and_jpeg_are_shown_as_they_are(kind: str) -> None:
    """Base64 as text, as the protocol has it, once, with the size in pixels."""
    image = painted(kind)
    data, metadata = shown(image)
    assert data.keys() == {"text/plain", f"image/{kind}"}
    assert base64.b64decode(data[f"image/{kind}"], validate=True) == image.data
    assert data["text/plain"] == repr(image)
    assert metadata == {f"image/{kind}": {"width": 4, "height": 3}}


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_other_formats_are_shown_in_html(kind: str) -> None:
    """Every frontend that knows HTML shows them, whatever else it knows."""
    image = painted(kind)
    data, metadata = shown(image)
    assert data.keys() == {"text/plain", "text/html"}
    source = SOURCE.search(data["text/html"])
    assert source is not None
    assert (source[1], base64.b64decode(source[2], validate=True)) == (f"image/{kind}", image.data)
    assert 'width="4" height="3"' in data["text/html"]
    assert metadata == {}


def test_an_svg_is_shown_where_it_can_do_nothing() -> None:
    """In an `<img>`, which runs no script and loads nothing; as text for frontends that know no HTML."""
    image = Image.from_bytes(SVG.encode())
    data, metadata = shown(image)
    assert data["image/svg+xml"] == SVG[1:]
    assert "<svg" not in data["text/html"]
    source = SOURCE.search(data["text/html"])
    assert source is not None
    assert (source[1], base64.b64decode(source[2])) == ("image/svg+xml", image.data)
    assert metadata == {"image/svg+xml": {"width": 4, "height": 3}}


def test_an_svg_of_unknown_size_and_encoding() -> None:
    """It is shown without a size, and what is no UTF-8 is replaced in the text."""
    data, metadata = shown(Image.from_bytes(b"<svg>\xff</svg>"))
    assert data["image/svg+xml"] == "<svg>\ufffd</svg>"
    assert "width=" not in data["text/html"]
    assert metadata == {}


def test_a_picture_in_a_file(tmp_path: Path) -> None:
    """It is read; where it is gone, its name is all there is."""
    image = painted("png")
    there = Image.from_file(image.save(tmp_path / "otter"), image.data, image.nbytes)
    assert shown(there)[0]["image/png"] == shown(image)[0]["image/png"]
    (tmp_path / "otter.png").unlink()
    assert shown(there) == ({"text/plain": repr(there)}, {})


@pytest.mark.parametrize(
    "image", [Image(url="http://x/a.png"), Image.from_bytes(b"?"), Image.from_bytes(b"")]
)
def test_what_cannot_be_shown(image: Image) -> None:
    """An image behind a URL is never fetched, and bytes of no known format are not shown: the text is."""
    assert shown(image) == ({"text/plain": repr(image)}, {})
    assert shown(ImageResult((image, image)))[0].keys() == {"text/plain"}


def test_a_result_of_one_picture_is_shown_as_the_picture() -> None:
    """With the result's text."""
    image = painted("png")
    result = ImageResult((image,), size="4x3")
    data, metadata = shown(result)
    assert data == {**shown(image)[0], "text/plain": repr(result)}
    assert metadata == shown(image)[1]


def test_a_result_of_several_pictures_is_shown_side_by_side() -> None:
    """All of them, in order, also what can only be named."""
    images = (painted("png"), Image(url="http://x/a.png"), painted("webp"), Image.from_bytes(SVG.encode()))
    data, metadata = shown(ImageResult(images))
    assert data.keys() == {"text/plain", "text/html"}
    found = [(kind, base64.b64decode(text)) for kind, text in SOURCE.findall(data["text/html"])]
    assert found == [(image.media_type, image.data) for image in images if image.nbytes]
    assert "<pre>&lt;image behind a URL&gt;</pre>" in data["text/html"]
    assert "http://x" not in data["text/html"]
    assert metadata == {}


def test_only_what_is_wanted() -> None:
    """`include` and `exclude` are media types, and the metadata follows."""
    image = painted("png")
    data, metadata = shown(image)
    picture = {"image/png": data["image/png"]}
    assert shown(image, include={"image/png"}) == (picture, metadata)
    assert shown(image, include=["text/plain", "text/html"]) == ({"text/plain": repr(image)}, {})
    assert shown(image, exclude={"text/plain"}) == (picture, metadata)
    assert shown(image, include=["image/png"], exclude=["image/png"]) == ({}, {})
    assert shown(ImageResult((image,)), include={"image/png"}) == (picture, metadata)


def test_no_prompt_is_shown() -> None:
    """What a server echoes is in no text and no attribute."""
    echo = {"revised_prompt": "sentinel", "extra": {"prompt": "sentinel"}}
    images = tuple(
        Image(data=painted(kind).data, media_type=f"image/{kind}", nbytes=9, **echo)
        for kind in ("png", "gif")
    )
    for value in (*images, ImageResult(images, extra={"prompt": "sentinel"}, safety_identifier="sentinel")):
        assert "sentinel" not in str(shown(value))
