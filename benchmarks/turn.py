"""How the numbers are taken, inside the contender's own process.

Rules: imports and a first call are over before the clock starts; the user has every picture before it stops, and its
size is checked then. Each probe is given a `Turn` and gives one number.
"""

import asyncio
import gc
import hashlib
import socket
import statistics
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from attrs import Factory, define, frozen

from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, FLOOR, Ask, Hand
from benchmarks.payloads import SHAPES, Shape

__all__ = ["Tally", "Turn", "cpu_per_call", "cpu_per_mb", "growth", "late_imports", "latency", "stall"]

TICK = 0.001  # seconds between two looks at the clock


@define
class Tally:
    """Counts what the user was handed."""

    nbytes: int = 0
    last: bytes | Path | int = 0

    def hand(self, picture: bytes | Path | int) -> None:
        """Take one picture; it is free to go when the next one comes."""
        self.last = picture
        if isinstance(picture, bytes):
            self.nbytes += len(picture)
        else:
            self.nbytes += picture if isinstance(picture, int) else picture.stat().st_size


@frozen
class Turn:
    """One contender's turn at one case: `port` is the server's."""

    name: str
    case: Case
    port: int
    digests: list[str] = Factory(list[str])
    """Of the pictures of a call outside the timed part."""
    errors: list[str] = Factory(list[str])
    """Calls that failed where others may go on."""
    notes: list[str] = Factory(list[str])
    """What else is worth knowing; kept in the JSON."""
    parts: dict[str, float] = Factory(dict[str, float])
    """Other numbers of the same turn, by the `part` of the case that wants them."""

    @property
    def shape(self) -> Shape:
        """The answer that is asked for."""
        return SHAPES[self.case.shape]

    def contender(self, shape: str) -> AbstractAsyncContextManager[Ask]:
        """The contender, asking for this shape."""
        url = f"http://127.0.0.1:{self.port}/{shape}/v1"
        return CONTENDERS[self.name](url, SHAPES[shape])

    @asynccontextmanager
    async def warm(self, connections: int = 1) -> AsyncGenerator[Ask]:
        """The contender, with open connections, after a call whose pictures were looked at."""

        def look_at(picture: bytes | Path | int) -> None:
            if not isinstance(picture, int):
                data = picture if isinstance(picture, bytes) else picture.read_bytes()
                self.digests.append(hashlib.sha256(data).hexdigest())

        async with self.contender(self.case.shape) as ask:
            await asyncio.gather(ask(look_at), *(ask(Tally().hand) for _ in range(connections - 1)))
            gc.collect()
            yield ask

    async def batch(self, ask: Ask, hand: Hand) -> None:
        """So many calls at once as the case says."""
        await asyncio.gather(*(ask(hand) for _ in range(self.case.parallel)))

    def check(self, nbytes: int, calls: int) -> None:
        """Every byte was handed over; the floor counts the answer's own bytes, which are more."""
        expected = calls * self.shape.decoded_bytes
        if nbytes != expected and not (self.name == FLOOR and nbytes > expected):
            raise AssertionError(f"{self.name} gave {nbytes:,} of {expected:,} bytes")


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


async def stall(turn: Turn) -> float:
    """The longest time, in milliseconds, for which a ticking task was kept waiting: the median of the batches."""
    worst: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TICK)
            worst[-1] = max(worst[-1], (time.perf_counter() - before - TICK) * 1e3)

    async with turn.warm() as ask:
        for _ in range(turn.case.batches):
            tally = Tally()
            worst.append(0.0)
            ticking = asyncio.create_task(tick())
            await asyncio.sleep(5 * TICK)
            await turn.batch(ask, tally.hand)
            await asyncio.sleep(2 * TICK)  # the last stall is seen by the tick behind it
            ticking.cancel()
            await asyncio.wait([ticking])
            turn.check(tally.nbytes, turn.case.parallel)
    return statistics.median(worst)


async def latency(turn: Turn) -> float:
    """Milliseconds from the last bytes' departure to the last picture's arrival, on the system's one clock."""
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


async def growth(turn: Turn) -> float:
    """How many times as much CPU the larger picture takes: medians of calls in turn."""
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


async def late_imports(turn: Turn) -> float:
    """How many modules a first request and a first stream import; their names are noted."""
    late: list[str] = []
    for name in ("json-1kb", "stream-1kb"):
        async with turn.contender(name) as ask:
            before = set(sys.modules)
            await ask(Tally().hand)
            late += sorted(set(sys.modules) - before)
    turn.notes.extend(late)
    return len(late)
