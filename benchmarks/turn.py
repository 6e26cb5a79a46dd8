"""One contender's turn at one case, inside its own process: what each measurement has in common.

Rules: imports and a first call are over before the clock starts; the user has every image before it stops, and its
size is checked then. A measurement is given a `Turn` and gives one number.
"""

import asyncio
import gc
import hashlib
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from attrs import Factory, define, frozen

from benchmarks.cases import Case
from benchmarks.contenders import CONTENDERS, FLOOR, Ask, Hand
from benchmarks.loop_clock import LoopClock
from benchmarks.payloads import SHAPES, Shape


@define
class Tally:
    """Counts what the user was handed."""

    nbytes: int = 0
    last: bytes | Path | int = 0

    def hand(self, picture: bytes | Path | int) -> None:
        """Take one image; it is free to go when the next one comes."""
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
        """The answer that is asked for."""
        return SHAPES[self.case.shape]

    def contender(self, shape: str) -> AbstractAsyncContextManager[Ask]:
        """The contender, asking for this shape."""
        scheme = "https" if self.case.tls else "http"
        url = f"{scheme}://127.0.0.1:{self.port}/{shape}/v1"
        return CONTENDERS[self.name](url, SHAPES[shape])

    @asynccontextmanager
    async def warm(self, connections: int = 1) -> AsyncGenerator[Ask]:
        """The contender, with open connections, after a call whose images were looked at."""

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
