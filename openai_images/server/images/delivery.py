"""Renders the frames of a response when they are due and writes them; a fault may break the connection.

Invariants: image stages are due one `pace` apart, counted from the arrival of the request; a stream's headers are sent
before its first image is drawn; no write is larger than `SLICE`.
Must not: choose the steps; a fault plan does.
"""

import asyncio
import gzip
import random
import socket
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
    ReleaseGate,
    Step,
    Text,
    WaitForRelease,
)
from openai_images.server.images.encoder import Encoder
from openai_images.server.paint.painter import ImageCache
from openai_images.server.requests.settings import ServerSettings
from openai_images.server.requests.state import ActiveRequest

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

    request: web.Request
    active: ActiveRequest
    gate: ReleaseGate
    encoder: Encoder
    cache: ImageCache
    settings: ServerSettings
    as_stream: bool
    headers: Mapping[str, str]
    _response: web.StreamResponse = attrs.field(init=False, factory=web.StreamResponse)
    _numbers: Iterator[int] = attrs.field(init=False, factory=count)
    _last: tuple[int | None, bytes] | None = attrs.field(init=False, default=None)

    @property
    def plan(self) -> FaultPlan:
        """How the response differs from a normal one."""
        return self.active.fault.plan

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
        await self._response.prepare(self.request)

    @property
    def _is_chunked(self) -> bool:
        """Whether chunks are used: in HTTP/1.0 the end of the connection ends a body without a length."""
        return self.request.version == HttpVersion11

    async def _send_step(self, step: Step) -> None:
        match step:
            case WaitForRelease(comments=True):
                await self._comments(self.gate.event)
            case WaitForRelease():
                await self.gate.event.wait()
            case HangUp(how):
                await self._hang_up(how)
            case _:
                await self._write(await self._bytes(step))

    async def _comments(self, until: asyncio.Event) -> None:
        """Send a comment every `keepalive` seconds until the event is set."""
        waiting = asyncio.ensure_future(until.wait())
        try:
            while not until.is_set():
                tick = asyncio.ensure_future(self.settings.sleep(self.settings.keepalive_comments or 0.05))
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
            return
        view, size = memoryview(data), self.plan.piece or SLICE
        for start in range(0, len(data), size):
            await self._response.write(view[start : start + size])

    async def _write_bytes_alone(self, data: bytes) -> None:
        for start in range(min(ALONE, len(data))):
            await self._response.write(data[start : start + 1])
            await asyncio.sleep(0)
        for start in range(ALONE, len(data), SEGMENT):
            piece = data[start : start + SEGMENT]
            if self._is_chunked:
                open_transport(self.request).write(b"".join(b"1\r\n%c\r\n" % byte for byte in piece))
            else:
                await self._response.write(piece)
            await asyncio.sleep(0)

    async def _hang_up(self, how: HangUpKind) -> None:
        if how != "close":
            await asyncio.sleep(SEGMENT_DELAY)
        if how == "bad_chunk":
            open_transport(self.request).write(b"not-a-size\r\nlost\r\n")
            await self.gate.event.wait()
        hang_up(self.active, open_transport(self.request), how)

    # Rendering

    async def _bytes(self, step: Frame | Event | Text) -> bytes:
        """Return the bytes of a step; keepalive comments are sent until it is drawn."""
        if isinstance(step, Text):
            return step.data
        if self.settings.keepalive_comments is None or not self.as_stream:
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
        wait = self.active.started + self.settings.pace * (stage + 1) - self.active.clock()
        if self.settings.pace and wait > 0:
            await self.settings.sleep(wait)


def huge_png(megabytes: float, width: int, height: int) -> bytes:
    """Return bytes with the beginning and the end of a PNG, the same for the same size; a megabyte is 10**6 bytes."""
    head = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">II4sI", 0, 0, b"IEND", 0xAE426082)
    size = max(0, round(megabytes * 1_000_000) - len(head) - 12 - len(end))
    noise = random.Random(size)  # noqa: S311  # the same bytes for the same size, not for security
    return head + bytes(4) + struct.pack(">I4s", size, b"IDAT") + noise.randbytes(size) + end


def local_address(request: web.Request) -> tuple[str, int]:
    """Return the address and port that a request came to; its Host header may be invalid."""
    name = request.transport.get_extra_info("sockname") if request.transport else None
    return (str(name[0]), int(name[1])) if name else ("127.0.0.1", 0)


def peer_port(request: web.Request) -> int | None:
    """Return the client's port."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return peer[1] if peer else None


def open_transport(request: web.Request) -> asyncio.Transport:
    """Return the connection of a request. Raises `ConnectionResetError` if the client has disconnected."""
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client has disconnected")
    return transport


def hang_up(active: ActiveRequest, transport: asyncio.Transport, how: HangUpKind) -> None:
    """Close the connection: a FIN after the written data, or an immediate RST."""
    active.hung_up = True
    if how == "reset":
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()
