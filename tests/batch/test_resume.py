"""Running a batch again after something changed: its input, its images, the clock, its options."""

import os
from pathlib import Path

import pytest
from attrs import evolve

from openai_images import Batch, BatchFolderError, BatchItem, GenerateRequest, ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, pictures, posts, rows, run, states
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.crashing_filesystem import FailingDisk, WatchedDisk


async def test_appended_and_removed(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """Appended items are sent; removed ones are told and left alone, and are known again when they come back."""
    await run(client, many(4), out)
    longer = await run(client, many(6), out)
    assert (longer.plan.done, longer.done) == (("00001", "00002", "00003", "00004"), ["00005", "00006"])
    shorter = await run(client, many(6)[2:], out)
    assert (shorter.plan.removed, shorter.plan.total, shorter.outcomes) == (("00001", "00002"), 4, [])
    assert len(pictures(out)) == 6
    assert (await run(client, many(6), out)).plan.removed == ()
    assert server.posts == 6


@pytest.mark.parametrize("fault", ["ok", "reset_after_body"], ids=["done", "unknown"])
async def test_changed_prompts(
    client: ImagesClient, server: LocalImagesServer, out: Path, fault: str
) -> None:
    """Another prompt under a key that was paid for, or may have been, is told before anything is sent."""
    server.script(fault)
    await run(client, many(1), out)
    before = rows(out)
    with pytest.raises(BatchFolderError) as caught:
        await run(client, items_of("another otter", "a new one"), out, retry_unknown=True)
    assert str(caught.value) == (
        "1 item is changed: this folder's journal has another request under the same key, which may have been paid "
        "for: '00001'; nothing was sent. Use another folder, give new prompts new keys (or append them to the old "
        "ones), or restore the old prompts, parameters and images"
    )
    assert "otter" not in str(caught.value)
    assert (server.posts, rows(out)) == (1, before)


async def test_a_changed_parameter(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A parameter that changed for all items changes all items; the message names some and counts the rest."""
    await run(client, many(12), out)
    with pytest.raises(
        BatchFolderError, match=r"12 items are changed.*'00001', '00002'.*'00010' and 2 more; nothing"
    ):
        await run(client, many(12, size="1536x1024"), out)
    assert server.posts == 12


async def test_a_line_in_the_middle(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A prompt put between numbered ones moves the others: that is told, instead of buying them again."""
    await run(client, items_of("a", "b", "c"), out)
    with pytest.raises(BatchFolderError, match="2 items are changed"):
        await run(client, items_of("a", "new", "b", "c"), out)
    assert server.posts == 3


async def test_a_failed_prompt_may_be_changed(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A prompt that was blocked and is another one now is simply new: it is sent without being asked for."""
    server.script("moderation_400")
    await run(client, items_of("a bad otter", "b"), out, concurrency=1)
    async with Batch(client, items_of("a good otter", "b"), out) as waiting:
        assert (waiting.summary.not_started, waiting.summary.failed) == (1, 0)
    again = await run(client, items_of("a good otter", "b"), out)
    assert (again.plan.changed, again.plan.pending, again.plan.failed) == (("00001",), ("00001",), ())
    assert (again.done, again.summary.done) == (["00001"], 2)
    assert posts(server)["a good otter"] == 1


async def test_the_same_request_spelled_otherwise(client: ImagesClient, out: Path) -> None:
    """Only what is sent counts: the order of names and `extra_body` for a known parameter change nothing."""
    one = GenerateRequest(
        "an otter",
        model="gpt-image-2",
        size="1024x1024",
        extra_body={"moderation": "low", "background": "opaque"},
    )
    same = GenerateRequest(
        "an otter",
        model="gpt-image-2",
        extra_body={"background": "opaque", "size": "1024x1024", "moderation": "low"},
    )
    await run(client, [BatchItem("k", one)], out)
    assert (await run(client, [BatchItem("k", same, 7)], out)).plan.done == ("k",)


async def test_a_deleted_picture(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image that is gone is told and not bought again, unless that is asked for."""
    await run(client, many(3), out)
    (out / "images" / "00002.png").unlink()
    again = await run(client, many(3), out, retry_failed=True, retry_unknown=True)
    assert (again.plan.missing, again.plan.done, again.outcomes) == (("00002",), ("00001", "00003"), [])
    assert (again.summary.missing, again.summary.done, server.posts) == (1, 2, 3)
    assert "its images are missing" in (out / "index.html").read_text()
    bought = await run(client, many(3), out, retry_missing=True)
    assert (bought.done, bought.summary.done, bought.summary.missing, server.posts) == (["00002"], 3, 0, 4)
    assert pictures(out) == ["00001.png", "00002.png", "00003.png"]
    assert (await run(client, many(3), out)).plan.done == ("00001", "00002", "00003")


async def test_a_deleted_picture_that_is_not_bought_again_yet(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """An item that was to be bought again, and was not, is still missing, and not sent by a run that does not ask."""
    await run(client, many(2), out)
    (out / "images" / "00002.png").unlink()
    server.script("quota_429")
    stopped = await run(client, many(2), out, retry_missing=True)
    assert (stopped.summary.missing, stopped.summary.reason) == (1, "quota")
    again = await run(client, many(2), out)
    assert (again.plan.missing, again.outcomes) == (("00002",), [])


async def test_one_of_two_pictures_deleted(client: ImagesClient, out: Path) -> None:
    """An item lacks its images when one of them is gone; what is left is not overwritten by a new one."""
    await run(client, many(1, n=2), out)
    (out / "images" / "00001-1.png").unlink()
    again = await run(client, many(1, n=2), out, retry_missing=True)
    assert (again.plan.missing, again.done) == (("00001",), ["00001"])
    assert pictures(out) == ["00001-0.png", "00001-2-0.png", "00001-2-1.png"]


@pytest.mark.parametrize("size", [len(PNG), 5])
async def test_an_altered_picture(
    client: ImagesClient, server: LocalImagesServer, out: Path, size: int
) -> None:
    """An image that somebody worked on is told, left as it is, and never sent again."""
    await run(client, many(2), out)
    picture = out / "images" / "00001.png"
    picture.write_bytes(bytes(size))
    os.utime(picture, (1, 1))
    again = await run(client, many(2), out, retry_missing=True, retry_failed=True, retry_unknown=True)
    assert (again.plan.altered, again.plan.done, again.outcomes) == (("00001",), ("00001", "00002"), [])
    assert (picture.read_bytes(), server.posts) == (bytes(size), 2)


async def test_a_copied_folder(client: ImagesClient, out: Path, tmp_path: Path) -> None:
    """Images with another time and the same bytes are the same images."""
    await run(client, many(2), out)
    for picture in (out / "images").iterdir():
        os.utime(picture, (1, 1))
    out.rename(tmp_path / "elsewhere")
    again = await run(client, many(2), tmp_path / "elsewhere")
    assert (again.plan.altered, again.plan.done, again.outcomes) == ((), ("00001", "00002"), [])


async def test_the_clock_was_set_back(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """The order of the rows counts, not their times: a day earlier, what failed and was done since is done."""
    server.script("moderation_400")
    await run(client, many(2), out, concurrency=1)
    time = FakeTime()

    def yesterday() -> float:
        return FakeTime.WALL - 86_400

    async with client_of(server, timing=evolve(time.timing, wall=yesterday)) as late:
        again = await run(late, many(2), out, retry_failed=True)
    assert again.done == ["00001"]
    assert states(out, "00001") == ["sent", "failed", "sent", "done"]
    assert [row["at"][:10] for row in rows(out) if row["key"] == "00001"] == ["2023-11-14"] * 2 + [
        "2023-11-13"
    ] * 2
    last = await run(client, many(2), out)
    assert (last.plan.done, last.outcomes, server.posts) == (("00001", "00002"), [], 3)


async def test_a_picture_put_there_by_hand(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A file of somebody else's is never overwritten, nor taken for an image of the batch."""
    (out / "images").mkdir(parents=True)
    await run(client, [], out)
    (out / "images" / "00001.png").write_bytes(b"mine")
    ran = await run(client, many(1), out)
    assert (ran.done, server.posts) == (["00001"], 1)
    assert pictures(out) == ["00001-2.png", "00001.png"]
    assert (out / "images" / "00001.png").read_bytes() == b"mine"


async def test_a_name_of_anothers_picture(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image that had to give way to a stranger's file has its row, and is not taken for that of another key."""
    items = [BatchItem(key, GenerateRequest(f"otter {key}", model="gpt-image-2")) for key in ("a", "a-2")]

    def intrude(operation: str, path: Path) -> bool:
        if operation == "create" and path.name.startswith(".a.png"):
            (out / "images" / "a.png").write_bytes(b"a stranger's")
        return False

    server.script("ok", "reset_after_body")
    await run(client, items, out, disk=FailingDisk(intrude), concurrency=1)
    assert pictures(out) == ["a-2.png", "a.png"]
    again = await run(client, items, out)
    assert (again.plan.done, again.plan.unknown) == (("a",), ("a-2",))
    assert (await run(client, items, out, retry_unknown=True)).summary.done == 2
    assert pictures(out) == ["a-2-2.png", "a-2.png", "a.png"]


async def test_keys_that_would_be_one_file(client: ImagesClient, out: Path) -> None:
    """Keys that differ only where some file system sees no difference have files of their own, in every run."""
    items = [
        BatchItem(key, GenerateRequest(f"otter {number}", model="gpt-image-2"))
        for number, key in enumerate(["Cat", "cat", "CAT.png", "../cat", "cat-2"])
    ]
    await run(client, items[:2], out)
    assert pictures(out) == ["Cat.png", "cat-2.png"]
    ran = await run(client, items, out)
    assert ran.summary.done == 5
    assert len({name.casefold() for name in pictures(out)}) == 5
    assert sorted(path.name for path in out.iterdir()) == [
        "batch.lock",
        "images",
        "index.html",
        "journal.jsonl",
        "metadata.jsonl",
        "pictures.csv",
    ]


async def test_the_plan_does_not_touch_pictures(client: ImagesClient, out: Path) -> None:
    """Entering and leaving leaves every image as it is."""
    await run(client, many(3), out)
    before = {path.name: path.stat().st_mtime_ns for path in (out / "images").iterdir()}
    async with Batch(client, many(3), out):
        pass
    assert {path.name: path.stat().st_mtime_ns for path in (out / "images").iterdir()} == before


def leave_parts(out: Path, *names: str) -> None:
    """What a killed run leaves: rows up to the first answer, and images under temporary names."""
    journal = out / "journal.jsonl"
    journal.write_text("".join(f"{line}\n" for line in journal.read_text().splitlines()[:2]))
    for picture in (out / "images").iterdir():
        picture.unlink()
    for name in names:
        (out / "images" / name).write_bytes(PNG)


async def test_a_picture_under_its_temporary_name(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A whole image that was not renamed yet is adopted: synced, renamed, and its row behind its name."""
    await run(client, many(1), out)
    leave_parts(out, ".00001.png.0123abcd.part")
    disk = WatchedDisk()
    again = await run(client, many(1), out, disk=disk)
    assert (again.plan.adopted, again.plan.done, pictures(out)) == (("00001",), ("00001",), ["00001.png"])
    assert disk.log[disk.log.index(("open", ".00001.png.0123abcd.part")) :][:6] == [
        ("open", ".00001.png.0123abcd.part"),
        ("sync", ".00001.png.0123abcd.part"),
        ("publish", ".00001.png.0123abcd.part"),
        ("sync_folder", "images"),
        ("write", "journal.jsonl"),
        ("sync", "journal.jsonl"),
    ]
    assert server.posts == 1


async def test_one_of_two_pictures_arrived(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A whole image whose sibling is lacking is kept and told; the item is unknown. Half ones vanish."""
    await run(client, many(1, n=2), out)
    leave_parts(out, ".00001-0.png.0123abcd.part", ".00001-1.png.0123abcd.part", ".other.png.0123abcd.part")
    half = out / "images" / ".00001-1.png.0123abcd.part"
    half.write_bytes(PNG[:50])
    again = await run(client, many(1, n=2), out)
    assert (again.plan.unknown, again.plan.notes) == (
        ("00001",),
        ("images/00001-0.png is one of several images of an item; the others are missing",),
    )
    assert pictures(out) == [".other.png.0123abcd.part", "00001-0.png"]
    assert server.posts == 1


async def test_the_name_of_a_picture_that_is_gone(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """A deleted image's name is not given to another item: it would pass for an altered one."""
    items = [BatchItem(key, GenerateRequest(f"otter {key}", model="gpt-image-2")) for key in ("a", "a.png")]
    await run(client, items[:1], out)
    (out / "images" / "a.png").unlink()
    again = await run(client, items, out)
    assert (again.plan.missing, again.done, pictures(out)) == (("a",), ["a.png"], ["a-2.png"])
