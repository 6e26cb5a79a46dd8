"""A batch on a Dask cluster, looked at from outside: its processes, what was seen of it, and what is wrong with that.

Rules: scheduler, workers and driver are processes of their own; the server outlives them and is the only one that knows
what was paid for. Each violated guarantee is a sentence.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from benchmarks.dask_processes import DaskProcesses
from benchmarks.kill import noise
from benchmarks.processes import start
from openai_images.server import LocalImagesServer

PATIENCE: Final = 180.0


@frozen(kw_only=True)
class Case:
    """A batch of `items` with one `fault` after a `share` of the requests; images of `picture`, `pace` seconds each.

    `limits` are those of the client, `rate` requests a second are what they come to.
    """

    fault: str = "none"
    items: int = 150
    share: float = 1 / 3
    picture: bytes = field(factory=noise, repr=False)
    pace: float = 0.4
    workers: int = 2
    in_flight: int = 64
    limits: Mapping[str, Any] = field(factory=dict[str, Any])
    rate: float | None = None


@define
class Story:
    """What was seen: the driver's reports, POSTs by prompt and their times, and what is `wrong`."""

    case: Case
    posts: Counter[str] = field(factory=Counter[str])
    times: list[float] = field(factory=list[float])
    reports: list[dict[str, Any]] = field(factory=list[dict[str, Any]])
    seconds_to_error: float = 0.0
    wrong: list[str] = field(factory=list[str])

    def check(self, is_right: bool, sentence: str) -> None:
        """Note a violated guarantee."""
        if not is_right:
            self.wrong.append(sentence)

    @property
    def max_in_a_second(self) -> int:
        """The most requests that arrived within any second."""
        first = most = 0
        for number, at in enumerate(self.times):
            while self.times[first] < at - 1.0:
                first += 1
            most = max(most, number - first + 1)
        return most


class Cluster:
    """The processes of one case, and the server that they ask."""

    def __init__(self, case: Case, folder: Path, server: LocalImagesServer, dask: DaskProcesses) -> None:
        self.case = case
        self.out = folder / "out"
        self.server = server
        self.dask = dask

    async def start_driver(self, *, retry_unknown: bool = False) -> asyncio.subprocess.Process:
        """The driver, running."""
        plan = {
            "address": self.dask.address,
            "base_url": self.server.base_url,
            "items": self.case.items,
            "out": str(self.out),
            "retry_unknown": retry_unknown,
            "limits": dict(self.case.limits),
            "in_flight": self.case.in_flight,
        }
        env = {"OPENAI_API_KEY": self.server.api_key}
        return await start("benchmarks.cluster_driver", json.dumps(plan), env=env)

    async def finish(self, driver: asyncio.subprocess.Process) -> dict[str, Any]:
        """The driver's report. Raises RuntimeError where there is none, TimeoutError where it hangs."""
        out, err = await asyncio.wait_for(driver.communicate(), PATIENCE)
        try:
            report: dict[str, Any] = json.loads(out)
        except ValueError:
            raise RuntimeError(f"the driver ended with {driver.returncode}: {err.decode()[-3000:]}") from None
        return report

    async def run(self, *, retry_unknown: bool = False) -> dict[str, Any]:
        """A driver from its start to its end."""
        return await self.finish(await self.start_driver(retry_unknown=retry_unknown))

    def claimed(self) -> set[str]:
        """The keys of the items that were claimed."""
        claims = self.out / "claims"
        paths = list(claims.iterdir()) if claims.exists() else []
        return {json.loads(path.read_text())["key"] for path in paths if not path.name.startswith(".")}

    def images(self) -> set[str]:
        """The keys of the items whose images are in the folder, which are checked."""
        folder = self.out / "images"
        paths = (
            [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
        )
        torn = [path.name for path in paths if path.read_bytes() != self.case.picture]
        assert not torn, f"not what was served: {torn}"
        return {path.name.partition("-")[0] for path in paths}

    async def quiet(self) -> None:
        """Wait until no request is in flight and none arrives."""
        posts = -1
        async with asyncio.timeout(PATIENCE):
            while posts != self.server.posts or self.server.open_connections:
                posts = self.server.posts
                await asyncio.sleep(max(0.5, 2 * self.case.pace))


def judge_first(cluster: Cluster, story: Story) -> None:
    """After the run with the fault."""
    case, images = cluster.case, cluster.images()
    lost = cluster.claimed() - images
    judge_posts(story, cluster.claimed())
    bound = {"none": 0, "worker": case.in_flight}.get(case.fault, case.in_flight * case.workers)
    story.check(len(lost) <= bound, f"{len(lost)} have no image, and at most {bound} were in flight")
    if case.fault in ("none", "worker", "zombie"):
        story.check(len(images) + len(lost) == case.items, "not all items were sent")
        judge_unknown(cluster, story)


def judge_second(cluster: Cluster, story: Story) -> None:
    """After the same run again: everything was sent once, and unknown is what has no image."""
    judge_posts(story, cluster.claimed())
    story.check(len(cluster.claimed()) == cluster.case.items, f"{len(cluster.claimed())} items were claimed")
    judge_unknown(cluster, story)


def judge_last(cluster: Cluster, story: Story, posts: Counter[str], unknown: set[str]) -> None:
    """After retry_unknown: what was unknown, and nothing else, was sent once more, and all is there."""
    report, images = story.reports[-1], cluster.images()
    story.check(set(posts) == unknown, f"{len(posts)} were sent again, {len(unknown)} were unknown")
    story.check(set(posts.values()) <= {1}, "an unknown item was sent again more than once")
    story.check(len(images) == cluster.case.items, f"{len(images)} of {cluster.case.items} images at the end")
    story.check(report["done"] == cluster.case.items, f"{report['done']} done at the end")


def judge_posts(story: Story, claimed: set[str]) -> None:
    """Nothing was sent twice, or without a claim."""
    twice = [prompt for prompt, count in story.posts.items() if count > 1]
    story.check(not twice, f"{len(twice)} items were sent twice: {twice[:5]}")
    story.check(set(story.posts) <= prompts_of(claimed), "an item was sent without a claim")


def judge_unknown(cluster: Cluster, story: Story) -> None:
    """The summary counts as unknown what was claimed and has no image, and all else as done."""
    report, images = story.reports[-1], cluster.images()
    lost = cluster.claimed() - images
    story.check(report["unknown"] == len(lost), f"{report['unknown']} unknown, {len(lost)} without an image")
    story.check(report["done"] == len(images), f"{report['done']} done, {len(images)} images")
    story.check(not report["failed"], f"{report['failed']} failed")


def posts_of(server: LocalImagesServer) -> Counter[str]:
    """How often each prompt was sent."""
    return Counter(str(request.json["prompt"]) for request in server.requests)


def prompts_of(keys: set[str]) -> set[str]:
    """The prompts of the items with these keys."""
    return {f"otter number {int(key)}" for key in keys}
