"""Kill or stop processes of shared batches at random: `python -m benchmarks kill_workers [--runs 30] [--seed 1]`.

Rules: each run has a server of its own, which survives. In half of the runs some processes are killed, in a quarter all
of them, in a quarter one is stopped until another has taken its place, and goes on then. With `--s3` batches are on a
local S3 server. A table says what was found; exits with 1 where a guarantee was violated. No figures, only right and
wrong.
"""

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from asyncio.subprocess import Process
from collections.abc import Sequence
from pathlib import Path

from benchmarks.kill import noise
from benchmarks.kill_run import until
from benchmarks.kill_workers_judge import (
    PATIENCE,
    FolderFiles,
    Job,
    ObjectFiles,
    Snapshot,
    Story,
    Strike,
    judge,
)
from benchmarks.s3_server import BUCKET, s3_server
from openai_images.server import LocalImagesServer

PACE = 0.15  # seconds that an image takes
LOOK = 0.02  # seconds between two looks at the records
LIMITED = 3
"""Every so many runs the server has a limit."""


def strike(chance: random.Random, prompts: int, workers: int) -> Strike:
    kind, records = chance.randrange(4), chance.randint(0, prompts - 1)
    if kind == 0:
        return Strike(records, tuple(range(workers)))
    if kind == 1:
        return Strike(records, (chance.randrange(workers),), stop=True)
    return Strike(records, tuple(chance.sample(range(workers), chance.randint(1, workers - 1))))


async def one(  # noqa: PLR0913  what a run is made of
    folder: Path,
    number: int,
    when: Strike,
    image: bytes,
    *,
    prompts: int,
    workers: int,
    s3: dict[str, str] | None = None,
) -> Story:
    """Run `number`, in a folder, or on the S3 server to which this environment leads."""
    rate, burst = (6_000, 5) if number % LIMITED == 0 else (None, None)
    async with LocalImagesServer(
        pictures=image, pace=PACE, images_per_minute=rate, rate_limit_burst=burst, rate_limit_headers=False
    ) as server:
        out = str(folder / str(number)) if s3 is None else f"s3://{BUCKET}/{folder.name}-{number}"
        job = Job(
            prompts=tuple(f"run {number}, image {each}" for each in range(prompts)),
            source=folder / f"{number}.txt",
            out=out,
            files=FolderFiles(Path(out)) if s3 is None else ObjectFiles(out),
            server=server,
            workers=workers,
            env=s3 or {},
        )
        return await strike_and_resume(job, when)


async def strike_and_resume(job: Job, when: Strike) -> Story:
    """Start it, kill or stop some, run it again, and again with --retry-unknown; see whether all guarantees held."""
    await asyncio.to_thread(job.source.write_text, "".join(f"{prompt}\n" for prompt in job.prompts))
    shards = await _start_all(job)
    waiting = asyncio.create_task(_wait(shards))
    reached = asyncio.create_task(_wait_for_records(job, when.records))
    await asyncio.wait((waiting, reached), return_when=asyncio.FIRST_COMPLETED)
    victims = [number for number in when.victims if shards[number].returncode is None]
    for number in victims:
        shards[number].send_signal(signal.SIGSTOP if when.stop else signal.SIGKILL)
    output = ""
    for number in victims if when.stop else ():
        output += await _wait([await job.start(number + 1)])
        shards[number].send_signal(signal.SIGCONT)
    output += await waiting
    reached.cancel()
    await until(lambda: not job.server.open_connections)
    struck = await asyncio.to_thread(Snapshot.of, job)
    output += await _wait(await _start_all(job))
    resumed = await asyncio.to_thread(Snapshot.of, job)
    output += await _wait(await _start_all(job, "--retry-unknown"))
    ended = await asyncio.to_thread(Snapshot.of, job)
    story = Story(when, struck, resumed, ended, output, was_running=bool(victims))
    story.wrong = await judge(job, story)
    return story


async def _start_all(job: Job, *arguments: str) -> list[Process]:
    """A process for each shard, as a Slurm array has them."""
    return [await job.start(number, *arguments) for number in range(1, job.workers + 1)]


async def _wait(processes: Sequence[Process]) -> str:
    """What all of them printed, when they have ended."""
    output = await asyncio.wait_for(asyncio.gather(*(each.communicate() for each in processes)), PATIENCE)
    return "\n".join(err.decode() for _, err in output if err)


async def _wait_for_records(job: Job, number: int) -> None:
    while len(await asyncio.to_thread(job.files.names, "records")) < number:  # noqa: ASYNC110  files tell nobody
        await asyncio.sleep(LOOK)


_HEAD = "  #  strike                     claims  records  unknown  adopted  refused  POSTs      s  wrong"


def _line(number: int, story: Story, seconds: float) -> str:
    struck, ended = story.struck, story.ended
    at = str(story.strike) if story.was_running else f"{story.strike} (over)"
    adopted = sum("adopted" in row for rows in ended.rows.values() for row in rows)
    refused = sum(ended.count(key, "refused") for key in ended.rows)
    return (
        f"{number:3}  {at:26} {len(struck.claims):6} {len(struck.records):8} {len(struck.unknown):8} {adopted:8} "
        f"{refused:8} {sum(ended.posts.values()):6} {seconds:6.1f} {len(story.wrong):6}"
    )


async def _all(arguments: argparse.Namespace, folder: Path, s3: dict[str, str] | None) -> int:
    image, wrong = noise(120), 0
    chance = random.Random(arguments.seed)  # noqa: S311  repeatable, not secret
    print(_HEAD, flush=True)
    for number in range(arguments.runs):
        started = time.monotonic()
        story = await one(
            folder,
            number,
            strike(chance, arguments.prompts, arguments.workers),
            image,
            prompts=arguments.prompts,
            workers=arguments.workers,
            s3=s3,
        )
        print(_line(number, story, time.monotonic() - started), flush=True)
        wrong += len(story.wrong)
        for sentence in story.wrong[:10]:
            print(f"     {sentence}", flush=True)
        if story.wrong:
            print(story.output[-2000:], flush=True)
    print(f"{arguments.runs} runs, {wrong} guarantees violated")
    return int(wrong > 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks kill_workers", description=__doc__)
    parser.add_argument("--runs", type=int, default=30, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    parser.add_argument("--prompts", type=int, default=160, help="of a run (%(default)s)")
    parser.add_argument("--workers", type=int, default=8, help="processes of a run (%(default)s)")
    parser.add_argument("--s3", action="store_true", help="on a local S3 server, not in folders")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the folders there, to look at")
    arguments = parser.parse_args()
    if arguments.keep is not None:
        arguments.keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary)
        if not arguments.s3:
            return asyncio.run(_all(arguments, folder, None))
        with s3_server() as environment:
            os.environ.update(environment)
            return asyncio.run(_all(arguments, folder, environment))
