"""What the bytes of a picture say: checked against Pillow's own files, and against bytes that make no sense."""

import io
import time
from typing import Any

import pytest
from hypothesis import given, strategies as st
from PIL import Image as Pillow

from openai_images.models import media

SIZES = [(1, 1), (3, 2), (16, 1024), (1254, 1254), (3840, 16)]


def painted(kind: str, size: tuple[int, int], **options: Any) -> bytes:
    """A picture made by Pillow."""
    out = io.BytesIO()
    mode = options.pop("mode", "RGB")
    Pillow.new(mode, size).save(out, kind, **options)
    return out.getvalue()


KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "png": ("image/png", ".png", {}),
    "png with a palette": ("image/png", ".png", {"mode": "P"}),
    "jpeg": ("image/jpeg", ".jpg", {}),
    "progressive jpeg": ("image/jpeg", ".jpg", {"progressive": True}),
    "jpeg with a long comment": ("image/jpeg", ".jpg", {"comment": b"\xff\xc0" * 20_000}),
    "gif": ("image/gif", ".gif", {}),
    "lossy webp": ("image/webp", ".webp", {"quality": 80}),
    "lossless webp": ("image/webp", ".webp", {"lossless": True}),
    "extended webp": (
        "image/webp",
        ".webp",
        {"mode": "RGBA", "exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"},
    ),
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_type_and_size_of_a_real_picture(kind: str, size: tuple[int, int]) -> None:
    """Every format says what Pillow wrote."""
    mime, suffix, options = KINDS[kind]
    data = painted(mime.partition("/")[2], size, **options)
    assert media.media_type(data[:4096]) == mime
    assert media.media_type(data[:12]) == mime
    assert media.suffix(mime) == suffix
    assert media.pixel_size(data[: media.HEAD_BYTES]) == size
    assert not media.is_cut(data[:12], data[-64:], len(data))


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_picture_is_seen(kind: str) -> None:
    """A picture without its last bytes is known as cut, wherever the cut is behind its signature."""
    mime, _, options = KINDS[kind]
    data = painted(mime.partition("/")[2], (64, 64), **options)
    for end in (12, len(data) // 2, len(data) - 2, len(data) - 1):
        assert media.is_cut(data[:12], data[:end][-64:], end), end


def test_every_webp_kind_is_covered() -> None:
    """The three WebP layouts are really among the pictures above."""
    found = {
        painted("webp", (3, 2), **dict(options))[12:16]
        for kind, (_, _, options) in KINDS.items()
        if kind.endswith("webp")
    }
    assert found == {b"VP8 ", b"VP8L", b"VP8X"}


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ('<svg xmlns="x" width="640" height="480">', (640, 480)),
        ("<svg width='640px' height = '480.4'>", (640, 480)),
        (
            '\ufeff<?xml version="1.0"?>\n<!-- c > --><!DOCTYPE svg PUBLIC "x">\n<svg height="2" width="1"/>',
            (1, 2),
        ),
        ('<svg width="100" height="50" stroke-width="2" data-height="9" x:width="8">', (100, 50)),
        ('<!-- <svg width="7" height="7"> --><svg width="1" height="2">', (1, 2)),
        ('<svg width="100%" height="50">', None),
        ('<svg viewBox="0 0 10 10">', None),
        ('<svg width="1.2.3" height="5">', None),
        ('<svg width="." height="5">', None),
        (f'<svg width="{"9" * 400}" height="5">', None),
        ("<svg ", None),
        ("<svg>", None),
        ("<svg width='1'", None),
    ],
)
def test_size_of_an_svg(text: str, size: tuple[int, int] | None) -> None:
    """An SVG says its size in the attributes of its root, or not at all; nothing raises."""
    data = text.encode()
    assert media.media_type(data) == "image/svg+xml"
    assert media.pixel_size(data) == size


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG",
        b"RIFF1234WAVE",
        b"<html>",
        b"<!-- c --><html><svg>",
        b"<svgx>",
        b"text",
        b"BM",
        b"\xff\xd8",
        b"GIF90a",
    ],
)
def test_other_bytes_are_unknown(data: bytes) -> None:
    """What is no picture has no type and no size, and cannot be said to be cut."""
    assert media.media_type(data) == media.UNKNOWN
    assert media.pixel_size(data) is None
    assert media.suffix(media.UNKNOWN) == ".bin"
    assert not media.is_cut(data, data, len(data))


def test_avif_is_known_by_name_only() -> None:
    """AVIF is recognised; its size and end are not sought."""
    head = b"\0\0\0\x20ftypavif"
    assert media.media_type(head) == "image/avif"
    assert media.pixel_size(head) is None
    assert not media.is_cut(head, head, 12)


@pytest.mark.parametrize(
    "head",
    [
        b"\x89PNG\r\n\x1a\n\0\0",
        b"GIF89a\1",
        b"\xff\xd8\xff",
        b"\xff\xd8\xff\xe0\0",
        b"\xff\xd8\xff\xe0\0\2garbage",
        b"\xff\xd8\xff\xff\xff\xc0\0\x11\x08\0\1",
        b"\xff\xd8\xff\xe0\xff\xff",
        b"RIFF1234WEBPVP8 123",
        b"RIFF1234WEBPVP8L123",
        b"RIFF1234WEBPVP8X123456789012",
        b"RIFF1234WEBPALPH1234567890123456",
    ],
)
def test_a_cut_head_has_no_size(head: bytes) -> None:
    """A picture whose size has not come yet, or makes no sense, has None."""
    assert media.media_type(head) != media.UNKNOWN
    assert media.pixel_size(head) is None


def test_fill_bytes_before_a_marker_are_skipped() -> None:
    """JPEG allows any number of FF before a marker."""
    assert media.pixel_size(b"\xff\xd8\xff\xff\xff\xc0\0\x11\x08\0\2\0\1") == (1, 2)


STARTS = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF89a",
    b"RIFF\0\0\0\0WEBPVP8X",
    b"<svg ",
    b"<?xml",
    b"<!--",
    b"",
]


@given(
    st.sampled_from(STARTS),
    st.binary(max_size=60) | st.text("<svg!->width=\"1.9' ", max_size=60).map(str.encode),
)
def test_nothing_raises(start: bytes, rest: bytes) -> None:
    """Any bytes at all have a type and a size or none."""
    head = start + rest
    assert media.suffix(media.media_type(head)).startswith(".")
    size = media.pixel_size(head)
    assert size is None or min(size) >= 0
    assert media.is_cut(head[:12], head[-64:], len(head)) in (True, False)


@pytest.mark.parametrize(
    "piece",
    [b"<svg ", b"<!-- -->", b"<!-- ", b"<!DOCTYPE>", b"<!DOCTYPE ", b" ", b"<?xml ?>", b"<svg width='1' "],
)
def test_no_text_takes_long(piece: bytes) -> None:
    """The patterns stay linear on texts made to defeat them."""
    begun = time.process_time()
    for end in (b"", b"<html>", b">"):
        media.pixel_size((piece * media.HEAD_BYTES)[: media.HEAD_BYTES] + end)
    assert time.process_time() - begun < 0.5
