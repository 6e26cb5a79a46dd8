"""What the processor does: per megabyte, per call, and as images grow.

Rules: it is user and system time of the contender's process, all its threads.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.cases import Case, Compare, Goal, Pace
from benchmarks.contenders import FLOOR, OURS, SDK
from benchmarks.payloads import SHAPES, Shape, body
from benchmarks.turn import Tally, Turn


async def _cpu(turn: Turn) -> float:
    """CPU milliseconds of this process, user and system, for all batches."""
    async with turn.warm(turn.case.parallel) as ask:
        tally = Tally()
        start = time.process_time()
        for _ in range(turn.case.batches):
            await turn.batch(ask, tally.hand)
        used = time.process_time() - start
    turn.check(tally.nbytes, turn.case.batches * turn.case.parallel)
    return used * 1e3


async def cpu_per_mb(turn: Turn) -> float:
    """CPU milliseconds for each decoded MB."""
    megabytes = turn.case.batches * turn.case.parallel * turn.shape.decoded_bytes / 1e6
    return await _cpu(turn) / megabytes


async def cpu_per_call(turn: Turn) -> float:
    """CPU milliseconds for each call."""
    return await _cpu(turn) / (turn.case.batches * turn.case.parallel)


async def growth(turn: Turn) -> float:
    """How many times as much CPU the larger image takes: medians of calls in turn."""
    assert turn.case.larger is not None
    costs: list[list[float]] = [[], []]
    async with turn.warm() as small, turn.contender(turn.case.larger) as large:
        await large(Tally().hand)
        for _ in range(turn.case.batches):
            for ask, cost in zip((small, large), costs, strict=True):
                start = time.process_time()
                await ask(Tally().hand)
                cost.append(time.process_time() - start)
    return statistics.median(costs[1]) / statistics.median(costs[0])


async def decoder_64kb(turn: Turn) -> float:
    """How many times as much CPU the larger image takes, in pieces as sockets give them."""
    return _growth(turn, 64 * 1024)


async def decoder_1kb(turn: Turn) -> float:
    """The same in pieces of 1 KB."""
    return _growth(turn, 1024)


def _growth(turn: Turn, size: int) -> float:
    assert turn.case.larger is not None
    decoders = [_decoder(SHAPES[name], size) for name in (turn.case.shape, turn.case.larger)]
    costs: list[list[float]] = [[], []]
    for _ in range(turn.case.batches):
        for decode, cost in zip(decoders, costs, strict=True):
            start = time.process_time()
            decode()
            cost.append(time.process_time() - start)
    return statistics.median(costs[1]) / statistics.median(costs[0])


def _decoder(shape: Shape, size: int) -> Callable[[], None]:
    from openai_images.models.results import CompletedImage
    from openai_images.wire.error_mapping import ResponseContext
    from openai_images.wire.response import ResponseDecoder

    content = body(shape)
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    answered = ResponseContext(200, {"content-type": "text/event-stream"}, (), 0.0)

    def decode() -> None:
        reader = ResponseDecoder(answered)
        events = [event for piece in pieces for event in reader.feed(piece)]
        events += reader.finish()
        decoded = sum(len(event.image.data) for event in events if isinstance(event, CompletedImage))
        assert decoded == shape.decoded_bytes, f"{decoded:,} bytes of {shape.decoded_bytes:,}"

    decode()
    return decode


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
        probe=cpu_per_mb,
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

STREAM = tuple(
    Case(
        key=f"stream-{size}",
        title=f"event stream, {what}, 4 at a time",
        unit="CPU ms per MB",
        probe=cpu_per_mb,
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
        probe=cpu_per_mb,
        shape="json-10x8mb",
        goals=(
            Goal(f"<= 1/7.5 of {SDK}", 1 / 7.5, Compare.RATIO, SDK),
            Goal(f"<= 1.5 x {FLOOR}", 1.5, Compare.RATIO),
        ),
        plot="cpu",
    ),
)

TINY = (
    Case(
        key="tiny",
        title="a request with an image of 1 KB, 64 at once",
        unit="CPU ms",
        probe=cpu_per_call,
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
            probe=growth,
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
            key=f"growth-{key}",
            title=f"CPU of an 8 MB image by that of a 2 MB one, the decoder alone, in pieces of {size}",
            unit="times",
            probe=probe,
            shape="pieces-2mb",
            larger="pieces-8mb",
            batches=9,
            contenders=(OURS,),
            goals=_GROWTH,
        )
        for key, probe, size in (
            ("decoder-64kb", decoder_64kb, "64 KB"),
            ("decoder-1kb", decoder_1kb, "1 KB"),
        )
    ),
)
