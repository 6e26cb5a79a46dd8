"""`LocalImagesServer`: start, stop, and the methods for tests.

Invariants: it binds to loopback only; `aclose` is quick and idempotent; its state changes only in its own loop, but
every thread may read it and request changes.
Must not: write to stdout, stderr or the log, use the network, or pretend that a model made its images.
"""

import asyncio
import errno
import logging
import os
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, AsyncExitStack, ExitStack, contextmanager
from functools import partial
from typing import Any, Final, Protocol, Self

import attrs
from aiohttp import web

from openai_images.server.batches.service import BatchesHandler
from openai_images.server.images.encoder import LinkStore
from openai_images.server.images.handler import ImagesHandler
from openai_images.server.paint.painter import ImageCache
from openai_images.server.requests.records import (
    RecordedBatch,
    RecordedBatchRequest,
    RecordedDownload,
    RecordedRequest,
)
from openai_images.server.requests.settings import ServerSettings
from openai_images.server.requests.state import ServerState, origin
from openai_images.server.routes import DownloadHandler, make_app
from openai_images.server.thread import await_in, call_in, in_thread

# Seconds for the headers of a request, and between two requests of a connection; clients close idle ones earlier.
HEAD_TIMEOUT: Final = 20.0
# Seconds in which a rejected body is read and dropped, so that its sender reads the response.
LINGER_SECONDS: Final = 2.0
# aiohttp logs malformed requests with a traceback and the offending line.
_SILENT = logging.getLogger("openai_images.server")
_SILENT.setLevel(logging.CRITICAL + 1)
_FIXED: Final = ("host", "port", "api_key")


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(names)


class Client(Protocol):
    """The part of `ImagesClient` that `LocalImagesServer.patch` needs."""

    def override(self, *, base_url: str, api_key: str) -> AbstractContextManager[object]:
        """Send the calls of a `with` block to another server."""
        ...


@attrs.define(kw_only=True, eq=False, repr=False)
class LocalImagesServer(ServerSettings):
    """An images server on loopback that speaks the wire format of the OpenAI API and draws placeholder images.

    `rate_limit_burst` is the capacity of the limits' token buckets, by default the limit of a minute;
    `rate_limit_headers=False` hides the limits: no response has x-ratelimit headers. `retry_after` is the wait in a
    429: "exact", in whole "seconds", or "none". `pace` is the time in seconds from one image stage to the next, counted
    from the arrival of the request. `pictures` serves fixed bytes (one value, or one per output format) instead of
    drawn images; "small" serves images of one colour in the format and size of the request, which take little time
    ("full" draws each). `faults` is the initial script and `always` the fault of every other request; see `FAULTS`.
    `batch_pace` is the pace of batches. `legacy` keeps models that have ended by the clock `now`; `picture_links` makes
    responses of every model have URLs in place of base64, "absolute" or "relative" ones. `max_body_bytes` and, for
    edits, `max_upload_bytes` limit a request, `body_timeout` the seconds without a byte of its body. Without an
    `api_key` a random one is made. `keepalive_comments` is the time in seconds between comments in a stream that waits.
    `clock` and `now` are the monotonic and the wall clock, `sleep` is used to wait. `on_answer` is called with each
    answered request; `requests`, `downloads` and `batch_requests` keep the last `keep_requests`, None for all. All
    callbacks are called in the server's own loop.
    """

    _state: ServerState = attrs.field(init=False, default=attrs.Factory(ServerState, takes_self=True))
    _first_faults: Iterable[str] = attrs.field(default=(), alias="faults", converter=_names)
    _first_always: str | None = attrs.field(default=None, alias="always")
    _links: LinkStore = attrs.field(init=False, factory=LinkStore)
    _cache: ImageCache | None = attrs.field(init=False, default=None)
    _stack: AsyncExitStack | None = attrs.field(init=False, default=None)
    _batches: BatchesHandler | None = attrs.field(init=False, default=None)
    _runner: web.AppRunner | None = attrs.field(init=False, default=None)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)
    _options: dict[str, Any] = attrs.field(init=False, factory=dict[str, Any])

    def __attrs_post_init__(self) -> None:
        fields = [field for field in attrs.fields(type(self)) if field.init]
        self._options = {field.alias: getattr(self, field.name) for field in fields}
        self._state.reset(self._first_faults, self._first_always)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<LocalImagesServer {self.base_url if self._bound else 'not started'}>"

    @classmethod
    def in_thread(cls, **options: Any) -> AbstractContextManager[Self]:
        """Run a server for a `with` block, in a thread with its own loop; `options` are the constructor's.

        For synchronous code or several loops: attributes and methods work from every thread and loop.
        """
        return in_thread(partial(cls, **options))

    async def start(self) -> None:
        """Bind the port and start to answer requests. Raises `OSError` if the port is in use."""
        if self._stack is not None:
            raise RuntimeError("the server is already started")
        self._state.reopen()
        self._loop, self._stack = asyncio.get_running_loop(), AsyncExitStack()
        self._runner = self._make_runner(self._stack)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self.host, self.port).start()
        except BaseException as error:
            await self.aclose()
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                taken = f"port {self.port} on {self.host} is already in use"
                raise OSError(errno.EADDRINUSE, f"{taken}; choose another one, or 0 for any") from None
            raise

    def _make_runner(self, stack: AsyncExitStack) -> web.AppRunner:
        """Return the runner of the server; the stack closes it, and before it all that it uses."""
        self._cache = ImageCache(self.pictures)
        reader = ThreadPoolExecutor(1, thread_name_prefix="local-images-reader")
        images = ImagesHandler(state=self._state, reader=reader, cache=self._cache, links=self._links)
        self._batches = BatchesHandler(state=self._state, images=images)
        downloads = DownloadHandler(state=self._state, links=self._links)
        runner = web.AppRunner(
            make_app(self._state, images, downloads, self._batches),
            access_log=None,
            logger=_SILENT,
            handler_cancellation=True,
            shutdown_timeout=0.1,
            # Without a limit in some versions of aiohttp, and before the key is checked.
            auto_decompress=False,
            keepalive_timeout=HEAD_TIMEOUT,
            lingering_time=LINGER_SECONDS,
        )
        # Closed in the opposite order.
        stack.push_async_callback(runner.cleanup)
        stack.callback(reader.shutdown, wait=False, cancel_futures=True)
        stack.callback(self._cache.close)
        stack.push_async_callback(self._batches.aclose)
        stack.callback(self._state.close)
        return runner

    async def aclose(self) -> None:
        """Drop requests in progress, free the port and the cached images. Idempotent."""
        await await_in(self._loop, self._close())

    async def _close(self) -> None:
        stack, self._stack = self._stack, None
        self._runner = self._cache = self._batches = self._loop = None
        if stack is not None:
            await stack.aclose()

    @property
    def base_url(self) -> str:
        """The base URL for clients, with the port that was bound."""
        if self._runner is None or not self._bound:
            raise RuntimeError("the server is not started")
        return f"{origin(self.host, self._runner.addresses[0][1])}/v1"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The image requests whose body has arrived, in order."""
        return self._state.requests

    @property
    def downloads(self) -> list[RecordedDownload]:
        """The GETs of images by their URLs, in the order in which their headers arrived."""
        return self._state.downloads

    @property
    def batches(self) -> list[RecordedBatch]:
        """The batches that were created, in order, also if the response to the creation was an error."""
        return [snapshot() for snapshot in self._state.batches]

    @property
    def batch_requests(self) -> list[RecordedBatchRequest]:
        """The requests of batches that were run, in order."""
        return self._state.batch_requests

    @property
    def posts(self) -> int:
        """Number of POSTs to an images path whose headers have arrived."""
        return self._state.posts

    @property
    def refused(self) -> int:
        """Number of responses that were a 429, for any reason."""
        return self._state.refused

    @property
    def disconnects(self) -> int:
        """Number of clients that disconnected before the end of their response."""
        return self._state.disconnects

    @property
    def open_connections(self) -> int:
        """Number of client connections that are open now."""
        server = None if self._runner is None else self._runner.server
        return 0 if server is None else len(server.connections)

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults that are still queued; assign names to replace them."""
        return self._state.faults.names

    @faults.setter
    def faults(self, names: Iterable[str]) -> None:
        self._state.faults.extend(names, replace=True)

    def script(self, *names: str) -> None:
        """Queue faults: each of the next requests takes one; `ok` means no fault.

        Names that begin with `download_` are for the next downloads, names with `file_` and `batch_` for the next calls
        of that step or the next batch, and all others for the next image requests.
        """
        self._state.faults.extend(names)

    def always(self, name: str | None) -> None:
        """Set the fault `name` (of `FAULTS`) for every request for which none is queued; None for no fault."""
        self._state.faults.always(name)

    def release(self) -> None:
        """Let all responses that are stalled now continue."""
        call_in(self._loop, self._state.gate.open)

    def reset(self, **options: Any) -> None:
        """Reset the server for another test: drop requests in progress, forget records, counts, faults and used limits.

        The settings are again those of the constructor; `options` replace some until the next reset. Address and key do
        not change. If it raises ValueError or TypeError, nothing has changed.
        """
        if fixed := [name for name in _FIXED if name in options]:
            raise ValueError(f"{fixed[0]} cannot change after the server was created")
        call_in(self._loop, partial(self._take, type(self)(**{**self._options, **options})))

    def _take(self, fresh: "LocalImagesServer") -> None:
        """Copy the settings and faults of a new server."""
        for field in attrs.fields(type(self)):
            if field.init and field.name not in _FIXED:
                setattr(self, field.name, getattr(fresh, field.name))
        self._state.reset(self._first_faults, self._first_always)
        self._links.clear()
        if self._batches is not None:
            self._batches.clear()
        if self._cache is not None:
            self._cache.serve(self.pictures)

    @property
    def environment(self) -> dict[str, str]:
        """Return environment variables for programs that use this server: OPENAI_BASE_URL, OPENAI_API_KEY, no proxy."""
        direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
        direct = direct if direct.strip() == "*" else f"{direct},{self.host}".lstrip(",")
        address = {"OPENAI_BASE_URL": self.base_url, "OPENAI_API_KEY": self.api_key}
        return {**address, "NO_PROXY": direct, "no_proxy": direct}

    @contextmanager
    def patch(self, *clients: Client) -> Generator[Self]:
        """Send new calls of these clients to this server during a `with` block; calls in flight are not affected."""
        with ExitStack() as stack:
            for client in clients:
                stack.enter_context(client.override(base_url=self.base_url, api_key=self.api_key))
            yield self

    async def wait_disconnected(self, n: int = 1, timeout: float | None = 5.0) -> None:  # noqa: ASYNC109  # for callers without one around them
        """Wait until `n` clients in total have disconnected early. Raises TimeoutError after `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                await await_in(self._loop, self._state.wait_disconnected(n))
        except TimeoutError:
            seen = self._state.disconnects
            raise TimeoutError(f"{seen} of {n} clients have disconnected within {timeout} s") from None

    @property
    def _bound(self) -> bool:
        return self._runner is not None and bool(self._runner.addresses)
