"""Bodies on their way out: when the first and the last byte went, and which timer runs.

Invariants: before its first byte nothing can have run; after it the outcome is unknown, unless a body in chunks was
cut. "first_byte" begins after the last chunk, "total" with the first.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any, ClassVar, Literal, NoReturn, Self

import pybase64
from aiohttp import payload_type
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from aiohttp.payload import BytesPayload, Payload

from openai_images.errors import APIConnectionError, APITimeoutError, ImagesError, RequestInvalidError
from openai_images.http.deadlines import earlier_timeout
from openai_images.http.sessions import is_open
from openai_images.models.options import Timeouts, Timing
from openai_images.wire.requests import Base64Source, CompositeBody, ImageReader, ImageSource, Piece


class RequestProgress:
    """The body of one attempt, and the timer around it."""

    def __init__(self, body: bytes | CompositeBody, timeouts: Timeouts, timing: Timing) -> None:
        """Nothing is sent yet."""
        self.deadline = asyncio.timeout(None)
        self.timer, self.seconds = "total", timeouts.total
        self._timeouts = timeouts
        self._timing = timing
        self._began: float | None = None
        self.is_stale = False
        """Whether the connection was found closed before the first byte."""
        self.body = self._body_of(body)

    @property
    def started(self) -> bool:
        """Whether its first byte went out."""
        return self._began is not None

    @property
    def elapsed(self) -> float:
        """Seconds since then."""
        return 0.0 if self._began is None else self._timing.monotonic() - self._began

    def mark_started(self) -> None:
        """The first byte is about to go out."""
        if self._began is None:
            self._began = self._timing.monotonic()
            self._start("total", self._timeouts.total, 0.0)

    def mark_sent(self) -> None:
        """The last byte is about to go out: now the answer is waited for."""
        waited, first_byte = self.elapsed, self._timeouts.first_byte
        total = None if self._timeouts.total is None else self._timeouts.total - waited
        timer, _ = earlier_timeout("first_byte", first_byte, "total", total)
        if timer == "total":
            self._start("total", self._timeouts.total, waited)
        else:
            self._start("first_byte", first_byte, 0.0)

    def _start(self, timer: str, seconds: float | None, waited: float) -> None:
        self.timer, self.seconds = timer, seconds
        when = None if seconds is None else asyncio.get_running_loop().time() + seconds - waited
        with contextlib.suppress(RuntimeError):  # given up in the meantime
            self.deadline.reschedule(when)

    def _body_of(self, body: bytes | CompositeBody) -> BytesBody | UploadBody:
        return BytesBody(body, self) if isinstance(body, bytes) else UploadBody(body, self)


class BytesBody(bytes):
    """A body in memory: bytes to whoever looks at it or copies it, and tracked on its way out."""

    cut: ClassVar[Literal[False]] = False
    """It goes out with the headers, all of it."""

    sending: RequestProgress

    def __new__(cls, body: bytes, sending: RequestProgress) -> Self:
        """Tell `sending`."""
        made = super().__new__(cls, body)
        made.sending = sending
        return made

    def __reduce__(self) -> tuple[type[bytes], tuple[bytes]]:
        """A copy is plain bytes: what tracks this one belongs to a task."""
        return bytes, (bytes(self),)


@payload_type(BytesBody)
class _BodyPayload(BytesPayload):
    """What aiohttp makes of `BytesBody`."""

    def __init__(self, body: BytesBody, **headers: Any) -> None:
        """Tell its `sending`."""
        super().__init__(body, **{"content_type": "application/json", **headers})
        self._sending = body.sending

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write it."""
        sending = self._sending
        if await is_open(writer):
            sending.mark_started()
            sending.mark_sent()
        else:  # nothing goes out: the next line raises
            sending.is_stale = True
        await super().write_with_length(writer, content_length)


_CHUNK = 384 * 1024
"""Bytes read at once; a multiple of three, so that base64 needs no padding in between."""


class UploadBody(Payload):
    """The body; `cut` says that its sending began and did not come to its end."""

    _value: CompositeBody

    def __init__(self, body: CompositeBody, sending: RequestProgress) -> None:
        """Send these pieces, and tell `sending`."""
        super().__init__(body, content_type="application/octet-stream")
        self._size = len(body)
        self._sending = sending
        self._failure = ""
        self.cut = False

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:
        """Nobody reads a body back."""
        raise TypeError(f"a body in pieces is not decoded as {encoding}, {errors}")

    def __deepcopy__(self, memo: object) -> bytes:
        """All of it in memory: what records requests, such as vcrpy, copies their bodies."""
        return b"".join(map(_whole, self._value.pieces))

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all of it."""
        await self.write_with_length(writer, None)

    async def write_with_length(
        self,
        writer: AbstractStreamWriter,
        content_length: int | None,  # noqa: ARG002  as announced
    ) -> None:
        """Write all of it; where that breaks off, so does the connection: what was buffered is of no use."""
        if await is_open(writer):
            self._sending.mark_started()
            self.cut = True
        else:  # nothing goes out: the next write raises
            self._sending.is_stale = True
        transport = writer.transport if isinstance(writer, StreamWriter) else None
        *pieces, last = self._value.pieces
        try:
            for piece in pieces:
                await self._write(piece, writer)
            self.cut = False
            self._sending.mark_sent()
            await self._write(last, writer)
        except BaseException:
            # Closing alone would wait until a server that reads no more has read it.
            if transport is not None:
                transport.abort()
            raise

    def failed(self, what: str, timer: str, seconds: float | None) -> ImagesError:
        """The error where it was cut: by a picture that could not be read, by a timer, or by the connection."""
        failure: ImagesError
        if self._failure:
            return RequestInvalidError(self._failure)
        if timer:
            limit = f"{seconds:g} s (Timeouts({timer}=…))"
            msg = f"the pictures were not sent within {limit}, so the request cannot have run"
            failure = APITimeoutError(msg, timer=timer, seconds=seconds or 0.0)
        else:
            failure = APIConnectionError(
                f"the connection broke while the pictures were being sent ({what}), so the request cannot have run; a "
                "server that takes no body of this size, or no such key, may break it too"
            )
        failure.safe_to_resend = True
        return failure

    async def _write(self, piece: Piece, writer: AbstractStreamWriter) -> None:
        if isinstance(piece, bytes):
            await writer.write(piece)
        elif isinstance(piece, Base64Source):
            await self._copy(piece.source, writer, encode=True)
        else:
            await self._copy(piece, writer, encode=False)

    async def _copy(self, source: ImageSource, writer: AbstractStreamWriter, *, encode: bool) -> None:
        reader = source.open()
        try:
            for start in range(0, source.nbytes, _CHUNK):
                read = partial(_exactly, reader, min(_CHUNK, source.nbytes - start))
                chunk = await asyncio.to_thread(read) if source.blocks else read()
                await writer.write(pybase64.b64encode(chunk) if encode else chunk)
        except RequestInvalidError as error:  # aiohttp would hide it
            self._failure = str(error)
            raise
        finally:
            reader.close()


def _whole(piece: Piece) -> bytes:
    """The bytes that a piece becomes."""
    if isinstance(piece, bytes):
        return piece
    source = piece.source if isinstance(piece, Base64Source) else piece
    reader = source.open()
    try:
        data = bytes(_exactly(reader, source.nbytes))
    finally:
        reader.close()
    return pybase64.b64encode(data) if isinstance(piece, Base64Source) else data


def _exactly(reader: ImageReader, count: int) -> bytes | memoryview:
    """So many bytes. Raises `RequestInvalidError`."""
    try:
        chunk = reader.read(count)
        while len(chunk) < count:
            more = reader.read(count - len(chunk))
            if not len(more):
                raise RequestInvalidError(
                    "a picture became shorter while it was being sent, so the request cannot have run; send it again"
                )
            chunk = b"".join((chunk, more))
    except (OSError, ValueError) as error:  # ValueError: a file that was closed meanwhile
        raise RequestInvalidError(
            f"a picture could not be read while it was being sent ({error}), so the request cannot have run"
        ) from error
    return chunk
