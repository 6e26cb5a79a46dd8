"""`LocalImagesServer`: its life, what tests may ask of it, and the thread in which it can run.

Invariants: it binds to loopback only; `aclose` is quick and idempotent; its state changes in its own loop alone, while
every thread may read it and request changes; a server in a thread ends with its block, and every wait has an end.
Must not: write to stdout, stderr or the log, use the network, or pretend that a model made its images.
"""

import asyncio
import errno
import logging
import threading
from collections.abc import Callable, Coroutine, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any, Final, Self, TypeVar

import attrs
from aiohttp import web

from openai_images.server.encoder import LinkStore
from openai_images.server.faults import FaultQueues
from openai_images.server.handler import ImagesHandler
from openai_images.server.paint.painter import ImageCache
from openai_images.server.rate_limits import MinuteBucket, RateLimits
from openai_images.server.routes import DownloadHandler, make_app
from openai_images.server.state import (
    AnsweredRequest,
    RecordedDownload,
    RecordedRequest,
    ServerSettings,
    ServerState,
    check_keep,
)

T = TypeVar("T")
S = TypeVar("S", bound="LocalImagesServer")

# Seconds for the headers of a request, and between two requests of a connection: longer than clients keep idle ones.
HEAD_TIMEOUT: Final = 20.0
# Seconds in which a rejected body is read and dropped, so that its sender comes to read the response.
LINGER_SECONDS: Final = 2.0
_THREAD_SECONDS: Final = 30.0
# aiohttp logs malformed requests with a traceback and the offending line.
_SILENT = logging.getLogger("openai_images.server")
_SILENT.setLevel(logging.CRITICAL + 1)


@attrs.define(kw_only=True, eq=False, repr=False)
class LocalImagesServer(ServerSettings):
    """An images server on loopback that speaks the wire format of the OpenAI API and paints stand-ins.

    `rate_limit_burst` is how much the limits' buckets hold, by default what they let through in a minute;
    `rate_limit_headers=False` hides them: no response has x-ratelimit headers. `retry_after` is how their 429 says when
    to come back: "exact", in whole "seconds", or "none".
    `pace` is the time in seconds from one image stage to the next, counted from the arrival of the request.
    `pictures` serves fixed bytes (one value, or one per output format) in place of painting. `faults` is the initial
    script and `always` the fault of every other request; see `FAULTS`. `legacy` brings back the models that have ended
    by the clock `now`; `picture_links` gives the answers of every model URLs in place of base64, "absolute" or
    "relative" ones. `max_body_bytes` and, for edits, `max_upload_bytes` bound a request, `body_timeout` the seconds
    without a byte of its body. `api_key` is a new random one where none is given. `keepalive_comments` is the time in
    seconds between comments in a stream that waits. `clock` and `now` are the monotonic and the wall clock, `sleep` the
    wait. `on_answer` is called with each request that was answered; `requests` keeps the last `keep_requests`, None for
    all. All callbacks are called in the server's own loop.
    """

    on_answer: Callable[[AnsweredRequest], object] | None = None
    keep_requests: int | None = attrs.field(default=None, validator=check_keep)
    _first_faults: Iterable[str] = attrs.field(default=(), alias="faults")
    _first_always: str | None = attrs.field(default=None, alias="always")
    _limits: RateLimits = attrs.field(init=False, factory=RateLimits)
    _faults: FaultQueues = attrs.field(init=False, factory=FaultQueues)
    _state: ServerState = attrs.field(init=False, factory=ServerState)
    _links: LinkStore = attrs.field(init=False, factory=LinkStore)
    _cache: ImageCache | None = attrs.field(init=False, default=None)
    _reader: ThreadPoolExecutor | None = attrs.field(init=False, default=None)
    _runner: web.AppRunner | None = attrs.field(init=False, default=None)
    _loop: asyncio.AbstractEventLoop | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        self._state.keep_requests = self.keep_requests
        images, requests = (
            None if limit is None else MinuteBucket(limit, self.clock, self.rate_limit_burst)
            for limit in (self.images_per_minute, self.requests_per_minute)
        )
        self._limits = RateLimits(
            images=images,
            requests=requests,
            are_visible=self.rate_limit_headers,
            retry_after=self.retry_after,
        )
        self._faults.extend(self._first_faults)
        self._faults.always(self._first_always)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<LocalImagesServer {self.base_url if self._bound else 'not started'}>"

    @classmethod
    def in_thread(cls, **options: Any) -> AbstractContextManager[Self]:
        """A started server for a `with` block, in a thread with a loop of its own; `options` are the constructor's.

        For code that is synchronous, or has several loops: attributes and methods work from every thread and loop.
        """
        return _in_thread(partial(cls, **options))

    async def start(self) -> None:
        """Binds the port and starts to answer; raises `OSError` if the port is in use."""
        if self._runner is not None:
            raise RuntimeError("the server is already started")
        self._state.reopen()
        self._loop = asyncio.get_running_loop()
        self._cache = ImageCache(self.pictures)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="local-images-reader")
        self._runner = web.AppRunner(
            self._app(self._cache, self._reader),
            access_log=None,
            logger=_SILENT,
            handler_cancellation=True,
            shutdown_timeout=0.1,
            # Unbounded in some versions of aiohttp, and done before the key is checked.
            auto_decompress=False,
            keepalive_timeout=HEAD_TIMEOUT,
            lingering_time=LINGER_SECONDS,
        )
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self.host, self.port).start()
        except BaseException as error:
            await self.aclose()
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                taken = f"port {self.port} on {self.host} is already in use"
                raise OSError(errno.EADDRINUSE, f"{taken}; choose another one, or 0 for any") from None
            raise

    async def aclose(self) -> None:
        """Drops requests in progress, frees the port and the cached images; idempotent."""
        await _await_in(self._loop, self._close())

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        cache, self._cache = self._cache, None
        reader, self._reader = self._reader, None
        self._loop = None
        self._state.close()
        if cache is not None:
            cache.close()
        if reader is not None:
            reader.shutdown(wait=False, cancel_futures=True)
        if runner is not None:
            await runner.cleanup()

    @property
    def base_url(self) -> str:
        """What a client takes as its base URL, with the port that was bound."""
        if self._runner is None or not self._bound:
            raise RuntimeError("the server is not started")
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self._runner.addresses[0][1]}/v1"

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests for images whose body has arrived, in order."""
        return self._state.requests

    @property
    def downloads(self) -> list[RecordedDownload]:
        """The GETs of images behind URLs, in the order in which their headers arrived."""
        return self._state.downloads

    @property
    def posts(self) -> int:
        """How many POSTs to an images path arrived, counted with their headers."""
        return self._state.posts

    @property
    def refused(self) -> int:
        """How many responses were a 429, for any reason."""
        return self._state.refused

    @property
    def disconnects(self) -> int:
        """How many clients left while they were being answered."""
        return self._state.disconnects

    @property
    def open_connections(self) -> int:
        """How many client connections are open now."""
        server = None if self._runner is None else self._runner.server
        return 0 if server is None else len(server.connections)

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults still queued; assign names to replace them."""
        return self._faults.names

    @faults.setter
    def faults(self, names: Iterable[str]) -> None:
        self._faults.extend(names, replace=True)

    def script(self, *names: str) -> None:
        """Appends faults: each of the next requests takes one, `ok` meaning none.

        Those whose names begin with `download_` wait for the next downloads, all others for the next POSTs.
        """
        self._faults.extend(names)

    def always(self, name: str | None) -> None:
        """The fault of every request for which none is queued, or None for none."""
        self._faults.always(name)

    def release(self) -> None:
        """Lets every response that is stalled now continue."""
        if self._loop is None or self._loop is _running_loop():
            self._state.gate.open()
        elif not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._state.gate.open)

    async def wait_disconnected(self, n: int = 1, timeout: float | None = 5.0) -> None:  # noqa: ASYNC109  # for callers without one around them
        """Waits until `n` clients in all have left while they were being answered."""
        try:
            async with asyncio.timeout(timeout):
                await _await_in(self._loop, self._state.wait_disconnected(n))
        except TimeoutError:
            seen = self._state.disconnects
            raise TimeoutError(f"{seen} of {n} clients have left within {timeout} s") from None

    @property
    def _bound(self) -> bool:
        return self._runner is not None and bool(self._runner.addresses)

    def _app(self, cache: ImageCache, reader: ThreadPoolExecutor) -> web.Application:
        images = ImagesHandler(
            settings=self,
            reader=reader,
            state=self._state,
            faults=self._faults.posts,
            limits=self._limits,
            cache=cache,
            links=self._links,
        )
        downloads = DownloadHandler(
            state=self._state, faults=self._faults.downloads, links=self._links, clock=self.clock
        )
        return make_app(images, downloads, self.on_answer)


@contextmanager
def _in_thread(make: Callable[[], S]) -> Generator[S]:
    up: Future[tuple[S, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=_run, args=(make, up), name="local-images-server", daemon=True)
    thread.start()
    try:
        server, loop, done = up.result(_THREAD_SECONDS)
        try:
            yield server
        finally:
            loop.call_soon_threadsafe(done.set)
    finally:
        thread.join(_THREAD_SECONDS)
    if thread.is_alive():  # pragma: no cover  # a callback of the user that never returns
        raise RuntimeError(f"the local images server has not stopped within {_THREAD_SECONDS:g} s")


def _run(make: Callable[[], LocalImagesServer], up: "Future[Any]") -> None:
    async def serve() -> None:
        done = asyncio.Event()
        async with make() as server:
            up.set_result((server, asyncio.get_running_loop(), done))
            await done.wait()

    try:
        # Not the loop factory that a test may have set for its own loops, and no trace in the thread's policy.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(serve())
    except BaseException as error:
        if up.done():
            raise
        up.set_exception(error)


async def _await_in(loop: asyncio.AbstractEventLoop | None, coroutine: Coroutine[Any, Any, T]) -> T:
    if loop is None or loop is _running_loop() or loop.is_closed():
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
