"""Cancel calls at every step of the event loop: `python -m benchmarks cancel [SCENARIO...] [--every 1] [--again 0]`.

Rules: each scenario is cancelled after 0, 1, 2, … steps, until it ends before its turn comes. What arrives when is up
to the machine, so that the same number may be another moment in another round. A file that is there is a whole image
under its own name. A batch can be run again: what was sent once is not sent again without being requested, and in the
end all of it is there. A table reports what was found; exits with 1 where anything was left.
"""

import argparse
import asyncio
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from attrs import frozen

from benchmarks.cancel_run import MODEL, PATIENCE, SLOTS, Moment, Scenario, Server, Stage, cancelled, serving
from benchmarks.kill import noise
from benchmarks.kill_run import Job, Snapshot
from openai_images import Batch, BatchItem, BatchOptions, GenerateRequest, ImageResult, Succeeded

_PROMPT: Final = "an otter"
_PROMPTS: Final = tuple(f"otter number {number}" for number in range(1, 5))


async def _generate(stage: Stage) -> None:
    await stage.client.generate(_PROMPT, model=MODEL)


async def _generate_into(stage: Stage) -> None:
    await stage.client.generate(_PROMPT, model=MODEL, into=stage.folder / "o")


async def _generate_refused(stage: Stage) -> None:
    stage.server.local.faults = ("rate_limited:0.02",)
    await stage.client.generate(_PROMPT, model=MODEL)


async def _stream(stage: Stage) -> None:
    async with stage.client.stream(_PROMPT, model=MODEL, partial_images=2) as stream:
        async for _ in stream:
            pass


async def _stream_into(stage: Stage) -> None:
    async with stage.client.stream(_PROMPT, model=MODEL, partial_images=2, into=stage.folder / "o") as stream:
        async for _ in stream:
            pass


async def _split_stream(stage: Stage) -> None:
    async with stage.client.stream(_PROMPT, model=MODEL, n=3, into=stage.folder / "o") as stream:
        async for _ in stream:
            pass


async def _edit(stage: Stage) -> None:
    given = stage.folder.with_suffix(".png")
    given.write_bytes(stage.server.image)
    await stage.client.edit(_PROMPT, model=MODEL, image=given, into=stage.folder / "o")


async def _many(stage: Stage) -> None:
    async with stage.client.generate_many(_PROMPTS, model=MODEL, into=stage.folder) as outcomes:
        async for outcome in outcomes:
            assert isinstance(outcome, Succeeded), outcome


async def _download(stage: Stage) -> None:
    await stage.client.download(await _away(stage))


async def _download_into(stage: Stage) -> None:
    await stage.client.download(await _away(stage), into=stage.folder / "o")


async def _away(stage: Stage) -> ImageResult:
    """A result whose image is behind a URL."""
    return await stage.client.generate(_PROMPT, model=MODEL)


async def _whole(stage: Stage) -> list[str]:
    """Each file is an image as it was served, as soon as threads that were writing have ended."""
    end = asyncio.get_running_loop().time() + PATIENCE
    while wrong := _unfinished(stage.folder, stage.server.image):
        if asyncio.get_running_loop().time() > end:
            return [f"half-written: {name}" for name in wrong]
        await asyncio.sleep(0.001)
    return []


def _unfinished(folder: Path, image: bytes) -> list[str]:
    found = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in found if path.name.startswith(".") or path.read_bytes() != image]


async def _batch(stage: Stage) -> None:
    await _run_batch(stage)


async def _run_batch(stage: Stage, *, retry_unknown: bool = False) -> None:
    options = BatchOptions(concurrency=SLOTS, retry_unknown=retry_unknown)
    async with Batch(stage.client, _items(stage), stage.folder, options=options) as batch:
        async for outcome in batch:
            assert isinstance(outcome, Succeeded), outcome


def _items(stage: Stage) -> list[BatchItem]:
    return [
        BatchItem(f"{number:05d}", GenerateRequest(prompt, model=MODEL, size="1024x1024", quality="low"))
        for number, prompt in enumerate(_prompts(stage), 1)
    ]


def _prompts(stage: Stage) -> tuple[str, ...]:
    """Those of this run alone, so that the server's requests can be told apart."""
    return tuple(f"{prompt} of {stage.folder.name}" for prompt in _PROMPTS)


async def _resumed(stage: Stage) -> list[str]:
    """The batch is run again, then once more for what is unknown; nothing is paid twice, and all is there."""
    job = Job(prompts=_prompts(stage), folder=stage.folder, server=stage.server.local)
    keys = dict(zip(_prompts(stage), (item.key for item in _items(stage)), strict=True))
    left = Snapshot.of(job) if job.folder.joinpath("images").exists() else None
    faults = _of_cancelled(left, keys) if left else []
    await _run_batch(stage)
    resumed = Snapshot.of(job)
    opened = left.open - left.there if left else set[str]()
    for prompt, key in keys.items():
        if key in opened and left and resumed.posts[prompt] > left.posts[prompt]:
            faults.append(f"{key} was unknown, and sent again without being asked for")
        if key not in opened and key not in resumed.done:
            faults.append(f"{key} is missing after the resumption, and was not unknown")
        if resumed.posts[prompt] > 1:
            faults.append(f"{key} was paid {resumed.posts[prompt]} times")
    await _run_batch(stage, retry_unknown=True)
    ended = Snapshot.of(job)
    faults += [f"{key} is missing in the end" for key in sorted(set(keys.values()) - ended.done)]
    return faults + [
        f"half-written in the end: {name}" for name in _unfinished(_images(stage), _right(stage))
    ]


def _of_cancelled(left: Snapshot, keys: dict[str, str]) -> list[str]:
    """What the cancelled run broke: paid without a word in the journal, done without an image."""
    unsaid = [key for prompt, key in keys.items() if left.posts[prompt] > left.count(key, "sent")]
    faults = [f"{key} was sent, and the journal does not say so" for key in unsaid]
    return faults + [f"{key} is done without an image" for key in sorted(left.done - left.there)]


def _images(stage: Stage) -> Path:
    return stage.folder / "images"


def _right(stage: Stage) -> bytes:
    return stage.server.image


SCENARIOS: Final = tuple(
    Scenario(name, act, _resumed if act is _batch else _whole, links=name.startswith("download"))
    for name, act in {
        "generate": _generate,
        "generate, into=": _generate_into,
        "generate after a 429": _generate_refused,
        "stream with partial images": _stream,
        "stream with partial images, into=": _stream_into,
        "stream of three, into=": _split_stream,
        "edit with an upload, into=": _edit,
        "generate_many of four, into=": _many,
        "download": _download,
        "download, into=": _download_into,
        "Batch of four": _batch,
    }.items()
)
"""All of them."""

SIDE = 600  # of the image, in pixels: 1 MB arrives in several pieces, and goes to its file in two
MOST = 20_000
"""Steps of a scenario; one that goes on for longer never ends."""


@frozen
class Finding:
    """What was wrong when it was cancelled at a moment."""

    when: Moment
    what: str


@frozen
class Found:
    """What came of one scenario: how often it was cancelled, the steps of a whole run, and the findings."""

    scenario: str
    cancelled: int
    steps: int
    findings: list[Finding]


def at_every_step(
    scenario: Scenario,
    server: Server,
    root: Path,
    moments: Iterable[Moment],
) -> Found:
    """Cancel a scenario at each of these moments, until it ends before; what was found."""
    findings: list[Finding] = []
    times = 0
    for when in moments:
        seen = cancelled(when, scenario, server, root / f"{scenario.name} {when.after}")
        findings += [Finding(when, fault) for fault in seen.faults]
        if not seen.was_cancelled:
            return Found(scenario.name, times, seen.steps, findings)
        times += 1
    return Found(scenario.name, times, MOST, [*findings, Finding(Moment(MOST), "it does not end")])


def main() -> int:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks cancel", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of: {'; '.join(names)} (all)")
    parser.add_argument("--every", type=int, default=1, help="cancel after every so many steps (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first number of steps (%(default)s)")
    parser.add_argument("--again", type=int, default=0, help="and once more so many steps later (never)")
    parser.add_argument("--rounds", type=int, default=1, help="how often (%(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenarios) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    chosen = [one for one in SCENARIOS if one.name in (arguments.scenarios or names)]
    image = noise(SIDE)
    print(f"{'scenario':36} {'steps':>6} {'cancelled':>9} {'faults':>6}", flush=True)
    total = wrong = 0
    for scenario in chosen * arguments.rounds:
        with tempfile.TemporaryDirectory() as folder, serving(image, links=scenario.links) as server:
            numbers = range(arguments.first, MOST, arguments.every)
            moments = (Moment(after, arguments.again) for after in numbers)
            found = at_every_step(scenario, server, Path(folder), moments)
        print(f"{found.scenario:36} {found.steps:6} {found.cancelled:9} {len(found.findings):6}", flush=True)
        for finding in found.findings:
            print(f"    after {finding.when.after} steps: {finding.what}", flush=True)
        total += found.cancelled
        wrong += len(found.findings)
    print(f"{total:,} cancellations, {wrong:,} faults")
    return int(bool(wrong))
