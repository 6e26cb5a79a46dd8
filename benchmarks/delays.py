"""How long users wait for what is there already: for their event loop, and for the last byte of an image."""

import asyncio
import socket
import statistics
import time
from pathlib import Path

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
