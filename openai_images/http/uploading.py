"""A body in pieces on its way out: the pictures of an edit, read while they are sent.

Rules: a picture is read a chunk at a time, in a thread where that waits for a disk, and never lies whole in memory
because of us. Exactly as many bytes are written as were announced. A request whose upload was cut cannot have run, for
no server has all of it: that makes it safe to resend.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import pybase64
from aiohttp.http import StreamWriter
from aiohttp.payload import Payload

from openai_images.errors import APIConnectionError, APITimeoutError, ImagesError, RequestInvalidError
from openai_images.http.liveness import is_open
from openai_images.wire.uploads import Encoded, Upload

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

    from openai_images.http.request_body import Sending
    from openai_images.wire.uploads import Piece, Reader, Source

_CHUNK = 384 * 1024
"""Bytes read at once; a multiple of three, so that base64 needs no padding in between."""


class UploadBody(Payload):
    """The body; `cut` says that its sending began and did not come to its end."""

    _value: Upload

    def __init__(self, body: Upload, sending: Sending) -> None:
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
            self._sending.begin()
            self.cut = True
        else:  # nothing goes out: the next write raises
            self._sending.is_stale = True
        transport = writer.transport if isinstance(writer, StreamWriter) else None
        *pieces, last = self._value.pieces
        try:
            for piece in pieces:
                await self._write(piece, writer)
            self.cut = False
            self._sending.sent()
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
        elif isinstance(piece, Encoded):
            await self._copy(piece.source, writer, encode=True)
        else:
            await self._copy(piece, writer, encode=False)

    async def _copy(self, source: Source, writer: AbstractStreamWriter, *, encode: bool) -> None:
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
    source = piece.source if isinstance(piece, Encoded) else piece
    reader = source.open()
    try:
        data = bytes(_exactly(reader, source.nbytes))
    finally:
        reader.close()
    return pybase64.b64encode(data) if isinstance(piece, Encoded) else data


def _exactly(reader: Reader, count: int) -> bytes | memoryview:
    """So many bytes. Raises `RequestInvalidError`."""
    try:
        chunk = reader.read(count)
        while len(chunk) < count:
            more = reader.read(count - len(chunk))
            if not len(more):
                msg = "a picture became shorter while it was being sent, so the request cannot have run; send it again"
                raise RequestInvalidError(msg)
            chunk = b"".join((chunk, more))
    except (OSError, ValueError) as error:  # ValueError: a file that was closed meanwhile
        msg = f"a picture could not be read while it was being sent ({error}), so the request cannot have run"
        raise RequestInvalidError(msg) from error
    return chunk
