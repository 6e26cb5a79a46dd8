"""How well a limit is kept, and a crowd of slots filled: the cases, and the probe that takes their numbers.

Rules: a turn works off one load and gives its numbers: the time as a multiple of the ideal, the pictures that came and
those that are missing, and the refusals that the server counted. Only this client can be told the limit. Here a failed
call is a figure, not a fault of the run.
"""

import asyncio
import json
import urllib.request
from typing import Any

from benchmarks.cases import Case, Goal
from benchmarks.contenders import OURS, SDK
from benchmarks.loads import Load
from benchmarks.many import SDK_PATIENT, WORKERS
from benchmarks.turn import Turn

__all__ = ["EFFICIENCY", "LIMIT", "work_off"]


async def work_off(turn: Turn) -> float:
    """How many times the ideal it takes; refusals and missing pictures are parts."""
    assert turn.case.load is not None
    done = await WORKERS[turn.name](f"http://127.0.0.1:{turn.port}/v1", turn.case.load)
    counts = await asyncio.to_thread(_counts, turn.port)
    assert counts["pictures"] >= done.pictures, "more pictures than were served"
    turn.parts["delivered"] = done.pictures
    turn.parts["missing"] = turn.case.load.prompts - done.pictures
    turn.parts["refused"] = counts["refused"]
    turn.notes.extend(f"{count} x {name}" for name, count in done.errors.items())
    turn.notes.append(f"{done.seconds:.2f} s")
    return done.seconds / turn.case.load.ideal


def _counts(port: int) -> dict[str, int]:
    """What the server counted."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts") as answer:
        counts: dict[str, int] = json.load(answer)
    return counts


PROMPTS, SLOTS = 150, 16
RATES = (300, 120, 1_000)
PARTS = {
    None: ("time", "x ideal"),
    "delivered": ("pictures", "pictures"),
    "missing": ("missing", "missing"),
    "refused": ("refusals", "refusals"),
}
WAYS: dict[str, tuple[str, dict[str, Any], dict[str | None, float]]] = {
    "told": ("told", {"told": True}, {None: 1.05, "missing": 0, "refused": 2}),
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
        probe="work_off",
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
        probe="work_off",
        contenders=(OURS, SDK),
        goals=(Goal("<= 1.10 x ideal", 1.10),),
        load=Load(prompts=3_000, concurrency=100, seconds=0.2),
    ),
)
