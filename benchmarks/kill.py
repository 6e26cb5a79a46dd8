"""Kill batches with SIGKILL and resume them: `python -m benchmarks kill [--batches 50] [--seed 1]`.

Rules: each batch has a server of its own, which survives, and dies once, at a moment drawn by chance: by the bytes in
its journal, or by time. Every third server has a limit, so that refusals are in play. A table says what was found;
exits with 1 where a promise was broken. No figures, only right and wrong.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path

from attrs import frozen

from benchmarks.kill_run import Job, Moment, Story, kill_and_resume, run, until
from openai_images.server import LocalImagesServer

PROMPTS, AT_ONCE = 60, 2
PACE = 0.04  # seconds that an image takes
LIMITED = 3
"""Every so many batches the server has a limit."""

Run = tuple[int, Moment, Story]


@frozen
class Length:
    """How long a whole batch is: its journal in bytes, and the seconds before the journal begins and from then on."""

    nbytes: int
    before: float
    after: float


def noise(side: int = 300) -> bytes:
    """A real PNG that cannot be compressed: 3 bytes for each of `side` x `side` pixels."""
    from PIL import Image

    with BytesIO() as file:
        pixels = random.Random(side).randbytes(side * side * 3)  # noqa: S311  repeatable, not secret
        Image.frombytes("RGB", (side, side), pixels).save(file, "PNG")
        return file.getvalue()


def moment(chance: random.Random, length: Length) -> Moment:
    """When to kill: half of them by the journal's bytes, the others by time since the start or since its first row."""
    kind = chance.randrange(4)
    if kind == 0:
        return Moment(0, chance.uniform(0, length.before + length.after))
    if kind == 1:
        return Moment(1, chance.uniform(0, length.after))
    return Moment(chance.randint(1, length.nbytes), chance.choice([0.0, chance.uniform(0, PACE)]))


async def measure(folder: Path, image: bytes) -> Length:
    """A batch that nobody kills. Raises RuntimeError where even that fails."""
    async with _server(image, limited=False) as server:
        job = _job(folder, server, "whole")
        started = time.monotonic()
        running = asyncio.create_task(run(job))
        await until(lambda: running.done() or job.journal.exists())
        begun = time.monotonic()
        code, output, _ = await running
    if code or not job.journal.exists():
        raise RuntimeError(f"a batch that nobody kills ended with {code}: {output}")
    return Length(job.journal.stat().st_size, begun - started, time.monotonic() - begun)


async def one(folder: Path, number: int, when: Moment, image: bytes, prompts: int = PROMPTS) -> Story:
    async with _server(image, limited=number % LIMITED == 0) as server:
        return await kill_and_resume(_job(folder, server, str(number), prompts), when)


def _server(image: bytes, *, limited: bool) -> LocalImagesServer:
    rate, burst = (4_000, 5) if limited else (None, None)
    return LocalImagesServer(
        pictures=image, pace=PACE, images_per_minute=rate, rate_limit_burst=burst, rate_limit_headers=False
    )


def _job(folder: Path, server: LocalImagesServer, name: str, prompts: int = PROMPTS) -> Job:
    texts = tuple(f"batch {name}, image {number}" for number in range(prompts))
    return Job(prompts=texts, folder=folder / name, server=server)


async def _all(batches: int, seed: int, folder: Path) -> list[Run]:
    image = noise()
    length = await measure(folder, image)
    print(
        f"a whole batch: {length.nbytes:,} bytes of journal, {length.before:.2f} + {length.after:.2f} s",
        flush=True,
    )
    chance = random.Random(seed)  # noqa: S311  repeatable, not secret
    moments = [moment(chance, length) for _ in range(batches)]
    slots = asyncio.Semaphore(AT_ONCE)

    async def tell(number: int, when: Moment) -> Run:
        async with slots:
            story = await one(folder, number, when, image)
        print(_line(number, when, story), flush=True)
        return number, when, story

    print(_HEAD, flush=True)
    return await asyncio.gather(*(tell(number, when) for number, when in enumerate(moments)))


_HEAD = (
    "  #  killed at                done  open  torn  adopted  refused  resumed  missing  in the end  wrong"
)


def _line(number: int, when: Moment, story: Story) -> str:
    killed, resumed = story.killed, story.resumed
    at = str(when) if story.was_running else f"{when} (over)"
    refused = sum(story.ended.count(key, "refused") for key in story.ended.rows)
    adopted = len(killed.open & resumed.done)
    return (
        f"{number:3}  {at:24} {len(killed.done):5} {len(killed.open):5} {'yes' if killed.torn else '':>5} "
        f"{adopted:8} {refused:8} {len(resumed.done):8} {PROMPTS - len(resumed.done):8} "
        f"{len(story.ended.done):11} {len(story.wrong):6}"
    )


def _summary(runs: Iterable[Run]) -> tuple[str, bool]:
    """What all of them show, and whether it is all right."""
    stories = [story for _, _, story in runs]
    lines = [f"batch {number}, {when}: {wrong}" for number, when, story in runs for wrong in story.wrong]
    lines += [f"\nthe output of the first of these:\n{story.output}" for story in stories if story.wrong][:1]
    posts = sum(sum(story.ended.posts.values()) for story in stories)
    lines.append(
        f"{len(stories)} batches, {sum(story.was_running for story in stories)} killed while they ran, "
        f"{sum(len(story.killed.done) for story in stories):,} images done before, "
        f"{sum(len(story.killed.open - story.killed.there) for story in stories):,} unknown, {posts:,} POSTs in all, "
        f"{sum(len(story.wrong) for story in stories)} promises broken"
    )
    return "\n".join(lines), not any(story.wrong for story in stories)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks kill", description=__doc__)
    parser.add_argument("--batches", type=int, default=50, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the folders there, to look at")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        if arguments.keep is not None:
            arguments.keep.mkdir(parents=True, exist_ok=True)
        runs = asyncio.run(_all(arguments.batches, arguments.seed, arguments.keep or Path(temporary)))
    text, good = _summary(runs)
    print(text)
    return int(not good)
