"""Whether an image is all there: every format, every cut, whatever stands behind it, in bounded memory."""

import io
import struct
import sys
import tracemalloc
from typing import Any

import pytest
from PIL import Image as Pillow

from openai_images.models.completeness import NO_IMAGE, TRUNCATED, ImageProbe, flaw_of
from tests.helpers.decoding import pieces
from tests.helpers.tiny_images import gif, png

SVG = (
    b'<?xml version="1.0"?><!-- '
    + b"x" * 100
    + b' --><svg xmlns="x" width="3" height="2"><path d="M0 0"/></svg>'
)


def painted(kind: str, **options: Any) -> bytes:
    """An image with something in it."""
    out = io.BytesIO()
    noise = Pillow.effect_noise((9, 9), 50)
    frames = {"save_all": True, "append_images": [Pillow.effect_noise((9, 9), 90)]} if kind == "gif" else {}
    noise.save(out, kind, **frames, **options)
    return out.getvalue()


def thumbnailed() -> bytes:
    """A JPEG that holds a smaller one before its own image."""
    small, large = painted("jpeg"), painted("jpeg", quality=99)
    return large[:2] + b"\xff\xe1" + struct.pack(">H", len(small) + 2) + small + large[2:]


WHOLE: dict[str, bytes] = {
    "png": painted("png"),
    "jpeg": painted("jpeg"),
    "progressive jpeg": painted("jpeg", progressive=True),
    "jpeg with a thumbnail": thumbnailed(),
    "jpeg with fill bytes": b"\xff\xd8\xff\xff\xff\xe0\0\4ab\xff\x01\xff\xda" + bytes(99) + b"\xff\xd9",
    "gif": painted("gif"),
    "gif without a frame": gif("A"),
    "webp": painted("webp"),
    "avif": struct.pack(">I4s8s", 16, b"ftyp", b"avif\0\0\0\0")
    + struct.pack(">I4s20s", 28, b"meta", b"")
    + struct.pack(">I4sQ50s", 1, b"mdat", 66, b""),
    "bmp": painted("bmp"),
    "svg": SVG,
    "svg without content": b'<svg width="3" height="2"/>',
}
NO_END: dict[str, bytes] = {
    "tiff": painted("tiff"),
    "ico": b"\0\0\1\0\1\0\x10\x10" + bytes(60),
    "jxl": b"\xff\x0a" + bytes(40),
}


@pytest.mark.parametrize("kind", WHOLE | NO_END)
@pytest.mark.parametrize("behind", [b"", b"\n", bytes(3000), b"-- appended by a proxy, \xff\0;" * 90])
def test_a_whole_image(kind: str, behind: bytes) -> None:
    """However it is cut into pieces, and whatever stands behind its end."""
    data = (WHOLE | NO_END)[kind] + (b"" if kind in ("avif", *NO_END) else behind)
    assert flaw_of([data]) is None
    assert flaw_of(pieces(data, 1)) is None
    assert flaw_of(pieces(data, 4099)) is None


@pytest.mark.parametrize("kind", WHOLE)
def test_every_cut_is_seen(kind: str) -> None:
    """Behind its signature it lacks its end, before that it is no image; between two boxes nobody can tell."""
    data = WHOLE[kind]
    between = {*range(16, 24), *range(44, 60)} if kind == "avif" else set[int]()
    for end in range(0, len(data) - 1, 3):
        if end not in between:
            assert flaw_of([data[:end]]) in (TRUNCATED, NO_IMAGE), end
    assert flaw_of([data[:-3]]) == TRUNCATED


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"BM and other words",
        b"<html><svg></svg></html>",
        b"%PDF-1.7",
        b"\0\0\0\x18ftypmp42",
        b"iVBORw0KGgo=",
    ],
)
def test_what_is_no_image(data: bytes) -> None:
    """By its first bytes."""
    assert flaw_of([data]) == flaw_of(pieces(data, 1)) == NO_IMAGE


@pytest.mark.parametrize("start", [png(b"")[:33], b"\xff\xd8\xff\xda", b"GIF89a" + bytes(7), b"<svg>", b"?"])
def test_nothing_of_the_size_of_the_image_is_held(start: bytes) -> None:
    """The first bytes, and the last 64 kB at most."""
    probe = ImageProbe()
    probe.feed(start)
    tracemalloc.start()
    try:
        for _ in range(200):
            probe.feed(bytes(50_000))
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()
    assert probe.nbytes == len(start) + 10_000_000


@pytest.mark.slow
@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"\x89PNG\r\n\x1a\n", bytes(12)),
        (b"\xff\xd8", b"\xff\xe0\0\2"),
        (b"GIF89a\1\0\1\0\0\0\0", b"!\0\0"),
        (b"GIF89a\1\0\1\0\0\0\0!\0", b"\1x"),
    ],
)
def test_a_file_of_the_smallest_parts_is_given_up(start: bytes, part: bytes) -> None:
    """Following all of them would stall whoever waits for it: only some are looked at."""
    steps, count = 0, 200_000

    def see(frame: Any, kind: str, _: object) -> None:
        nonlocal steps
        steps += kind == "call" and frame.f_code.co_name in ("_png", "_jpeg", "_gif")

    probe = ImageProbe()
    sys.setprofile(see)
    try:
        probe.feed(start + part * count)
    finally:
        sys.setprofile(None)
    assert steps <= 1_010 + len(part) * count // 32
