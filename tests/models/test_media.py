"""What the bytes of an image say: checked against Pillow's own files, and against bytes that make no sense."""

import io
import struct
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from PIL import Image as Pillow, features

from openai_images.models import media
from openai_images.models.completeness import NO_IMAGE, TRUNCATED, flaw_of
from tests.helpers.decoding import pieces

SIZES = [(1, 1), (3, 2), (16, 1024), (1254, 1254), (3840, 16)]


def painted(kind: str, size: tuple[int, int], **options: Any) -> bytes:
    """An image made by Pillow."""
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
    assert media.file_suffix(mime) == suffix
    assert media.pixel_size(data[: media.HEAD_BYTES]) == size
    assert flaw_of([data]) is flaw_of(pieces(data, 7)) is None


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_picture_is_seen(kind: str) -> None:
    """An image without its last bytes is known as cut, wherever the cut is behind its signature."""
    mime, _, options = KINDS[kind]
    data = painted(mime.partition("/")[2], (64, 64), **options)
    for end in (12, len(data) // 2, len(data) - 2, len(data) - 1):
        assert flaw_of([data[:end]]) == flaw_of(pieces(data[:end], 7)) == TRUNCATED, end


def test_every_webp_kind_is_covered() -> None:
    """The three WebP layouts are really among the images above."""
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
        ('<svg viewBox="0 0 10 10">', (10, 10)),
        ('<svg viewBox = "-5,-5 , 640.4\n480">', (640, 480)),
        ('<svg viewBox="0 0 40 30" width="80">', (80, 60)),
        ('<svg viewBox="0 0 40 30" height="60" width="100%">', (80, 60)),
        ('<svg viewBox="0 0 40 30" height="50%" width="100%">', (40, 30)),
        ('<svg viewBox="0 0 40 30" height="7" width="9">', (9, 7)),
        ('<svg width="2in" height="2.54cm"/>', (192, 96)),
        ('<svg width="25.4mm" height="101.6Q">', (96, 96)),
        ('<svg width="72pt" height="6PC">', (96, 96)),
        ('<svg width="1e2" height="+.5E2px">', (100, 50)),
        ('<svg aria-label="a > b \'c\' width=\'9\'" width="3" height="2">', (3, 2)),
        ("<svg style=\"width='9'; height='9'\" width='3' height=\"2\">", (3, 2)),
        ('<svg\twidth="3"height="2">', (3, 2)),
        ('<?xml version="1.0"?><?xml-stylesheet href="a"?>\n<svg width="3" height="2">', (3, 2)),
        ('<!DOCTYPE svg PUBLIC "x" [<!ENTITY a "b > c"> <!ENTITY d "e">]><svg width="3" height="2">', (3, 2)),
        ('<svg viewBox="0 0 10" width="5">', None),
        ('<svg viewBox="0 0 ten 10">', None),
        ('<svg viewBox="0 0 0 10">', None),
        ('<svg viewBox="0 0 10 10" width="0">', None),
        ('<svg width="0" height="5">', None),
        ('<svg width="-3" height="5">', None),
        ('<svg width="10em" height="5">', None),
        ('<svg viewBox="">', None),
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
    """What is no image has no type and no size, and is said to be none."""
    assert media.media_type(data) == media.UNKNOWN
    assert media.pixel_size(data) is None
    assert media.file_suffix(media.UNKNOWN) == ".bin"
    assert flaw_of([data]) == NO_IMAGE


def box(kind: bytes, *content: bytes) -> bytes:
    """A box of an ISO media file."""
    return struct.pack(">I4s", 8 + sum(map(len, content)), kind) + b"".join(content)


def extent(width: int, height: int) -> bytes:
    """The box of an item's size."""
    return box(b"ispe", b"\0\0\0\0", struct.pack(">II", width, height))


AVIF = box(b"ftyp", b"avif\0\0\0\0")


def avif(*items: bytes, ftyp: bytes = AVIF, before: bytes = b"") -> bytes:
    """The start of an AVIF image with these boxes of properties."""
    properties = box(b"iprp", box(b"ipco", *items), box(b"ipma"))
    return ftyp + before + box(b"meta", b"\0\0\0\0", box(b"hdlr", b"pict"), properties) + box(b"mdat", b"...")


@pytest.mark.parametrize(
    ("data", "size"),
    [
        (avif(extent(640, 480)), (640, 480)),
        (avif(extent(512, 512), extent(1600, 900), extent(160, 90)), (1600, 900)),
        (avif(box(b"av1C", b"...."), extent(3, 2), before=box(b"free", b"ispe")), (3, 2)),
        (avif(extent(3, 2), before=struct.pack(">I4sQ", 1, b"skip", 20) + b"...."), (3, 2)),
        (avif(extent(3, 2), ftyp=box(b"ftyp", b"mif1\0\0\0\0miafavif")), (3, 2)),
        (avif(extent(3, 2), ftyp=box(b"ftyp", b"avis\0\0\0\0")), (3, 2)),
        (
            AVIF + b"\0\0\0\0" + avif(extent(3, 2), ftyp=b"")[4:],
            (3, 2),
        ),  # the last box may leave its length open
        (avif(extent(0, 2)), None),
        (avif(box(b"ispe", b"\0\0")), None),
        (avif(), None),
        (AVIF, None),
        (AVIF + b"\0\0\0\0meta", None),
        (AVIF + b"\0\0\0\7meta" * 9, None),
        (AVIF + struct.pack(">I4sQ", 1, b"meta", 0), None),
        (b"\0\0\0\x20ftypavif", None),
    ],
)
def test_size_of_an_avif(data: bytes, size: tuple[int, int] | None) -> None:
    """The largest item's: tiles, thumbnails and the boxes in front do not count, and nothing raises."""
    assert media.media_type(data[:64]) == "image/avif"
    assert media.pixel_size(data) == size


def test_other_iso_media_are_no_avif() -> None:
    """A video and a HEIC image are none; neither is an image whose brands lie outside of their box."""
    for data, kind in (
        (box(b"ftyp", b"isom\0\0\0\0mp42"), media.UNKNOWN),
        (box(b"ftyp", b"heic\0\0\0\0mif1"), "image/heic"),
        (box(b"ftyp", b"mif1\0\0\0\0") + b"avif", "image/heic"),
    ):
        assert media.media_type(data) == kind


@pytest.mark.parametrize("piece", [box(b"free"), b"\xff\xfe\0\2", b"\xff", b"\xff\xd0"])
def test_a_picture_of_nothing_but_segments_is_given_up(piece: bytes) -> None:
    """Of megabytes without a size only the start is walked through."""
    start = AVIF if piece.endswith(b"free") else b"\xff\xd8\xff\xfe\0\2"
    begun = time.process_time()
    assert media.pixel_size(start + piece * 4_000_000) is None
    assert time.process_time() - begun < 0.5


ORIENTED = {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"}
MANY: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "png": ("PNG", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"), {}),
    "animated png": ("PNG", ("RGB", "RGBA"), {"save_all": True}),
    "jpeg": ("JPEG", ("L", "RGB", "CMYK"), {}),
    "jpeg on its side": ("JPEG", ("RGB",), ORIENTED),
    "jpeg with a profile": ("JPEG", ("RGB",), {"icc_profile": b"p" * 200_000, "progressive": True}),
    "gif": ("GIF", ("1", "L", "P", "RGB"), {}),
    "animated gif": ("GIF", ("P", "RGB"), {"save_all": True, "duration": 100, "disposal": 2}),
    "lossy webp": ("WEBP", ("RGB", "RGBA"), {"quality": 50}),
    "lossless webp": ("WEBP", ("RGB", "RGBA"), {"lossless": True}),
    "webp on its side": ("WEBP", ("RGB", "RGBA"), ORIENTED),
    "animated webp": ("WEBP", ("RGB", "RGBA"), {"save_all": True, "duration": 100}),
    "avif": ("AVIF", ("RGB", "RGBA"), {"speed": 10}),
    "avif on its side": ("AVIF", ("RGB",), ORIENTED | {"speed": 10}),
    "animated avif": ("AVIF", ("RGB",), {"save_all": True, "duration": 100, "speed": 10}),
}
HAS_AVIF = "avif" in features.modules and features.check("avif")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.differing_executors])
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(
            kind, marks=pytest.mark.skipif("avif" in kind and not HAS_AVIF, reason="this Pillow has no AVIF")
        )
        for kind in MANY
    ],
)
@given(data=st.data(), size=st.tuples(st.integers(1, 300), st.integers(1, 300)))
def test_sizes_are_those_that_pillow_reads(kind: str, data: st.DataObject, size: tuple[int, int]) -> None:
    """Whatever the mode, the frames and the way up: width and height are the stored ones."""
    form, modes, options = MANY[kind]
    mode, out = data.draw(st.sampled_from(modes)), io.BytesIO()
    more = (
        {"append_images": [Pillow.new(mode, size, 1), Pillow.new(mode, size)]}
        if "save_all" in options
        else {}
    )
    Pillow.new(mode, size).save(out, form, **options, **more)
    with Pillow.open(out) as picture:
        assert media.pixel_size(out.getvalue()) == picture.size == size
        assert media.media_type(out.getvalue()[:4096]) == Pillow.MIME.get(picture.format or "", "").replace(
            "/apng", "/png"
        )


@pytest.mark.parametrize(
    ("declared", "kind", "wrong"),
    [
        ("png", "image/png", False),
        ("jpeg", "image/jpeg", False),
        ("jpg", "image/jpeg", False),
        (" .JPG", "image/jpeg", False),
        ("image/jpeg", "image/jpeg", False),
        ("svg", "image/svg+xml", False),
        ("image/svg+xml", "image/svg+xml", False),
        ("avif", "image/avif", False),
        ("png", "image/webp", True),
        ("jpg", "image/png", True),
        ("image/webp", "image/jpeg", True),
        ("svg", "image/png", True),
        ("gif", "image/webp", True),
        (None, "image/png", False),
        ("", "image/png", False),
        ("auto", "image/png", False),
        ("b64_json", "image/png", False),
        ("png", media.UNKNOWN, False),
        (None, media.UNKNOWN, False),
        ("png", "image/tiff", True),
        ("png", "application/pdf", False),
    ],
)
def test_a_declared_format_that_is_not_the_real_one(declared: str | None, kind: str, wrong: bool) -> None:
    """Only what is surely another one counts: not what is missing, or not known on either side."""
    assert media.format_mismatch(declared, kind) is wrong
    assert (media.format_warning(declared, None, kind) is not None) is wrong
    assert (media.format_warning(None, declared, kind) is not None) is wrong


def test_the_warning_about_a_format() -> None:
    """It tells what was asked for and what the server said, as far as these are wrong, in words of ours."""
    end = "; media_type and file names follow the bytes"
    assert media.format_warning("WEBP", "image/jpg", "image/png") == (
        "an image is image/png (detected from its bytes), but output_format is webp and the server declares jpeg"
        + end
    )
    assert media.format_warning("png", "svg", "image/png") == (
        "an image is image/png (detected from its bytes), but the server declares svg" + end
    )


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
    """An image whose size has not come yet, or makes no sense, has None."""
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
    assert media.file_suffix(media.media_type(head)).startswith(".")
    size = media.pixel_size(head)
    assert size is None or min(size) >= 0
    assert flaw_of([head]) == flaw_of(pieces(head, 1))


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
