"""Renders the frames of a response when they are due and writes them; a fault may break the connection.

Invariants: image stages are due one `pace` apart, counted from the arrival of the request; a stream's headers are sent
before its first image is drawn; no write is larger than `SLICE`.
Must not: choose the steps; a fault plan does.
"""

import asyncio
import gzip
import random
import struct
from base64 import b64encode
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Final

import attrs
from aiohttp import HttpVersion11, web

from openai_images.server.faults.plan import (
    Event,
    FaultPlan,
    Frame,
    HangUp,
    HangUpKind,
    Step,
    Text,
    WaitForRelease,
)
from openai_images.server.images.encoder import Encoder
from openai_images.server.paint.painter import ImageCache
from openai_images.server.requests.state import ActiveRequest, ServerState

SLICE: Final = 64 * 1024
# With one-byte chunks, this many bytes of each frame are sent as separate TCP segments, and the rest share segments:
# otherwise 2 MB would take minutes.
ALONE: Final = 4096
SEGMENT: Final = 256
# Seconds in which a client reads the data so far, so that a bad chunk or a reset comes in a separate read.
SEGMENT_DELAY: Final = 0.05
MISSING_BYTES: Final = 1000


@attrs.define(kw_only=True)
class ResponseWriter:
    """Sends one response, or the part that its plan allows; `headers` are those of the rate limits."""

    active: ActiveRequest
    plan: FaultPlan
    state: ServerState
    encoder: Encoder
    cache: ImageCache
    as_stream: bool
    headers: Mapping[str, str]
    _response: web.StreamResponse = attrs.field(init=False, factory=web.StreamResponse)
    _numbers: Iterator[int] = attrs.field(init=False, factory=count)
    _last: tuple[int | None, bytes] | None = attrs.field(init=False, default=None)

    async def send(self) -> web.StreamResponse:
        """Send the steps of the plan; return the response, ended or broken."""
        partials = self.encoder.parameters.partials if self.as_stream else 0
        steps = self.plan.steps(partials, as_stream=self.as_stream)
        if self.plan.overlong:
            body = b"".join([await self._bytes(step) for step in steps if isinstance(step, Frame | Text)])
            await self._prepare(len(body) + MISSING_BYTES)
            await self._write(body)
            await self._hang_up("close")
        elif not self.as_stream and self.plan.piece is None and steps == (Frame(None),):
            body = await self._bytes(Frame(None))
            if self.plan.gzip:
                body = await asyncio.to_thread(gzip.compress, body, 1)
                self._response.headers["content-encoding"] = "gzip"
            await self._prepare(len(body))
            await self._write(body)
        else:
            await self._prepare(None)
            for step in steps:
                await self._send_step(step)
        if not self.active.hung_up:
            await self._response.write_eof()
        return self._response

    # Writing

    async def _prepare(self, length: int | None) -> None:
        content_type = "text/event-stream; charset=utf-8" if self.as_stream else "application/json"
        self._response.headers.update({"content-type": content_type, **self.active.headers(), **self.headers})
        if length is not None:
            self._response.content_length = length
        elif self._is_chunked:
            self._response.enable_chunked_encoding()
        await self._response.prepare(self.active.request)

    @property
    def _is_chunked(self) -> bool:
        """Whether chunks are used: in HTTP/1.0 the end of the connection ends a body without a length."""
        return self.active.request.version == HttpVersion11

    async def _send_step(self, step: Step) -> None:
        match step:
            case WaitForRelease(comments=True):
                await self._comments(self.state.gate.event)
            case WaitForRelease():
                await self.state.gate.event.wait()
            case HangUp(how):
                await self._hang_up(how)
            case _:
                await self._write(await self._bytes(step))

    async def _comments(self, until: asyncio.Event) -> None:
        """Send a comment every `keepalive` seconds until the event is set."""
        waiting = asyncio.ensure_future(until.wait())
        try:
            while not until.is_set():
                tick = asyncio.ensure_future(
                    self.state.settings.sleep(self.state.settings.keepalive_comments or 0.05)
                )
                await asyncio.wait((waiting, tick), return_when=asyncio.FIRST_COMPLETED)
                if not tick.done():
                    tick.cancel()
                elif not until.is_set():
                    await self._write(b": keepalive\n\n")
        finally:
            waiting.cancel()

    async def _write(self, data: bytes) -> None:
        if self.plan.piece == 1:
            await self._write_bytes_alone(data)
        else:
            await write_slices(self._response, data, self.plan.piece or SLICE)

    async def _write_bytes_alone(self, data: bytes) -> None:
        for start in range(min(ALONE, len(data))):
            await self._response.write(data[start : start + 1])
            await asyncio.sleep(0)
        for start in range(ALONE, len(data), SEGMENT):
            piece = data[start : start + SEGMENT]
            if self._is_chunked:
                self.active.open_transport().write(b"".join(b"1\r\n%c\r\n" % byte for byte in piece))
            else:
                await self._response.write(piece)
            await asyncio.sleep(0)

    async def _hang_up(self, how: HangUpKind) -> None:
        if how != "close":
            await asyncio.sleep(SEGMENT_DELAY)
        if how == "bad_chunk":
            self.active.open_transport().write(b"not-a-size\r\nlost\r\n")
            await self.state.gate.event.wait()
        self.active.hang_up(how)

    # Rendering

    async def _bytes(self, step: Frame | Event | Text) -> bytes:
        """Return the bytes of a step; keepalive comments are sent until it is drawn."""
        if isinstance(step, Text):
            return step.data
        if self.state.settings.keepalive_comments is None or not self.as_stream:
            return await self._render(step)
        painting = asyncio.ensure_future(self._render(step))
        ready = asyncio.Event()
        painting.add_done_callback(lambda _: ready.set())
        try:
            await self._comments(ready)
            return await painting
        finally:
            painting.cancel()

    async def _render(self, step: Frame | Event) -> bytes:
        if isinstance(step, Event):
            return self.encoder.plain_event(step.name, step.data, next(self._numbers))
        if self._last is None or self._last[0] != step.stage:
            self._last = (step.stage, await self._frame(step.stage))
        data = self._last[1]
        if self.as_stream and not step.closed:
            data = data.rstrip(b"\r\n")
        return data[int(len(data) * step.start) : int(len(data) * step.end)]

    async def _frame(self, stage: int | None) -> bytes:
        parameters = self.encoder.parameters
        if not self.as_stream:
            images = [await self._image(None, index) for index in range(parameters.n)]
            await self._wait_until_due(0)
            return self.encoder.json_body(images)
        image = await self._image(stage, 0)
        await self._wait_until_due(parameters.partials if stage is None else stage)
        return self.encoder.image_event(stage, image, next(self._numbers))

    async def _image(self, stage: int | None, index: int) -> bytes:
        parameters, megabytes = self.encoder.parameters, self.plan.image_megabytes
        if megabytes is not None and stage is None:
            size = parameters.width, parameters.height
            return await asyncio.to_thread(lambda: b64encode(huge_png(megabytes, *size)))
        return await self.cache.image(parameters, index, stage)

    async def _wait_until_due(self, stage: int) -> None:
        wait = self.active.started + self.state.settings.pace * (stage + 1) - self.active.clock()
        if self.state.settings.pace and wait > 0:
            await self.state.settings.sleep(wait)


def huge_png(megabytes: float, width: int, height: int) -> bytes:
    """Return bytes with the beginning and the end of a PNG, the same for the same size; a megabyte is 10**6 bytes."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">II4sI", 0, 0, b"IEND", 0xAE426082)
    size = max(0, round(megabytes * 1_000_000) - len(head) - 12 - len(end))
    noise = random.Random(size)  # noqa: S311  # the same bytes for the same size, not for security
    return head + bytes(4) + struct.pack(">I4s", size, b"IDAT") + noise.randbytes(size) + end


async def write_slices(response: web.StreamResponse, data: bytes, size: int = SLICE) -> None:
    """Write `data` in pieces of `size` bytes."""
    view = memoryview(data)
    for start in range(0, len(data), size):
        await response.write(view[start : start + size])
