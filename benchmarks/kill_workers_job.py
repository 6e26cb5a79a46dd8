"""A batch of several processes: what starts them, and how its storage is read from outside.

Rules: the processes are those that people start; what is in a folder is read without the code that wrote it.
"""

import asyncio
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Final, Protocol

from attrs import Factory, frozen

from benchmarks.running import DISTORTING, ROOT
from openai_images.cluster.storage import open_storage
from openai_images.server import LocalImagesServer

PATIENCE: Final = 240.0
_storage = lru_cache(open_storage)
PNG_END: Final = b"IEND\xaeB`\x82"


class Files(Protocol):
    """What is in the storage of a batch."""

    def names(self, folder: str) -> list[str]:
        """The names in a folder, without those of part files."""
        ...

    def read(self, name: str) -> bytes:
        """What has this name."""
        ...

    def unnamed(self) -> list[str]:
        """The names of images that are complete in part files: their process died before it could rename them."""
        ...


@frozen
class FolderFiles:
    """A folder."""

    root: Path

    def names(self, folder: str) -> list[str]:
        """Whatever is there, part files excepted."""
        return sorted(path.name for path in (self.root / folder).glob("[!.]*"))

    def read(self, name: str) -> bytes:
        """The file."""
        return (self.root / name).read_bytes()

    def unnamed(self) -> list[str]:
        """Those that end as a PNG does."""
        parts = (self.root / "images").glob(".*.part")
        return [path.name.removeprefix(".") for path in parts if path.read_bytes().endswith(PNG_END)]


@frozen
class ObjectFiles:
    """An object store below a URL."""

    url: str

    def names(self, folder: str) -> list[str]:
        """Whatever is there."""
        return sorted(entry.name.rpartition("/")[2] for entry in _storage(self.url).list(folder))

    def read(self, name: str) -> bytes:
        """The object."""
        return _storage(self.url).read(name)

    def unnamed(self) -> list[str]:
        """None: an object appears whole, under its name."""
        return []


@frozen(kw_only=True)
class Job:
    """A batch: its prompts in the file `source`, where it goes, and the server that it asks."""

    prompts: tuple[str, ...]
    source: Path
    out: str
    files: Files
    server: LocalImagesServer
    workers: int = 8
    in_flight: int = 8
    env: dict[str, str] = Factory(dict[str, str])

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        """The command line of this batch with more arguments, running."""
        env = {name: value for name, value in os.environ.items() if not DISTORTING.fullmatch(name)}
        given = ("--concurrency", str(self.in_flight), "--base-url", self.server.base_url, "--format", "png")
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "openai_images", "batch", str(self.source), "--out", self.out),
            *(*given, *arguments),
            cwd=ROOT,
            env=env | self.env | {"OPENAI_API_KEY": self.server.api_key},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )


class Engine(Protocol):
    """How the processes of a batch are started: `victims` may be killed, and `wait` gives what was said at the end."""

    victims: list[asyncio.subprocess.Process]

    async def start(self, job: Job, *arguments: str) -> None:
        """Start all of them."""
        ...

    async def restart(
        self, job: Job, victim: asyncio.subprocess.Process
    ) -> asyncio.subprocess.Process | None:
        """Start what takes the place of a process that was given up, if anybody does so."""
        ...

    async def wait(self) -> str:
        """Until all have ended."""
        ...


class Shards:
    """A plain process for each shard, as a Slurm array has them."""

    def __init__(self) -> None:
        """None is running."""
        self.victims: list[asyncio.subprocess.Process] = []
        self._more: list[asyncio.subprocess.Process] = []

    async def start(self, job: Job, *arguments: str) -> None:
        """All shards."""
        self.victims = [
            await job.start("--shard", f"{number}/{job.workers}", *arguments)
            for number in range(1, job.workers + 1)
        ]

    async def restart(
        self, job: Job, victim: asyncio.subprocess.Process
    ) -> asyncio.subprocess.Process | None:
        """The same shard once more."""
        number = self.victims.index(victim) + 1
        process = await job.start("--shard", f"{number}/{job.workers}")
        self._more.append(process)
        return process

    async def wait(self) -> str:
        """What all of them said."""
        said = await asyncio.wait_for(
            asyncio.gather(*(process.communicate() for process in (*self.victims, *self._more))), PATIENCE
        )
        return "\n".join(err.decode() for _, err in said if err)
