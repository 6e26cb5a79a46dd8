"""An `Image`: what it says of itself, and how it is saved."""

import asyncio
import copy
import hashlib
import io
import os
import pickle
import stat
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from PIL import Image as Pillow, UnidentifiedImageError

from openai_images.errors import ConfigurationError, DownloadError
from openai_images.models.image import Image


def painted(kind: str = "png") -> bytes:
    """A small image by Pillow."""
    out = io.BytesIO()
    Pillow.new("RGB", (3, 2)).save(out, kind)
    return out.getvalue()


def listed(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


PNG = painted()


def test_a_picture_describes_itself() -> None:
    """Size, media type and digest come from the bytes."""
    image = Image.from_bytes(PNG)
    assert (image.data, image.nbytes, image.media_type) == (PNG, len(PNG), "image/png")
    assert (image.width, image.height, image.path, image.url) == (3, 2, None, None)
    assert image.sha256 == image.sha256
    assert len(image.sha256) == 64


def test_a_picture_of_unknown_kind() -> None:
    """Bytes that say nothing are kept as they are."""
    image = Image.from_bytes(b"\0\1")
    assert (image.data, image.media_type) == (b"\0\1", "application/octet-stream")
    assert (image.width, image.height) == (None, None)


def test_repr_shows_no_bytes(tmp_path: Path) -> None:
    """The repr is short: kind, size, and a digest or the place; never a server's text."""
    echo = {"revised_prompt": "sentinel", "extra": {"a": "sentinel"}, "url": "http://sentinel"}
    image = attrs.evolve(Image.from_bytes(PNG), **echo)
    assert repr(image) == f"<image/png {len(PNG)} bytes sha256:{image.sha256[:8]}\u2026>"
    large = Image.from_bytes(PNG + bytes(64 * 1024))  # all of a large one would take milliseconds
    digest = hashlib.sha256(large.data[: 64 * 1024]).hexdigest()[:8]
    assert repr(large) == f"<image/png {large.nbytes:,} bytes first 64 KiB sha256:{digest}\u2026>"
    path = tmp_path / "otter.png"
    assert repr(Image.from_file(path, PNG, 1_843_201)) == f"<image/png 1,843,201 bytes at {str(path)!r}>"
    assert repr(Image(url="http://sentinel")) == "<image behind a URL>"


def test_a_picture_in_a_file_is_read_each_time(tmp_path: Path) -> None:
    """`data` is what is in the file now; nothing is kept."""
    path = tmp_path / "otter.png"
    path.write_bytes(PNG)
    image = Image.from_file(path, PNG, len(PNG))
    assert (image.data, image.path, image.width, image.nbytes) == (PNG, path, 3, len(PNG))
    assert asyncio.run(image.read()) == PNG
    path.write_bytes(b"other")
    assert image.data == b"other"
    path.unlink()
    with pytest.raises(FileNotFoundError):
        _ = image.data


async def test_reading_from_memory() -> None:
    """`read` gives what `data` gives."""
    assert await Image.from_bytes(PNG).read() is not None
    with pytest.raises(DownloadError):
        await Image(url="http://x/a.png").read()


def test_a_picture_behind_a_url_has_no_data() -> None:
    """The error says where the image is."""
    image = Image(url="http://x/a.png")
    for use in (lambda: image.data, lambda: image.save("otter"), lambda: image.sha256):
        with pytest.raises(DownloadError, match=r"image\.url") as caught:
            use()
        assert caught.value.url == "http://x/a.png"
    assert not Path("otter").exists()


def test_frozen_and_equal_by_value() -> None:
    """A value: it cannot be changed, and equal ones are one in a set."""
    image = Image.from_bytes(PNG)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        image.nbytes = 0
    assert image == Image.from_bytes(PNG)
    assert len({image, Image.from_bytes(PNG), attrs.evolve(image, extra={"a": [1]})}) == 2
    assert not hasattr(image, "__dict__")


@pytest.mark.parametrize("known", [False, True], ids=["fresh", "with its digest"])
def test_pickling_and_copying(known: bool) -> None:
    """An image survives both, whether or not its digest was asked for."""
    image = attrs.evolve(Image.from_bytes(PNG), extra={"a": 1})
    digest = image.sha256 if known else Image.from_bytes(PNG).sha256
    for other in (pickle.loads(pickle.dumps(image)), copy.copy(image), copy.deepcopy(image)):
        assert other == image
        assert other.sha256 == digest


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("otter", "otter.png"),
        ("otter.png", "otter.png"),
        ("otter.jpg", "otter.jpg"),
        ("a/b/otter", "a/b/otter.png"),
        ("gpt-image-2.5", "gpt-image-2.5.png"),
        ("gpt-image-2.5-flare", "gpt-image-2.5-flare.png"),
        ("St. Bernard", "St. Bernard.png"),
        ("a red fox v2.0", "a red fox v2.0.png"),
        ("otter.JPEG", "otter.JPEG"),
        (".otter", ".otter.png"),
    ],
)
def test_saving(tmp_path: Path, name: str, written: str) -> None:
    """Folders are made, a missing suffix is added, and nothing else is left behind."""
    assert Image.from_bytes(PNG).save(tmp_path / name) == tmp_path / written
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / written]
    assert (tmp_path / written).read_bytes() == PNG


@pytest.mark.parametrize("kind", ["jpeg", "webp", "gif"])
def test_the_suffix_is_that_of_the_bytes(tmp_path: Path, kind: str) -> None:
    """The name's ending follows the format."""
    path = Image.from_bytes(painted(kind)).save(str(tmp_path / "otter"))
    assert path.suffix == {"jpeg": ".jpg"}.get(kind, f".{kind}")


def test_saving_replaces(tmp_path: Path) -> None:
    """What is there is replaced in one step, also the image's own file."""
    path = tmp_path / "otter.png"
    path.write_bytes(b"old")
    Image.from_bytes(PNG).save(path)
    Image.from_file(path, PNG, len(PNG)).save(path)
    assert path.read_bytes() == PNG
    assert listed(tmp_path) == ["otter.png"]


def test_saving_keeps_the_usual_rights(tmp_path: Path) -> None:
    """The file may be read by whom the umask lets read."""
    before = os.umask(0o022)
    try:
        path = Image.from_bytes(PNG).save(tmp_path / "otter")
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_saving_into_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leading ~ is the home folder, as in a shell, and no folder of that name; of an unknown user it is a name."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert Image.from_bytes(PNG).save("~/otter") == tmp_path / "otter.png"
    assert Image.from_bytes(PNG).save("~nobody-of-this-name.png") == Path("~nobody-of-this-name.png")
    assert listed(tmp_path) == ["otter.png", "~nobody-of-this-name.png"]


@pytest.mark.parametrize("path", ["", ".", "..", "pictures", "pictures/", "new/", "~", "~/", "/"])
def test_a_folder_is_no_file(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever names a folder does not mean a file beside it; the error says what to do, and nothing is made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    with pytest.raises(IsADirectoryError, match=r"a folder; name a file in it, such as .*otter"):
        Image.from_bytes(PNG).save(path)
    assert listed(tmp_path) == ["pictures"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder in the way is an OSError, and nothing half-written stays."""
    (tmp_path / "otter.png").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="otter"):
        Image.from_bytes(PNG).save(tmp_path / "otter.png")
    with pytest.raises(OSError, match="file"):
        Image.from_bytes(PNG).save(tmp_path / "file" / "otter.png")
    assert listed(tmp_path) == ["file", "otter.png"]


def test_a_disk_that_takes_only_a_part(tmp_path: Path) -> None:
    """A write that is cut short without an error does not pass for the image: the rest is refused, nothing stays."""
    resource = pytest.importorskip("resource", reason="needs a limit on the size of files")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            Image.from_bytes(PNG + b"\0" * 5000).save(tmp_path / "otter")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert listed(tmp_path) == []


def test_opening_a_picture(tmp_path: Path) -> None:
    """As Pillow does, from memory or from its file, which is not held open."""
    path = tmp_path / "otter.png"
    path.write_bytes(PNG)
    for image in (Image.from_bytes(PNG), Image.from_file(path, PNG, len(PNG))):
        with image.open() as picture:
            assert isinstance(picture, Pillow.Image)
            assert (picture.format, picture.size, picture.getpixel((2, 1))) == ("PNG", (3, 2), (0, 0, 0))
    _ = Image.from_file(path, PNG, len(PNG)).open()  # a file left open would be a ResourceWarning
    path.unlink()
    with pytest.raises(FileNotFoundError):
        Image.from_file(path, PNG, len(PNG)).open()
    with pytest.raises(DownloadError, match=r"image\.url"):
        Image(url="http://x/a.png").open()


def test_an_opened_picture_is_not_decoded_before_its_pixels_are_needed() -> None:
    """Its size is there at once; that its data is cut shows at the first pixel."""
    out = io.BytesIO()
    Pillow.effect_noise((64, 64), 50).save(out, "png")
    picture = Image.from_bytes(out.getvalue()[:2000]).open()
    assert picture.size == (64, 64)
    with pytest.raises(OSError, match="truncated"):
        picture.load()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<svg width='1' height='1'></svg>", r"Pillow cannot read an SVG: save\(\)"),
        (b"no picture", r"cannot read the image \(application/octet-stream, 10 bytes\)"),
        (PNG[:20], r"cannot read the image \(image/png, 20 bytes\)"),
    ],
)
def test_a_picture_that_pillow_cannot_open(data: bytes, message: str) -> None:
    """The error is Pillow's own, with a sentence of ours."""
    with pytest.raises(UnidentifiedImageError, match=message) as caught:
        Image.from_bytes(data).open()
    assert isinstance(caught.value, OSError)


def test_opening_without_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it."""
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(ConfigurationError, match=r"needs Pillow.*pip install 'openai-images\[server\]'"):
        Image.from_bytes(PNG).open()


def test_a_jpeg_whose_size_comes_late() -> None:
    """In memory it is found behind hundreds of kilobytes of colour profile, too."""
    out = io.BytesIO()
    Pillow.new("RGB", (30, 20)).save(out, "jpeg", icc_profile=b"p" * 300_000)
    assert (Image.from_bytes(out.getvalue()).width, Image.from_bytes(out.getvalue()).height) == (30, 20)


def test_the_words_of_http_and_of_pages() -> None:
    """`content_type`, `bytes(image)` and a `data:` URL that gives the same bytes."""
    image = Image.from_bytes(painted("webp"))
    assert image.content_type == image.media_type == "image/webp"
    assert bytes(image) == image.data
    with urllib.request.urlopen(image.data_url()) as response:
        assert (response.read(), response.headers["content-type"]) == (image.data, "image/webp")


def test_an_image_behind_a_url_has_no_bytes() -> None:
    """All that needs the bytes says how they are fetched."""
    image = Image(url="http://x/a.png")
    for call in (image.data_url, image.show, lambda: bytes(image)):
        with pytest.raises(DownloadError, match=r"await client.download\(image\)"):
            call()


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """The files that a web browser was asked to open; they are removed."""
    opened: list[Path] = []

    def open_url(url: str) -> bool:
        opened.append(Path(urllib.request.url2pathname(urllib.parse.urlsplit(url).path)))
        return True

    monkeypatch.setattr("webbrowser.open", open_url)
    yield opened
    for path in opened:
        path.unlink()


def test_show_with_pillow(monkeypatch: pytest.MonkeyPatch, browser: list[Path]) -> None:
    """Pillow's viewer gets the image, and the image stays as it is."""
    sizes: list[tuple[int, int]] = []
    monkeypatch.setattr("PIL.ImageShow.show", lambda picture: sizes.append(picture.size) or True)
    image = Image.from_bytes(PNG)
    image.show()
    assert (sizes, browser, image.data) == ([(3, 2)], [], PNG)


@pytest.mark.parametrize("lacks", ["Pillow", "a viewer"])
def test_show_in_a_browser(lacks: str, monkeypatch: pytest.MonkeyPatch, browser: list[Path]) -> None:
    """Without Pillow, or without a viewer, the browser gets the bytes as they are."""
    data = painted("jpeg")
    if lacks == "Pillow":
        monkeypatch.setitem(sys.modules, "PIL", None)
    else:
        monkeypatch.setattr("PIL.ImageShow.show", lambda _: False)
    Image.from_bytes(data).show()
    assert [(path.suffix, path.read_bytes()) for path in browser] == [(".jpg", data)]


def test_show_without_anything(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It says what there is instead, and leaves no file."""
    monkeypatch.setattr("PIL.ImageShow.show", lambda _: False)
    monkeypatch.setattr("webbrowser.open", lambda _: False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(
        ConfigurationError, match=r"no image viewer and no web browser .*: save\(\) the image"
    ):
        Image.from_bytes(PNG).show()
    assert listed(tmp_path) == []


def test_show_opens_no_svg(browser: list[Path]) -> None:
    """A browser would run its scripts."""
    with pytest.raises(ConfigurationError, match=r"not open an SVG.*save\(\) it"):
        Image.from_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>").show()
    assert browser == []
