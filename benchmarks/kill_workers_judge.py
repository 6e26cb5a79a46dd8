"""A batch of several processes, some of which died or stopped: its storage, and which guarantees were violated.

Rules: what is in the storage is read without the code that wrote it. Claims, records, images and POSTs decide. Each
violated guarantee is a sentence.
"""

import asyncio
import contextlib
import hashlib
import json
from collections import Counter
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol

from attrs import Factory, define, frozen

from benchmarks.kill_run import Rows, changed, item_keys, start_batch
from benchmarks.processes import start
from openai_images.cluster.storage import open_storage
from openai_images.server import LocalImagesServer

PATIENCE: Final = 240.0
_storage = lru_cache(open_storage)
_PNG_END: Final = b"IEND\xaeB`\x82"


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
        return sorted(path.name for path in (self.root / folder).glob("[!.]*"))

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def unnamed(self) -> list[str]:
        """Those that end as a PNG does."""
        parts = (self.root / "images").glob(".*.part")
        return [path.name.removeprefix(".") for path in parts if path.read_bytes().endswith(_PNG_END)]


@frozen
class ObjectFiles:
    """An object store below a URL."""

    url: str

    def names(self, folder: str) -> list[str]:
        return sorted(entry.name.rpartition("/")[2] for entry in _storage(self.url).list(folder))

    def read(self, name: str) -> bytes:
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

    async def start(self, number: int, *arguments: str) -> asyncio.subprocess.Process:
        """The shard with this number, from 1, running."""
        given = ("--concurrency", str(self.in_flight), "--shard", f"{number}/{self.workers}")
        return await start_batch(self.source, self.out, self.server, *given, *arguments, env=self.env)


@frozen
class Strike:
    """When to strike: once so many records are there; `victims` by number; with `stop` one is stopped, not killed."""

    records: int
    victims: tuple[int, ...]
    stop: bool = False

    def __str__(self) -> str:
        return f"{self.records} records, {'stop' if self.stop else 'kill'} {len(self.victims)}"


@frozen
class Snapshot(Rows):
    """What is there: also the attempts with a claim and with a record, and images that are complete in part files.

    The rows are those of records. `open` are the items with a claim that has no record, or one that says that the
    outcome is unknown.
    """

    claims: frozenset[str]
    records: frozenset[str]
    unnamed: frozenset[str]
    open: frozenset[str]

    @classmethod
    def of(cls, job: Job) -> "Snapshot":
        files = job.files
        records: dict[str, list[dict[str, Any]]] = {}
        for name in sorted(files.names("records"), key=lambda name: "-" in name):  # others' rows come last
            attempt, _, added = name.removesuffix(".json").partition("-")
            if added and attempt not in records:
                records[attempt] = [json.loads(files.read(f"claims/{attempt}"))]
            found = [json.loads(line) for line in files.read(f"records/{name}").splitlines()]
            records.setdefault(attempt, []).extend(found)
        rows: dict[str, list[dict[str, Any]]] = {}
        for attempt in sorted(records, key=lambda name: int(name.rpartition(".")[2])):
            rows.setdefault(records[attempt][0]["key"], []).extend(records[attempt])
        images = {
            name: hashlib.sha256(files.read(f"images/{name}")).hexdigest() for name in files.names("images")
        }
        posts = Counter(str(request.json["prompt"]) for request in job.server.requests)
        claims = frozenset(name for name in files.names("claims") if "." in name)
        claimed = {json.loads(files.read(f"claims/{name}"))["key"] for name in claims - records.keys()}
        unknown = {key for key in rows if rows[key][-1]["state"] == "unknown"}
        return cls(
            rows=rows,
            files=images,
            posts=posts,
            claims=claims,
            records=frozenset(records),
            unnamed=frozenset(files.unnamed()),
            open=frozenset(claimed | unknown),
        )

    @property
    def unknown(self) -> set[str]:
        """The open items without an image."""
        names = (*self.files, *self.unnamed)
        return {key for key in self.open if not any(name.startswith(f"{key}-") for name in names)}


@define
class Story:
    """A batch from its start to its end: what was seen, and what is `wrong` with it."""

    strike: Strike
    struck: Snapshot
    resumed: Snapshot
    ended: Snapshot
    output: str = ""
    was_running: bool = True
    wrong: list[str] = Factory(list[str])


async def judge(job: Job, story: Story) -> list[str]:
    return [*_judge_resumed(job, story), *_judge_ended(job, story), *await _judge_status(job)]


def _judge_resumed(job: Job, story: Story) -> list[str]:
    """What the second run broke, that was not told to send anything again."""
    struck, resumed, unknown = story.struck, story.resumed, story.struck.unknown
    wrong = [f"{name} was changed or lost" for name in changed(struck, resumed)]
    for prompt, key in zip(job.prompts, item_keys(job.prompts), strict=True):
        posts, allowed = resumed.posts[prompt], 1 + resumed.count(key, "refused")
        if posts > allowed:
            wrong.append(f"{key} was POSTed {posts} times, {allowed - 1} of them recorded as refused")
        if key in unknown and posts > struck.posts[prompt]:
            wrong.append(f"{key} was unknown, and sent again without being asked to")
        if key in unknown and resumed.last(key) == "done":
            wrong.append(f"{key} was unknown, and is done now")
        if key not in unknown and resumed.last(key) != "done":
            wrong.append(f"{key} was not unknown, and is not done")
    return wrong


def _judge_ended(job: Job, story: Story) -> list[str]:
    """What the third run broke, that was told to send again what is unknown."""
    ended, unknown = story.ended, story.struck.unknown
    wrong = [f"{name} was lost at the end" for name in changed(story.resumed, ended)]
    for prompt, key in zip(job.prompts, item_keys(job.prompts), strict=True):
        allowed = 1 + ended.count(key, "refused") + (key in unknown)
        if ended.posts[prompt] > allowed:
            wrong.append(f"{key} was POSTed {ended.posts[prompt]} times, at most {allowed} were right")
        done = [row for row in ended.rows.get(key, []) if row["state"] == "done"]
        if not done:
            wrong.append(f"with --retry-unknown {key} is still missing")
        files: list[dict[str, Any]] = done[-1]["files"] if done else []
        found = [ended.files.get(Path(file["name"]).name) for file in files]
        if found != [file["sha256"] for file in files]:
            wrong.append(f"the image of {key} is not what its record says")
    if len(ended.files) != len(job.prompts):
        wrong.append(f"{len(ended.files)} images for {len(job.prompts)} prompts")
    return wrong


async def _judge_status(job: Job) -> list[str]:
    """Whether batch-status says that all is done."""
    process = await start("openai_images", "batch-status", job.out, "--json", env=job.env)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    summary: dict[str, Any] = {}
    with contextlib.suppress(ValueError, KeyError):
        summary = json.loads(out)["summary"]
    if process.returncode == 0 and summary.get("done") == len(job.prompts):
        return []
    return [f"batch-status ended with {process.returncode}: {out.decode()} {err.decode()}"]
