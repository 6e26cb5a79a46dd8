"""What a client may leave behind: open descriptors, running tasks, half-written files."""

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path


def open_sockets() -> set[tuple[int, int]]:
    """Descriptor and inode of every open socket and regular file of this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  names that are numbers
        try:
            status = os.fstat(int(name))
        except OSError:  # the listing's own descriptor
            continue
        if stat.S_ISSOCK(status.st_mode) or stat.S_ISREG(status.st_mode):
            found.add((int(name), status.st_ino))
    return found


async def until(true: Callable[[], bool], seconds: float = 60.0) -> None:
    """Let the event loop run until something is so. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0)


@asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """The block leaves no task of this loop and no open descriptor behind."""
    tasks, sockets = asyncio.all_tasks(), open_sockets()
    yield
    try:
        await until(lambda: asyncio.all_tasks() <= tasks and open_sockets() <= sockets)
    except TimeoutError:
        left = (asyncio.all_tasks() - tasks, open_sockets() - sockets)
        raise AssertionError(f"left behind: {left}") from None


def parts(folder: Path) -> list[str]:
    """The names of all files below a folder, temporary ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


async def only(folder: Path, names: list[str]) -> None:
    """The folder holds these files, as soon as threads that were writing when their call ended have ended too."""
    try:
        await until(lambda: parts(folder) == names)
    except TimeoutError:
        assert parts(folder) == names
