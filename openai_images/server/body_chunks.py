"""A request's body as it arrives: decompressed, in pieces, and never waited for without end.

Rules: what stops for longer than the bound on silence is a 400; no piece is large, whatever it decompresses to, and
between two of them the event loop has its turn. It refuses to keep anything.
"""

import asyncio
import zlib
from typing import Any, Final, Self

import attrs
from aiohttp import web

from openai_images.server.error_replies import RefusalError, error_reply, refuse

# aiohttp.web does not tell a handler that waits for its body of a malformed chunk: it waits for ever.
BODY_SILENCE: Final = 2.5
"""Seconds without a byte after which a body is taken to have stopped."""
PIECE_BYTES: Final = 256 * 1024

_COMPRESSED: Final = {"gzip", "x-gzip", "deflate"}
_EITHER_HEADER: Final = 32 + zlib.MAX_WBITS


class UnreadableError(Exception):
    """Raised where a body's framing or compression is broken."""


@attrs.define
class Arriving:
    """The pieces of one body; `silence` is in seconds. Iterating raises `RefusalError` and `UnreadableError`."""

    request: web.Request
    silence: float
    _inflater: Any = attrs.field(init=False)
    _held: bytes = attrs.field(init=False, default=b"")

    def __attrs_post_init__(self) -> None:
        encoding = self.request.headers.get("content-encoding", "").strip().lower()
        if encoding not in {"", "identity", *_COMPRESSED}:
            message = f"Unsupported content encoding: {encoding[:80]!r}. Supported are 'gzip' and 'deflate'."
            raise RefusalError(error_reply(415, message, code="unsupported_content_encoding"))
        self._inflater = zlib.decompressobj(_EITHER_HEADER) if encoding in _COMPRESSED else None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not (piece := self._piece()):
            self._held = await self._read()
            if not self._held:
                if self._inflater is not None and not self._inflater.eof:
                    raise UnreadableError
                raise StopAsyncIteration
        if self._held or self._inflater is not None:
            # More is at hand without a wait, and nobody else would have their turn. Where there is none, no turn is
            # lost: a test that has seen a request counted may release its stall at once.
            await asyncio.sleep(0)
        return piece

    def _piece(self) -> bytes:
        """The next bytes of what is held, none if more must be read."""
        if self._inflater is None:
            piece, self._held = self._held[:PIECE_BYTES], self._held[PIECE_BYTES:]
            return piece
        if self._inflater.eof:
            return b""
        try:
            inflated: bytes = self._inflater.decompress(self._held, PIECE_BYTES)
        except zlib.error:
            raise UnreadableError from None
        self._held = self._inflater.unconsumed_tail
        return inflated

    async def _read(self) -> bytes:
        try:
            async with asyncio.timeout(self.silence):
                return await self.request.content.readany()
        except TimeoutError:
            message = f"The body of your request stopped: nothing of it arrived for {self.silence:g} s."
            raise refuse(message, code="incomplete_body") from None
        except web.RequestPayloadError:
            raise UnreadableError from None
