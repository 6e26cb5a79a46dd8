"""A batch on a Dask cluster, looked at from outside: its processes, what was seen of it, and what is wrong with that.

Rules: scheduler, workers and driver are processes, ended by their ids when the block ends, however it ends; the server
outlives them and is the only one that knows what was paid for. Each violated guarantee is a sentence.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from benchmarks.kill import noise
from benchmarks.processes import ROOT, start
from openai_images.server import LocalImagesServer

_START_SECONDS = 60.0
_LOCAL = ("--host", "127.0.0.1", "--dashboard-address", ":0")


@define
class DaskProcesses:
    """The processes of a cluster: its scheduler, and workers in the order of their start; logs are in `folder`."""

    folder: Path
    environment: Mapping[str, str]
    threads: int
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(factory=list[subprocess.Popen[bytes]])

    @property
    def address(self) -> str:
        lines = (self.folder / "scheduler.log").read_text().splitlines()
        return next(line.split()[-1] for line in lines if "Scheduler at:" in line)

    def start_workers(self, count: int) -> None:
        """Start so many workers more, and wait until all are registered."""
        for number in range(len(self.workers), len(self.workers) + count):
            name = f"worker-{number}"
            options = ("--nworkers", "1", "--name", name, "--no-nanny", "--nthreads", str(self.threads))
            self.workers.append(
                _start(self.folder, name, self.environment, "worker", self.address, *_LOCAL, *options)
            )
        for number, _ in enumerate(self.workers):
            _wait_for(self.folder / f"worker-{number}.log", b"Registered to")

    def restart(self) -> None:
        """Start a scheduler and as many workers again, after the scheduler's end; the old workers are awaited."""
        count = len(self.workers)
        self.scheduler.wait(10)
        for worker in self.workers:
            worker.wait(60)
        for log in self.folder.glob("*.log"):
            log.unlink()
        self.workers.clear()
        self.scheduler = _start_scheduler(self.folder, self.environment)
        self.start_workers(count)


@contextmanager
def dask_processes(
    folder: Path, environment: Mapping[str, str], workers: int = 2, threads: int = 32
) -> Generator[DaskProcesses]:
    """A scheduler and workers with so many `threads`, all of them running; `environment` is added to theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dask").mkdir(exist_ok=True)
    added = {
        "PYTHONPATH": str(ROOT),
        "DASK_TEMPORARY_DIRECTORY": str(folder / "dask"),
        "DASK_DISTRIBUTED__VERSION": "2",
    }
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDEVMODE"}
    env = inherited | added | dict(environment)
    with ExitStack() as ends:
        cluster = DaskProcesses(folder, env, threads, _start_scheduler(folder, env))
        ends.callback(_end, cluster)
        cluster.start_workers(workers)
        yield cluster


def _start_scheduler(folder: Path, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    scheduler = _start(folder, "scheduler", env, "scheduler", *_LOCAL, "--port", "0")
    _wait_for(folder / "scheduler.log", b"Scheduler at:")
    return scheduler


def _start(folder: Path, name: str, env: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
    with (folder / f"{name}.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *arguments], stdout=log, stderr=log, env=dict(env), cwd=ROOT
        )


def _end(cluster: DaskProcesses) -> None:
    processes = [cluster.scheduler, *cluster.workers]
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)  # one that is suspended cannot end
            process.kill()
    for process in processes:
        process.wait(10)


def _wait_for(log: Path, words: bytes) -> None:
    end = time.monotonic() + _START_SECONDS
    while words not in log.read_bytes():
        if time.monotonic() > end:
            raise AssertionError(f"{log.name} never had {words!r}: {log.read_text()}")
        time.sleep(0.05)


PATIENCE: Final = 180.0


@frozen(kw_only=True)
class Case:
    """A batch of `items` with one `fault` after a `share` of the requests; images of `image`, `pace` seconds each.

    `limits` are those of the client, `rate` requests a second are what they come to.
    """

    fault: str = "none"
    items: int = 150
    share: float = 1 / 3
    image: bytes = field(factory=noise, repr=False)
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
        return await self.finish(await self.start_driver(retry_unknown=retry_unknown))

    def claimed(self) -> set[str]:
        claims = self.out / "claims"
        paths = list(claims.iterdir()) if claims.exists() else []
        return {json.loads(path.read_text())["key"] for path in paths if not path.name.startswith(".")}

    def images(self) -> set[str]:
        """The keys of the items whose images are in the folder, which are checked."""
        folder = self.out / "images"
        paths = (
            [path for path in folder.iterdir() if not path.name.startswith(".")] if folder.exists() else []
        )
        torn = [path.name for path in paths if path.read_bytes() != self.case.image]
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
    return Counter(str(request.json["prompt"]) for request in server.requests)


def prompts_of(keys: set[str]) -> set[str]:
    return {f"otter number {int(key)}" for key in keys}
