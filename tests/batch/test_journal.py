"""The journal's writer: rows in order, many in one sync, and nobody told before they are there."""

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from openai_images.batch.journal.journal import Journal
from tests.helpers.crashing_filesystem import FailingDisk, WatchedDisk


class Slow(WatchedDisk):
    """Writes when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.is_writing, self.may_write = threading.Event(), threading.Event()

    def about_to(self, operation: str, path: Path, args: tuple[object, ...]) -> None:
        """See what is coming."""
        if operation == "write":
            self.is_writing.set()
            self.may_write.wait(10)


def opened(disk: WatchedDisk, path: Path) -> Journal:
    """A journal that begins."""
    return Journal(disk, disk.open(path), 0)


async def test_many_rows_share_a_sync(tmp_path: Path) -> None:
    """Two hundred rows that wait while one is written take one write and one sync, in their order."""
    disk, path = Slow(), tmp_path / "journal"
    journal = opened(disk, path)
    first = asyncio.ensure_future(journal.append({"n": -1}))
    await asyncio.sleep(0)
    await asyncio.to_thread(disk.is_writing.wait)
    others = [asyncio.ensure_future(journal.append({"n": n}, tmp_path)) for n in range(200)]
    await asyncio.sleep(0)
    assert not first.done()
    disk.may_write.set()
    await asyncio.gather(first, *others)
    await asyncio.to_thread(journal.close)
    assert path.read_text() == "".join(f'{{"n":{n}}}\n' for n in range(-1, 200))
    operations = [operation for operation, _ in disk.log[1:]]
    assert operations == ["write", "sync", "sync_folder", "write", "sync"]


async def test_the_loop_goes_on(tmp_path: Path) -> None:
    """While the disk is busy the event loop is not."""
    disk = Slow()
    journal = opened(disk, tmp_path / "journal")
    row = asyncio.ensure_future(journal.append({}))
    for _ in range(100):
        await asyncio.sleep(0)
    assert not row.done()
    disk.may_write.set()
    await row
    await asyncio.to_thread(journal.close)


async def test_a_row_whose_caller_left(tmp_path: Path) -> None:
    """A caller who is cancelled has appended the row nevertheless, and rows behind it follow."""
    disk, path = Slow(), tmp_path / "journal"
    journal = opened(disk, path)
    row = asyncio.ensure_future(journal.append({"n": 1}))
    await asyncio.sleep(0)
    row.cancel()
    with pytest.raises(asyncio.CancelledError):
        await row
    disk.may_write.set()
    await journal.append({"n": 2})
    await asyncio.to_thread(journal.close)
    assert path.read_text() == '{"n":1}\n{"n":2}\n'


async def test_a_row_that_does_not_fit(tmp_path: Path) -> None:
    """What was written of it is cut off, its caller is told, and the next one that fits is written."""
    path = tmp_path / "journal"
    disk = FailingDisk(lambda operation, path: operation == "write")
    journal = opened(disk, path)
    with pytest.raises(OSError, match="No space left"):
        await journal.append({"n": 1})
    assert path.read_bytes() == b""
    disk.fails = lambda operation, path: False
    await journal.append({"n": 2})
    disk.fails = lambda operation, path: operation == "write"
    with pytest.raises(OSError, match="No space left"):
        await journal.append({"n": 3})
    await asyncio.to_thread(journal.close)
    assert path.read_text() == '{"n":2}\n'


@pytest.mark.parametrize("broken", ["truncate", "sync"])
async def test_a_journal_nobody_can_trust(tmp_path: Path, broken: str) -> None:
    """Where a torn row cannot be cut off, or a sync failed, nothing more is written, and everyone is told."""
    path = tmp_path / "journal"
    operations = {"truncate", "write"} if broken == "truncate" else {"sync"}
    disk = FailingDisk(lambda operation, path: operation in operations, errno.EIO)
    journal = opened(disk, path)
    with pytest.raises(OSError, match="Input/output error"):
        await journal.append({"n": 1})
    left = path.read_bytes()
    disk.fails = lambda operation, path: False
    with pytest.raises(OSError, match="Input/output error"):
        await journal.append({"n": 2})
    await asyncio.to_thread(journal.close)
    assert path.read_bytes() == left


async def test_names_before_rows(tmp_path: Path) -> None:
    """A row about images is written behind their names; where those cannot be synced it is not written."""
    disk = FailingDisk(lambda operation, path: operation == "sync_folder")
    journal = opened(disk, tmp_path / "journal")
    with pytest.raises(OSError, match="No space left"):
        await journal.append({"n": 1}, tmp_path)
    await journal.append({"n": 2})
    await asyncio.to_thread(journal.close)
    assert (tmp_path / "journal").read_text() == '{"n":2}\n'
