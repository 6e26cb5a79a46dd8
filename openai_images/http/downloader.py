"""`ImageDownloader`: an image behind a URL, fetched with retries and redirects into a sink.

Invariants: the package's own session sends no cookies; credentials go only to the API's own origin, and not after a
redirect to another one. Every redirect is checked like the first URL. A transient failure is retried by the client's
policy. An image counts only if its own bytes show that it is complete.
Must not: send the paid generation request again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from copy import copy
from typing import Self

import aiohttp
from yarl import URL

from openai_images._util.waits import LongWaits
from openai_images._version import __version__
from openai_images.errors import ConfigurationError
from openai_images.http.address_guard import (
    AddressGuard,
    BlockedAddressError,
    ImageURL,
    UnsafeURLError,
    display_url,
    encode_url,
    resolve_redirect,
    resolve_url,
)
from openai_images.http.body_reader import SILENCE, Bounds, OpenBodies, read_image
from openai_images.http.endpoint import Endpoint
from openai_images.http.retry import (
    FAILURES,
    FetchError,
    TransientFetchError,
    Translation,
    backoff,
    head_flaw,
)
from openai_images.http.transport import Transport, connect_timeout
from openai_images.models.image import Image
from openai_images.models.options import RetryPolicy, Timeouts, Timing
from openai_images.wire.base64_decoder import Sink
from openai_images.wire.headers import retry_after
from openai_images.wire.requests import merge_headers

_log = logging.getLogger("openai_images")

_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_SUCCESS = frozenset({200, 203})
_TRANSIENT = frozenset({408, 425, 429, *range(500, 600)})
_GONE = frozenset({403, 404, 410})

_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": f"openai-images/{__version__}"}
_POST_HEADERS = frozenset({"content-type", "content-length", "transfer-encoding", "expect", "range"})

_PERMANENT = (aiohttp.ClientConnectorCertificateError, aiohttp.ServerFingerprintMismatch, aiohttp.InvalidURL)


class ImageDownloader:
    """Downloads images with the settings of one client."""

    def __init__(  # noqa: PLR0913
        self,
        endpoint: Endpoint,
        transport: Transport,
        *,
        retry: RetryPolicy,
        timeouts: Timeouts,
        timing: Timing,
        waits: LongWaits,
        max_bytes: int,
    ) -> None:
        """Limit images to `max_bytes`."""
        self.max_bytes = max_bytes
        self._endpoint = endpoint
        self._retry = retry
        self._timeouts = timeouts
        self._timing, self._waits = timing, waits
        self._base = f"{endpoint.base_url}/"
        self._api = _api_url(self._base)
        self._guard = AddressGuard(self._api, timing)
        self._open_bodies = OpenBodies()
        self._ssl, self._proxy = transport.ssl, transport.proxy
        self._direct = transport.sessions.sibling(self._guard.session)
        self._proxied = transport.sessions.sibling(self._guard.proxied_session)

    def with_settings(self, endpoint: Endpoint, retry: RetryPolicy, timeouts: Timeouts) -> Self:
        """Return a downloader with other headers, retries and timers that shares this one's connections."""
        other = copy(self)
        other._endpoint, other._retry, other._timeouts = endpoint, retry, timeouts  # noqa: SLF001  same class
        return other

    def for_call(self) -> Self:
        """Return a downloader of one call; `wait_reason` is that of its own waits."""
        other = copy(self)
        other._waits = LongWaits(self._waits)  # noqa: SLF001  same class
        return other

    @property
    def wait_reason(self) -> str | None:
        """Why a download waits for its next attempt, and until when; None if it does not, or for a few seconds."""
        return self._waits.reason(self._timing.monotonic(), self._timing.wall())

    def resolve(self, url: str) -> str:
        """Return the absolute URL of `url`, which may be relative to the API's base URL."""
        try:
            return resolve_url(url, self._base).url
        except UnsafeURLError:
            return encode_url(url)

    async def fetch(
        self, url: str, new_sink: Callable[[], Sink], drain: Callable[[], Awaitable[None]] | None = None
    ) -> Image:
        """Fetch an image into a new sink; `drain` is awaited after each chunk. Raises `FetchError`."""
        try:
            image_url = resolve_url(url, self._base)
        except UnsafeURLError as error:
            raise FetchError(str(error)) from None
        attempts, close_count = 0, self._direct.close_count
        while True:
            attempts += 1
            sink = new_sink()
            try:
                await self._attempt(image_url, sink, drain)
                image = sink.finish()
            except FetchError as error:
                sink.discard()
                error.attempts = attempts
                _log.debug("download attempt %d of %s: %s", attempts, display_url(image_url.url), error)
                if self._direct.close_count > close_count:
                    raise FetchError("the client was closed during the download") from None
                await self._wait(error, display_url(image_url.url))
            except BaseException:
                sink.discard()
                raise
            else:
                _log.debug(
                    "download attempt %d of %s: %d bytes", attempts, display_url(image_url.url), image.nbytes
                )
                return image

    async def _wait(self, error: FetchError, url: str) -> None:
        """Wait until the next attempt. Raises the error if there is none."""
        policy, timing = self._retry, self._timing
        if not isinstance(error, TransientFetchError) or error.attempts > policy.max_retries:
            raise error
        seconds = error.seconds or backoff(error.attempts - 1, timing.random())
        if seconds > policy.max_rate_limit_wait:
            raise error
        cause = f"download attempt {error.attempts} of {url} failed ({error}): the next one waits"
        with self._waits.hold(cause, seconds, timing.monotonic(), timing.wall()):
            await timing.sleep(seconds)

    async def _attempt(self, url: ImageURL, sink: Sink, drain: Callable[[], Awaitable[None]] | None) -> None:
        """Make one attempt, redirects included, within `Timeouts.total`."""
        limits = self._timeouts
        deadline = asyncio.timeout(limits.total)
        try:
            async with deadline:
                response = await self._follow_redirects(url)
                bounds = Bounds(self.max_bytes, limits.idle or SILENCE)
                await read_image(response, self._open_bodies, sink, bounds, drain)
        except TimeoutError:
            with Translation():
                if not deadline.expired():
                    raise
                raise TransientFetchError(
                    f"it did not come within {limits.total:g} s (Timeouts(total=…))"
                ) from None

    async def _follow_redirects(self, url: ImageURL) -> aiohttp.ClientResponse:
        headers = await self._headers(url)
        for _ in range(_MAX_REDIRECTS + 1):
            response = await self._get(url, headers)
            if response.status in _SUCCESS:
                return response
            response.close()
            if response.status not in _REDIRECTS:
                raise self._status_failure(response)
            try:
                target = resolve_redirect(url, response.headers.get("Location", ""))
            except UnsafeURLError as error:
                raise FetchError(f"a redirect is not followed: {error}", status=response.status) from None
            if target.origin != url.origin:
                headers = _HEADERS
            url = target
        raise FetchError(f"it has more than {_MAX_REDIRECTS} redirects")

    async def _headers(self, url: ImageURL) -> Mapping[str, str]:
        """Return the request's headers; only the API's own origin gets the caller's."""
        if self._api is None or url.origin != self._api.origin:
            return _HEADERS
        try:
            api_headers, _ = await self._endpoint.headers(self._timeouts.total)
        except Exception as error:  # noqa: BLE001
            # For any error: the image is paid for, and its URL must not be lost.
            name = type(error.__cause__ or error).__name__
            raise FetchError(f"the key for it could not be obtained ({name})") from None
        return merge_headers(
            {name: value for name, value in api_headers.items() if name.lower() not in _POST_HEADERS},
            _HEADERS,
        )

    async def _get(self, url: ImageURL, headers: Mapping[str, str]) -> aiohttp.ClientResponse:
        """Send a GET and wait for the response headers. Raises `FetchError`."""
        limits = self._timeouts
        try:
            proxy = self._proxy or self._direct.proxy_for(url.root)
        except ConfigurationError as error:
            raise FetchError(str(error)) from None
        silence = limits.first_byte or limits.idle or SILENCE
        deadline = asyncio.timeout(None if limits.connect is None else limits.connect + silence)
        try:
            await self._guard.check(url, proxied=proxy is not None)
            sessions = self._direct if proxy is None else self._proxied
            session = await sessions.get()
            async with deadline:
                response = await session.get(
                    URL(url.url, encoded=True),
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._ssl,
                    proxy=proxy,
                    timeout=connect_timeout(limits.connect),
                )
        except FAILURES as error:
            with Translation():
                if deadline.expired():
                    raise TransientFetchError(
                        f"{display_url(url.root)} did not answer within {silence:g} s"
                    ) from None
                raise _connect_failure(error, url) from None
        sessions.track(response)
        return response

    def _status_failure(self, response: aiohttp.ClientResponse) -> FetchError:
        status = response.status
        if status in _TRANSIENT:
            seconds = retry_after(response.headers, "", self._timing.wall())
            return TransientFetchError(f"status {status}", status=status, seconds=seconds)
        gone = "; such URLs expire, those of the OpenAI API after an hour" if status in _GONE else ""
        return FetchError(f"status {status}{gone}", status=status)


def _api_url(base: str) -> ImageURL | None:
    """Parse the API's base URL; None if images could not be fetched from such a URL."""
    try:
        return resolve_url(base, base)
    except UnsafeURLError:
        return None


def _connect_failure(error: Exception, url: ImageURL) -> FetchError:
    """Return the error for a request that got no response."""
    inner = getattr(error, "os_error", error)
    if isinstance(inner, BlockedAddressError):
        return FetchError(f"{display_url(url.url)} is not contacted: {inner.strerror}")
    flaw = head_flaw(error)
    name = type(error).__name__ if flaw is None else f"malformed head: {flaw}"
    if isinstance(error, _PERMANENT):
        return FetchError(f"no connection to {display_url(url.root)} ({name})")
    return TransientFetchError(f"no response from {display_url(url.root)} ({name})")
