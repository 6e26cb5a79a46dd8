"""One batch that is killed at a moment, looked at, and resumed: what is found from outside.

Rules: the command is a process of its own and dies by SIGKILL; the server outlives it and keeps every request. What the
journal, the folder and the server say is read here without the code that wrote it. Each broken promise is a sentence;
none is a success.
"""

import asyncio
import contextlib
import hashlib
import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from attrs import Factory, define, frozen

from benchmarks.processes import start
from openai_images.server import LocalImagesServer, RecordedRequest

LOOK: Final = 0.001  # seconds between two looks at the journal
PATIENCE: Final = 120.0


@frozen
class Moment:
    """When to kill: once the journal has so many `nbytes` (0: at the start), and `later` seconds after that."""

    nbytes: int
    later: float

    def __str__(self) -> str:
        since = f"{self.nbytes:,} bytes" if self.nbytes else "start"
        return f"{since} + {self.later * 1000:.0f} ms" if self.later else since

    async def wait(self, journal: Path) -> None:
        await until(lambda: _size(journal) >= self.nbytes)
        await asyncio.sleep(self.later)


@frozen(kw_only=True)
class Job:
    """A batch: its prompts, its folder, and the server that it asks."""

    prompts: tuple[str, ...]
    folder: Path
    server: LocalImagesServer
    concurrency: int = 8

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def source(self) -> Path:
        return self.folder.with_suffix(".txt")

    async def start(self, *more: str) -> asyncio.subprocess.Process:
        await asyncio.to_thread(self.source.write_text, "".join(f"{prompt}\n" for prompt in self.prompts))
        concurrency = ("--concurrency", str(self.concurrency))
        return await start_batch(self.source, str(self.folder), self.server, *concurrency, *more)


async def start_batch(
    source: Path, out: str, server: LocalImagesServer, *more: str, env: Mapping[str, str] | None = None
) -> asyncio.subprocess.Process:
    given = ("batch", str(source), "--out", out, "--base-url", server.base_url, "--format", "png")
    return await start("openai_images", *given, *more, env={**(env or {}), "OPENAI_API_KEY": server.api_key})


@frozen
class Rows:
    """What is there between two runs: the rows by key, images by name with their digest, and POSTs by prompt."""

    rows: dict[str, list[dict[str, Any]]]
    files: dict[str, str]
    posts: Counter[str]

    def last(self, key: str) -> str:
        rows = self.rows.get(key)
        return str(rows[-1]["state"]) if rows else ""

    def count(self, key: str, state: str) -> int:
        return sum(row["state"] == state for row in self.rows.get(key, []))


@frozen
class Snapshot(Rows):
    """What is there of a batch with a journal, whose last row may be torn."""

    torn: bool = False

    @classmethod
    def of(cls, job: Job) -> "Snapshot":
        *lines, torn = (job.journal.read_bytes() if job.journal.exists() else b"").split(b"\n")
        rows: dict[str, list[dict[str, Any]]] = {}
        for line in lines:
            with contextlib.suppress(ValueError):  # a torn line that was ended by the next run
                row = json.loads(line)
                rows.setdefault(row.get("key") or "", []).append(row)
        found = sorted((job.folder / "images").glob("[!.]*"))
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in found}
        mine = set(job.prompts)
        posts = Counter(prompt for prompt in map(_prompt, job.server.requests) if prompt in mine)
        return cls(rows, files, posts, bool(torn))

    @property
    def done(self) -> set[str]:
        return {key for key in self.rows if self.last(key) == "done"}

    @property
    def open(self) -> set[str]:
        """Items that were sent and have no end, or one that says so."""
        return {key for key in self.rows if self.last(key) in ("sent", "unknown")}

    @property
    def there(self) -> set[str]:
        return {Path(name).stem for name in self.files}


def _prompt(request: RecordedRequest) -> str:
    return str(request.json["prompt"])


@define
class Story:
    """A batch from its start to its end: what was seen, and what is `wrong` with it."""

    moment: Moment
    killed: Snapshot
    resumed: Snapshot
    ended: Snapshot
    output: str = ""
    codes: tuple[int, int] = (0, 0)
    was_running: bool = True
    wrong: list[str] = Factory(list[str])


async def run(job: Job, *more: str) -> tuple[int, str, float]:
    """The command to its end: exit code, what it printed, and the seconds it took."""
    started = time.monotonic()
    process = await job.start(*more)
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode or 0, (out + err).decode(), time.monotonic() - started


async def kill_and_resume(job: Job, moment: Moment) -> Story:
    """Start it, kill it, resume it, resume it with --retry-unknown, and see whether all promises were kept."""
    process = await job.start()
    watching = asyncio.create_task(moment.wait(job.journal))
    ended = asyncio.create_task(process.communicate())
    await asyncio.wait((watching, ended), timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
    was_running = process.returncode is None
    if was_running:
        process.send_signal(signal.SIGKILL)
    watching.cancel()
    await ended
    await until(lambda: not job.server.open_connections)
    killed = await asyncio.to_thread(Snapshot.of, job)
    code, output, _ = await run(job)
    resumed = await asyncio.to_thread(Snapshot.of, job)
    last_code, last_output, _ = await run(job, "--retry-unknown")
    story = Story(
        moment, killed, resumed, await asyncio.to_thread(Snapshot.of, job), output, (code, last_code)
    )
    story.was_running = was_running
    story.wrong = [*_judge_resumed(job, story), *_judge_ended(job, story)]
    story.output += last_output
    return story


def _judge_resumed(job: Job, story: Story) -> list[str]:
    """What the first resumption broke."""
    killed, resumed = story.killed, story.resumed
    keys = item_keys(job.prompts)
    wrong = [f"{name} was changed or lost" for name in changed(killed, resumed)]
    wrong += [f"{key} is done without an image" for key in sorted(killed.done - killed.there)]
    for prompt, key in zip(job.prompts, keys, strict=True):
        posts, allowed = resumed.posts[prompt], 1 + resumed.count(key, "refused")
        if posts > allowed:
            wrong.append(f"{key} was POSTed {posts} times, {allowed - 1} of them journalled as refused")
        if key in killed.open and resumed.posts[prompt] > killed.posts[prompt]:
            wrong.append(f"{key} was unknown, and sent again without being asked to")
        if killed.posts[prompt] > killed.count(key, "sent"):
            wrong.append(f"{key} was POSTed before the journal said so")
    missing = set(keys) - resumed.done
    wrong += [f"{key} is missing, and was not unknown" for key in sorted(missing - killed.open)]
    wrong += [f"{key} is missing, and its image was there" for key in sorted(missing & killed.there)]
    wrong += _strange(job, resumed)
    wrong += [f"{key} is missing and not named" for key in sorted(missing) if key not in story.output]
    if story.codes[0] != (1 if missing else 0):
        wrong.append(f"exit code {story.codes[0]} with {len(missing)} missing")
    return wrong


def _judge_ended(job: Job, story: Story) -> list[str]:
    """What the second resumption broke."""
    killed, resumed, ended = story.killed, story.resumed, story.ended
    wrong = [f"{name} was changed or lost at the end" for name in changed(resumed, ended)]
    if lacking := set(item_keys(job.prompts)) - ended.done:
        wrong.append(f"with --retry-unknown still missing: {sorted(lacking)}")
    if len(ended.files) != len(job.prompts):
        wrong.append(f"{len(ended.files)} images for {len(job.prompts)} prompts")
    wrong += _strange(job, ended)
    for prompt, key in zip(job.prompts, item_keys(job.prompts), strict=True):
        allowed = 1 + ended.count(key, "refused") + (key in killed.open)
        if ended.posts[prompt] > allowed:
            wrong.append(f"{key} was POSTed {ended.posts[prompt]} times, at most {allowed} were right")
    left = sorted(path.name for path in (job.folder / "images").iterdir() if path.name not in ended.files)
    wrong += [f"left behind: {name}" for name in left]
    if story.codes[1] != 0:
        wrong.append(f"exit code {story.codes[1]} with nothing missing")
    return wrong


def item_keys(prompts: Sequence[str]) -> list[str]:
    """A line of the file is named by its number."""
    return [f"{number:05d}" for number, _ in enumerate(prompts, 1)]


def changed(before: Rows, after: Rows) -> list[str]:
    """The images that were changed or lost in between."""
    return [name for name, digest in before.files.items() if after.files.get(name) != digest]


def _strange(job: Job, seen: Snapshot) -> list[str]:
    """Images that are not what was served: torn, or somebody else's."""
    assert isinstance(job.server.pictures, bytes)
    right = hashlib.sha256(job.server.pictures).hexdigest()
    found = (name for name, digest in seen.files.items() if digest != right)
    return [f"{name} is not the image that was served" for name in found]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


async def until(true: Callable[[], bool]) -> None:
    """Wait until something is so. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110  a file and a kernel tell nobody
            await asyncio.sleep(LOOK)
