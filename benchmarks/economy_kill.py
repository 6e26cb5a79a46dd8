"""Kill batches in economy: `python -m benchmarks economy_kill [--kills 20] [--seed 1]`.

Rules: the provider outlives the command, and loses some answers on purpose. A batch is killed at moments drawn by
chance over its whole life, by time or by the bytes in its journal, several times, and run to its end at last. Then each
request has run once, each image that was paid for is there under one name, and nothing is unknown. A table says what
was found; exits with 1 where that is not so.
"""

import argparse
import asyncio
import contextlib
import json
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from attrs import field, frozen

from benchmarks.kill import noise
from benchmarks.kill_run import Job, Moment, Snapshot, item_keys, start_batch
from openai_images.server import BatchPace, LocalImagesServer

PACE = BatchPace(seconds_per_state=0.15, requests_per_second=120, failed=0.03)
FAULTS = (
    "batch_create:lost",
    "file_upload:lost",
    "file_content:cut",
    "batch_create:500_after",
    "batch_retrieve:500",
)
"""What may happen to one call of a life, besides being killed."""

MODELS = ("gpt-image-2", "gpt-image-2.5-flare", "gpt-image-2.6-flare")
PATIENCE = 150.0


@frozen
class Life:
    """What came of one batch: when it was killed each time, and what is wrong in the end."""

    killed: list[Moment]
    fault: str
    batches: int
    requests: int
    done: int
    wrong: list[str] = field(factory=list[str])


@frozen(kw_only=True)
class EconomyJob(Job):
    """A batch in economy, of several models, so that there are several batches at the provider."""

    @property
    def source(self) -> Path:
        return self.folder.with_suffix(".jsonl")

    async def run(self, when: Moment | None) -> tuple[int | None, str]:
        """Run the command and kill it at this moment; its exit code (None: killed) and what it printed."""
        process = await self._start()
        killing = None if when is None else asyncio.create_task(_kill(process, when, self.journal))
        try:
            async with asyncio.timeout(PATIENCE):
                _, output = await process.communicate()
        finally:
            if killing is not None:
                killing.cancel()
        code = process.returncode
        return (None if code == -signal.SIGKILL else code), output.decode(errors="replace")

    async def _start(self) -> asyncio.subprocess.Process:
        rows = (
            {"prompt": prompt, "model": MODELS[number % len(MODELS)], "size": "1024x1024"}
            for number, prompt in enumerate(self.prompts)
        )
        await asyncio.to_thread(self.source.write_text, "".join(f"{json.dumps(row)}\n" for row in rows))
        return await start_batch(self.source, str(self.folder), self.server, "--economy")


async def _kill(process: asyncio.subprocess.Process, when: Moment, journal: Path) -> None:
    await when.wait(journal)
    with contextlib.suppress(ProcessLookupError):
        process.kill()


def _server(image: bytes) -> LocalImagesServer:
    return LocalImagesServer(pictures=image, batch_pace=PACE)


def _prompts(count: int) -> tuple[str, ...]:
    return tuple(f"an otter number {number}" for number in range(count))


async def whole_life(folder: Path, image: bytes, prompts: int) -> tuple[float, int]:
    """How many seconds a batch takes that nobody kills, and the bytes of its journal. Raises RuntimeError."""
    async with _server(image) as server:
        job = EconomyJob(prompts=_prompts(prompts), folder=folder / "whole", server=server)
        started = time.monotonic()
        code, output = await job.run(None)
        if wrong := look(job):
            raise RuntimeError(f"a batch that nobody kills ended with {code} and {wrong}: {output}")
        return time.monotonic() - started, job.journal.stat().st_size


Draw = Callable[[int], Moment]
"""Draws a moment for a journal that has so many bytes already."""


def moments(chance: random.Random, seconds: float, nbytes: int) -> Draw:
    """Half of them by time, the others by the bytes in the journal."""

    def draw(already: int) -> Moment:
        if already >= nbytes or chance.random() < 0.5:
            return Moment(0, chance.uniform(0.2, seconds))
        return Moment(chance.randint(already + 1, nbytes), chance.choice([0.0, chance.uniform(0, 0.05)]))

    return draw


async def live(job: EconomyJob, draw: Draw, kills: int, fault: str) -> Life:
    """Kill a batch so many times, each time in a new run; then let it end, and look at what is there."""
    server = job.server
    if fault:
        server.script(fault)
    killed: list[Moment] = []
    for _ in range(kills):
        when = draw(job.journal.stat().st_size if job.journal.exists() else 0)
        code, _ = await job.run(when)
        killed += [when] if code is None else []
    code, output = await job.run(None)
    seen = Snapshot.of(job)
    # What was not created is sent by another run at the latest.
    if code == 1 and any(seen.count(key, "refused") for key in seen.rows):
        code, output = await job.run(None)
    wrong = look(job)
    wrong += [f"the last run ended with {code}: {output[-600:]}"] if code not in (0, 1) else []
    return Life(
        killed, fault, len(server.batches), len(server.batch_requests), len(Snapshot.of(job).files), wrong
    )


def look(job: EconomyJob) -> list[str]:
    ran = Counter(request.custom_id for request in job.server.batch_requests)
    paid = {request.custom_id for request in job.server.batch_requests if request.billed}
    seen = Snapshot.of(job)
    states, images = Counter(seen.last(key) for key in seen.rows if key), set(seen.files)
    wrong = [f"{name} ran {count} times" for name, count in ran.items() if count > 1]
    if len(ran) != len(job.prompts):
        wrong.append(f"{len(ran)} of {len(job.prompts)} requests ran")
    tags = Counter(tuple((batch.metadata or {}).values()) for batch in job.server.batches)
    wrong += [f"{count} batches have one tag" for count in tags.values() if count > 1]
    if states["done"] != len(paid) or states["done"] + states["failed"] != len(job.prompts):
        wrong.append(f"{len(paid)} images were paid for, and the journal has {dict(states)}")
    names = {f"{key}.png" for key in item_keys(job.prompts)}
    if len(images) != len(paid) or not images <= names:
        wrong.append(
            f"{len(paid)} images were paid for, and there are {len(images)}: {sorted(images - names)}"
        )
    if (job.folder / "downloads").exists():
        wrong.append("the folder of downloads is left")
    return wrong


async def _all(arguments: argparse.Namespace, folder: Path) -> list[Life]:
    image = noise(120)
    seconds, nbytes = await whole_life(folder, image, arguments.prompts)
    print(f"a whole life takes {seconds:.1f} s, and its journal {nbytes:,} bytes", flush=True)
    chance = random.Random(arguments.seed)  # noqa: S311  repeatable, not secret
    draw, lives, kills = moments(chance, seconds, nbytes), list[Life](), 0
    while kills < arguments.kills:
        name, fault = str(len(lives)), chance.choice(("", *FAULTS))
        async with _server(image) as server:
            job = EconomyJob(prompts=_prompts(arguments.prompts), folder=folder / name, server=server)
            life = await live(job, draw, chance.randint(1, 3), fault)
        kills += len(life.killed)
        lives.append(life)
        when = ", ".join(map(str, life.killed))
        print(
            f"life {len(lives):2}: killed at {when or '-':50} {fault or '-':24} {life.batches} batches "
            f"{life.requests} requests {life.done} images {'; '.join(life.wrong) or 'ok'}",
            flush=True,
        )
    return lives


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks economy_kill", description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how many (%(default)s)")
    parser.add_argument("--prompts", type=int, default=90, help="of each batch (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (%(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lives = asyncio.run(_all(arguments, Path(folder)))
    wrong = sum(len(life.wrong) for life in lives)
    print(f"{sum(len(life.killed) for life in lives)} kills in {len(lives)} lives, {wrong} things wrong")
    return int(wrong > 0)
