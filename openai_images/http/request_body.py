"""Request bodies: track when the first and the last byte are sent, and which timer runs.

Invariants: before the first byte nothing can have been executed; after it the outcome is unknown, unless an upload was
incomplete. The timer "first_byte" begins after the last chunk, "total" with the first. The clock of a response
(`Deadlines`) runs while the client waits or decodes, never while the caller's code does.
"""

from __future__ import annotations

import asyncio
import math
from contextlib import closing
from functools import partial
from typing import Any, ClassVar, Literal, NoReturn, Self

import pybase64
from aiohttp import payload_type
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.payload import BytesPayload, Payload

from openai_images._util.aio import WaitTimer
from openai_images.errors import APIConnectionError, APITimeoutError, ImagesError, RequestInvalidError
from openai_images.http.sessions import is_open
from openai_images.models.options import Timeouts, Timing
from openai_images.wire.requests import Base64Source, CompositeBody, ImageReader, Piece


class RequestProgress:
    """The body of one attempt, how much of it is sent, and the timer that runs."""

    def __init__(self, body: bytes | CompositeBody, timeouts: Timeouts, timing: Timing) -> None:
        self.wait = WaitTimer()
        self.answered = False
        """Whether the response has begun: then its reader moves the timer, even while the upload continues."""
        self.timer, self.seconds = "total", timeouts.total
        self._timeouts = timeouts
        self._timing = timing
        self._started_at: float | None = None
        self.is_stale = False
        """Whether the connection was closed before the first byte."""
        self.body = BytesBody(body, self) if isinstance(body, bytes) else UploadBody(body, self)

    @property
    def started(self) -> bool:
        """Whether the first byte was sent."""
        return self._started_at is not None

    @property
    def may_be_executed(self) -> bool:
        """Whether the server may have the complete request."""
        return self.started and not self.body.cut

    @property
    def elapsed(self) -> float:
        """Seconds since the first byte."""
        return 0.0 if self._started_at is None else self._timing.monotonic() - self._started_at

    def mark_started(self) -> None:
        """Record that the first byte is about to be sent."""
        if self._started_at is None:
            self._started_at = self._timing.monotonic()
            self._start("total", self._timeouts.total, 0.0)

    def mark_sent(self) -> None:
        """Record that the last byte is about to be sent; the wait for the response begins."""
        elapsed, total, first_byte = self.elapsed, self._timeouts.total, self._timeouts.first_byte
        if first_byte is None or (total is not None and total - elapsed < first_byte):
            self._start("total", total, elapsed)
        else:
            self._start("first_byte", first_byte, 0.0)

    def _start(self, timer: str, seconds: float | None, elapsed: float) -> None:
        self.timer, self.seconds = timer, seconds
        if not self.answered:
            self.wait.move(None if seconds is None else seconds - elapsed)


class BytesBody(bytes):
    """A body in memory: plain bytes for code that reads or copies it, tracked when it is sent."""

    cut: ClassVar[Literal[False]] = False
    """It is sent in one piece with the headers."""

    progress: RequestProgress

    def __new__(cls, body: bytes, progress: RequestProgress) -> Self:
        """Keep `progress` with the bytes."""
        instance = super().__new__(cls, body)
        instance.progress = progress
        return instance

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        """Copy as plain bytes: the progress belongs to one task."""
        return bytes, (bytes(self),)


@payload_type(BytesBody)
class _BodyPayload(BytesPayload):
    def __init__(self, body: BytesBody, **headers: Any) -> None:
        super().__init__(body, **{"content_type": "application/json", **headers})
        self._progress = body.progress

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        progress = self._progress
        if await is_open(writer):
            progress.mark_started()
            progress.mark_sent()
        else:  # nothing is sent: the next line raises
            progress.is_stale = True
        await super().write_with_length(writer, content_length)


_CHUNK = 384 * 1024
"""Bytes per read; a multiple of three, so that base64 needs no padding in between."""


class UploadBody(Payload):
    """A body with images, sent in chunks; `cut`: sending began and did not finish."""

    _value: CompositeBody

    def __init__(self, body: CompositeBody, progress: RequestProgress) -> None:
        super().__init__(body, content_type="application/octet-stream")
        self._size = len(body)
        self._progress = progress
        self._failure = ""
        self.cut = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:
        """Raise TypeError: the body is not in memory."""
        raise TypeError(f"a body in pieces cannot be decoded as {encoding}, {errors}")

    def __deepcopy__(self, memo: object) -> bytes:
        """Return the whole body as bytes: libraries that record requests, such as vcrpy, copy bodies."""
        return b"".join(map(_read_piece, self._value.pieces))

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write the whole body."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002  the length is known already
    ) -> None:
        """Write the whole body; after an error abort the connection, because a partial body is useless."""
        if await is_open(writer):
            self._progress.mark_started()
            self.cut = True
        else:  # nothing is sent: the next write raises
            self._progress.is_stale = True
        transport = writer.transport if isinstance(writer, StreamWriter) else None
        *pieces, last = self._value.pieces
        try:
            for piece in pieces:
                await self._write(piece, writer)
            self.cut = False
            self._progress.mark_sent()
            await self._write(last, writer)
        except BaseException:
            # Not close(), which would wait for a server that may have stopped reading.
            if transport is not None:
                transport.abort()
            raise

    def cut_error(self, description: str, timer: str, seconds: float | None) -> ImagesError:
        """Return the error of a `cut` body: an unreadable image, a timeout, or a broken connection."""
        failure: ImagesError
        if self._failure:
            return RequestInvalidError(self._failure)
        if timer:
            limit = f"{seconds:g} s (Timeouts({timer}=…))"
            msg = f"the images were not sent within {limit}, so the request cannot have run"
            failure = APITimeoutError(msg, timer=timer, seconds=seconds or 0.0)
        else:
            failure = APIConnectionError(
                f"the connection broke while the images were being sent ({description}), so the request cannot have "
                "run; a server that rejects the body's size or the key may also break it"
            )
        failure.safe_to_resend = True
        return failure

    async def _write(self, piece: Piece, writer: AbstractStreamWriter) -> None:
        if isinstance(piece, bytes):
            await writer.write(piece)
            return
        source = piece.source if isinstance(piece, Base64Source) else piece
        reader = source.open()
        try:
            for start in range(0, source.nbytes, _CHUNK):
                read = partial(read_exactly, reader, min(_CHUNK, source.nbytes - start))
                chunk = await asyncio.to_thread(read) if source.blocks else read()
                await writer.write(chunk if source is piece else pybase64.b64encode(chunk))
        except RequestInvalidError as error:  # kept, because aiohttp replaces it by its own error
            self._failure = str(error)
            raise
        finally:
            reader.close()


def _read_piece(piece: Piece) -> bytes:
    if isinstance(piece, bytes):
        return piece
    source = piece.source if isinstance(piece, Base64Source) else piece
    with closing(source.open()) as reader:
        data = bytes(read_exactly(reader, source.nbytes))
    return data if source is piece else pybase64.b64encode(data)


def read_exactly(reader: ImageReader, count: int) -> bytes | memoryview:
    """Read `count` bytes. Raises `RequestInvalidError`."""
    try:
        chunk = reader.read(count)
        while len(chunk) < count:
            more = reader.read(count - len(chunk))
            if not len(more):
                raise RequestInvalidError(
                    "an image became shorter while it was being sent, so the request cannot have run; send it again"
                )
            chunk = b"".join((chunk, more))
    except (OSError, ValueError) as error:  # ValueError: the file was closed
        raise RequestInvalidError(
            f"an image could not be read while it was being sent ({error}), so the request cannot have run"
        ) from error
    return chunk


class Deadlines:
    """A clock with timers: `start` and `stop` it; `next` returns the timer that runs out first."""

    def __init__(self, timeouts: Timeouts, timing: Timing, elapsed: float) -> None:
        """The clock is stopped at `elapsed` seconds after the first byte was sent."""
        self._timeouts = timeouts
        self._monotonic = timing.monotonic
        self._elapsed = elapsed
        self._started: float | None = None
        self._active = elapsed
        self._end = math.inf if timeouts.total is None else timeouts.total

    @property
    def elapsed(self) -> float:
        """Seconds of the clock since the first byte was sent."""
        return self._elapsed + (0.0 if self._started is None else self._monotonic() - self._started)

    def start(self) -> None:
        """Start the clock. Idempotent."""
        if self._started is None:
            self._started = self._monotonic()

    def stop(self) -> None:
        """Stop the clock while the caller's code runs. Idempotent."""
        self._elapsed, self._started = self.elapsed, None

    def active(self) -> None:
        """Restart the idle timer, as the server is active."""
        if self._timeouts.idle is not None:
            self._active = self.elapsed

    def shorten(self, seconds: float) -> None:
        """Allow at most `seconds` from now for the rest of the response; a later call cannot extend that."""
        self._end = min(self._end, self.elapsed + seconds)

    def next(self) -> tuple[str, float | None]:
        """Return which timer runs out first, and in how many seconds: 0 or less if it has run out, None for never."""
        elapsed, idle = self.elapsed, self._timeouts.idle
        seconds = self._end - elapsed
        if idle is not None and idle - (elapsed - self._active) <= seconds:
            return "idle", idle - (elapsed - self._active)
        return "total", None if seconds == math.inf else seconds
