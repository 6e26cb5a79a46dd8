"""`get`: one GET of a small document of the API; `open_file`: one of a file, read chunk by chunk.

Invariants: no exception of aiohttp leaves this module; a GET is not billed, so every failure is safe to resend; the
body of a document has at most `MAX_BYTES` and is complete within `Timeouts.total`; of a file, which may have gigabytes,
the seconds without a byte are limited.
Must not: follow redirects with the key, or retry; hold more than a chunk of a file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from typing import Final, NamedTuple

import aiohttp

from openai_images._util.aio import WaitTimer
from openai_images.errors import (
    APIConnectionError,
    APITimeoutError,
    ImagesError,
    ResponseTooLargeError,
    annotate,
)
from openai_images.http.body_reader import SILENCE, BodyReader, OpenBodies
from openai_images.http.retry import FAILURES, Translation, cause, describe, not_sent
from openai_images.http.transport import Transport, connect_timeout
from openai_images.models.options import Timeouts

MAX_BYTES: Final = 4 * 1024 * 1024
"""The longest document. A router's list of all models has about 1 MB, a list of 100 batches 0.1 MB."""

_ERROR_BODY_BYTES = 128 * 1024
_PARTIAL = 206
_LONGEST = 600.0  # seconds, if all timers are off
_NOTHING_CAME = "nothing of the file came for"


class Document(NamedTuple):
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytearray


async def get(url: str, headers: Mapping[str, str], transport: Transport, timeouts: Timeouts) -> Document:
    """Return the response, of any status.

    Raises `ConfigurationError`, `APIConnectionError`, `APITimeoutError` and `ResponseTooLargeError`.
    """
    longest = timeouts.total or timeouts.first_byte or timeouts.idle or _LONGEST
    deadline = asyncio.timeout(longest)
    response: aiohttp.ClientResponse | None = None
    try:
        async with deadline:
            response = await transport.send(url, headers, connect_timeout(timeouts.connect))
            return Document(response.status, response.headers, await _read(response))
    except FAILURES as error:
        with Translation():
            if deadline.expired():
                raise _timed_out("the response was not complete within", "total", longest) from None
            if response is None:
                raise not_sent(error, timeouts) from cause(error)
            raise _broken("response", error) from cause(error)
    finally:
        if response is not None:
            response.close()


async def _read(response: aiohttp.ClientResponse) -> bytearray:
    document = bytearray()
    with closing(BodyReader(response, OpenBodies())) as body:
        while chunk := await body.read():
            document += chunk
            if len(document) > MAX_BYTES:
                error = ResponseTooLargeError(
                    f"the response has more than {MAX_BYTES:,} bytes; check base_url"
                )
                raise annotate(error, {"maybe_billed": False})
    return document


def _timed_out(event: str, timer: str, seconds: float | None) -> ImagesError:
    msg = f"{event} {seconds or 0:g} s (Timeouts({timer}=…)); nothing is billed for it"
    error = APITimeoutError(msg, timer=timer, seconds=seconds or 0.0)
    return annotate(error, {"safe_to_resend": True})


def _broken(what: str, error: Exception) -> ImagesError:
    msg = f"the connection broke in the middle of the {what} ({describe(error)}); nothing is billed for it"
    return annotate(APIConnectionError(msg), {"safe_to_resend": True})


class FileDownload:
    """A response whose body is unread: `status`, `headers`, and `read` until it returns b""; then `close`."""

    def __init__(self, response: aiohttp.ClientResponse, silence: float) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._body = BodyReader(response, OpenBodies())
        self._silence = silence
        self._wait = WaitTimer()

    @property
    def is_continued(self) -> bool:
        """Whether the body begins at the requested byte, not at the file's start."""
        return self.status == _PARTIAL

    async def read(self) -> bytes:
        """Return the next bytes; b"" at the end. Raises `APIConnectionError`."""
        try:
            with self._wait.within(self._silence):
                return await self._body.read()
        except FAILURES as error:
            with Translation():
                if self._wait.expired:
                    raise _timed_out(_NOTHING_CAME, "idle", self._silence) from None
                raise _broken("file", error) from cause(error)

    async def read_error(self) -> bytes:
        """Return the part of an error response's body that arrives."""
        body = bytearray()
        try:
            while len(body) < _ERROR_BODY_BYTES and (chunk := await self.read()):
                body += chunk
        except APIConnectionError:
            pass
        return bytes(body[:_ERROR_BODY_BYTES])

    def close(self) -> None:
        """Close the connection, unless the whole body was read. Idempotent."""
        self._wait.cancel()
        self._body.close()


async def open_file(
    url: str, headers: Mapping[str, str], transport: Transport, timeouts: Timeouts, start: int = 0
) -> FileDownload:
    """Request a file from byte `start` on; the server may send the whole file. Raises `ImagesError`."""
    headers = {**headers, "Range": f"bytes={start}-"} if start else headers
    silence = timeouts.first_byte or timeouts.idle or SILENCE
    wait = WaitTimer()
    try:
        with wait.within(silence + (timeouts.connect or 0.0)):
            response = await transport.send(url, headers, connect_timeout(timeouts.connect))
    except FAILURES as error:
        with Translation():
            if wait.expired:
                raise _timed_out(_NOTHING_CAME, "idle", silence) from None
            raise not_sent(error, timeouts) from cause(error)
    finally:
        wait.cancel()
    return FileDownload(response, silence)
