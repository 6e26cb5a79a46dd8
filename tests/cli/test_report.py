"""Where images are to go is tried before anything is sent: exit code 2, and nothing is spent."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from openai_images import ImagesClient, RequestInvalidError
from tests.cli.conftest import names

Cli = Callable[..., Any]
LONG = "y" * 300


@pytest.fixture
def obstacles(empty_folder: Path) -> list[str]:
    """A file where a folder is wanted, and a folder where a file is."""
    Path("file").write_text("")
    Path("p.txt").write_text("a fox")
    Path("folder.png").mkdir()
    return names(empty_folder)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (LONG, "File name too long"),
        (f"{LONG}.png", "File name too long"),
        (f"{LONG}/", "File name too long"),
        (f"new/{LONG}/x.png", "File name too long"),
        ("é" * 125 + ".png", "File name too long"),
        ("file/x.png", "Not a directory"),
        ("file/sub/x.png", "Not a directory"),
        ("file/", "Not a directory"),
        ("/proc/x.png", "No such file or directory"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--n", "2"], ["--partial-images", "1", "--overwrite"]])
def test_an_output_that_cannot_be(
    cli: Cli, server: Any, obstacles: list[str], output: str, why: str, more: list[str]
) -> None:
    """It is said with its cause, and what to do."""
    done = cli("generate", "x", "-q", "-o", output, *more)
    assert (done.code, done.out, server.posts) == (2, "", 0)
    assert f": {why}\n       Nothing was sent. Choose another path with -o.\n" in done.err


@pytest.mark.parametrize(
    ("out", "why"),
    [
        (LONG, "File name too long"),
        (f"{LONG}/{LONG}", "File name too long"),
        ("file", "is a file; pass the name of a folder"),
        ("file/sub", "Not a directory"),
        ("/proc/x", "No such file or directory"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_batch_that_has_no_folder(
    cli: Cli, server: Any, obstacles: list[str], out: str, why: str, more: list[str]
) -> None:
    """Nothing is sent, and nothing is left behind."""
    done = cli("batch", "p.txt", "--out", out, *more)
    assert (done.code, server.posts, names(Path())) == (2, 0, obstacles)
    assert why in done.err
    assert "unexpected" not in done.err


def test_a_batch_whose_folder_of_pictures_takes_nothing(
    cli: Cli, server: Any, obstacles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal could be written, but no image."""
    real = os.open

    def refusing(path: Any, *args: Any, **more: Any) -> int:
        if Path(path).parent.name == "images":
            raise PermissionError(13, "Permission denied")
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", refusing)
    done = cli("batch", "p.txt", "--out", "o")
    assert (done.code, server.posts) == (2, 0)
    assert "cannot write to 'o': Permission denied" in done.err


@pytest.mark.parametrize("overwrite", [False, True])
async def test_a_folder_that_has_the_name_of_the_file(
    server: Any, obstacles: list[str], *, overwrite: bool
) -> None:
    """`into=` names a file, and nothing is sent."""
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        with pytest.raises(IsADirectoryError, match="a folder has this name"):
            await client.generate("x", into="folder.png", overwrite=overwrite)
        assert server.posts == 0
        result = await client.generate(
            "x", into="folder", overwrite=overwrite
        )  # its suffix is known too late
        assert (result.image.path, names(Path("folder.png"))) == (Path("folder-2.png"), [])


async def test_names_that_no_file_system_takes(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What its encoding lacks is an OSError as the rest is, and a NUL is no name."""
    real = os.open

    def ascii_only(path: Any, *args: Any, **more: Any) -> int:
        os.fspath(path).encode("ascii")
        return real(path, *args, **more)

    monkeypatch.setattr(os, "open", ascii_only)
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        with pytest.raises(OSError, match="no file can have this name"):
            await client.generate("x", into="狐")
        with pytest.raises(RequestInvalidError):
            await client.generate("x", into="a\0b")
    assert server.posts == 0


@pytest.mark.parametrize("more", [[], ["--n", "2"], ["--partial-images", "1", "--keep-partials"]])
def test_the_longest_name_that_is_taken_is_written(cli: Cli, server: Any, more: list[str]) -> None:
    """What was tried is at least as long as all that is written."""
    for length in range(255, 200, -1):
        done = cli("generate", "x", "-q", "-o", "y" * length, *more)
        if done.code != 2:
            break
    assert done.code == 0
    assert length > 220
    assert all(Path(line).is_file() for line in done.out.splitlines())
    assert "could not be written" not in done.err
