"""The body of a download, read into a sink as far as it is an image.

Invariants: its own bytes decide, from the first to the last; it is bounded in bytes and in seconds of silence, and
only a chunk of it is held.
Must not: decompress; a small body may be endless after that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
from attrs import frozen

from openai_images.models import media
from openai_images.models.completeness import ImageProbe
from openai_images.wire.sinks import Sink


class FetchError(Exception):
    """Why a picture did not come, after how many `attempts`; `status` is that of the last answer, if one came."""

    def __init__(self, why: str, *, status: int | None = None) -> None:
        """Keep the reason, which holds nothing secret."""
        super().__init__(why)
        self.status = status
        self.attempts = 0


class TransientFetchError(FetchError):
    """What another attempt may mend; `seconds` is the wait that the server asked for."""

    def __init__(self, why: str, *, status: int | None = None, seconds: float | None = None) -> None:
        """Keep how long to wait."""
        super().__init__(why, status=status)
        self.seconds = seconds


SILENCE = 60.0
"""Seconds without a byte before a download begins anew, where `Timeouts.idle` says nothing: files need no painting."""

_PIECE = 256 * 1024
_HEAD = 12  # what tells most kinds of pictures
_UNTIL_CLEAR = 4096  # an SVG may begin with a long comment
_PASSED_OVER = b"\xef\xbb\xbf \t\r\n"

_FAILURES = (aiohttp.ClientError, OSError, ValueError)  # TimeoutError is an OSError


@frozen
class Bounds:
    """How many bytes a picture may have, and for how many seconds nothing may come."""

    nbytes: int
    silence: float


async def read_image(
    response: aiohttp.ClientResponse,
    sink: Sink,
    bounds: Bounds,
    drain: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Put the picture into the sink; `drain` is awaited after each piece. Raises `FetchError`."""
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise FetchError("it came compressed, although that was not asked for", status=response.status)
    if (response.content_length or 0) > bounds.nbytes:
        raise _too_large(bounds)
    held, begun = b"", False
    probe = ImageProbe()
    while chunk := await _read_chunk(response, bounds.silence, probe.nbytes):
        probe.feed(chunk)
        if probe.nbytes > bounds.nbytes:
            raise _too_large(bounds)
        if not begun:
            held += chunk
            if not _begins_image(held, response):
                continue
            chunk, held, begun = held, b"", True
        sink.write(chunk)
        if drain is not None:
            await drain()
    if len(held) >= _HEAD:
        raise _not_an_image(response)
    if probe.flaw is not None:
        raise TransientFetchError(f"it ended after {probe.nbytes:,} bytes", status=response.status)


async def _read_chunk(response: aiohttp.ClientResponse, silence: float, nbytes: int) -> bytes:
    deadline = asyncio.timeout(silence)
    try:
        async with deadline:
            return await response.content.read(_PIECE)
    except _FAILURES as error:
        broke = f"the connection broke ({type(error).__name__})"
        why = f"nothing came for {silence:g} s" if deadline.expired() else broke
        raise TransientFetchError(f"{why} after {nbytes:,} bytes", status=response.status) from None


def _begins_image(start: bytes, response: aiohttp.ClientResponse) -> bool:
    """Whether these bytes begin a picture; not yet where there are too few. Raises `FetchError`."""
    if len(start) < _HEAD:
        return False
    if media.media_type(start) != media.UNKNOWN:
        return True
    may_be = start.lstrip(_PASSED_OVER)[:1] in (b"<", b"") or start[4:8] == b"ftyp"  # SVG, AVIF
    if may_be and len(start) < _UNTIL_CLEAR:
        return False
    raise _not_an_image(response)


def _not_an_image(response: aiohttp.ClientResponse) -> FetchError:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()[:60] or "no content type"
    return FetchError(f"what is there is no picture ({kind})", status=response.status)


def _too_large(bounds: Bounds) -> FetchError:
    return FetchError(f"it is larger than {bounds.nbytes:,} bytes (Limits(max_picture_bytes=…))")
