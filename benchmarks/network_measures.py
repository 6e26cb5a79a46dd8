"""What is measured of answers that come as over a network: at its speed, in small pieces, encrypted; and their ends."""

from typing import Any

from benchmarks.cases import Case, Compare, Goal, Pace
from benchmarks.contenders import FLOOR, OURS, SDK

_BESIDE_SDK = (OURS, SDK, FLOOR)
_RECORDS = Pace(rate=10_000_000, piece=16 * 1024)
_RECORDS_OF_MANY = Pace(rate=5_000_000, piece=16 * 1024)
_PACKETS = Pace(rate=5_000_000, piece=1_448)
"""What an Ethernet frame holds."""


def _goals(of_sdk: int, of_floor: float) -> tuple[Goal, ...]:
    return (
        Goal(f"<= 1/{of_sdk} of {SDK}", 1 / of_sdk, Compare.RATIO, SDK),
        Goal(f"<= {of_floor:g} x {FLOOR}", of_floor, Compare.RATIO),
    )


def _case(key: str, title: str, goals: tuple[Goal, ...], **how: Any) -> Case:
    return Case(
        key=key,
        title=title,
        unit="CPU ms per MB",
        probe="cpu_per_mb",
        contenders=_BESIDE_SDK,
        goals=goals,
        plot="paced" if "pace" in how else "cpu",
        **how,
    )


PACED = (
    _case(
        "paced-tls",
        "event stream over TLS, 10 MB/s in pieces of 16 KB, one image of 8 MB",
        _goals(5, 0.8),
        shape="paced-8mb",
        pace=_RECORDS,
        tls=True,
    ),
    _case(
        "paced",
        "event stream, 10 MB/s in pieces of 16 KB, one image of 8 MB",
        _goals(7, 0.5),
        shape="paced-8mb",
        pace=_RECORDS,
    ),
    _case(
        "paced-packets",
        "event stream, 5 MB/s in pieces of 1,448 bytes, one image of 2 MB",
        _goals(12, 0.15),
        shape="stream-2mb",
        pace=_PACKETS,
        batches=2,
    ),
    _case(
        "paced-16",
        "16 event streams at once, 5 MB/s each in pieces of 16 KB, images of 2 MB",
        _goals(5, 1.0),
        shape="paced-2mb",
        pace=_RECORDS_OF_MANY,
        parallel=16,
    ),
)

TLS = (
    _case(
        "tls-stream",
        "event stream over TLS, one image of 8 MB, 4 at a time",
        _goals(14, 0.8),
        shape="stream-8mb",
        tls=True,
        parallel=4,
    ),
    _case("tls-json", "JSON over TLS, 10 images of 8 MB", _goals(7, 2.0), shape="json-10x8mb", tls=True),
)

LATENCY = (
    Case(
        key="latency",
        title="from the last byte of an 8 MB event to the image in the user's hands",
        unit="ms",
        probe="latency",
        shape="last-8mb",
        batches=3,
        goals=(Goal(f"<= {FLOOR} + 0.3 ms", 0.3, Compare.ABOVE),),
    ),
    Case(
        key="latency-paced",
        title="from the last piece of an 8 MB event at 10 MB/s to the image in the user's hands",
        unit="ms",
        probe="latency",
        shape="paced-8mb",
        pace=_RECORDS,
        batches=3,
        goals=(Goal(f"<= {FLOOR} + 5 ms", 5.0, Compare.ABOVE),),
        contenders=_BESIDE_SDK,
    ),
)
