"""`ImageDownloader`: an image behind a URL, fetched with retries and redirects into a sink.

Invariants: the package's own session sends no cookies; credentials go to the API's own origin alone, and not after a
redirect to another one. Every redirect is checked as the first URL was. What may pass is retried by the client's
policy. An image counts when it is complete by its own bytes.
Must not: send the request for the image again, which is paid for.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import aiohttp
from yarl import URL

from openai_images._version import __version__
from openai_images.errors import ConfigurationError
from openai_images.http.address_guard import AddressGuard, BlockedAddressError
from openai_images.http.download_body import SILENCE, Bounds, FetchError, TransientFetchError, read_image
from openai_images.http.endpoint import Endpoint
from openai_images.http.retry import backoff
from openai_images.http.sessions import head_flaw
from openai_images.http.transport import Transport
from openai_images.http.urls import (
    ImageURL,
    UnsafeURLError,
    display_url,
    encode_url,
    resolve_redirect,
    resolve_url,
)
from openai_images.models.image import Image
from openai_images.models.options import RetryPolicy, Timeouts, Timing
from openai_images.wire.headers import retry_after
from openai_images.wire.requests import merge_headers
from openai_images.wire.sinks import Sink

_log = logging.getLogger("openai_images")

_HOPS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HERE = frozenset({200, 203})
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_GONE = frozenset({403, 404, 410})

_OURS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"openai-images/{__version__}"}
_OF_A_POST = frozenset({"content-type", "content-length", "transfer-encoding", "expect", "range"})

_FAILURES = (aiohttp.ClientError, OSError, ValueError)  # TimeoutError is an OSError
_FOR_GOOD = (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch, aiohttp.InvalidURL)


class ImageDownloader:
    """Fetches pictures of one client."""

    def __init__(  # noqa: PLR0913
        self,
        endpoint: Endpoint,
        transport: Transport,
        *,
        retry: RetryPolicy,
        timeouts: Timeouts,
        timing: Timing,
        max_bytes: int,
    ) -> None:
        """Open nothing yet; an image may have up to `max_bytes`."""
        self.max_bytes = max_bytes
        self._endpoint = endpoint
        self._retry = retry
        self._timeouts = timeouts
        self._timing = timing
        self._base = f"{endpoint.base_url}/"
        self._api = _api(self._base)
        self._guard = AddressGuard(self._api, timing)
        self._ssl, self._proxy = transport.ssl, transport.proxy
        self._direct = transport.sessions.sibling(self._guard.session)
        self._proxied = transport.sessions.sibling(self._guard.proxied_session)

    def resolve(self, url: str) -> str:
        """The URL from which `url` is fetched: a relative one is the API's."""
        try:
            return resolve_url(url, self._base).url
        except UnsafeURLError:
            return encode_url(url)

    async def fetch(
        self, url: str, new_sink: Callable[[], Sink], drain: Callable[[], Awaitable[None]] | None = None
    ) -> Image:
        """The picture, in a sink of its own; `drain` is awaited after each piece. Raises `FetchError`."""
        try:
            place = resolve_url(url, self._base)
        except UnsafeURLError as error:
            raise FetchError(str(error)) from None
        attempts, closings = 0, self._direct.closings
        while True:
            attempts += 1
            sink = new_sink()
            try:
                await self._attempt(place, sink, drain)
                image = sink.finish()
            except FetchError as error:
                sink.discard()
                error.attempts = attempts
                _log.debug("download attempt %d of %s: %s", attempts, display_url(place.url), error)
                if self._direct.closings > closings:
                    raise FetchError("the client was closed meanwhile") from None
                await self._wait(error)
            except BaseException:
                sink.discard()
                raise
            else:
                _log.debug(
                    "download attempt %d of %s: %d bytes", attempts, display_url(place.url), image.nbytes
                )
                return image

    async def _wait(self, error: FetchError) -> None:
        """Wait for the next attempt. Raises the error where there is none."""
        policy, timing = self._retry, self._timing
        if not isinstance(error, TransientFetchError) or error.attempts > policy.max_retries:
            raise error
        seconds = error.seconds or backoff(error.attempts - 1, timing.random())
        if seconds > policy.max_rate_limit_wait:
            raise error
        await timing.sleep(seconds)

    async def _attempt(
        self, place: ImageURL, sink: Sink, drain: Callable[[], Awaitable[None]] | None
    ) -> None:
        """One attempt, redirects included, within `Timeouts.total`."""
        limits = self._timeouts
        deadline = asyncio.timeout(limits.total)
        try:
            async with deadline:
                response = await self._follow_redirects(place)
                try:
                    await read_image(response, sink, Bounds(self.max_bytes, limits.idle or SILENCE), drain)
                finally:
                    response.close()
        except TimeoutError:
            if not deadline.expired():
                raise
            raise TransientFetchError(
                f"it did not come within {limits.total:g} s (Timeouts(total=…))"
            ) from None

    async def _follow_redirects(self, place: ImageURL) -> aiohttp.ClientResponse:
        """The answer that holds the picture, behind all redirects."""
        headers = await self._headers(place)
        for _ in range(_HOPS + 1):
            response = await self._get(place, headers)
            if response.status in _HERE:
                return response
            response.close()
            if response.status not in _REDIRECTS:
                raise self._status_failure(response)
            try:
                there = resolve_redirect(place, response.headers.get("Location", ""))
            except UnsafeURLError as error:
                raise FetchError(f"a redirect is not followed: {error}", status=response.status) from None
            if there.origin != place.origin:
                headers = _OURS
            place = there
        raise FetchError(f"it is behind more than {_HOPS} redirects")

    async def _headers(self, place: ImageURL) -> Mapping[str, str]:
        """What is sent: to the API itself what the user sends there, to others nothing of his."""
        if self._api is None or place.origin != self._api.origin:
            return _OURS
        try:
            theirs, _ = await self._endpoint.headers()
        except Exception as error:  # noqa: BLE001
            # Whatever it is, the picture is paid for, and where it is must not be lost.
            raise FetchError(f"the key for it could not be had ({type(error).__name__})") from None
        return merge_headers(
            {name: value for name, value in theirs.items() if name.lower() not in _OF_A_POST}, _OURS
        )

    async def _get(self, place: ImageURL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """The answer's headers."""
        limits = self._timeouts
        try:
            proxy = self._proxy or self._direct.proxy_for(place.root)
        except ConfigurationError as error:
            raise FetchError(str(error)) from None
        silence = limits.first_byte or limits.idle or SILENCE
        deadline = asyncio.timeout(None if limits.connect is None else limits.connect + silence)
        try:
            await self._guard.check(place, proxied=proxy is not None)
            sessions = self._direct if proxy is None else self._proxied
            session = await sessions.get()
            async with deadline:
                response = await session.get(
                    URL(place.url, encoded=True),
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._ssl,
                    proxy=proxy,
                    timeout=aiohttp.ClientTimeout(
                        total=None, connect=limits.connect, sock_connect=limits.connect, sock_read=None
                    ),
                )
        except _FAILURES as error:
            if deadline.expired():
                raise TransientFetchError(
                    f"{display_url(place.root)} did not answer within {silence:g} s"
                ) from None
            raise _connect_failure(error, place) from None
        sessions.track(response)
        return response

    def _status_failure(self, response: aiohttp.ClientResponse) -> FetchError:
        status = response.status
        if status in _PASSING:
            seconds = retry_after(response.headers, "", self._timing.wall())
            return TransientFetchError(f"status {status}", status=status, seconds=seconds)
        gone = "; such URLs end, those of the OpenAI API after an hour" if status in _GONE else ""
        return FetchError(f"status {status}{gone}", status=status)


def _api(base: str) -> ImageURL | None:
    """Where the API is; None where its own URL is one that would not be fetched from."""
    try:
        return resolve_url(base, base)
    except UnsafeURLError:
        return None


def _connect_failure(error: Exception, place: ImageURL) -> FetchError:
    """What became of a request that got no answer."""
    inner = getattr(error, "os_error", error)
    if isinstance(inner, BlockedAddressError):
        return FetchError(f"{display_url(place.url)} is not asked: {inner.strerror}")
    flaw = head_flaw(error)
    name = type(error).__name__ if flaw is None else f"malformed head: {flaw}"
    if isinstance(error, _FOR_GOOD):
        return FetchError(f"no connection to {display_url(place.root)} ({name})")
    return TransientFetchError(f"no answer from {display_url(place.root)} ({name})")
