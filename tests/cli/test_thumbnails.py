"""Images of others are decoded only where their first bytes name a format we know, one at a time, up to a size."""

import io
import struct
import threading
import zlib
from pathlib import Path

import pytest
from PIL import Image as Pillow, UnidentifiedImageError

from openai_images import Image
from openai_images.cli import preview
from openai_images.cli.preview import MAX_PIXELS, Preview, TerminalProtocol, open_image, write_thumbnail

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
KNOWN = ["PNG", "JPEG", "WEBP", "GIF"]


def encoded(kind: str, size: tuple[int, int] = (6, 4)) -> bytes:
    """An image by Pillow."""
    out = io.BytesIO()
    Pillow.new("RGB", size, "red").save(out, kind)
    return out.getvalue()


def png_of(width: int, height: int) -> bytes:
    """A PNG of that size in a few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", KNOWN)
def test_the_known_formats_are_decoded(kind: str, tmp_path: Path) -> None:
    """From memory and from a file."""
    data = encoded(kind)
    (tmp_path / "a").write_bytes(data)
    for source in (data, tmp_path / "a"):
        with open_image(source) as picture:
            assert (picture.format, picture.size) == (kind, (6, 4))
    with Image.from_bytes(data).open() as picture:
        assert picture.format == kind


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "ICO", "TGA", "PCX", "SGI", "PDF", "EPS", "DDS"])
def test_no_other_decoder_is_run(kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever Pillow could make of it."""
    data = encoded(kind, (32, 32))
    (tmp_path / "a.png").write_bytes(data)

    def fail(*_: object) -> None:
        raise AssertionError("a decoder was run")

    Pillow.init()
    for name in set(Pillow.OPEN) - set(KNOWN):
        monkeypatch.setitem(Pillow.OPEN, name, (fail, fail))
    assert Preview(TerminalProtocol.KITTY, 8, 4).draw(data) is None
    with pytest.raises(OSError, match="size"):
        write_thumbnail(tmp_path / "a.png", tmp_path / "b.webp")
    with pytest.raises(UnidentifiedImageError, match="save"):
        Image.from_bytes(data).open()


def test_the_bytes_count_and_not_what_was_declared() -> None:
    """An EPS that is called a PNG is none."""
    with pytest.raises(UnidentifiedImageError):
        Image(data=EPS, media_type="image/png", nbytes=len(EPS)).open()


@pytest.mark.parametrize("size", [(MAX_PIXELS, 2), (2**31 - 1, 2**31 - 1), (6325, 6325)])
def test_what_is_too_large_is_not_opened(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its own first bytes say so, before Pillow sees it."""
    (tmp_path / "a.png").write_bytes(png_of(*size))
    monkeypatch.setattr(Pillow, "open", None)
    with pytest.raises(OSError, match="more than 40,000,000 pixels"):
        write_thumbnail(tmp_path / "a.png", tmp_path / "b.webp")
    assert Preview(TerminalProtocol.KITTY, 8, 4).draw(png_of(*size)) is None


def test_a_size_that_grows_in_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GIF whose first frame is larger than it says of itself."""
    data = bytearray(encoded("GIF", (64, 64)))
    data[6:10] = struct.pack("<HH", 1, 1)
    monkeypatch.setattr(preview, "MAX_PIXELS", 64 * 64 - 1)
    with pytest.raises(OSError, match="pixels"), open_image(bytes(data)):
        pass


def test_a_large_file_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Memory is bounded by bytes as well."""
    (tmp_path / "a.png").write_bytes(encoded("PNG"))
    monkeypatch.setattr(preview, "MAX_BYTES", 10)
    with pytest.raises(OSError, match="more than 10 bytes"), open_image(tmp_path / "a.png"):
        pass


def test_one_at_a_time() -> None:
    """A second thread waits until the first has closed its image."""
    entered, order = threading.Event(), list[str]()

    def second() -> None:
        entered.set()
        with open_image(encoded("PNG")):
            order.append("second")

    with open_image(encoded("PNG")):
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L", "LA", "I;16", "1"])
def test_thumbnails_of_every_mode(mode: str, tmp_path: Path) -> None:
    """They are small, and keep what is transparent."""
    Pillow.new(mode, (960, 480)).save(tmp_path / "a.png")
    write_thumbnail(tmp_path / "a.png", tmp_path / "b.webp")
    with Pillow.open(tmp_path / "b.webp") as small:
        assert (small.size, small.mode) == ((480, 240), "RGBA" if "A" in mode else "RGB")
