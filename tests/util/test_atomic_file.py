"""Files appear whole or not at all, under the first free name, on file systems of any kind."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from openai_images._util import atomic_file
from openai_images._util.atomic_file import create_part, open_part, part_path, publish


def listed(folder: Path) -> list[str]:
    """The names in a folder."""
    return sorted(path.name for path in folder.iterdir())


def part(folder: Path, text: bytes = b"new") -> Path:
    """A finished temporary file."""
    file, path = open_part(folder, "otter.png")
    with file:
        file.write(text)
    return path


@pytest.fixture(params=["hard links", "none"])
def links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and one without."""

    def no_link(*paths: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    if request.param == "none":
        monkeypatch.setattr(os, "link", no_link)


def test_a_part_is_hidden_and_unique(tmp_path: Path) -> None:
    """The name starts with a dot, ends in .part, and is never the same; folders are made; a part is never reused."""
    folder = tmp_path / "a" / "b"
    paths = {part(folder) for _ in range(20)}
    assert len(paths) == 20
    assert all(
        path.parent == folder and path.name.startswith(".otter.png.") and path.suffix == ".part"
        for path in paths
    )
    with pytest.raises(FileExistsError):
        create_part(paths.pop())
    assert part_path(folder, "x").parent == folder


def test_a_part_has_the_usual_rights(tmp_path: Path) -> None:
    """The umask decides who may read it."""
    before = os.umask(0o027)
    try:
        path = part(tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.usefixtures("links")
def test_the_first_free_name_is_taken(tmp_path: Path) -> None:
    """Nothing is overwritten: -2, -3 and so on go before the last suffix."""
    target = tmp_path / "otter.v1.png"
    taken = [publish(part(tmp_path, text), target, overwrite=False) for text in (b"1", b"2", b"3")]
    assert [path.name for path in taken] == ["otter.v1.png", "otter.v1-2.png", "otter.v1-3.png"]
    assert [path.read_bytes() for path in taken] == [b"1", b"2", b"3"]
    assert len(listed(tmp_path)) == 3


@pytest.mark.usefixtures("links")
def test_many_files_of_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None is left out and none overwritten, and each takes a few looks, however many there are."""
    looks = 0

    def counted(function: Callable[..., bool]) -> Callable[..., bool]:
        def count(*arguments: Any) -> bool:
            nonlocal looks
            looks += 1
            return function(*arguments)

        return count

    monkeypatch.setattr(os.path, "lexists", counted(os.path.lexists))
    monkeypatch.setattr(atomic_file, "create_new", counted(atomic_file.create_new))
    counts: list[int] = []
    for number in range(1, 257):
        looks = 0
        expected = "otter.png" if number == 1 else f"otter-{number}.png"
        assert publish(part(tmp_path), tmp_path / "otter.png", overwrite=False).name == expected
        counts.append(looks)
    assert max(counts[:16]) <= 10
    assert max(counts) <= 18


def test_a_name_that_is_taken_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that want one name at the same time each get a file of their own, and no number is left out."""
    with ThreadPoolExecutor(8) as pool:
        texts = [str(number).encode() for number in range(100)]
        paths = list(
            pool.map(
                lambda text: publish(part(tmp_path, text), tmp_path / "otter.png", overwrite=False), texts
            )
        )
    assert [path.read_bytes() for path in paths] == texts
    assert {path.name for path in paths} == {
        "otter.png",
        *(f"otter-{number}.png" for number in range(2, 101)),
    }
    # One that is seen as free is created by another process before it can be claimed.
    lexists = os.path.lexists
    monkeypatch.setattr(os.path, "lexists", lambda path: Path(path).name != "otter-100.png" and lexists(path))
    assert publish(part(tmp_path), tmp_path / "otter.png", overwrite=False).name == "otter-101.png"
    assert [path.read_bytes() for path in paths] == texts


@pytest.mark.usefixtures("links")
def test_a_folder_or_a_broken_link_is_in_the_way(tmp_path: Path) -> None:
    """Whatever has the name keeps it."""
    (tmp_path / "otter").mkdir()
    (tmp_path / "otter-2").symlink_to(tmp_path / "nowhere")
    assert publish(part(tmp_path), tmp_path / "otter", overwrite=False) == tmp_path / "otter-3"
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.usefixtures("links")
def test_overwriting(tmp_path: Path) -> None:
    """Asked to, the file is replaced in one step."""
    target = tmp_path / "otter.png"
    target.write_bytes(b"old")
    assert publish(part(tmp_path), target, overwrite=True) == target
    assert target.read_bytes() == b"new"
    assert listed(tmp_path) == ["otter.png"]


@pytest.mark.usefixtures("links")
def test_a_part_that_is_gone(tmp_path: Path) -> None:
    """A temporary file that somebody removed is an error, and no empty file takes its place."""
    path = part(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        publish(path, tmp_path / "otter.png", overwrite=False)
    assert listed(tmp_path) == []


@pytest.mark.usefixtures("links")
def test_a_target_without_its_folder(tmp_path: Path) -> None:
    """A folder that somebody removed is an error, and the part stays for its owner to remove."""
    path = part(tmp_path)
    with pytest.raises(FileNotFoundError):
        publish(path, tmp_path / "gone" / "otter.png", overwrite=False)
    assert path.exists()
