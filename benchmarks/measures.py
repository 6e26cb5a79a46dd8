"""What is measured, and the goal of each."""

from benchmarks.cases import Case, Compare, Goal
from benchmarks.contenders import FLOOR, INTO, NAIVE, OURS, SDK, SDK_AIOHTTP
from benchmarks.many_measures import EFFICIENCY, GENERATE_MANY, LIMIT
from benchmarks.network_measures import LATENCY, PACED, TLS
from benchmarks.payloads import SHAPES

TO_DISK = (INTO, FLOOR)
BESIDE_SDK = (OURS, SDK, SDK_AIOHTTP, NAIVE, FLOOR)
STREAMS = SHAPES["crowd"].crowd

STREAM = tuple(
    Case(
        key=f"stream-{size}",
        title=f"event stream, {what}, 4 at a time",
        unit="CPU ms per MB",
        probe="cpu_per_mb",
        shape=f"stream-{size}",
        parallel=4,
        batches=batches,
        goals=(
            Goal(f"<= 1/{of_sdk} of {SDK}", 1 / of_sdk, Compare.RATIO, SDK),
            Goal(f"<= {of_floor} x {FLOOR}", of_floor, Compare.RATIO),
        ),
        plot="cpu",
    )
    for size, what, batches, of_sdk, of_floor in (
        ("2x2mb", "two images of 2 MB", 3, 18, 1.35),
        ("8mb", "one image of 8 MB", 2, 15, 1.25),
    )
)

JSON = (
    Case(
        key="json",
        title="JSON, 10 images of 8 MB",
        unit="CPU ms per MB",
        probe="cpu_per_mb",
        shape="json-10x8mb",
        goals=(
            Goal(f"<= 1/7.5 of {SDK}", 1 / 7.5, Compare.RATIO, SDK),
            Goal(f"<= 1.5 x {FLOOR}", 1.5, Compare.RATIO),
        ),
        plot="cpu",
    ),
)

_PER_STREAM = Goal("into= <= 2 MB", 2.0, of=INTO)

MEMORY = (
    Case(
        key="memory-json",
        title="memory above idle, JSON, 10 images of 8 MB",
        unit="MB",
        probe="memory",
        shape="json-10x8mb",
        batches=2,
        goals=(Goal("in memory <= 1.08 x the decoded bytes (86.4 MB)", 86.4), _PER_STREAM),
        plot="memory",
    ),
    Case(
        key="memory-stream",
        title="memory above idle, one event stream with two images of 8 MB",
        unit="MB",
        probe="memory",
        shape="stream-2x8mb",
        batches=2,
        goals=(_PER_STREAM,),
        plot="memory",
    ),
    *(
        Case(
            key=f"memory-into-{size}",
            title=f"memory above idle per open stream, images of {size.removesuffix('mb')} MB, 8 at a time",
            unit="MB",
            probe="memory_per_call",
            shape=f"stream-{size}",
            parallel=8,
            contenders=TO_DISK,
            goals=(_PER_STREAM,),
        )
        for size in ("2mb", "32mb")
    ),
    Case(
        key="memory-64",
        title="memory above idle, 64 event streams at once, images of 8 MB",
        unit="MB",
        probe="memory",
        shape="stream-8mb",
        parallel=64,
        contenders=TO_DISK,
        goals=(Goal("into= <= 100 MB", 100.0, of=INTO),),
    ),
)

STALL = tuple(
    Case(
        key=f"stall-{kind}",
        title=f"worst stall of the event loop, {what}",
        unit="CPU ms",
        probe="stall",
        shape=shape,
        parallel=parallel,
        batches=3,
        goals=(
            Goal(f"<= {FLOOR} + 4 ms", 4.0, Compare.ABOVE),
            Goal(f"into= <= {FLOOR} + 4 ms", 4.0, Compare.ABOVE, of=INTO),
        ),
        plot="stall",
    )
    for kind, what, shape, parallel in (
        ("stream", "4 event streams with an 8 MB image at once", "stream-8mb", 4),
        ("json", "JSON with 10 images of 8 MB", "json-10x8mb", 1),
    )
)

TINY = (
    Case(
        key="tiny",
        title="a request with an image of 1 KB, 64 at once",
        unit="CPU ms",
        probe="cpu_per_call",
        parallel=64,
        batches=10,
        goals=(
            Goal(f"<= 2.0 x {FLOOR}", 2.0, Compare.RATIO),
            Goal(f"<= 1/6 of {SDK}", 1 / 6, Compare.RATIO, SDK),
        ),
    ),
)

_GROWTH = (Goal("<= 4.4", 4.4),)

GROWTH = (
    *(
        Case(
            key=f"growth-{kind}",
            title=f"CPU of an 8 MB image by that of a 2 MB one, {what}",
            unit="times",
            probe="growth",
            shape=f"{kind}-2mb",
            larger=f"{kind}-8mb",
            batches=5,
            contenders=(OURS, SDK, FLOOR) if kind == "stream" else (OURS, FLOOR),
            goals=_GROWTH,
        )
        for kind, what in (("stream", "event stream"), ("pieces", "event stream, sent in pieces of 1 KB"))
    ),
    *(
        Case(
            key=f"growth-{probe.replace('_', '-')}",
            title=f"CPU of an 8 MB image by that of a 2 MB one, the decoder alone, in pieces of {size}",
            unit="times",
            probe=probe,
            shape="pieces-2mb",
            larger="pieces-8mb",
            batches=9,
            contenders=(OURS,),
            goals=_GROWTH,
        )
        for probe, size in (("decoder_64kb", "64 KB"), ("decoder_1kb", "1 KB"))
    ),
)

CROWD = (
    Case(
        key="crowd",
        title=f"memory above idle per stream, {STREAMS:,} streams at once, small images",
        unit="KB",
        probe="crowd",
        shape="crowd",
        parallel=STREAMS,
        contenders=BESIDE_SDK,
        goals=(Goal(f"<= {FLOOR} + 60 KB", 60.0, Compare.ABOVE),),
    ),
)

IMPORTS = (
    Case(
        key="import",
        title=f"import and make a client ({FLOOR}: import this client's four dependencies)",
        unit="CPU ms",
        probe="import_time",
        contenders=(OURS, SDK, FLOOR),
        goals=(
            Goal("<= its four dependencies + 30 ms", 30.0, Compare.ABOVE),
            Goal("<= 0.45 of import openai", 0.45, Compare.RATIO, SDK),
        ),
    ),
    Case(
        key="import-late",
        title="modules imported during the first request",
        unit="modules",
        probe="late_imports",
        contenders=(OURS, INTO, SDK),
        goals=(Goal("0", 0), Goal("into= 0", 0, of=INTO)),
    ),
    Case(
        key="help",
        title="openai-images --help",
        unit="CPU ms",
        probe="help_time",
        contenders=(OURS,),
        goals=(Goal("<= 200 ms", 200.0),),
    ),
    Case(
        key="help-imports",
        title="modules of aiohttp imported by openai-images --help",
        unit="modules",
        probe="help_imports",
        contenders=(OURS,),
        goals=(Goal("0", 0),),
    ),
)

MEASURES: dict[str, tuple[Case, ...]] = {
    "paced": PACED,
    "tls": TLS,
    "stream": STREAM,
    "json": JSON,
    "memory": MEMORY,
    "stall": STALL,
    "tiny": TINY,
    "latency": LATENCY,
    "growth": GROWTH,
    "crowd": CROWD,
    "generate_many": GENERATE_MANY,
    "import": IMPORTS,
    "limit": LIMIT,
    "efficiency": EFFICIENCY,
}
AT_ONCE = ("limit",)
"""Measures whose contenders wait rather than compute."""


def case_of(key: str) -> Case:
    """The case with this key."""
    return next(case for cases in MEASURES.values() for case in cases if case.key == key)
