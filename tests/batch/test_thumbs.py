"""Small copies of a batch's images: made once, made anew, or left out, and never a reason to fail."""

import os
from pathlib import Path

import pytest
from PIL import Image as Pillow

from openai_images.batch.sheet.sheet_entries import has_thumbnail, make_thumbnail, make_thumbnails


class Maker:
    """Makes copies with Pillow and notes of what."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, source: Path, target: Path) -> None:
        """As the command line does."""
        self.made.append(source.name)
        with Pillow.open(source) as image:
            image.thumbnail((8, 8))
            image.save(target, "WEBP")


def paint(folder: Path, file: str, colour: str = "red") -> None:
    """An image of 32 times 16 pixels."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (32, 16), colour).save(path)


def listed(folder: Path) -> list[str]:
    """All files below a folder."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_copy_is_made_once(tmp_path: Path) -> None:
    """It is small, it is WebP, it lies in `thumbs/`, and a second time nothing is done."""
    paint(tmp_path, "images/a.png")
    make = Maker()
    assert not has_thumbnail(tmp_path, "images/a.png")
    assert [make_thumbnail(tmp_path, "images/a.png", make) for _ in range(2)] == [True, True]
    assert has_thumbnail(tmp_path, "images/a.png")
    assert make.made == ["a.png"]
    assert listed(tmp_path) == ["images/a.png", "thumbs/images/a.png.webp"]
    with Pillow.open(tmp_path / "thumbs/images/a.png.webp") as copy:
        assert (copy.size, copy.format) == ((8, 4), "WEBP")


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_a_changed_picture_gets_a_new_copy(tmp_path: Path, seconds: int) -> None:
    """Whether the clock went on or was set back meanwhile: a copy of what was there before is never shown."""
    paint(tmp_path, "a.png")
    make = Maker()
    assert make_thumbnail(tmp_path, "a.png", make)
    then = (tmp_path / "a.png").stat().st_mtime
    paint(tmp_path, "a.png", "blue")
    os.utime(tmp_path / "a.png", (then + seconds, then + seconds))
    assert not has_thumbnail(tmp_path, "a.png")
    assert make_thumbnail(tmp_path, "a.png", make)
    with Pillow.open(tmp_path / "thumbs/a.png.webp") as copy:
        red, _, blue = copy.convert("RGB").getpixel((4, 2))  # type: ignore[misc]  # a triple for RGB
    assert blue > 200
    assert red < 60


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"x" * 99, b"<svg/>"])
def test_what_cannot_be_made_small_is_left_out(tmp_path: Path, content: bytes) -> None:
    """No copy, nothing half-written, no exception."""
    (tmp_path / "a.png").write_bytes(content)
    assert not make_thumbnail(tmp_path, "a.png", Maker())
    assert listed(tmp_path) == ["a.png"]


@pytest.mark.parametrize(
    "error", [ValueError("?"), RuntimeError("?"), MemoryError(), SyntaxError("broken PNG file")]
)
def test_whatever_an_imaging_library_raises(tmp_path: Path, error: Exception) -> None:
    """Also after it has written something."""
    paint(tmp_path, "a.png")

    def make(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise error

    assert not make_thumbnail(tmp_path, "a.png", make)
    assert listed(tmp_path) == ["a.png"]


def test_a_maker_that_makes_nothing(tmp_path: Path) -> None:
    """It is as if it had failed; an empty file is no copy either."""
    paint(tmp_path, "a.png")
    assert not make_thumbnail(tmp_path, "a.png", lambda source, target: None)
    assert not make_thumbnail(tmp_path, "a.png", lambda source, target: target.touch())


def test_a_picture_that_is_gone(tmp_path: Path) -> None:
    """Nothing to copy; and a copy of what is gone counts for nothing."""
    assert not make_thumbnail(tmp_path, "a.png", Maker())
    paint(tmp_path, "b.png")
    assert make_thumbnail(tmp_path, "b.png", Maker())
    (tmp_path / "b.png").unlink()
    assert not has_thumbnail(tmp_path, "b.png")


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """The sheet shows the originals then."""
    paint(tmp_path, "a.png")
    (tmp_path / "thumbs").write_text("a file")
    assert not make_thumbnail(tmp_path, "a.png", Maker())


@pytest.mark.parametrize(
    "file", ["../a.png", "images/../../a.png", "/a.png", "", ".", "images\\..\\a.png", "a\0.png"]
)
def test_nothing_outside_the_folder_is_touched(tmp_path: Path, file: str) -> None:
    """A journal may have been edited by hand."""
    folder = tmp_path / "batch"
    paint(tmp_path, "a.png")
    paint(folder, "images/b.png")
    make = Maker()
    assert not make_thumbnail(folder, file, make)
    assert not has_thumbnail(folder, file)
    assert make.made == []
    assert listed(tmp_path) == ["a.png", "batch/images/b.png"]


def test_many_in_a_row(tmp_path: Path) -> None:
    """Only those that are missing; a broken one does not keep the others from being made."""
    names = [f"images/{number}.png" for number in range(20)]
    for name in names:
        paint(tmp_path, name)
    (tmp_path / names[7]).write_bytes(b"broken")
    make = Maker()
    assert make_thumbnail(tmp_path, names[0], make)
    make_thumbnails(tmp_path, names, make)
    assert [has_thumbnail(tmp_path, name) for name in names] == [name != names[7] for name in names]
    assert sorted(make.made) == sorted(Path(name).name for name in names)
