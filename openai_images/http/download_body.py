"""Reads the body of a download into a sink, if it is an image.

Invariants: the bytes of the body decide, not its headers; its size and the seconds without a byte are limited, and
only one chunk is held.
Must not: decompress; a small body may become endless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import aiohttp

from openai_images.models import media
from openai_images.models.completeness import ImageProbe
from openai_images.wire.base64_decoder import Sink


class FetchError(Exception):
    """An image could not be fetched, after `attempts`; `status` is that of the last response, if there was one."""

    def __init__(self, reason: str, *, status: int | None = None) -> None:
        """`reason` must contain no secret."""
        super().__init__(reason)
        self.status = status
        self.attempts = 0


class TransientFetchError(FetchError):
    """A failure that may not happen again; `seconds` is the wait that the server asked for."""

    def __init__(self, reason: str, *, status: int | None = None, seconds: float | None = None) -> None:
        super().__init__(reason, status=status)
        self.seconds = seconds


SILENCE = 60.0
"""Seconds without a byte before a download is retried, unless `Timeouts.idle` is set: files need no generating."""

_CHUNK_BYTES = 256 * 1024
_HEAD = 12  # bytes that identify most image formats
_UNTIL_CLEAR = 4096  # an SVG may begin with a long comment
_SKIPPED = b"\xef\xbb\xbf \t\r\n"

_FAILURES = (aiohttp.ClientError, OSError, ValueError)  # TimeoutError is an OSError


class Bounds(NamedTuple):
    """The maximum size of an image in bytes, and the maximum seconds without a byte."""

    nbytes: int
    silence: float


async def read_image(
    response: aiohttp.ClientResponse,
    sink: Sink,
    bounds: Bounds,
    drain: Callable[[], Awaitable[None]] | None = None,
) -> None:
    """Write the image to the sink; `drain` is awaited after each chunk. Raises `FetchError`."""
    if response.headers.get("Content-Encoding", "").strip().lower() not in ("", "identity"):
        raise FetchError("it came compressed, although that was not asked for", status=response.status)
    if (response.content_length or 0) > bounds.nbytes:
        raise _too_large(bounds)
    start, is_image = b"", False
    probe = ImageProbe()
    while chunk := await _read_chunk(response, bounds.silence, probe.nbytes):
        probe.feed(chunk)
        if probe.nbytes > bounds.nbytes:
            raise _too_large(bounds)
        if not is_image:
            start += chunk
            if not _begins_image(start, response):
                continue
            chunk, start, is_image = start, b"", True
        sink.write(chunk)
        if drain is not None:
            await drain()
    if len(start) >= _HEAD:
        raise _not_an_image(response)
    if probe.flaw is not None:
        raise TransientFetchError(f"it ended after {probe.nbytes:,} bytes", status=response.status)


async def _read_chunk(response: aiohttp.ClientResponse, silence: float, nbytes: int) -> bytes:
    deadline = asyncio.timeout(silence)
    try:
        async with deadline:
            return await response.content.read(_CHUNK_BYTES)
    except _FAILURES as error:
        broken = f"the connection broke ({type(error).__name__})"
        reason = f"nothing came for {silence:g} s" if deadline.expired() else broken
        raise TransientFetchError(f"{reason} after {nbytes:,} bytes", status=response.status) from None


def _begins_image(start: bytes, response: aiohttp.ClientResponse) -> bool:
    """Whether these bytes begin an image; False also if there are too few to know. Raises `FetchError`."""
    if len(start) < _HEAD:
        return False
    if media.media_type(start) != media.UNKNOWN:
        return True
    may_be = start.lstrip(_SKIPPED)[:1] in (b"<", b"") or start[4:8] == b"ftyp"  # SVG, AVIF
    if may_be and len(start) < _UNTIL_CLEAR:
        return False
    raise _not_an_image(response)


def _not_an_image(response: aiohttp.ClientResponse) -> FetchError:
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip()[:60] or "no content type"
    return FetchError(f"what is there is no picture ({kind})", status=response.status)


def _too_large(bounds: Bounds) -> FetchError:
    return FetchError(f"it is larger than {bounds.nbytes:,} bytes (Limits(max_picture_bytes=…))")
