"""A disk that fails while a batch runs: what is paid for is saved somewhere, and the run can go on later."""

import errno
import os
import tempfile
from pathlib import Path

import pytest

from openai_images import Batch, BatchFolderError, DownloadError, ImagesClient, Succeeded
from openai_images.batch.folder.image_files import ImageNotStoredError
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, pictures, posts, rows, run, states
from tests.helpers.clients import PNG
from tests.helpers.crashing_filesystem import FailingDisk
from tests.helpers.leaks import nothing_left, parts

FULL = os.strerror(errno.ENOSPC)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def full_for_pictures(out: Path, *operations: str) -> FailingDisk:
    """A disk that takes rows but no image from the third on."""
    written: set[Path] = set()

    def fails(operation: str, path: Path) -> bool:
        if operation == "create" and path.parent == out / "images":
            written.add(path)
        return operation in operations and path.parent == out / "images" and len(written) > 2

    return FailingDisk(fails)


@pytest.mark.parametrize("operation", ["create", "write", "sync", "publish"])
async def test_full_for_pictures(
    client: ImagesClient,
    server: LocalImagesServer,
    out: Path,
    elsewhere: Path,
    operation: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An image that does not fit is saved elsewhere, and nothing new is started; the next run fetches it."""
    disk = full_for_pictures(out, operation)
    async with nothing_left():
        ran = await run(client, many(9), out, disk=disk, concurrency=1)
        await client.aclose()
    assert (ran.done, ran.failed) == (["00001", "00002", "00003"], {})
    (saved,) = (outcome for outcome in ran.outcomes if outcome.key == "00003")
    assert isinstance(saved, Succeeded)
    path = saved.result.image.path
    assert path is not None
    assert (path.parent.parent, path.name, saved.result.image.data) == (elsewhere, "00003.png", PNG)
    assert isinstance(ran.error, BatchFolderError)
    assert str(ran.error) == (
        f"the batch stopped because {str(out)!r} could not be written ({FULL}); free disk space or fix the "
        "permissions, then run it again to continue. Paid images that could not be written were saved elsewhere, and "
        f"the next run moves them here (if it reports their items as unknown, move them to {str(out / 'images')!r}):"
        f"\n  {path}"
    )
    assert (ran.summary.reason, ran.summary.done, ran.summary.not_started) == ("folder", 3, 6)
    assert ran.summary.saved_elsewhere == (str(path),)
    assert f"paid images cannot be written to {out}: saved as {path}" in caplog.messages
    assert pictures(out) == ["00001.png", "00002.png"]
    again = await run(client, many(9), out)
    assert (len(again.done), again.summary.done, max(posts(server).values())) == (6, 9, 1)
    assert pictures(out) == [f"{number:05d}.png" for number in range(1, 10)]
    assert rows(out)[-1]["state"] == "done"
    assert list(elsewhere.iterdir()) == []


async def test_only_what_a_batch_saved_is_removed(client: ImagesClient, out: Path, elsewhere: Path) -> None:
    """A journal may name any file, and an item that was left out may have the same one."""
    ran = await run(client, many(3), out, disk=full_for_pictures(out, "write"), concurrency=1)
    (saved,) = (Path(path) for path in ran.summary.saved_elsewhere)
    own = saved.parent.rename(elsewhere / "holiday") / saved.name
    journal = out / "journal.jsonl"
    journal.write_text(journal.read_text().replace(str(saved), str(own)))
    assert (await run(client, many(3), out)).plan.done == ("00001", "00002", "00003")
    assert own.read_bytes() == PNG


async def test_a_folder_that_is_renamed_meanwhile(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Images that arrive are saved elsewhere; moved into the renamed folder, they are adopted."""
    renamed = out.with_name("renamed")
    async with Batch(client, many(2), out) as batch:
        out.rename(renamed)
        with pytest.raises(
            BatchFolderError, match="if the folder was renamed, use its new name, then run it"
        ):
            [outcome async for outcome in batch]
        saved = [Path(path) for path in batch.summary.saved_elsewhere]
    assert sorted(path.name for path in saved) == ["00001.png", "00002.png"]
    for path in saved:
        path.rename(renamed / "images" / path.name)
    again = await run(client, many(2), renamed)
    assert (again.summary.done, max(posts(server).values())) == (2, 1)


async def test_full_once_more(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """While there is still no room the image stays where it was saved, and is not bought again."""
    await run(client, many(3), out, disk=full_for_pictures(out, "write"), concurrency=1)
    again = await run(client, many(3), out, disk=FailingDisk(lambda operation, path: operation == "create"))
    assert again.plan.done == ("00001", "00002", "00003")
    assert again.plan.notes == (
        f"images in a fallback folder could not be moved to this folder yet ({FULL})",
    )
    assert (await run(client, many(3), out)).plan.notes == ()
    assert (pictures(out), server.posts) == (["00001.png", "00002.png", "00003.png"], 3)


async def test_saved_elsewhere_and_gone(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image that was saved elsewhere and is gone by the next run is missing, as any other."""
    ran = await run(client, many(3), out, disk=full_for_pictures(out, "write"), concurrency=1)
    Path(ran.summary.saved_elsewhere[0]).unlink()
    again = await run(client, many(3), out)
    assert (again.plan.missing, again.outcomes, server.posts) == (("00003",), [], 3)


async def test_full_everywhere(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image that fits nowhere is given to the caller in the exception, and is unknown."""
    written: list[Path] = []

    def fails(operation: str, path: Path) -> bool:
        if operation == "create":
            written.append(path)
        return operation == "create" and len(written) > 2

    ran = await run(client, many(5), out, disk=FailingDisk(fails), concurrency=1)
    error = ran.failed["00003"]
    assert isinstance(error, ImageNotStoredError)
    assert [image.data for image in error.images] == [PNG]
    assert (
        str(error)
        == f"the image could not be written to {str(out / 'images')!r} ({FULL}), nor to a temporary folder"
    )
    assert (states(out, "00003"), ran.summary.unknown) == (["sent", "unknown"], 1)
    assert isinstance(ran.error, BatchFolderError)
    assert (await run(client, many(5), out)).plan.unknown == ("00003",)
    assert server.posts == 5


def full_for_rows(state: str) -> FailingDisk:
    """A disk that takes no more rows as soon as one of this state is to be written."""
    disk: FailingDisk

    def fails(operation: str, path: Path) -> bool:
        return disk.is_full and path.name == "journal.jsonl" and operation in ("write", "sync")

    class Full(FailingDisk):
        is_full = False

        def about_to(self, operation: str, path: Path, args: tuple[object, ...]) -> None:
            if (
                operation == "write"
                and isinstance(args[0], bytes)
                and f'"{state}","key":"00002"'.encode() in args[0]
            ):
                self.is_full = True
            super().about_to(operation, path, args)

    disk = Full(fails)
    return disk


async def test_no_room_for_the_row_before(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An item whose row cannot be written is not sent, and is pending."""
    ran = await run(client, many(4), out, disk=full_for_rows("sent"), concurrency=1)
    assert (ran.done, ran.failed, server.posts) == (["00001"], {}, 1)
    assert isinstance(ran.error, BatchFolderError)
    assert f"could not be written ({FULL})" in str(ran.error)
    assert (ran.summary.not_started, ran.summary.reason) == (3, "folder")
    assert (out / "journal.jsonl").read_bytes().endswith(b"}\n")
    again = await run(client, many(4), out)
    assert (again.plan.notes, again.summary.done, server.posts) == ((), 4, 4)


async def test_no_room_for_the_row_behind(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image whose row cannot be written is there, and the next run adopts it."""
    ran = await run(client, many(4), out, disk=full_for_rows("done"), concurrency=1)
    assert ran.done == ["00001"]
    assert isinstance(ran.failed["00002"], OSError)
    assert isinstance(ran.error, BatchFolderError)
    assert pictures(out) == ["00001.png", "00002.png"]
    again = await run(client, many(4), out)
    assert (again.plan.adopted, again.summary.done, server.posts) == (("00002",), 4, 4)


async def test_no_room_for_the_row_of_a_refusal(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A row that cannot be written cancels no request in flight: its image is paid for."""
    refused: list[bytes] = []

    class Full(FailingDisk):
        def about_to(self, operation: str, path: Path, args: tuple[object, ...]) -> None:
            if operation == "write" and isinstance(args[0], bytes) and b'"refused"' in args[0]:
                refused.append(args[0])
                if len(refused) == 1:  # the next write may hold the row of the image, too
                    server.release()
                    raise OSError(errno.ENOSPC, FULL)
            super().about_to(operation, path, args)

    server.script("stall", "overloaded_503_retry_after:1")
    ran = await run(client, many(4), out, disk=Full(lambda *_: False), concurrency=2)
    assert isinstance(ran.error, BatchFolderError)
    assert (len(ran.done), ran.failed, ran.summary.unknown, server.posts) == (1, {}, 0, 2)


async def test_no_room_for_anything(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Neither image nor row: the image is elsewhere, the message says where, and it can be put where it belongs."""
    disk = full_for_rows("sent")
    disk.fails = lambda operation, path: out in path.parents and len(server.requests) > 0
    ran = await run(client, many(4), out, disk=disk, concurrency=1)
    assert isinstance(ran.failed["00001"], OSError)
    (saved,) = ran.summary.saved_elsewhere
    assert saved in str(ran.error)
    assert Path(saved).read_bytes() == PNG
    assert (await run(client, many(1), out)).plan.unknown == ("00001",)
    Path(saved).rename(out / "images" / Path(saved).name)
    assert (await run(client, many(1), out)).plan.adopted == ("00001",)
    assert server.posts == 1


async def test_no_room_for_image_and_row(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image that fits nowhere is in the exception, although the row that says so fits nowhere, either."""
    disk = full_for_rows("sent")
    disk.fails = lambda operation, _: operation in ("create", "write") and len(server.requests) > 0
    ran = await run(client, many(2), out, disk=disk, concurrency=1)
    error = ran.failed["00001"]
    assert isinstance(error, ImageNotStoredError)
    assert [image.data for image in error.images] == [PNG]
    assert isinstance(ran.error, BatchFolderError)
    assert (states(out, "00001"), ran.summary.unknown, server.posts) == (["sent"], 1, 1)


async def test_no_room_for_urls(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image whose URL cannot be written down is downloaded nevertheless, as only this run knows the URL."""
    server.reset(picture_links="absolute")
    ran = await run(client, many(4), out, disk=full_for_rows("away"), concurrency=1)
    assert (ran.done, len(server.downloads)) == (["00001"], 2)
    assert isinstance(ran.failed["00002"], OSError)
    assert isinstance(ran.error, BatchFolderError)
    assert pictures(out) == ["00001.png", "00002.png"]
    again = await run(client, many(4), out)
    assert (again.plan.adopted, again.summary.done, server.posts) == (("00002",), 4, 4)


async def test_no_room_for_urls_and_no_download(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """If the download fails, too, the exception has the URL, and can be given to `client.download`."""
    server.reset(picture_links="absolute")
    server.script("download_ok", "download_404")
    ran = await run(client, many(4), out, disk=full_for_rows("away"), concurrency=1)
    error = ran.failed["00002"]
    assert isinstance(error, DownloadError)
    assert isinstance(ran.error, BatchFolderError)
    result = await client.download(error.response)
    assert (result.image.data, ran.summary.unknown, server.posts) == (PNG, 1, 2)


async def test_a_journal_that_cannot_be_mended(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Where a half-written row cannot even be cut off, nothing is written behind it, and the next run mends it."""
    disk = full_for_rows("sent")
    inner = disk.fails
    disk.fails = lambda operation, path: inner(operation, path) or operation == "truncate"
    ran = await run(client, many(4), out, disk=disk, concurrency=1)
    assert isinstance(ran.error, BatchFolderError)
    assert not (out / "journal.jsonl").read_bytes().endswith(b"}\n")
    again = await run(client, many(4), out)
    assert "was torn" in again.plan.notes[0]
    assert (again.summary.done, server.posts) == (4, 4)


async def test_no_room_for_small_copies(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small copy that can neither be written nor removed spoils nothing."""

    def full(*args: object) -> bool:
        raise OSError(errno.ENOSPC, FULL)

    monkeypatch.setattr("openai_images.batch.batch_runner.make_thumbnail", full)
    ran = await run(client, many(3), out, thumbnail=lambda picture, copy: None)
    assert (ran.error, ran.summary.done) == (None, 3)


async def test_no_room_for_the_locks_words(
    client: ImagesClient, server: LocalImagesServer, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock holds without the number in it, and is let go at the end."""
    write, truncate = os.write, os.ftruncate

    def full(descriptor: int, data: bytes) -> int:
        if data == f"{os.getpid()}\n".encode():
            raise OSError(errno.ENOSPC, FULL)
        return write(descriptor, data)

    def failing(descriptor: int, size: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "batch.lock":
            raise OSError(errno.EIO, "no")
        truncate(descriptor, size)

    monkeypatch.setattr(os, "write", full)
    monkeypatch.setattr(os, "ftruncate", failing)
    async with nothing_left():
        for number in (1, 2):
            assert (await run(client, many(number), out)).summary.done == number
        await client.aclose()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("concurrency", [1, 4])
async def test_nothing_new_is_sent_once_the_disk_is_full(
    client: ImagesClient, server: LocalImagesServer, out: Path, number: int, concurrency: int
) -> None:
    """Whatever the disk says: the images in hand are handed over, and the rest of a hundred is never paid for."""
    disk = full_for_pictures(out, "write")
    disk.number = number
    ran = await run(client, many(100), out, disk=disk, concurrency=concurrency)
    assert isinstance(ran.error, BatchFolderError)
    assert server.posts == len(ran.done) <= 3 + 2 * concurrency
    assert all(
        image.data == PNG for one in ran.outcomes if isinstance(one, Succeeded) for image in one.result.images
    )


async def test_a_page_that_cannot_be_written(
    client: ImagesClient, out: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A contact sheet that cannot be written is a warning, and spoils nothing."""

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, FULL)

    monkeypatch.setattr("openai_images.batch.sheet.contact_sheet.write_sheet", full)
    ran = await run(client, items_of("an otter"), out)
    assert ran.summary.done == 1
    assert caplog.messages == [f"index.html could not be written to {out} ({FULL})"]
    assert "index.html" not in parts(out)
