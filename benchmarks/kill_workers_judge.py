"""What is found of a batch whose processes died or stopped, and which guarantees were violated.

Rules: claims, records, images and POSTs decide. Each violated guarantee is a sentence.
"""

import asyncio
import contextlib
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attrs import Factory, define, frozen

from benchmarks.kill_workers_job import PATIENCE, Job
from benchmarks.running import DISTORTING, ROOT


@frozen
class Strike:
    """When to strike: once so many records are there; `victims` by number; with `stop` one is stopped, not killed."""

    records: int
    victims: tuple[int, ...]
    stop: bool = False

    def __str__(self) -> str:
        """As the table has it."""
        return f"{self.records} records, {'stop' if self.stop else 'kill'} {len(self.victims)}"


@frozen
class Snapshot:
    """What is there: the attempts with a claim, the rows of records, images with their digest, POSTs by prompt.

    `unnamed` are images that are complete, under another name.
    """

    claims: frozenset[str]
    records: dict[str, list[dict[str, Any]]]
    pictures: dict[str, str]
    unnamed: frozenset[str]
    posts: Counter[str]

    @classmethod
    def of(cls, job: Job) -> "Snapshot":
        """As it is now."""
        files, mine = job.files, set(job.prompts)
        records: dict[str, list[dict[str, Any]]] = {}
        for name in sorted(
            files.names("records"), key=lambda name: "-" in name
        ):  # what others added comes last
            attempt, _, added = name.removesuffix(".json").partition("-")
            if added and attempt not in records:
                records[attempt] = [json.loads(files.read(f"claims/{attempt}"))]
            rows = [json.loads(line) for line in files.read(f"records/{name}").splitlines()]
            records.setdefault(attempt, []).extend(rows)
        pictures = {
            name: hashlib.sha256(files.read(f"images/{name}")).hexdigest() for name in files.names("images")
        }
        posts = Counter(str(request.json["prompt"]) for request in job.server.requests)
        claims = frozenset(name for name in files.names("claims") if "." in name)
        unnamed = frozenset(files.unnamed())
        return cls(claims, records, pictures, unnamed, Counter({key: posts[key] for key in mine}))

    def rows(self, key: str) -> list[dict[str, Any]]:
        """The rows of an item's records, in the order of its attempts."""
        found = [
            (int(name.rpartition(".")[2]), rows)
            for name, rows in self.records.items()
            if rows[0]["key"] == key
        ]
        return [row for _, rows in sorted(found, key=lambda each: each[0]) for row in rows]

    def count(self, key: str, state: str) -> int:
        """How many rows of that state an item has."""
        return sum(row["state"] == state for row in self.rows(key))

    def last(self, key: str) -> str:
        """The state of an item's last row."""
        rows = self.rows(key)
        return str(rows[-1]["state"]) if rows else ""

    def has_picture(self, key: str) -> bool:
        """Whether the item's image is there."""
        return any(name.startswith(f"{key}-") for name in (*self.pictures, *self.unnamed))

    def open_claims(self, job: Job) -> set[str]:
        """The items with a claim that has no record, or one that says that the outcome is unknown."""
        keys: set[str] = set()
        for name in self.claims - self.records.keys():
            keys.add(json.loads(job.files.read(f"claims/{name}"))["key"])
        return keys | {key for key in job_keys(job) if self.last(key) == "unknown"}


@define
class Story:
    """A batch from its start to its end: what was seen, and what is `wrong` with it."""

    strike: Strike
    struck: Snapshot
    resumed: Snapshot
    ended: Snapshot
    unknown: set[str]
    said: str = ""
    was_running: bool = True
    wrong: list[str] = Factory(list[str])


async def judge(job: Job, story: Story) -> list[str]:
    """What is wrong with it."""
    return [*_judge_resumed(job, story), *_judge_ended(job, story), *await _judge_status(job)]


def job_keys(job: Job) -> list[str]:
    """The keys of the items, in the order of the prompts."""
    return [f"{number:05d}" for number in range(1, len(job.prompts) + 1)]


def _judge_resumed(job: Job, story: Story) -> list[str]:
    """What the second run broke, that was not told to send anything again."""
    struck, resumed = story.struck, story.resumed
    wrong = [f"{name} was changed or lost" for name in _changed(struck.pictures, resumed.pictures)]
    for prompt, key in zip(job.prompts, job_keys(job), strict=True):
        posts, allowed = resumed.posts[prompt], 1 + resumed.count(key, "refused")
        if posts > allowed:
            wrong.append(f"{key} was POSTed {posts} times, {allowed - 1} of them recorded as refused")
        if key in story.unknown and posts > struck.posts[prompt]:
            wrong.append(f"{key} was unknown, and sent again without being asked to")
        if key in story.unknown and resumed.last(key) == "done":
            wrong.append(f"{key} was unknown, and is done now")
        if key not in story.unknown and resumed.last(key) != "done":
            wrong.append(f"{key} was not unknown, and is not done")
    return wrong


def _judge_ended(job: Job, story: Story) -> list[str]:
    """What the third run broke, that was told to send again what is unknown."""
    ended = story.ended
    wrong = [f"{name} was lost at the end" for name in _changed(story.resumed.pictures, ended.pictures)]
    for prompt, key in zip(job.prompts, job_keys(job), strict=True):
        allowed = 1 + ended.count(key, "refused") + (key in story.unknown)
        if ended.posts[prompt] > allowed:
            wrong.append(f"{key} was POSTed {ended.posts[prompt]} times, at most {allowed} were right")
        done = [row for row in ended.rows(key) if row["state"] == "done"]
        if not done:
            wrong.append(f"with --retry-unknown {key} is still missing")
        files: list[dict[str, Any]] = done[-1]["files"] if done else []
        found = [ended.pictures.get(Path(file["name"]).name) for file in files]
        if found != [file["sha256"] for file in files]:
            wrong.append(f"the image of {key} is not what its record says")
    if len(ended.pictures) != len(job.prompts):
        wrong.append(f"{len(ended.pictures)} images for {len(job.prompts)} prompts")
    return wrong


async def _judge_status(job: Job) -> list[str]:
    """Whether batch-status says that all is done."""
    env = {name: value for name, value in os.environ.items() if not DISTORTING.fullmatch(name)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "openai_images", "batch-status", job.out, "--json"),
        cwd=ROOT,
        env=env | job.env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    summary: dict[str, Any] = {}
    with contextlib.suppress(ValueError, KeyError):
        summary = json.loads(out)["summary"]
    is_right = process.returncode == 0 and summary.get("done") == len(job.prompts)
    return (
        [] if is_right else [f"batch-status ended with {process.returncode}: {out.decode()} {err.decode()}"]
    )


def _changed(before: dict[str, str], after: dict[str, str]) -> Sequence[str]:
    return [name for name, digest in before.items() if after.get(name) != digest]
