"""A batch on a Dask cluster with one fault, looked at from outside: `python -m benchmarks dask_faults [FAULT...]`.

Rules: one fault a batch: `none`; `worker`, `driver` and `scheduler`, killed when a third of the items was requested;
`zombie`, a worker that is suspended, given up by the scheduler, and goes on then. After a fault the same batch
runs again, and once more with retry_unknown.
"""

import argparse
import asyncio
import random
import secrets
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.cluster_driver import new_dask_client
from benchmarks.dask_case import (
    PATIENCE,
    Case,
    Cluster,
    Story,
    dask_processes,
    judge_first,
    judge_last,
    judge_second,
    posts_of,
    prompts_of,
)
from benchmarks.kill import noise
from openai_images.server import LocalImagesServer

FAULTS: Final = ("none", "worker", "driver", "scheduler", "zombie")
_LOOK: Final = 0.005
_SIDE, _SMALL_SIDE = 577, 120  # pixels: an image of 1 MB, and of 43 kB


async def run_case(case: Case, folder: Path) -> Story:
    server = LocalImagesServer(
        pictures=case.image, pace=case.pace, keep_requests=None, rate_limit_headers=False
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
    story.posts = posts_of(server)
    judge_first(cluster, story)
    if case.fault != "none":
        story.reports.append(await cluster.run())
        await cluster.quiet()
        story.posts = posts_of(server)
        judge_second(cluster, story)
        before = story.posts.copy()
        unknown = prompts_of(cluster.claimed() - cluster.images())
        story.reports.append(await cluster.run(retry_unknown=True))
        judge_last(cluster, story, posts_of(server) - before, unknown)


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


async def _until(true: Any) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():  # noqa: ASYNC110  counters and logs tell nobody
            await asyncio.sleep(_LOOK)


def describe(story: Story) -> str:
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
    parser = argparse.ArgumentParser(prog="python -m benchmarks dask_faults", description=__doc__)
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
    image = noise(_SMALL_SIDE if arguments.random else _SIDE)
    wrong = 0
    for fault, share in cases:
        case = Case(
            fault=fault,
            share=share,
            items=arguments.items,
            image=image,
            limits=limits,
            rate=arguments.rate,
        )
        with tempfile.TemporaryDirectory() as folder:
            story = asyncio.run(run_case(case, Path(folder)))
        print(f"at {share:.0%}: {describe(story)}", flush=True)
        wrong += len(story.wrong)
    return int(bool(wrong))
