"""A journal that lost rows while its images are there, and links where a batch writes: a question, never a payment."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from openai_images import Batch, BatchFolderError, ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, posts, run
from tests.helpers.clients import PNG
from tests.helpers.leaks import nothing_left, parts

Damage = Callable[[bytes], bytes]

DAMAGES: dict[str, Damage] = {
    "emptied": lambda data: b"",
    "only blank lines": lambda data: b"\n\n",
    "cut in the middle": lambda data: data[: len(data) // 2],
    "cut in its first row": lambda data: data[:10],
    "an older copy": lambda data: b"".join(data.splitlines(keepends=True)[:9]),
    "only its first row": lambda data: data[: data.index(b"\n") + 1],
    "its end zeroed": lambda data: data[: len(data) // 2].ljust(len(data), b"\0"),
    "its beginning zeroed": lambda data: data[len(data) // 2 :].rjust(len(data), b"\0"),
    "its middle zeroed": lambda data: data[:400] + bytes(len(data) - 800) + data[-400:],
    "zeroed": lambda data: bytes(len(data)),
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda data: data.decode().encode("utf-16-le"),
    "EBCDIC": lambda data: data.decode().encode("cp500"),
    "base64": lambda data: __import__("base64").b64encode(data),
    "line ends lost": lambda data: data.replace(b"\n", b""),
    "line ends lost, and torn": lambda data: data.replace(b"\n", b"")[:-30],
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "every second row": lambda data: b"".join(data.splitlines(keepends=True)[::2]),
    "backwards": lambda data: b"".join(reversed(data.splitlines(keepends=True))),
    "of another batch": lambda data: data.replace(b"0000", b"1111"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_nothing_is_bought_again(
    client: ImagesClient, server: LocalImagesServer, out: Path, damage: Damage
) -> None:
    """Whatever became of the journal: no image that is there is paid for again, and all images stay."""
    await run(client, many(8), out, concurrency=1)
    images = parts(out / "images")
    journal = out / "journal.jsonl"
    journal.write_bytes(damage(journal.read_bytes()))
    for options in ({}, {"retry_failed": True}):
        async with nothing_left():
            try:
                await run(client, many(8), out, **options)
            except BatchFolderError as error:
                assert "estore it" in str(error)  # noqa: PT017  either is right
            await client.aclose()
        assert (server.posts, parts(out / "images")) == (8, images)


async def test_what_is_to_do(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """It is said which images they are; once they are moved away the items are sent."""
    items = items_of("a", "b", "c", n=2)
    await run(client, items, out, concurrency=1)
    journal = out / "journal.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(b"".join(whole.splitlines(keepends=True)[:3]))
    with pytest.raises(BatchFolderError) as caught:
        await run(client, items, out)
    assert str(caught.value) == (
        f"4 images are in {str(out / 'images')!r} without a row in the journal, with names of items that would "
        "be sent and paid for again: '00002-0.png', '00002-1.png', '00003-0.png', '00003-1.png'; nothing was sent. "
        "journal.jsonl has lost rows: restore it. To generate these images again, move them to another folder "
        "first"
    )
    assert server.posts == 3
    for name in ("00002-0.png", "00002-1.png", "00003-0.png", "00003-1.png"):
        (out / "images" / name).rename(out / name)
    again = await run(client, items, out)
    assert (again.done, server.posts) == (["00002", "00003"], 5)


async def test_images_of_others(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image that no item would be called by, and other files, are nobody's business."""
    await run(client, many(2), out)
    (out / "images" / "edited.png").write_bytes(PNG)
    (out / "images" / "00003.txt").write_text("to do")
    assert (await run(client, many(4), out)).summary.done == 4
    assert max(posts(server).values()) == 1


# Links.


@pytest.mark.parametrize("name", ["batch.lock", "journal.jsonl", "journal.torn"])
@pytest.mark.parametrize("has_rows", [True, False])
async def test_links_to_files(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path, out: Path, name: str, *, has_rows: bool
) -> None:
    """What they lead to keeps every byte, whether or not the folder is a batch's."""
    if has_rows:
        await run(client, many(1), out)
    out.mkdir(exist_ok=True)
    victim = tmp_path / "thesis.txt"
    victim.write_bytes((out / name).read_bytes() if (out / name).exists() else b"ten years of work\n")
    before = victim.read_bytes()
    (out / name).unlink(missing_ok=True)
    (out / name).symlink_to(victim)
    with pytest.raises(BatchFolderError, match="is a symbolic link; nothing was changed"):
        await run(client, many(2), out)
    assert (victim.read_bytes(), server.posts) == (before, int(has_rows))


@pytest.mark.parametrize("name", ["images", "thumbs"])
async def test_links_to_folders(client: ImagesClient, tmp_path: Path, out: Path, name: str) -> None:
    """Nothing is written into the folder they lead to."""
    out.mkdir()
    victim = tmp_path / "victim"
    victim.mkdir()
    (out / name).symlink_to(victim)
    with pytest.raises(BatchFolderError, match="is a symbolic link"):
        await run(client, many(1), out)
    assert list(victim.iterdir()) == []


async def test_a_link_that_leads_nowhere(client: ImagesClient, tmp_path: Path, out: Path) -> None:
    """No file is made at its end."""
    out.mkdir()
    (out / "batch.lock").symlink_to(tmp_path / "new")
    with pytest.raises(BatchFolderError, match="is a symbolic link"):
        await run(client, many(1), out)
    assert not (tmp_path / "new").exists()


async def test_a_link_made_at_the_last_moment(tmp_path: Path) -> None:
    """Files are opened so that no link is followed, whenever it came."""
    from openai_images._util.filesystem import Disk

    victim, link = tmp_path / "victim", tmp_path / "link"
    victim.write_text("mine")
    link.symlink_to(victim)
    for open_it in (Disk().open, Disk().create, Disk().lock):
        with pytest.raises(OSError, match="link"):
            open_it(link)
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
async def test_a_lock_of_something_else(
    client: ImagesClient, out: Path, make: Callable[[Path], object]
) -> None:
    """It is refused, and nothing waits for it."""
    out.mkdir()
    make(out / "batch.lock")
    with pytest.raises(BatchFolderError, match="is not what a batch creates"):
        await run(client, many(1), out)


async def test_a_hard_link_as_lock(client: ImagesClient, tmp_path: Path, out: Path) -> None:
    """A second name of another file locks as well, and is not emptied either."""
    out.mkdir()
    (tmp_path / "thesis").write_text("ten years")
    os.link(tmp_path / "thesis", out / "batch.lock")
    async with Batch(client, many(1), out) as batch:
        with pytest.raises(BatchFolderError, match="another process is using"):
            await run(client, many(1), out)
        assert [outcome.key async for outcome in batch] == ["00001"]
    assert (tmp_path / "thesis").read_text() == "ten years"


async def test_somebody_removed_the_lock(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A second run is kept out by the journal all the same, and the first goes on."""
    async with Batch(client, many(2), out) as batch:
        (out / "batch.lock").unlink()
        with pytest.raises(BatchFolderError, match="another process is using the batch folder"):
            await run(client, many(2), out)
        assert len([outcome async for outcome in batch]) == 2
    assert server.posts == 2
    assert (await run(client, many(3), out)).summary.done == 3
