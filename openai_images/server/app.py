"""The local images server: its life, and what tests and embedders may ask of it.

Rules: it binds to loopback only; starting and closing are quick, and `aclose()` may be called twice and with answers
still stalled; it is silent on stdout, stderr and the log. It refuses to serve anyone but this machine, to talk to the
network and to pretend that a model painted its pictures.
"""

import asyncio
import errno
import ipaddress
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import TracebackType
from typing import Final, Self

import attrs
from aiohttp import web

from openai_images.server.generations import Conduct, Generations
from openai_images.server.limits import LimitOptions, RateLimits, RetryAfter
from openai_images.server.paint import Studio
from openai_images.server.parameters import FORMATS
from openai_images.server.routes import make_app
from openai_images.server.script import Script
from openai_images.server.traffic import AnsweredRequest, RecordedRequest, Traffic

DEFAULT_KEY: Final = "sk-local-stand-in-0000000000000000"
MAX_BODY_BYTES: Final = 25 * 1024 * 1024

# aiohttp logs malformed requests with a traceback and the offending line.
_SILENT = logging.getLogger("openai_images.server")
_SILENT.setLevel(logging.CRITICAL + 1)


def _key_or_default(key: str | None) -> str:
    return DEFAULT_KEY if key is None else key


@attrs.define(kw_only=True, eq=False, repr=False)
class LocalImagesServer:
    """An images server on loopback that speaks the wire format of the OpenAI API and paints stand-ins.

    `rate_limit_burst` is how much the limits' buckets hold, by default what they let through in a minute;
    `rate_limit_headers=False` hides them: no answer has x-ratelimit headers. `retry_after` is how their 429 says when
    to come back: "exact", in whole "seconds", or "none".
    `pace` is the time in seconds from one picture stage to the next, counted from the arrival of the request.
    `pictures` serves fixed bytes (one value, or one per output format) in place of painting. `faults` is the initial
    script and `always` the fault of every other request; see `FAULTS`. `keepalive_comments` is the time in seconds
    between comments in a stream that waits. `clock` and `now` are the monotonic and the wall clock, `sleep` the wait.
    `on_answer` is called with each request that was answered; `requests` keeps the last `keep_requests`, None for all.
    """

    host: str = "127.0.0.1"
    port: int = 0
    api_key: str = attrs.field(default=None, converter=_key_or_default)
    images_per_minute: int | None = None
    requests_per_minute: int | None = None
    rate_limit_burst: int | None = None
    rate_limit_headers: bool = True
    retry_after: RetryAfter = "exact"
    pace: float = 0.0
    pictures: bytes | Mapping[str, bytes] | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    keepalive_comments: float | None = None
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    on_answer: Callable[[AnsweredRequest], object] | None = None
    keep_requests: int | None = None
    _first_faults: Iterable[str] = attrs.field(default=(), alias="faults")
    _first_always: str | None = attrs.field(default=None, alias="always")
    _limits: RateLimits = attrs.field(init=False, factory=RateLimits)
    _script: Script = attrs.field(init=False, factory=Script)
    _traffic: Traffic = attrs.field(init=False, factory=Traffic)
    _studio: Studio | None = attrs.field(init=False, default=None)
    _runner: web.AppRunner | None = attrs.field(init=False, default=None)

    def __attrs_post_init__(self) -> None:
        if self.host == "localhost":
            self.host = "127.0.0.1"
        if not _is_loopback(self.host):
            raise ValueError(f"host must be a loopback address such as 127.0.0.1 or ::1, not {self.host!r}")
        _check(self)
        self._traffic.keep_requests = self.keep_requests
        self._limits = LimitOptions(
            images_per_minute=self.images_per_minute,
            requests_per_minute=self.requests_per_minute,
            burst=self.rate_limit_burst,
            shown=self.rate_limit_headers,
            retry_after=self.retry_after,
        ).make(self.clock)
        self._script.extend(self._first_faults)
        self._script.always(self._first_always)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"<LocalImagesServer {self.base_url if self._bound else 'not started'}>"

    async def start(self) -> None:
        """Binds the port and begins to answer; a port in use is an `OSError` that says so."""
        if self._runner is not None:
            raise RuntimeError("the server is already started")
        self._traffic.reopen()
        self._studio = Studio(self.pictures)
        app = make_app(self._generations(self._studio), self.on_answer)
        self._runner = web.AppRunner(
            app, access_log=None, logger=_SILENT, handler_cancellation=True, shutdown_timeout=0.1
        )
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self.host, self.port).start()
        except BaseException as error:
            await self.aclose()
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                message = (
                    f"port {self.port} on {self.host} is already in use; choose another one, or 0 for any"
                )
                raise OSError(errno.EADDRINUSE, message) from None
            raise

    async def aclose(self) -> None:
        """Drops what is being answered, frees the port and forgets the painted pictures; may be called again."""
        runner, self._runner = self._runner, None
        studio, self._studio = self._studio, None
        self._traffic.close()
        if studio is not None:
            studio.close()
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
        """The generation requests whose body has arrived, in order."""
        return self._traffic.requests

    @property
    def posts(self) -> int:
        """How many POSTs to an images path arrived, counted with their headers."""
        return self._traffic.posts

    @property
    def refused(self) -> int:
        """How many answers were a 429, whatever their reason."""
        return self._traffic.refused

    @property
    def disconnects(self) -> int:
        """How many clients left while they were being answered."""
        return self._traffic.disconnects

    @property
    def open_connections(self) -> int:
        """How many client connections are open now."""
        server = None if self._runner is None else self._runner.server
        return 0 if server is None else len(server.connections)

    @property
    def faults(self) -> tuple[str, ...]:
        """The faults still in the script; assign names to replace it."""
        return self._script.names

    @faults.setter
    def faults(self, names: Iterable[str]) -> None:
        self._script.replace(names)

    def script(self, *names: str) -> None:
        """Appends faults: each of the next requests takes one, `ok` meaning none."""
        self._script.extend(names)

    def always(self, name: str | None) -> None:
        """The fault of every request the script says nothing about, or None for none."""
        self._script.always(name)

    def release(self) -> None:
        """Lets every answer that is stalled now go on."""
        self._traffic.gate.open()

    async def wait_disconnected(self, n: int = 1, timeout: float | None = 5.0) -> None:  # noqa: ASYNC109  # for callers without one around them
        """Waits until `n` clients in all have left while they were being answered."""
        try:
            async with asyncio.timeout(timeout):
                await self._traffic.wait_disconnected(n)
        except TimeoutError:
            seen = self._traffic.disconnects
            raise TimeoutError(f"{seen} of {n} clients have left within {timeout} s") from None

    @property
    def _bound(self) -> bool:
        return self._runner is not None and bool(self._runner.addresses)

    def _generations(self, studio: Studio) -> Generations:
        conduct = Conduct(
            api_key=self.api_key,
            pace=self.pace,
            keepalive=self.keepalive_comments,
            max_body_bytes=self.max_body_bytes,
            clock=self.clock,
            now=self.now,
            sleep=self.sleep,
        )
        return Generations(
            conduct=conduct, traffic=self._traffic, script=self._script, limits=self._limits, studio=studio
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check(server: LocalImagesServer) -> None:
    """Refuses options with which no server could be of use, each with what it may be."""
    if not 0 <= server.port <= 65_535:
        raise ValueError(f"port must be from 0 (any that is free) to 65535, not {server.port}")
    if server.pace < 0 or (server.keepalive_comments is not None and server.keepalive_comments <= 0):
        raise ValueError("pace must not be negative and keepalive_comments must be above 0")
    if server.max_body_bytes < 1:
        raise ValueError(f"max_body_bytes must be at least 1, not {server.max_body_bytes}")
    if server.keep_requests is not None and server.keep_requests < 0:
        raise ValueError(f"keep_requests must not be negative (None keeps all), not {server.keep_requests}")
    if server.pictures is not None:
        _check_pictures(server.pictures if isinstance(server.pictures, Mapping) else {"png": server.pictures})


def _check_pictures(by_format: Mapping[str, object]) -> None:
    if not by_format or not all(isinstance(data, bytes) and data for data in by_format.values()):
        raise ValueError(
            "pictures must be a picture's bytes, or a mapping with such bytes (None: they are painted)"
        )
    if unknown := sorted(set(by_format) - set(FORMATS)):
        raise ValueError(f"pictures has {unknown[0]!r}, but what can be asked for is {', '.join(FORMATS)}")
