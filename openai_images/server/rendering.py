"""Makes the bytes of a step when it is due: waits for its time, has the picture painted, encodes it.

Rules: picture stages are due one `pace` apart, counted from the arrival of the request, and painting runs during the
wait; a frame sent in two parts is made once; events are numbered in the order in which they are made. It refuses to
write to a connection.
"""

import asyncio
import random
import struct
from base64 import b64encode
from collections.abc import Awaitable, Callable

import attrs

from openai_images.server.encoder import Encoder
from openai_images.server.paint import Studio
from openai_images.server.state import Exchange
from openai_images.server.steps import Event, Frame


@attrs.define(kw_only=True)
class Renderer:
    """The source of one answer's bytes; call it with a step."""

    encoder: Encoder
    studio: Studio
    exchange: Exchange
    pace: float
    sleep: Callable[[float], Awaitable[object]]
    as_stream: bool
    partials: int
    huge: float | None = None
    _number: int = attrs.field(init=False, default=0)
    _last: tuple[int | None, bytes] | None = attrs.field(init=False, default=None)

    async def __call__(self, step: Frame | Event) -> bytes:
        """The bytes of `step`."""
        if isinstance(step, Event):
            return self.encoder.plain_event(step.name, step.data, self._next_number())
        if self._last is None or self._last[0] != step.stage:
            self._last = (step.stage, await self._frame(step.stage))
        return self._last[1]

    async def _frame(self, stage: int | None) -> bytes:
        if not self.as_stream:
            pictures = [await self._picture(None, index) for index in range(self.encoder.parameters.n)]
            await self._until_due(0)
            return self.encoder.json_body(pictures)
        picture = await self._picture(stage, 0)
        await self._until_due(self.partials if stage is None else stage)
        return self.encoder.picture_event(stage, picture, self._next_number())

    async def _picture(self, stage: int | None, index: int) -> bytes:
        asked = self.encoder.parameters
        if self.huge is not None and stage is None:
            return await asyncio.to_thread(_huge_base64, self.huge, asked.width, asked.height)
        return await self.studio.picture(asked, index, stage)

    async def _until_due(self, stage: int) -> None:
        due = self.exchange.started + self.pace * (stage + 1)
        wait = due - self.exchange.clock()
        if self.pace and wait > 0:
            await self.sleep(wait)

    def _next_number(self) -> int:
        self._number += 1
        return self._number - 1


def _huge_base64(megabytes: float, width: int, height: int) -> bytes:
    return b64encode(huge_png(megabytes, width, height))


def huge_png(megabytes: float, width: int, height: int) -> bytes:
    """So many megabytes (10**6 bytes) with the beginning and the end of a PNG, always the same ones."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">II4sI", 0, 0, b"IEND", 0xAE426082)
    size = max(0, round(megabytes * 1_000_000) - len(head) - 12 - len(end))
    noise = random.Random(size)  # noqa: S311  # the same bytes for the same size, guards nothing
    return head + bytes(4) + struct.pack(">I4s", size, b"IDAT") + noise.randbytes(size) + end
