"""Ten thousand prompts at once: `python -m benchmarks scale [WAY...] [--prompts 10000] [--concurrency 100]`.

Rules: the server is the local images server with one image made beforehand, in another process than what is measured;
each way is measured in a process of its own. Ways that send nothing (to resume a batch that is done, to plan one, to
name images) are measured with a quarter of the prompts, too: four times as many may take five times the processor's
time. Prints the figures and the goals; exits with 1 where a goal is not met.
"""

import argparse
import asyncio
import shutil
import tempfile

from benchmarks.contenders import KEY
from benchmarks.kill import noise
from benchmarks.processes import apart
from benchmarks.scaling import ALONE, WAYS, Seen
from openai_images.server import LocalImagesServer

SIDE = 180  # of the image, in pixels: about 100 KB
MEMORY_MB = 150.0
FEEDERS = 2
"""Tasks beside the calls: who reads the source, and who keeps the whole."""
CALLS_EACH = {"generate_many": 1, "Batch": 2}
"""Tasks of one call: the batch writes an image and its row in a task that a cancellation does not cut short."""


async def measure(way: str, prompts: int, concurrency: int, image: bytes) -> Seen:
    """What one way showed. Raises RuntimeError where its process fails."""
    with tempfile.TemporaryDirectory() as folder:
        async with LocalImagesServer(api_key=KEY, pictures=image, keep_requests=0) as server:
            asked = server.base_url, folder, str(prompts), str(concurrency)
            return Seen(**await apart("benchmarks.scaling", way, *asked))


GROWTH = 5.0
"""Of the processor's time, for four times as many prompts."""

KB_EACH = {"resume": 4.6, "plan": 2.5, "one name": 0.1}
"""Memory for each prompt, besides a few MB."""

FEW_MB = 15.0


async def measure_growth(way: str, prompts: int) -> tuple[Seen, Seen]:
    """What a way without a server showed with a quarter of the prompts, and with all."""
    seen: list[Seen] = []
    for count in (prompts // 4, prompts):
        with tempfile.TemporaryDirectory() as folder:
            if way == "resume":
                await apart("benchmarks.scaling", "finish", "", folder, str(count), "1")
                shutil.rmtree(f"{folder}/warm")
            seen.append(Seen(**await apart("benchmarks.scaling", way, "", folder, str(count), "1")))
    return seen[0], seen[1]


def judge_growth(way: str, quarter: Seen, seen: Seen, prompts: int) -> list[tuple[str, str, bool]]:
    """As `judge`."""
    growth, above = seen.seconds / quarter.seconds, (seen.peak - seen.idle) / 1e6
    allowed = FEW_MB + KB_EACH[way] * prompts / 1e3
    return [
        (f"four times as many <= {GROWTH} x", f"{growth:.1f} x the time", growth <= GROWTH),
        (f"memory above idle <= {allowed:.0f} MB", f"{above:.1f} MB", above <= allowed),
    ]


def judge(way: str, seen: Seen, prompts: int, concurrency: int, image: int) -> list[tuple[str, str, bool]]:
    """Each goal, what was found, and whether that is enough; `image` is an image's size in bytes."""
    allowed = MEMORY_MB + concurrency * image / 1e6
    above = (seen.peak - seen.idle) / 1e6
    failed = sum(seen.errors.values())
    tasks = CALLS_EACH[way] * concurrency + FEEDERS
    goals = [
        (
            "all delivered, no error",
            f"{seen.images:,} images, {failed} errors",
            not failed and seen.images == prompts,
        ),
        (f"memory above idle <= {allowed:.0f} MB", f"{above:.1f} MB", above <= allowed),
        (f"tasks <= {tasks}", f"{seen.tasks}", seen.tasks <= tasks),
    ]
    if way == "generate_many":
        ahead = seen.ahead <= concurrency + FEEDERS
        goals.append((f"read ahead <= {concurrency} + {FEEDERS}", str(seen.ahead), ahead))
    return goals


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale", description=__doc__)
    ways = [*WAYS, *ALONE]
    parser.add_argument("ways", nargs="*", metavar="WAY", help=f"of: {', '.join(ways)} (all)")
    parser.add_argument("--prompts", type=int, default=10_000, help="how many (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=100, help="how many at once (%(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.ways) - set(ways):
        parser.error(f"no such way: {', '.join(sorted(unknown))}")
    image, good = noise(SIDE), True
    print(f"{arguments.prompts:,} prompts, {arguments.concurrency} at once, images of {len(image):,} bytes")
    for way in arguments.ways or ways:
        if way in ALONE:
            quarter, seen = asyncio.run(measure_growth(way, arguments.prompts))
            print(f"\n{way}: {seen.seconds:.2f} s of the processor, {seen.idle / 1e6:.1f} MB when idle")
            goals = judge_growth(way, quarter, seen, arguments.prompts)
        else:
            seen = asyncio.run(measure(way, arguments.prompts, arguments.concurrency, image))
            rate = seen.done / seen.seconds
            print(
                f"\n{way}: {seen.seconds:.1f} s, {rate:,.0f} a second, {seen.idle / 1e6:.1f} MB when idle, "
                f"{seen.all_tasks} tasks with those of aiohttp"
            )
            goals = judge(way, seen, arguments.prompts, arguments.concurrency, len(image))
        for goal, found, met in goals:
            print(f"  {goal:32} {found:28} {'met' if met else 'NOT MET'}")
            good = good and met
    return int(not good)
