"""Who works off many prompts, each as one would write it today, and what that takes.

Rules: an image counts where its bytes are those that were served; a failed call is an image less and stops nobody
else. Imports are inside, and over before the clock starts. Only this client can be told the limit. The floor reads
and throws away. Beside a limit a failed call is a figure, not a fault of the run.
"""

import asyncio
import base64
import hashlib
import json
import time
import urllib.request
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

from attrs import Factory, define, evolve

from benchmarks.cases import Case, Compare, Goal, Load
from benchmarks.contenders import FLOOR, KEY, MODEL, OURS, PROMPT, SDK
from benchmarks.memory import begin, peak
from benchmarks.payloads import SHAPES, digests
from benchmarks.rate_limit_server import SHAPE
from benchmarks.turn import Turn

SDK_PATIENT = f"{SDK}, 10 retries"


@define
class Done:
    """What came of a load: images and errors by name.

    From the first prompt to the last outcome: `seconds`, and `cpu`, seconds of processor time.
    """

    images: int = 0
    seconds: float = 0.0
    cpu: float = 0.0
    errors: dict[str, int] = Factory(dict[str, int])
    _right: str = Factory(lambda: digests(SHAPES[SHAPE])[0])

    def take(self, image: bytes) -> None:
        assert hashlib.sha256(image).hexdigest() == self._right, "not the image that was sent"
        self.images += 1

    def fail(self, error: BaseException) -> None:
        name = type(error).__name__
        self.errors[name] = self.errors.get(name, 0) + 1

    @contextmanager
    def timed(self) -> Generator[None]:
        """What happens in here is what counts."""
        started, used = time.perf_counter(), time.process_time()
        yield
        self.seconds, self.cpu = time.perf_counter() - started, time.process_time() - used


Worker = Callable[[str, Load], Awaitable[Done]]


def _prompts(load: Load) -> Iterator[str]:
    return (f"{PROMPT}, number {number}" for number in range(load.prompts))


async def openai_images(url: str, load: Load) -> Done:
    """This client's `generate_many`, which knows the limit where it is told."""
    from openai_images import ImagesClient, Limits, Succeeded

    limits = Limits(concurrency=load.concurrency, images_per_minute=load.per_minute if load.told else None)
    done = Done()
    async with ImagesClient(api_key=KEY, base_url=url, model=MODEL, limits=limits) as client:
        many = client.generate_many(_prompts(load), concurrency=load.concurrency)
        with done.timed():
            async with many as outcomes:
                async for outcome in outcomes:
                    if isinstance(outcome, Succeeded):
                        done.take(outcome.result.image.data)
                    else:
                        done.fail(outcome.error)
    return done


def _async_openai(**options: Any) -> Worker:
    async def async_openai(url: str, load: Load) -> Done:
        """The official client behind a semaphore, as its users do it."""
        from openai import AsyncOpenAI

        done, slots = Done(), asyncio.Semaphore(load.concurrency)
        async with AsyncOpenAI(api_key=KEY, base_url=url, **options) as client:

            async def one(prompt: str) -> None:
                async with slots:
                    try:
                        response = await client.images.generate(prompt=prompt, model=MODEL)
                    except Exception as error:  # noqa: BLE001  counted, whatever it is
                        done.fail(error)
                        return
                for image in response.data or []:
                    done.take(base64.b64decode(image.b64_json or ""))

            with done.timed():
                await asyncio.gather(*map(one, _prompts(load)))
        return done

    return async_openai


async def read_and_discard(url: str, load: Load) -> Done:
    """The floor: as many loops as slots, each asks for one image after the other and keeps none."""
    import aiohttp

    done, prompts = Done(), _prompts(load)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:

        async def ask() -> None:
            for prompt in prompts:
                body = {"prompt": prompt, "model": MODEL, "n": 1}
                async with session.post(f"{url}/images/generations", json=body) as response:
                    async for _ in response.content.iter_any():
                        pass
                done.images += response.status == 200

        with done.timed():
            await asyncio.gather(*(ask() for _ in range(load.concurrency)))
    return done


WORKERS: dict[str, Worker] = {
    OURS: openai_images,
    SDK: _async_openai(),
    SDK_PATIENT: _async_openai(max_retries=10),
    FLOOR: read_and_discard,
}


async def _work_off(turn: Turn, load: Load) -> Done:
    return await WORKERS[turn.name](f"http://127.0.0.1:{turn.port}/v1", load)


async def work_off(turn: Turn) -> float:
    """How many times the ideal it takes; refusals and missing images are parts."""
    assert turn.case.load is not None
    done = await _work_off(turn, turn.case.load)
    counts = await asyncio.to_thread(_counts, turn.port)
    assert counts["images"] >= done.images, "more images than were served"
    turn.parts["delivered"] = done.images
    turn.parts["missing"] = turn.case.load.prompts - done.images
    turn.parts["refused"] = counts["refused"]
    turn.notes.extend(f"{count} x {name}" for name, count in done.errors.items())
    turn.notes.append(f"{done.seconds:.2f} s")
    return done.seconds / turn.case.load.ideal


def _counts(port: int) -> dict[str, int]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


async def cpu_per_image(turn: Turn) -> float:
    """CPU milliseconds for each image, after a few that do not count."""
    assert turn.case.load is not None
    await _work_off(turn, evolve(turn.case.load, prompts=turn.case.load.concurrency))
    done = await _work_off(turn, turn.case.load)
    assert done.images == turn.case.load.prompts, f"{done.images:,} images, {done.errors}"
    return done.cpu / done.images * 1e3


FEWER = 16
"""How many times fewer images come first."""


async def memory_growth(turn: Turn) -> float:
    """MB that the load takes at the peak beyond what a sixteenth of it takes."""
    assert turn.case.load is not None
    await _work_off(turn, evolve(turn.case.load, prompts=1))
    idle, above = begin(), list[int]()
    for prompts in (turn.case.load.prompts // FEWER, turn.case.load.prompts):
        begin()
        done = await _work_off(turn, evolve(turn.case.load, prompts=prompts))
        assert done.images == prompts, f"{done.images:,} images, {done.errors}"
        above.append(peak() - idle)
        turn.notes.append(f"{prompts:,} images: {above[-1] / 1e6:.1f} MB above idle")
    return (above[1] - above[0]) / 1e6


PROMPTS, SLOTS = 150, 16
RATES = (300, 120, 1_000)
PARTS = {
    None: ("time", "x ideal"),
    "delivered": ("images", "images"),
    "missing": ("missing", "missing"),
    "refused": ("refusals", "refusals"),
}
WAYS: dict[str, tuple[str, dict[str, Any], dict[str | None, float]]] = {
    "told": ("set", {"told": True}, {None: 1.05, "missing": 0, "refused": 2}),
    "exact": ("hidden, exact retry-after-ms", {}, {None: 1.08, "missing": 0}),
    "seconds": (
        "hidden, Retry-After in seconds",
        {"hint": "seconds"},
        {None: 1.3, "missing": 0, "refused": 20},
    ),
}
"""Each way a limit is known: its name, what the load says of it, and the goals."""


def _limit_case(rate: int, way: str, part: str | None) -> Case:
    how, options, goals = WAYS[way]
    name, unit = PARTS[part]
    return Case(
        key=f"limit-{rate}-{way}-{name}",
        title=f"{rate:,} a minute, {how}",
        unit=unit,
        probe=work_off,
        contenders=(OURS,) if way == "told" else (OURS, SDK, SDK_PATIENT),
        goals=(_goal(part, goals[part]),) if part in goals else (),
        load=Load(prompts=PROMPTS, concurrency=SLOTS, per_minute=rate, **options),
        part=part,
    )


def _goal(part: str | None, limit: float) -> Goal:
    texts = {None: f"<= {limit:g} x ideal", "missing": "all delivered", "refused": f"<= {limit:g} refusals"}
    return Goal(texts[part], limit)


LIMIT = tuple(_limit_case(rate, way, part) for rate in RATES for way in WAYS for part in PARTS)

EFFICIENCY = (
    Case(
        key="efficiency",
        title="3,000 prompts of 200 ms, 100 at a time",
        unit="x ideal",
        probe=work_off,
        contenders=(OURS, SDK),
        goals=(Goal("<= 1.10 x ideal", 1.10),),
        load=Load(prompts=3_000, concurrency=100, seconds=0.2),
    ),
)

GENERATE_MANY = (
    Case(
        key="many-cpu",
        title="generate_many of 2,500 images of 1 KB, 64 at a time",
        unit="CPU ms",
        probe=cpu_per_image,
        contenders=(OURS, SDK, FLOOR),
        goals=(
            Goal("<= 0.67 ms, 1,500 a second and core", 1 / 1.5),
            Goal(f"<= 1/6 of {SDK}", 1 / 6, Compare.RATIO, SDK),
        ),
        plot="cpu",
        load=Load(prompts=2_500, concurrency=64),
    ),
    Case(
        key="many-memory",
        title="memory of generate_many, 40,000 images of 1 KB beyond that of 2,500",
        unit="MB",
        probe=memory_growth,
        contenders=(OURS,),
        goals=(Goal("<= 1 MB", 1.0),),
        load=Load(prompts=40_000, concurrency=64),
        rounds=1,
    ),
)
