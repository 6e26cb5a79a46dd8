"""`get`: one GET of a small document of the API.

Invariants: no exception of aiohttp leaves this module; a GET is not billed, so every failure is safe to resend; the
body has at most `MAX_BYTES` and is complete within `Timeouts.total`.
Must not: follow redirects with the key, or retry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import closing
from typing import Final, NamedTuple

import aiohttp

from openai_images.errors import (
    APIConnectionError,
    APITimeoutError,
    ImagesError,
    ResponseTooLargeError,
    annotate,
)
from openai_images.http.body_reader import BodyReader, OpenBodies
from openai_images.http.retry import FAILURES, Translation, cause, describe, not_sent
from openai_images.http.transport import Transport, connect_timeout
from openai_images.models.options import Timeouts

MAX_BYTES: Final = 4 * 1024 * 1024
"""The longest document. A router's list of all models has about 1 MB, a list of 100 batches 0.1 MB."""


class Document(NamedTuple):
    """A complete response."""

    status: int
    headers: Mapping[str, str]
    body: bytearray


async def get(url: str, headers: Mapping[str, str], transport: Transport, timeouts: Timeouts) -> Document:
    """Return the response, of any status.

    Raises `ConfigurationError`, `APIConnectionError`, `APITimeoutError` and `ResponseTooLargeError`.
    """
    session = await transport.sessions.get()
    proxy = transport.proxy or transport.sessions.proxy_for(url)
    deadline = asyncio.timeout(timeouts.total)
    response: aiohttp.ClientResponse | None = None
    try:
        async with deadline:
            response = await session.get(
                url,
                headers=headers,
                allow_redirects=False,
                ssl=transport.ssl,
                proxy=proxy,
                timeout=connect_timeout(timeouts.connect),
                raise_for_status=False,  # True in the caller's session would hide the error body
            )
            transport.sessions.track(response)
            return Document(response.status, response.headers, await _read(response))
    except FAILURES as error:
        with Translation():
            if deadline.expired():
                raise _timed_out(timeouts) from None
            if response is None:
                raise not_sent(error, timeouts) from cause(error)
            raise _broken(error) from cause(error)
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


def _timed_out(timeouts: Timeouts) -> ImagesError:
    seconds = timeouts.total or 0.0
    msg = f"the response was not complete within {seconds:g} s (Timeouts(total=…)); nothing is billed for it"
    return annotate(APITimeoutError(msg, timer="total", seconds=seconds), {"safe_to_resend": True})


def _broken(error: Exception) -> ImagesError:
    msg = f"the connection broke in the middle of the response ({describe(error)}); nothing is billed for it"
    return annotate(APIConnectionError(msg), {"safe_to_resend": True})
