"""Ten thousand prompts in one process: `python -m benchmarks.scaling WAY URL FOLDER PROMPTS CONCURRENCY`.

Rules: WAY is `generate_many` or `Batch`; everything was imported and used once before the memory counts. Tasks are
counted whenever the user has an outcome and by a clock in between: this client's own, and all there are, as aiohttp
has one for a moment while it writes a request. Prints what it saw as JSON: bytes, tasks, seconds.
"""

import asyncio
import gc
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from attrs import Factory, asdict, define

from benchmarks.contenders import KEY, MODEL
from benchmarks.memory import begin, peak

__all__ = ["WAYS", "Seen"]

TICK = 0.005  # seconds between two counts of the tasks


@define
class Seen:
    """What a run showed; `ahead` is how many prompts were read before their outcome was there, at most."""

    idle: int = 0
    peak: int = 0
    seconds: float = 0.0
    done: int = 0
    read: int = 0
    ahead: int = 0
    tasks: int = 0
    all_tasks: int = 0
    pictures: int = 0
    errors: dict[str, int] = Factory(dict[str, int])

    def prompts(self, count: int) -> Iterator[str]:
        """The source, which knows how far it was read."""
        for number in range(count):
            self.read += 1
            self.ahead = max(self.ahead, self.read - self.done)
            yield f"a lighthouse, number {number} of {count}"

    def look(self) -> None:
        """Count the tasks."""
        tasks = asyncio.all_tasks()
        self.all_tasks = max(self.all_tasks, len(tasks))
        self.tasks = max(self.tasks, sum(map(_is_ours, tasks)))

    async def watch(self) -> None:
        """Count the tasks now and then."""
        while True:
            self.look()
            await asyncio.sleep(TICK)

    async def take(self, outcomes: AsyncIterable[Any]) -> None:
        """Iterate to the end."""
        from openai_images import Succeeded

        async for outcome in outcomes:
            self.done += 1
            self.look()
            if not isinstance(outcome, Succeeded):
                name = type(outcome.error).__name__
                self.errors[name] = self.errors.get(name, 0) + 1


def _is_ours(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and "/openai_images/" in code.co_filename


Way = Callable[[Any, Path, Seen, int, int], Awaitable[None]]


async def generate_many(client: Any, folder: Path, seen: Seen, prompts: int, concurrency: int) -> None:
    """Pictures straight to disk, from a source that is read as it goes."""
    many = client.generate_many(seen.prompts(prompts), concurrency=concurrency, into=folder)
    async with many as outcomes:
        await seen.take(outcomes)


async def batch(client: Any, folder: Path, seen: Seen, prompts: int, concurrency: int) -> None:
    """The durable batch, journal and contact sheet included; its items are given as a list."""
    from openai_images import Batch, BatchItem, BatchOptions, GenerateRequest

    numbered = enumerate(seen.prompts(prompts))
    items = [BatchItem(key=f"{number:05d}", request=GenerateRequest(prompt)) for number, prompt in numbered]
    async with Batch(client, items, folder, options=BatchOptions(concurrency=concurrency)) as running:
        await seen.take(running)


WAYS: dict[str, Way] = {"generate_many": generate_many, "Batch": batch}


async def measure(way: Way, url: str, folder: Path, prompts: int, concurrency: int) -> Seen:
    """A small run first, then the one that counts."""
    from openai_images import ImagesClient, Limits

    limits = Limits(concurrency=concurrency)
    async with ImagesClient(api_key=KEY, base_url=url, model=MODEL, limits=limits) as client:
        await way(client, folder / "warm", Seen(), 2, 2)
        gc.collect()
        seen = Seen(idle=begin())
        watching = asyncio.create_task(seen.watch())
        started = time.monotonic()
        await way(client, folder / "run", seen, prompts, concurrency)
        seen.seconds = time.monotonic() - started
        watching.cancel()
        seen.peak = peak()
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in sorted((folder / "run").rglob("*.png"))]
    assert len(set(digests)) <= 1, "the pictures differ"
    seen.pictures = len(digests)
    return seen


def main() -> None:
    """Take the way that the command line names."""
    way, url, folder, prompts, concurrency = sys.argv[1:]
    seen = asyncio.run(measure(WAYS[way], url, Path(folder), int(prompts), int(concurrency)))
    print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main()
