"""Ten thousand prompts in one process: `python -m benchmarks.scaling WAY URL FOLDER PROMPTS CONCURRENCY`.

Rules: WAY is `generate_many` or `Batch`, or one of `ALONE`, which sends nothing and needs no server: then URL is "" and
the seconds are those of the processor. Everything was imported and used once before the memory counts. Tasks are
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
from benchmarks.kill import noise
from benchmarks.memory import begin, peak

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
    images: int = 0
    errors: dict[str, int] = Factory(dict[str, int])

    def prompts(self, count: int) -> Iterator[str]:
        """The source, which knows how far it was read."""
        for number in range(count):
            self.read += 1
            self.ahead = max(self.ahead, self.read - self.done)
            yield f"a lighthouse, number {number} of {count}"

    def look(self) -> None:
        tasks = asyncio.all_tasks()
        self.all_tasks = max(self.all_tasks, len(tasks))
        self.tasks = max(self.tasks, sum(map(_is_ours, tasks)))

    async def watch(self) -> None:
        """Count the tasks now and then."""
        while True:
            self.look()
            await asyncio.sleep(TICK)

    async def take(self, outcomes: AsyncIterable[Any]) -> None:
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
    """Images straight to disk, from a source that is read as it goes."""
    many = client.generate_many(seen.prompts(prompts), concurrency=concurrency, into=folder)
    async with many as outcomes:
        await seen.take(outcomes)


async def batch(client: Any, folder: Path, seen: Seen, prompts: int, concurrency: int) -> None:
    """The durable batch, journal and contact sheet included; its items are given as a list."""
    from openai_images import Batch, BatchOptions

    items = _items(seen, prompts)
    async with Batch(client, items, folder, options=BatchOptions(concurrency=concurrency)) as running:
        await seen.take(running)


def _items(seen: Seen, prompts: int) -> list[Any]:
    from openai_images import BatchItem, GenerateRequest

    numbered = enumerate(seen.prompts(prompts))
    return [BatchItem(key=f"{number:05d}", request=GenerateRequest(prompt)) for number, prompt in numbered]


WAYS: dict[str, Way] = {"generate_many": generate_many, "Batch": batch}


async def finish(_: Any, folder: Path, seen: Seen, prompts: int, __: int) -> None:
    """Write the folder of a batch that is done; to run it would take the disk minutes."""
    from openai_images import BatchOptions
    from openai_images.batch.items.resolved_item import resolve_items
    from openai_images.batch.journal.journal import FORMAT, dated_row, done_row, encode_row
    from openai_images.batch.journal.journal_reader import StoredFile

    (folder / "images").mkdir(parents=True)
    image = noise(4)
    digest, at = hashlib.sha256(image).hexdigest(), "2026-11-29T00:00:00.000Z"
    with (folder / "journal.jsonl").open("wb") as journal:
        journal.write(encode_row({"state": "begun", "key": None, "format": FORMAT, "at": at}))
        for item in resolve_items(_items(seen, prompts), MODEL, BatchOptions()):
            path = folder / "images" / f"{item.key}.png"
            path.write_bytes(image)
            written = path.stat().st_mtime_ns
            file = StoredFile(f"images/{path.name}", len(image), digest, written, 4, 4, "image/png")
            sent = {"state": "sent", "key": item.key, "request": item.digest, "stem": item.key, "pictures": 1}
            usage = {"input_tokens": 20, "output_tokens": 196, "total_tokens": 216}
            about = {
                "seconds": 12.345,
                "usage": usage,
                "cost": "0.0061",
                "request_id": f"req_{item.index:032x}",
            }
            done = done_row(item.key, item.digest, [file], **about)
            journal.write(encode_row(dated_row(sent, at)) + encode_row(dated_row(done, at)))


async def resume(client: Any, folder: Path, seen: Seen, prompts: int, concurrency: int) -> None:
    await batch(client, folder, seen, prompts, concurrency)
    assert not seen.done, "something was sent"


async def plan(client: Any, folder: Path, seen: Seen, prompts: int, _: int) -> None:
    """Read the prompts of a file, and plan a batch of them in a new folder."""
    from openai_images import Batch, read_batch_items

    source = _write_prompts(folder, seen.prompts(prompts))
    async with Batch(client, read_batch_items(source), folder / "new") as running:
        assert len(running.plan.to_send) == prompts, "something was not planned"


def _write_prompts(folder: Path, prompts: Iterator[str]) -> Path:
    folder.mkdir()
    path = folder / "prompts.txt"
    path.write_text("\n".join(prompts))
    return path


async def one_name(_: Any, folder: Path, __: Seen, prompts: int, ___: int) -> None:
    """Give images their names where the user wants the same for all."""
    from openai_images._util.atomic_file import open_part, publish

    for _number in range(prompts):
        file, part = open_part(folder, "otter.png")
        file.close()
        publish(part, folder / "otter.png", overwrite=False)


ALONE: dict[str, Way] = {"resume": resume, "plan": plan, "one name": one_name}


async def measure_alone(way: Way, folder: Path, prompts: int) -> Seen:
    """The processor's time and the memory of what sends nothing."""
    from openai_images import ImagesClient

    async with ImagesClient(api_key=KEY, base_url="http://127.0.0.1:9/v1", model=MODEL) as client:
        await plan(client, folder / "warm", Seen(), 2, 2)
        gc.collect()
        seen = Seen(idle=begin())
        started = time.process_time()
        await way(client, folder / "run", seen, prompts, 1)
        seen.seconds = time.process_time() - started
        seen.peak = peak()
    return seen


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
    assert len(set(digests)) <= 1, "the images differ"
    seen.images = len(digests)
    return seen


def main() -> None:
    way, url, folder, prompts, concurrency = sys.argv[1:]
    if way in WAYS:
        seen = asyncio.run(measure(WAYS[way], url, Path(folder), int(prompts), int(concurrency)))
    else:
        seen = asyncio.run(measure_alone({**ALONE, "finish": finish}[way], Path(folder), int(prompts)))
    print(json.dumps(asdict(seen)))


if __name__ == "__main__":
    main()
