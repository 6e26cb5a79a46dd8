"""How much memory a contender takes above what it has when idle.

Rules: idle is after imports and a first small request. The peak is the kernel's own high-water mark of the resident
memory, set back just before the calls (Linux), so that no moment is missed; elsewhere it is how far the mark of the
process's whole life rose. The user keeps every image in memory until all are there. Pages of files that the system
caches are not counted: they are nobody's.
"""

import asyncio
import gc
import resource
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from attrs import Factory, define

from benchmarks.cases import Case, Compare, Goal
from benchmarks.contenders import FLOOR, INTO, NAIVE, OURS, SDK, SDK_AIOHTTP, Ask
from benchmarks.payloads import SHAPES
from benchmarks.server import allow_many_sockets
from benchmarks.turn import Tally, Turn

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")
SET_BACK_THE_PEAK = "5"


@define
class Keeper(Tally):
    """Keeps what the user was handed."""

    kept: list[bytes] = Factory(list[bytes])

    def hand(self, image: bytes | Path | int) -> None:
        super().hand(image)
        if isinstance(image, bytes):
            self.kept.append(image)


async def memory(turn: Turn) -> float:
    """MB at the peak above idle, over all batches: an allocator that has worked may need more than a fresh one."""
    async with _idle(turn) as ask:
        idle = begin()
        for _ in range(turn.case.batches):
            keeper = Keeper()
            await turn.batch(ask, keeper.hand)
            turn.check(keeper.nbytes, turn.case.parallel)
            turn.notes.append(f"{(peak() - idle) / 1e6:.1f} MB so far")
            del keeper
        most = peak()
    return (most - idle) / 1e6


async def memory_per_call(turn: Turn) -> float:
    """MB at the peak above idle, for each of the calls at once."""
    return await memory(turn) / turn.case.parallel


async def crowd(turn: Turn) -> float:
    """KB at the peak above idle for each of many streams that are open at once."""
    allow_many_sockets()
    async with _idle(turn) as ask:
        keeper, idle = Keeper(), begin()
        calls = [ask(keeper.hand) for _ in range(turn.case.parallel)]
        ends = await asyncio.gather(*calls, return_exceptions=True)
        most = peak()
    turn.errors.extend(f"{type(end).__name__}: {end}" for end in ends if isinstance(end, BaseException))
    if not turn.errors:
        turn.check(keeper.nbytes, turn.case.parallel)
    return (most - idle) / 1e3 / turn.case.parallel


@asynccontextmanager
async def _idle(turn: Turn) -> AsyncGenerator[Ask]:
    """The contender, when everything it needs was imported and used once."""
    async with turn.contender("stream-1kb" if turn.shape.stream else "json-1kb") as ask:
        await ask(Tally().hand)
    async with turn.contender(turn.case.shape) as ask:
        gc.collect()
        yield ask


def begin() -> int:
    """The bytes that are resident now, from where the peak is counted."""
    if not STATUS.exists():
        return _high_water_mark()
    CLEAR_REFS.write_text(SET_BACK_THE_PEAK)
    return _status("VmRSS")


def peak() -> int:
    """The most bytes that were resident since `begin`."""
    return _status("VmHWM") if STATUS.exists() else _high_water_mark()


def _status(name: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def _high_water_mark() -> int:
    """The process's peak since it began, which macOS counts in bytes and others in KB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


TO_DISK = (INTO, FLOOR)
BESIDE_SDK = (OURS, SDK, SDK_AIOHTTP, NAIVE, FLOOR)
STREAMS = SHAPES["crowd"].crowd

_PER_STREAM = Goal("into= <= 2 MB", 2.0, of=INTO)

MEMORY = (
    Case(
        key="memory-json",
        title="memory above idle, JSON, 10 images of 8 MB",
        unit="MB",
        probe=memory,
        shape="json-10x8mb",
        batches=2,
        goals=(Goal("in memory <= 1.08 x the decoded bytes (86.4 MB)", 86.4), _PER_STREAM),
        plot="memory",
    ),
    Case(
        key="memory-stream",
        title="memory above idle, one event stream with two images of 8 MB",
        unit="MB",
        probe=memory,
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
            probe=memory_per_call,
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
        probe=memory,
        shape="stream-8mb",
        parallel=64,
        contenders=TO_DISK,
        goals=(Goal("into= <= 100 MB", 100.0, of=INTO),),
    ),
)

CROWD = (
    Case(
        key="crowd",
        title=f"memory above idle per stream, {STREAMS:,} streams at once, small images",
        unit="KB",
        probe=crowd,
        shape="crowd",
        parallel=STREAMS,
        contenders=BESIDE_SDK,
        goals=(Goal(f"<= {FLOOR} + 60 KB", 60.0, Compare.ABOVE),),
    ),
)
