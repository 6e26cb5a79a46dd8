"""`SessionPool`: an aiohttp session for each event loop, and what is set on its sockets.

Invariants: an external session is used and never closed. The package's own one is closed by `aclose`, or with its
loop: `asyncio.run` closes the loop's async generators, and one of them holds the session. TCP keep-alive is on: an
image takes minutes without a byte, and NAT gateways drop silent connections (AWS after 350 s). A kept connection is
looked at before the first byte of a request goes out.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import socket
import weakref
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeAlias, TypedDict

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from attrs import field, frozen

from openai_images.errors import ConfigurationError
from openai_images.http.proxy import environment_proxy


class _Limits(TypedDict):
    max_line_size: int
    max_field_size: int


HEAD_LIMITS: Final = _Limits(max_line_size=64 * 1024, max_field_size=64 * 1024)
"""For the package's own sessions. Gateways send policies and echo prompts in headers beyond aiohttp's 8,190 bytes."""

_BYTES = re.compile(
    r"(?: when reading)?:?\s*(?:b['\"]|bytearray\().*", re.DOTALL
)  # aiohttp quotes the answer


def head_flaw(error: BaseException) -> str | None:
    """What is wrong with the head that aiohttp refused; None where the error is another one."""
    if not isinstance(error, aiohttp.ClientResponseError) or isinstance(error, aiohttp.ClientHttpProxyError):
        return None
    return " ".join(_BYTES.sub("", error.message).split()) or "aiohttp cannot parse it"


_TURNS = 4
"""Turns of the loop, in which it reads an end: asyncio needs two. TLS has something to read without one, too."""


async def is_open(writer: AbstractStreamWriter) -> bool:
    """Whether a request that is written now would go out, for all that has arrived here."""
    for _ in range(_TURNS):
        if not isinstance(writer, StreamWriter):
            return True
        if writer.transport is None or writer.transport.is_closing():
            return False
        if not _is_readable(writer.transport.get_extra_info("socket")):
            return True
        await asyncio.sleep(0)
    return writer.transport is not None and not writer.transport.is_closing()


def _is_readable(sock: Any) -> bool:
    """Whether something came that the loop has not read yet: before a request that can hardly be but an end."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, TypeError, ValueError):  # no socket, or a closed one
        return False


Session: TypeAlias = aiohttp.ClientSession

KEPT_SECONDS: Final = 1.5
"""How long an idle connection is kept for the next request. Many servers close it after 2 s (gunicorn) or 5 s (uvicorn,
Node): a request that meets that moment may have been billed, for all that can be known. A handshake costs less."""

_KEEPALIVE = {  # seconds of silence before the first probe, seconds between probes, probes before giving up
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPALIVE": 60,  # macOS's name for TCP_KEEPIDLE
    "TCP_KEEPINTVL": 30,
    "TCP_KEEPCNT": 5,
}


def keepalive_socket(info: tuple[Any, ...]) -> socket.socket:
    """A TCP socket that notices a vanished peer; options a system lacks are left out."""
    family, kind, protocol = info[:3]
    sock = socket.socket(family, kind, protocol)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


@frozen
class _LoopSession:
    session: aiohttp.ClientSession
    lifeline: AsyncGenerator[None]
    answers: weakref.WeakSet[aiohttp.ClientResponse] = field(factory=weakref.WeakSet[aiohttp.ClientResponse])


class SessionPool:
    """`get` the session of the running loop, `aclose` it; `closings` counts how often."""

    def __init__(
        self,
        given: object,
        *,
        trust_env: bool,
        make: Callable[[], aiohttp.ClientSession] | None = None,
    ) -> None:
        """Use `given`, or `make` sessions; heed the environment if `trust_env`. Raises `ConfigurationError`."""
        if not isinstance(given, aiohttp.ClientSession | None):
            raise ConfigurationError(
                f"session= must be an aiohttp.ClientSession, not {_class_name(given)}; what wraps one cannot be used, "
                "and retries are made by the client itself (retry=RetryPolicy(…))"
            )
        self.given = given
        self._trust_env = trust_env
        self._make_session = make or _new_session
        self._others: list[SessionPool] = []
        self._proxies: dict[str, str | None] = {}
        self._owned: dict[asyncio.AbstractEventLoop, _LoopSession] = {}
        self.closings = 0

    def sibling(self, make: Callable[[], aiohttp.ClientSession]) -> SessionPool:
        """Sessions of another kind, always ours, that are closed together with these."""
        others = SessionPool(None, trust_env=self._trust_env, make=make)
        self._others.append(others)
        return others

    async def get(self) -> aiohttp.ClientSession:
        """The session to use now. Raises `ConfigurationError`."""
        if self.given is not None:
            if self.given.closed:
                raise ConfigurationError(
                    "the session that was handed in is closed; keep it open as long as the client is used"
                )
            return self.given
        loop = asyncio.get_running_loop()
        owned = self._owned.get(loop)
        if owned is None or owned.session.closed:
            # Before anything is awaited: the next caller is to find it.
            owned = self._owned[loop] = self._make()
            await anext(owned.lifeline)
            await self._drop_dead()
        return owned.session

    async def aclose(self) -> None:
        """Close the running loop's session; `get` would make a new one."""
        self.closings += 1
        for others in self._others:
            await others.aclose()
        await self._drop_dead()
        owned = self._owned.pop(asyncio.get_running_loop(), None)
        if owned is not None:
            for response in list(owned.answers):
                response.close()
            await owned.lifeline.aclose()

    def proxy_for(self, url: str) -> str | None:
        """The environment's proxy for this URL, where the environment counts; asked once for each URL.

        Raises `ConfigurationError` where it cannot be used.
        """
        if url not in self._proxies:
            self._proxies[url] = (
                None if self.given is not None or not self._trust_env else environment_proxy(url)
            )
        return self._proxies[url]

    def track(self, response: aiohttp.ClientResponse) -> None:
        """Close this answer with its session: aiohttp (3.14) lets whoever is reading one wait for ever."""
        owned = self._owned.get(asyncio.get_running_loop())
        if owned is not None:
            owned.answers.add(response)

    def _make(self) -> _LoopSession:
        session = self._make_session()
        return _LoopSession(session, _close_with_loop(session))

    async def _drop_dead(self) -> None:
        """Forget sessions whose loop ended without closing its generators; their sockets went with it."""
        for loop in list(self._owned):  # a copy: other threads' loops come and go meanwhile
            owned = self._owned.pop(loop, None) if loop.is_closed() else None
            if owned is not None:
                with contextlib.suppress(RuntimeError):
                    await owned.session.close()


def _new_session() -> aiohttp.ClientSession:
    # No limit here: the limiter has one, and waiting for a connection would count as connecting.
    connector = aiohttp.TCPConnector(limit=0, socket_factory=keepalive_socket, keepalive_timeout=KEPT_SECONDS)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), **HEAD_LIMITS)


def _class_name(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


async def _close_with_loop(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await session.close()
