"""A batch on a Dask cluster with one fault, looked at from outside: `python -m benchmarks dask_faults [FAULT...]`.

Rules: scheduler, workers and driver are processes of their own; the server outlives them and is the only one that knows
what was paid for. Faults: `none`; `worker`, `driver` and `scheduler`, killed when a third of the items was requested;
`zombie`, a worker that is suspended, given up by the scheduler, and goes on then. After a fault the same batch
runs again, and once more with retry_unknown. Each violated guarantee is a sentence.
"""

import argparse
import asyncio
import json
import os
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from attrs import define, field, frozen

from benchmarks.cluster_driver import new_dask_client
from benchmarks.dask_processes import ROOT, DaskProcesses, dask_processes
from benchmarks.kill import noise
from benchmarks.running import DISTORTING
from openai_images.server import LocalImagesServer

__all__ = [
    "FAULTS",
    "Case",
    "Cluster",
    "Story",
    "describe",
    "give_up",
    "judge_posts",
    "judge_unknown",
    "run_case",
]

FAULTS: Final = ("none", "worker", "driver", "scheduler", "zombie")
_PATIENCE: Final = 180.0
_LOOK: Final = 0.005
_SIDE, _SMALL_SIDE = 577, 120  # pixels: an image of 1 MB, and of 43 kB


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
        env = {name: value for name, value in os.environ.items() if not DISTORTING.fullmatch(name)}
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "benchmarks.cluster_driver", json.dumps(plan)),
            cwd=ROOT,
            env=env | {"OPENAI_API_KEY": self.server.api_key},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def finish(self, driver: asyncio.subprocess.Process) -> dict[str, Any]:
        """The driver's report. Raises RuntimeError where there is none, TimeoutError where it hangs."""
        out, err = await asyncio.wait_for(driver.communicate(), _PATIENCE)
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
        async with asyncio.timeout(_PATIENCE):
            while posts != self.server.posts or self.server.open_connections:
                posts = self.server.posts
                await asyncio.sleep(max(0.5, 2 * self.case.pace))


async def run_case(case: Case, folder: Path) -> Story:
    """The story of a case, in a new folder."""
    server = LocalImagesServer(
        pictures=case.picture, pace=case.pace, keep_requests=None, rate_limit_headers=False
    )
    async with server:
        environment = {"OPENAI_API_KEY": server.api_key, "NO_PROXY": "127.0.0.1"}
        context = dask_processes(folder / "dask", environment, case.workers)
        dask = await asyncio.to_thread(context.__enter__)
        story = Story(case)
        sampling = asyncio.create_task(_sample(server, story))
        try:
            await _tell(Cluster(case, folder, server, dask), story)
        except TimeoutError as error:
            logs = "".join(path.read_text()[-1500:] for path in sorted((folder / "dask").glob("*.log")))
            raise RuntimeError(
                f"{case.fault}: {server.posts} POSTs, then nothing happened\n{logs}"
            ) from error
        finally:
            sampling.cancel()
            await asyncio.to_thread(context.__exit__, None, None, None)
    return story


async def _sample(server: LocalImagesServer, story: Story) -> None:
    """Note when requests arrive, to a few milliseconds."""
    while True:
        story.times += [time.monotonic()] * (server.posts - len(story.times))
        await asyncio.sleep(_LOOK)


async def _tell(cluster: Cluster, story: Story) -> None:
    case, server = cluster.case, cluster.server
    driver = await cluster.start_driver()
    if case.fault != "none":
        await _until(lambda: server.posts >= case.items * case.share)
    await _FAULTS[case.fault](cluster, driver, story)
    await cluster.quiet()
    story.posts = _posts(server)
    _judge_first(cluster, story)
    if case.fault != "none":
        story.reports.append(await cluster.run())
        await cluster.quiet()
        story.posts = _posts(server)
        _judge_second(cluster, story)
        before = story.posts.copy()
        unknown = _prompts(cluster.claimed() - cluster.images())
        story.reports.append(await cluster.run(retry_unknown=True))
        _judge_last(cluster, story, _posts(server) - before, unknown)


async def _no_fault(cluster: Cluster, driver: asyncio.subprocess.Process, story: Story) -> None:
    story.reports.append(await cluster.finish(driver))


async def _kill_worker(cluster: Cluster, driver: asyncio.subprocess.Process, story: Story) -> None:
    cluster.dask.workers[0].kill()
    story.reports.append(await cluster.finish(driver))


async def _kill_driver(_: Cluster, driver: asyncio.subprocess.Process, story: Story) -> None:
    driver.kill()
    await driver.communicate()
    story.reports.append({})


async def _kill_scheduler(cluster: Cluster, driver: asyncio.subprocess.Process, story: Story) -> None:
    """The scheduler of another cluster takes its place in the next run."""
    cluster.dask.scheduler.kill()
    killed = time.time()
    report = await cluster.finish(driver)
    story.seconds_to_error = report["error_at"] - killed
    story.reports.append(report)
    story.check(
        story.seconds_to_error <= 5, f"the driver ended {story.seconds_to_error:.1f} s after the scheduler"
    )
    story.check(report["error"].startswith("ClusterError"), f"the scheduler's end was {report['error']!r}")
    await asyncio.to_thread(cluster.dask.restart)


async def _suspend_worker(cluster: Cluster, driver: asyncio.subprocess.Process, story: Story) -> None:
    worker = cluster.dask.workers[0]
    worker.send_signal(signal.SIGSTOP)
    async with new_dask_client(cluster.dask.address, asynchronous=True) as client:
        await client.run_on_scheduler(give_up, name="worker-0")
    await asyncio.sleep(
        2 * cluster.case.pace
    )  # the other worker finds its claims, and the server has answered it
    worker.send_signal(signal.SIGCONT)
    story.reports.append(await cluster.finish(driver))


_FAULTS: Final = {
    "none": _no_fault,
    "worker": _kill_worker,
    "driver": _kill_driver,
    "scheduler": _kill_scheduler,
    "zombie": _suspend_worker,
}


async def give_up(dask_scheduler: Any, name: str) -> None:
    """In the scheduler: do what it does with a worker that has sent no sign for five minutes."""
    [address] = (address for address, worker in dask_scheduler.workers.items() if worker.name == name)
    await dask_scheduler.remove_worker(address, stimulus_id="given-up")


def _judge_first(cluster: Cluster, story: Story) -> None:
    """After the run with the fault."""
    case, images = cluster.case, cluster.images()
    lost = cluster.claimed() - images
    judge_posts(story, cluster.claimed())
    bound = {"none": 0, "worker": case.in_flight}.get(case.fault, case.in_flight * case.workers)
    story.check(len(lost) <= bound, f"{len(lost)} have no image, and at most {bound} were in flight")
    if case.fault in ("none", "worker", "zombie"):
        story.check(len(images) + len(lost) == case.items, "not all items were sent")
        judge_unknown(cluster, story)


def _judge_second(cluster: Cluster, story: Story) -> None:
    """After the same run again: everything was sent once, and unknown is what has no image."""
    judge_posts(story, cluster.claimed())
    story.check(len(cluster.claimed()) == cluster.case.items, f"{len(cluster.claimed())} items were claimed")
    judge_unknown(cluster, story)


def _judge_last(cluster: Cluster, story: Story, posts: Counter[str], unknown: set[str]) -> None:
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
    story.check(set(story.posts) <= _prompts(claimed), "an item was sent without a claim")


def judge_unknown(cluster: Cluster, story: Story) -> None:
    """The summary counts as unknown what was claimed and has no image, and all else as done."""
    report, images = story.reports[-1], cluster.images()
    lost = cluster.claimed() - images
    story.check(report["unknown"] == len(lost), f"{report['unknown']} unknown, {len(lost)} without an image")
    story.check(report["done"] == len(images), f"{report['done']} done, {len(images)} images")
    story.check(not report["failed"], f"{report['failed']} failed")


def _posts(server: LocalImagesServer) -> Counter[str]:
    return Counter(str(request.json["prompt"]) for request in server.requests)


def _prompts(keys: set[str]) -> set[str]:
    return {f"otter number {int(key)}" for key in keys}


async def _until(true: Any) -> None:
    async with asyncio.timeout(_PATIENCE):
        while not true():  # noqa: ASYNC110  counters and logs tell nobody
            await asyncio.sleep(_LOOK)


def describe(story: Story) -> str:
    """One line for people."""
    case, times = story.case, story.times
    report = story.reports[0] or story.reports[-1]
    span = times[-1] - times[0] if case.fault == "none" and times else 0.0
    ideal = "" if case.rate is None else f", ideal {case.items / case.rate:.1f} s"
    memory = report.get("memory") or [0]
    return (
        f"{case.fault:9} {len(story.posts):,} items, {sum(story.posts.values()):,} POSTs, "
        f"most in a second {story.max_in_a_second}, first to last POST {span:.1f} s{ideal}; driver: "
        f"{report['entering']} + {report['seconds']} + {report['closing']} s, {memory[0]} to {max(memory)} MB; "
        f"unknown {[each.get('unknown') for each in story.reports]}; "
        f"error after {story.seconds_to_error:.2f} s; wrong: {story.wrong or 'nothing'}"
    )


def main() -> int:
    """Run the cases, print; 1 where a guarantee was violated."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks dask_faults", description="Dask with faults.")
    parser.add_argument("faults", nargs="*", choices=[*FAULTS, []], help="default: all of them")
    parser.add_argument("--items", type=int, default=1_500)
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second (%(default)s)")
    parser.add_argument("--redis", help="the URL of the shared limit; without it each worker has half of it")
    parser.add_argument(
        "--random", type=int, metavar="RUNS", help="so many runs with random faults and moments"
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    limits: dict[str, Any] = {"requests_per_minute": arguments.rate * 60}
    limits |= {"shared": arguments.redis, "name": secrets.token_hex(4)} if arguments.redis else {}
    chance = random.Random(arguments.seed)  # noqa: S311  repeatable, not secret
    faults = arguments.faults or list(FAULTS)
    cases = [(fault, 1 / 3) for fault in faults]
    if arguments.random:
        faults = arguments.faults or list(FAULTS[1:])
        cases = [(chance.choice(faults), chance.uniform(0.05, 0.95)) for _ in range(arguments.random)]
    picture = noise(_SMALL_SIDE if arguments.random else _SIDE)
    wrong = 0
    for fault, share in cases:
        case = Case(
            fault=fault,
            share=share,
            items=arguments.items,
            picture=picture,
            limits=limits,
            rate=arguments.rate,
        )
        with tempfile.TemporaryDirectory() as folder:
            story = asyncio.run(run_case(case, Path(folder)))
        print(f"at {share:.0%}: {describe(story)}", flush=True)
        wrong += len(story.wrong)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
