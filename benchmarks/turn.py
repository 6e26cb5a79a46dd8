"""One contender's turn at one case, inside its own process: what each measurement has in common.

Rules: imports and a first call are over before the clock starts; the user has every image before it stops, and its
size is checked then. A measurement is given a `Turn` and gives one number. What other processes take of the machine is
not counted: a turn of the event loop counts by the processor time of this process, a wait by no more than the loop
requested.
"""

import asyncio
import gc
import hashlib
import selectors
import time
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from attrs import Factory, define, frozen

from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, FLOOR, Ask, Hand
from benchmarks.payloads import SHAPES, Shape


class LoopClock(selectors.DefaultSelector):
    """The selector of one loop; `longest` is its longest turn so far, in seconds of processor time."""

    def __init__(self) -> None:
        """For a loop of its own: `new_loop` makes it."""
        super().__init__()
        self.longest = 0.0
        self._passed = 0.0
        self._turn = time.process_time()

    def new_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(self)

    def time(self) -> float:
        """Seconds that have passed for the loop: of processor time in its turns, and of waits that it asked for."""
        return self._passed + time.process_time() - self._turn

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait, as any selector; between two of these calls is a turn."""
        used = time.process_time() - self._turn
        self.longest = max(self.longest, used)
        before = time.monotonic()
        ready = super().select(timeout)
        waited = time.monotonic() - before
        self._passed += used + (waited if timeout is None else min(waited, max(timeout, 0.0)))
        self._turn = time.process_time()
        return ready


@define
class Tally:
    """Counts what the user was handed."""

    nbytes: int = 0
    last: bytes | Path | int = 0

    def hand(self, image: bytes | Path | int) -> None:
        """Take one image; it is free to go when the next one comes."""
        self.last = image
        if isinstance(image, bytes):
            self.nbytes += len(image)
        else:
            self.nbytes += image if isinstance(image, int) else image.stat().st_size


@frozen
class Turn:
    """One contender's turn at one case: `port` is the server's."""

    name: str
    case: Case
    port: int
    digests: list[str] = Factory(list[str])
    """Of the images of a call outside the timed part."""
    errors: list[str] = Factory(list[str])
    """Calls that failed where others may go on."""
    notes: list[str] = Factory(list[str])
    """What else is worth knowing; kept in the JSON."""
    clock: LoopClock = Factory(LoopClock)
    """Of the loop, where that is asked for its stalls."""
    parts: dict[str, float] = Factory(dict[str, float])
    """Other numbers of the same turn, by the `part` of the case that wants them."""

    @property
    def shape(self) -> Shape:
        return SHAPES[self.case.shape]

    def contender(self, shape: str) -> AbstractAsyncContextManager[Ask]:
        scheme = "https" if self.case.tls else "http"
        url = f"{scheme}://127.0.0.1:{self.port}/{shape}/v1"
        return CONTENDERS[self.name](url, SHAPES[shape])

    @asynccontextmanager
    async def warm(self, connections: int = 1) -> AsyncGenerator[Ask]:
        """The contender, with open connections, after a call whose images were looked at."""

        def look_at(image: bytes | Path | int) -> None:
            if not isinstance(image, int):
                data = image if isinstance(image, bytes) else image.read_bytes()
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
