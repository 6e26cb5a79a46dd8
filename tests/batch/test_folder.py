"""What may be found in the folder of a batch: strangers, another process, a journal that is not whole."""

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from openai_images import Batch, BatchFolderError, ImagesClient
from openai_images._util.filesystem import Disk, FolderLock
from openai_images.batch.folder.folder import BatchFolder, Paths
from openai_images.batch.journal.ledger import Ledger
from openai_images.server import LocalImagesServer
from tests.helpers.batch_runs import items_of, many, pictures, rows, run, states
from tests.helpers.clients import PNG
from tests.helpers.crashing_filesystem import FailingDisk, HastyDisk
from tests.helpers.leaks import nothing_left, parts

TAKEN = """
import sys, time
from pathlib import Path
from openai_images._util.filesystem import Disk, FolderLock
from openai_images.batch.folder.folder import BatchFolder, Paths
folder = BatchFolder(Disk(), Paths(Path(sys.argv[1])))
folder.claim()
print("claimed", flush=True)
sys.stdin.read()
"""


async def refused(client: ImagesClient, out: Path) -> str:
    """What a folder that cannot be used says."""
    async with nothing_left():
        with pytest.raises(BatchFolderError) as caught:
            await run(client, many(2), out)
    return str(caught.value)


async def test_two_processes(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """The second process is told who works there; when the first was killed, it may."""
    with subprocess.Popen(
        [sys.executable, "-c", TAKEN, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "claimed\n"
        assert await refused(client, out) == (
            f"process {other.pid} is using the batch folder {str(out)!r}; wait until it has ended, or use another "
            "folder"
        )
        assert server.posts == 0
        other.kill()
    assert (await run(client, many(2), out)).summary.done == 2


async def test_twice_in_one_process(client: ImagesClient, out: Path) -> None:
    """Two batches of one process keep each other out as well; when one has ended the other may."""
    async with Batch(client, many(1), out):
        assert f"process {os.getpid()} is using the batch folder" in await refused(client, out)
    assert (await run(client, many(1), out)).done == ["00001"]


def put(*names: str) -> Callable[[Path], None]:
    """Files in a folder."""

    def make(out: Path) -> None:
        for name in names:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            (out / name).write_bytes(PNG)

    return make


@pytest.mark.parametrize(
    "make",
    [
        put("holiday.png"),
        put("images/holiday.png"),
        put("images/00001.png", "index.html", "batch.lock"),
        put("a folder/thesis.doc"),
    ],
)
async def test_strangers_are_left_alone(
    client: ImagesClient, server: LocalImagesServer, out: Path, make: Callable[[Path], None]
) -> None:
    """A folder with other things in it is refused, and nothing in it is touched, not even by a lock."""
    make(out)
    before = parts(out)
    message = await refused(client, out)
    assert message == (
        f"{str(out)!r} is not empty and has no journal.jsonl, so it is not the folder of a batch; nothing in it was "
        "changed. Use a new or an empty folder"
    )
    assert (parts(out), server.posts) == (before, 0)


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, put(".DS_Store"), put("batch.lock"), lambda out: (out / "images").mkdir(parents=True)],
)
async def test_empty_folders_will_do(client: ImagesClient, out: Path, make: Callable[[Path], object]) -> None:
    """A folder with nothing in it, or with what a run leaves that ended at once, becomes a batch's."""
    make(out)
    assert (await run(client, many(2), out)).summary.done == 2


async def test_a_file(client: ImagesClient, out: Path) -> None:
    """A file is no folder."""
    out.write_text("a file")
    assert (
        await refused(client, out)
        == f"{str(out)!r} is a file; pass the name of a folder, which the batch creates"
    )


@pytest.mark.parametrize("text", ["hello\n", '{"a": 1}\n[]\n', "\x00" * 100])
async def test_the_journal_of_something_else(
    client: ImagesClient, server: LocalImagesServer, out: Path, text: str
) -> None:
    """A journal without a row that a batch wrote may hide anything: it is refused and left as it is."""
    out.mkdir()
    (out / "journal.jsonl").write_text(text)
    message = await refused(client, out)
    assert message.startswith(f"{str(out / 'journal.jsonl')!r} has no row of a batch")
    assert ((out / "journal.jsonl").read_text(), parts(out), server.posts) == (text, ["journal.jsonl"], 0)


async def test_the_journal_of_a_newer_version(client: ImagesClient, out: Path) -> None:
    """Rows of a later format might be misunderstood."""
    out.mkdir()
    (out / "journal.jsonl").write_text('{"state":"begun","key":null,"format":3}\n')
    assert "is from a newer version of this package" in await refused(client, out)


@pytest.mark.skipif("os.name == 'nt' or os.geteuid() == 0", reason="root may write anywhere")
async def test_a_folder_without_rights(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A folder that cannot be written is told before anything is sent."""
    out.mkdir(mode=0o500)
    with pytest.raises(PermissionError):
        await run(client, many(2), out)
    assert server.posts == 0


@pytest.mark.parametrize("operation", ["make_folder", "open", "write", "sync"])
async def test_a_folder_that_cannot_be_written(
    client: ImagesClient, server: LocalImagesServer, out: Path, operation: str
) -> None:
    """Whatever fails while the folder is opened is told before anything is sent, and the folder is let go."""
    disk = FailingDisk(lambda name, path: name == operation, errno.EROFS)
    async with nothing_left():
        with pytest.raises(OSError, match=os.strerror(errno.EROFS)):
            await run(client, many(2), out, disk=disk)
    assert server.posts == 0
    assert (await run(client, many(2), out)).summary.done == 2


class Lockless(Disk):
    """A file system that cannot lock."""

    def __init__(self, number: int) -> None:
        self.number = number

    def lock(self, path: Path) -> FolderLock | None:
        """It cannot."""
        raise OSError(self.number, os.strerror(self.number))


async def test_a_file_system_without_locks(
    client: ImagesClient, server: LocalImagesServer, out: Path
) -> None:
    """Where nothing keeps a second process out nothing is sent; another failure is told as it is."""
    with pytest.raises(BatchFolderError, match="cannot lock files, so a second process could pay"):
        await run(client, many(1), out, disk=Lockless(errno.ENOLCK))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        await run(client, many(1), out, disk=Lockless(errno.EIO))
    assert server.posts == 0


@pytest.mark.skipif("sys.platform == 'win32'", reason="Windows syncs no folders")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_file_system_that_syncs_no_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """What a file system cannot do is no failure; what it fails to do is."""

    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=os.strerror(number)) if number == errno.EIO else nullcontext():
        Disk().sync_folder(tmp_path)


# Journals that are not whole.


def opened(out: Path) -> Ledger:
    """What the journal adds up to, once it was mended."""
    folder = BatchFolder(HastyDisk(), Paths(out))
    folder.claim()
    try:
        journal, contents = folder.open_journal()
        journal.close()
    finally:
        folder.release()
    return Ledger.from_journal(contents, {})


@pytest.mark.parametrize(
    ("fault", "whole", "torn"),
    [
        ("ok", "done", "unknown"),
        ("moderation_400", "failed", "unknown"),
        ("reset_after_body", "unknown", "unknown"),
    ],
)
async def test_torn_at_every_byte(
    client: ImagesClient, server: LocalImagesServer, out: Path, fault: str, whole: str, torn: str
) -> None:
    """A last line that was torn anywhere counts as not written; all that was of it is kept aside."""
    server.script(fault)
    await run(client, items_of("an otter"), out)
    path, aside = out / "journal.jsonl", out / "journal.torn"
    journal = path.read_bytes()
    start = journal.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(journal) + 1):
        path.write_bytes(journal[:end])
        aside.unlink(missing_ok=True)
        state = opened(out).get("00001").state
        is_whole = end >= len(journal) - 1
        assert (state, path.read_bytes()) == ((whole, journal) if is_whole else (torn, journal[:start])), end
        kept = aside.read_bytes() if aside.exists() else b""
        assert kept == (b"" if is_whole or end == start else journal[start:end] + b"\n")


@pytest.mark.parametrize("end", [0, 1, 40, -2])
async def test_a_torn_row_of_what_was_not_sent(
    client: ImagesClient, server: LocalImagesServer, out: Path, end: int
) -> None:
    """Nothing is sent before its row is whole, so a torn one means that the item can be sent."""
    await run(client, many(1), out)
    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    sent = lines[1][:end]
    assert b'"sent"' in lines[1]
    (out / "journal.jsonl").write_bytes(lines[0] + sent)
    (out / "images" / "00001.png").unlink()
    again = await run(client, many(1), out)
    assert (again.done, server.posts) == (["00001"], 2)
    noted = "the last line of journal.jsonl was torn" in " ".join(again.plan.notes)
    assert noted == bool(sent)


async def test_a_torn_done_row(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """An image whose row was torn is adopted, and not sent again."""
    await run(client, many(2), out)
    journal = out / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-30])
    torn = journal.read_bytes().splitlines()[-1]
    key = json.loads(torn[: torn.index(b',"at"')] + b"}")["key"]
    again = await run(client, many(2), out)
    assert (again.plan.adopted, again.summary.done, server.posts) == ((key,), 2, 2)
    assert states(out, key) == ["sent", "done"]
    assert (out / "journal.torn").read_bytes() == torn + b"\n"
    note = (
        f"the last line of journal.jsonl was torn ({len(torn)} bytes, as after a crash): it was moved to journal.torn, "
        "and its item is checked again"
    )
    assert again.plan.notes == (note,)
    assert (await run(client, many(2), out)).plan.notes == ()


async def test_garbage_in_the_middle(client: ImagesClient, server: LocalImagesServer, out: Path) -> None:
    """A line that is no row is told and passed over; the item that it names may have been sent."""
    await run(client, many(2), out)
    journal = out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    lines.insert(1, b"\xff\x00 garbage\n")
    lines.insert(2, b'{"state":"sent","key":"00003","at":"20\n')
    lines.insert(3, b'{"state":"done","key":"00001","files":[{"name":3}]}\n')
    journal.write_bytes(b"".join(lines))
    again = await run(client, many(4), out)
    assert again.plan.notes == (
        "journal.jsonl, line 2 cannot be read and was skipped",
        "journal.jsonl, line 3 cannot be read and was skipped; it is about '00003', which may have been sent",
        "journal.jsonl, line 4 cannot be read and was skipped; it is about '00001', which may have been sent",
    )
    assert (again.plan.done, again.plan.unknown, again.done) == (("00001", "00002"), ("00003",), ["00004"])
    assert (journal.read_bytes().startswith(b"".join(lines)), server.posts) == (True, 3)
    assert (await run(client, many(4), out, retry_unknown=True)).summary.done == 4


async def test_an_empty_journal(client: ImagesClient, out: Path) -> None:
    """A journal that was made and never written is that of a batch that has not begun."""
    out.mkdir()
    (out / "journal.jsonl").touch()
    assert (await run(client, many(2), out)).summary.done == 2


async def test_no_prompt_in_the_folder(client: ImagesClient, out: Path) -> None:
    """The page and the records have prompts, unless that is turned off; the journal has digests."""

    def holders() -> list[str]:
        return [name for name in parts(out) if b"secret otter" in (out / name).read_bytes()]

    items = items_of("a secret otter", extra_body={"user": "secret otter"})
    await run(client, items, out)
    assert holders() == ["index.html", "metadata.jsonl", "pictures.csv"]
    await run(client, items, out, record_prompts=False)
    assert holders() == []
    assert pictures(out) == ["00001.png"]
    assert [row["state"] for row in rows(out)] == ["begun", "sent", "done", "begun"]
