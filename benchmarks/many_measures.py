"""What is measured of many prompts: how well a limit is kept and a crowd of slots filled, and what an image takes.

Rules: a turn at a limit gives several numbers: the time as a multiple of the ideal, the images that came and those
that are missing, and the refusals that the server counted.
"""

from typing import Any

from benchmarks.cases import Case, Compare, Goal, Load
from benchmarks.contenders import FLOOR, OURS, SDK
from benchmarks.many import SDK_PATIENT

PROMPTS, SLOTS = 150, 16
RATES = (300, 120, 1_000)
PARTS = {
    None: ("time", "x ideal"),
    "delivered": ("pictures", "pictures"),
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

GENERATE_MANY = (
    Case(
        key="many-cpu",
        title="generate_many of 2,500 images of 1 KB, 64 at a time",
        unit="CPU ms",
        probe="cpu_per_picture",
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
        probe="memory_growth",
        contenders=(OURS,),
        goals=(Goal("<= 1 MB", 1.0),),
        load=Load(prompts=40_000, concurrency=64),
        rounds=1,
    ),
)
