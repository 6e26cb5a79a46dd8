"""Images of output files on their way to the disk: whole sectors, other file systems, and disks that fail."""

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO
from unittest.mock import MagicMock

import pytest

from openai_images.batch import download_sink
from openai_images.batch.download_sink import Blocks, DownloadSink
from openai_images.batch.downloads import Downloads, complete, sync_download
from openai_images.batch.filesystem import Disk
from openai_images.models.image import Image
from tests.helpers.clients import PNG

SECTOR = 4096
FLUSH = 768 * 1024


def pieces(nbytes: int, size: int) -> Iterator[bytes]:
    """A PNG of so many bytes, and then no end of noise, in pieces."""
    data = (PNG + os.urandom(nbytes))[:nbytes]
    return (data[start : start + size] for start in range(0, nbytes, size))


def written(downloads: Downloads, data: Iterator[bytes], *, is_flushed: bool = True) -> tuple[bytes, Image]:
    """Write an image as a batch does; its bytes, and the complete image."""
    sink, gathered = downloads.new_sink(), b""
    for piece in data:
        sink.write(piece)
        gathered += piece
        for due in downloads.due if is_flushed else ():
            due.flush()
    return gathered, complete(sink.finish(), downloads.take())


def not_direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system, or a system, that cannot."""
    monkeypatch.delattr(os, "O_DIRECT", raising=False)


class Odd:
    """A file of `create_part` whose `write` is another one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, write: Callable[[BinaryIO, memoryview], int]) -> None:
        """Stand in the place of all of them."""
        create = download_sink.create_part

        def create_odd(path: Path) -> Any:
            file = create(path)
            odd = MagicMock(wraps=file)
            odd.fileno = file.fileno
            odd.write = partial(write, file)
            return odd

        monkeypatch.setattr(download_sink, "create_part", create_odd)


def sectors_of(multiple: int) -> Callable[[BinaryIO, memoryview], int]:
    """What a disk with larger sectors takes while it is written directly."""

    def write(file: BinaryIO, data: memoryview) -> int:
        if (
            download_sink.fcntl.fcntl(file, download_sink.fcntl.F_GETFL) & os.O_DIRECT
            and len(data) % multiple
        ):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return file.write(data)

    return write


def some_of(file: BinaryIO, data: memoryview) -> int:
    """A part of what was to be written, and of a sector at the end."""
    return file.write(data[: min(len(data), SECTOR)])


@pytest.mark.parametrize("nbytes", [1, len(PNG), SECTOR, 3 * SECTOR + 1, FLUSH, 1_500_003, 5_000_000])
@pytest.mark.parametrize("system", ["direct", "usual", "large sectors", "short"])
@pytest.mark.parametrize("size", [192 * 1024, 10_007])
def test_the_file_has_the_bytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nbytes: int, system: str, size: int
) -> None:
    """Whatever the length and the file system, the file is what was fed, and its digest is known."""
    if system == "usual":
        not_direct(monkeypatch)
    elif system == "large sectors":
        Odd(monkeypatch, sectors_of(64 * 1024))
    elif system == "short":
        Odd(monkeypatch, some_of)
    downloads = Downloads(tmp_path)
    for _ in range(2):  # the second one in the memory of the first
        data, image = written(downloads, pieces(nbytes, size))
        assert image.path is not None
        assert image.path.read_bytes() == data
        stat, digest = sync_download(Disk(), image.path)
        assert (stat.size, digest) == (nbytes, hashlib.sha256(data).hexdigest())


def test_whole_sectors_go_past_the_page_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Few writes, each of whole sectors."""
    lengths: list[int] = []

    def write(file: BinaryIO, data: memoryview) -> int:
        lengths.append(len(data))
        return file.write(data)

    Odd(monkeypatch, write)
    _, image = written(Downloads(tmp_path), pieces(1_500_003, 192 * 1024))
    assert image.nbytes == 1_500_003
    assert len(lengths) == 2
    with (tmp_path / "trial").open("wb", buffering=0) as trial:
        is_direct = download_sink.set_direct(trial, True)
    assert [length % SECTOR for length in lengths] == [0, 0 if is_direct else 1_500_003 % SECTOR]


def test_more_than_a_block_at_once(tmp_path: Path) -> None:
    """What nobody flushed is written all the same."""
    data, image = written(Downloads(tmp_path), pieces(5_000_000, 700_000), is_flushed=False)
    assert image.data == data


@pytest.mark.parametrize("room", [0, SECTOR, 800_000, 1_499_136])
@pytest.mark.parametrize("is_direct", [True, False])
def test_a_full_disk_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    room: int,
    is_direct: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The image is in memory then, with a warning, and its file is gone."""
    left = [room]

    def write(file: BinaryIO, data: memoryview) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = file.write(data[: left[0]])
        left[0] -= taken
        return taken

    if not is_direct:
        not_direct(monkeypatch)
    Odd(monkeypatch, write)
    data, image = written(Downloads(tmp_path), pieces(1_500_003, 192 * 1024))
    assert (image.path, image.data == data) == (None, True)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert "kept in memory" in caplog.text


def test_a_disk_that_fails_at_the_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the file gets no name, the image is read back."""
    failure = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
    monkeypatch.setattr("openai_images.client.files.publish", MagicMock(side_effect=failure))
    data, image = written(Downloads(tmp_path), pieces(1_500_003, 192 * 1024))
    assert (image.path, image.data == data) == (None, True)


def test_memory_is_reused_and_given_back(tmp_path: Path) -> None:
    """One block serves all images that follow each other, complete, dropped, or in memory."""
    blocks = Blocks()
    first = blocks.take()
    blocks.give_back(first)
    sink = DownloadSink(tmp_path / "a.part", blocks)
    sink.write(PNG)
    sink.discard()
    sink = DownloadSink(tmp_path / "b.part", blocks)
    sink.write(PNG)
    image = sink.finish()
    sink.flush()
    assert sink.publish(image, tmp_path / "b", overwrite=True).data == PNG
    assert blocks.take() is first
