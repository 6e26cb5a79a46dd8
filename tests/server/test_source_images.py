"""What the local server knows of an image before Pillow sees it, and what Pillow is given at all."""

import asyncio
import io
import random
import struct
import threading
import zlib
from typing import Any

import pytest
from PIL import Image

from openai_images.server.requests.source_images import (
    MAX_PIXELS,
    MAX_SEGMENTS,
    ImageHeader,
    inspect_image,
    read_header,
)
from tests.helpers.edit_images import encoded, form, house

SIZES = [(1, 1), (7, 300), (640, 33)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("JPEG", {}),
        ("JPEG", {"progressive": True, "comment": b"x" * 60_000}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("WEBP", {"exif": b"Exif\0\0", "lossless": True}),
    ],
)
def test_the_size_is_what_pillow_finds(kind: Any, options: dict[str, Any], size: tuple[int, int]) -> None:
    """In each format and each way to write it."""
    file = io.BytesIO(encoded(house(size), kind, **options))
    assert read_header(file) == ImageHeader(kind, *size)
    assert file.tell() == 0
    picture = inspect_image(file, "", "first", pixels=True)
    assert picture is not None
    assert (picture.format, picture.size) == (kind, size)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"GIF89a" + bytes(50), b"BM" + bytes(60), b"%!PS-Adobe-3.0 EPSF-3.0\n", b"II*\0" + bytes(60),
        b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(40), b"\xff\xd8\xff", b"\xff\xd8\xff\xd9" + bytes(20),
        b"\xff\xd8" + b"\xff" * 2000, b"\xff\xd8" + b"\xff\xe0\0\x02" * (MAX_SEGMENTS + 9) + b"\xff\xc0" + bytes(20),
        b"\xff\xd8" + b"\xff\xe0\0\0" * 9, b"RIFF\0\0\0\0WEBPxxxx" + bytes(40), b"RIFF\0\0\0\0WEBP",
        b"RIFF\0\0\0\0WAVEVP8X" + bytes(40),
    ],
)  # fmt: skip
def test_what_is_none_of_ours_is_nothing(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow is not contacted about it."""
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    assert read_header(io.BytesIO(data)) is None
    assert inspect_image(io.BytesIO(data), "", "first", pixels=True) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_picture_is_measured_or_not(kind: str) -> None:
    """Cut and hurt at random: never an error, never a wait."""
    data, chance = encoded(house((40, 30)), kind), random.Random(kind)
    for _ in range(300):
        hurt = bytearray(data[: chance.randrange(len(data) + 1)])
        for _ in range(chance.randrange(4)):
            if hurt:
                hurt[chance.randrange(min(len(hurt), 64))] = chance.randrange(256)
        read_header(io.BytesIO(bytes(hurt)))


def png_of(width: int, height: int) -> bytes:
    """A PNG of zeros, small on the wire however large it is."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    squeezer = zlib.compressobj(1)
    rows = b"".join(squeezer.compress(bytes(width // 8 + 2)) for _ in range(height)) + squeezer.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    "data",
    [
        png_of(8000, MAX_PIXELS // 8000 + 1),
        b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x87\x13\0\x88\x13\0" + bytes(100),
        b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff" + bytes(100),
    ],
)
def test_what_has_too_many_pixels_is_not_opened(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its format: a decoder may need all the memory as soon as it opens a file."""
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("opened"))
    assert inspect_image(io.BytesIO(data), "", "first", pixels=True) is None


async def test_pictures_are_opened_one_at_a_time_and_off_the_loop(
    edit: Any, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of all requests together, in one thread that is not the loop's, with the format said."""
    at_once: list[int] = []
    running = 0
    lock = threading.Lock()
    real = Image.open

    def opened(file: Any, **options: Any) -> Any:
        nonlocal running
        assert options == {"formats": ("PNG",)}
        assert threading.current_thread() is not threading.main_thread()
        with lock:
            running += 1
            at_once.append(running)
        try:
            return real(file, **options)
        finally:
            with lock:
                running -= 1

    monkeypatch.setattr(Image, "open", opened)
    image = encoded(house((400, 400)))
    sent = [form(*[("image[]", image)] * 3, model="gpt-image-2", prompt="night") for _ in range(4)]
    assert [reply.status for reply in await asyncio.gather(*map(edit, sent))] == [200] * 4
    assert at_once == [1] * 12
