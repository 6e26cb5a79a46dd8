"""How long users wait for what is there already: for their event loop, and for the last byte of an image."""

import asyncio
import socket
import statistics
import time
from pathlib import Path

from benchmarks.cases import Case, Compare, Goal, Pace
from benchmarks.contenders import FLOOR, INTO, OURS, SDK
from benchmarks.turn import Tally, Turn


async def stall(turn: Turn) -> float:
    """Milliseconds of processor time in the longest turn of the event loop: the median of the batches.

    The contender's process must run in the loop of the turn's clock.
    """
    worst: list[float] = []
    async with turn.warm() as ask:
        for _ in range(turn.case.batches):
            tally = Tally()
            await asyncio.sleep(0)  # what came before is in the turn that ends here
            turn.clock.longest = 0.0
            await turn.batch(ask, tally.hand)
            await asyncio.sleep(0)  # the last turn counts
            worst.append(turn.clock.longest * 1e3)
            turn.check(tally.nbytes, turn.case.parallel)
    return statistics.median(worst)


async def latency(turn: Turn) -> float:
    """Milliseconds from the last bytes' departure to the last image's arrival, on the system's one clock."""
    waits: list[float] = []
    async with turn.warm() as ask:
        for _ in range(turn.case.batches):
            arrived = 0

            def hand(_: bytes | Path | int) -> None:
                nonlocal arrived
                arrived = time.clock_gettime_ns(time.CLOCK_MONOTONIC)

            await ask(hand)
            waits.append((arrived - _stamp(turn.port)) / 1e6)
    return statistics.median(waits)


def _stamp(port: int) -> int:
    """When the server sent the last bytes."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /stamp HTTP/1.1\r\n\r\n")
        return int(connection.recv(4096).rpartition(b"\r\n")[2])


STALL = tuple(
    Case(
        key=f"stall-{kind}",
        title=f"worst stall of the event loop, {what}",
        unit="CPU ms",
        probe=stall,
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

LATENCY = (
    Case(
        key="latency",
        title="from the last byte of an 8 MB event to the image in the user's hands",
        unit="ms",
        probe=latency,
        shape="last-8mb",
        batches=3,
        goals=(Goal(f"<= {FLOOR} + 0.3 ms", 0.3, Compare.ABOVE),),
    ),
    Case(
        key="latency-paced",
        title="from the last piece of an 8 MB event at 10 MB/s to the image in the user's hands",
        unit="ms",
        probe=latency,
        shape="paced-8mb",
        pace=Pace(rate=10_000_000, piece=16 * 1024),
        batches=3,
        goals=(Goal(f"<= {FLOOR} + 5 ms", 5.0, Compare.ABOVE),),
        contenders=(OURS, SDK, FLOOR),
    ),
)
