"""`SessionPool`: an aiohttp session for each event loop, the options of its sockets, and the proxies of requests.

Invariants: the caller's session is never closed; the package's own is closed by `aclose` or with its loop (an async
generator holds it, and `asyncio.run` closes those). TCP keep-alive is on: an image takes minutes without a byte, and
NAT gateways drop silent connections (AWS after 350 s). A reused connection is checked before a request is sent. A proxy
that aiohttp cannot use is rejected before; no message has a proxy's address, which may contain a password.
Must not: use aiohttp's `trust_env`, which also takes passwords from ~/.netrc.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import select
import socket
import weakref
from collections.abc import AsyncGenerator, Callable
from fnmatch import fnmatchcase
from ipaddress import ip_address, ip_network
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http import StreamWriter
from yarl import URL

from openai_images.errors import ConfigurationError

_LONGEST_HEADER = 64 * 1024
"""For the package's own sessions: gateways send headers (policies, echoed prompts) above aiohttp's 8,190 bytes."""

_TURNS = 4
"""Loop iterations until a closed connection is noticed: asyncio needs two. Open TLS sockets may be readable, too."""


async def is_open(writer: AbstractStreamWriter) -> bool:
    """Whether the connection still seems open, so that a request can be sent on it."""
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
    """Whether unread data has arrived; on an idle connection that is almost certainly its end."""
    try:
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(sock, select.POLLIN)
            return bool(poll.poll(0))
        return bool(select.select([sock], [], [], 0)[0])
    except (OSError, TypeError, ValueError):  # not a socket, or a closed one
        return False


Session: TypeAlias = aiohttp.ClientSession

KEPT_SECONDS: Final = 1.5
"""How long an idle connection is reused. Many servers close it after 2 s (gunicorn) or 5 s (uvicorn, Node): a request
sent at that moment has an unknown outcome and may have been billed. A new handshake costs less."""

_KEEPALIVE = {  # seconds of silence before the first probe, seconds between probes, probes before giving up
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPALIVE": 60,  # macOS's name for TCP_KEEPIDLE
    "TCP_KEEPINTVL": 30,
    "TCP_KEEPCNT": 5,
}


def keepalive_socket(info: tuple[Any, ...]) -> socket.socket:
    """Make a TCP socket with keep-alive probes; options that the system lacks are left out."""
    family, kind, protocol = info[:3]
    sock = socket.socket(family, kind, protocol)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    return sock


class _LoopSession(NamedTuple):
    session: aiohttp.ClientSession
    lifeline: AsyncGenerator[None]
    responses: weakref.WeakSet[aiohttp.ClientResponse]


class SessionPool:
    """Sessions by event loop: `get` and `aclose` that of the running loop; `close_count` counts calls of `aclose`."""

    def __init__(
        self,
        external: object,
        *,
        trust_env: bool,
        make: Callable[[], aiohttp.ClientSession] | None = None,
    ) -> None:
        """Use the `external` session or `make` sessions; `trust_env` uses its proxies. Raises `ConfigurationError`."""
        if not isinstance(external, aiohttp.ClientSession | None):
            name = f"the class {external.__name__}" if isinstance(external, type) else type(external).__name__
            raise ConfigurationError(
                f"session= must be an aiohttp.ClientSession, not {name}; a wrapper cannot be used, "
                "and the client makes retries itself (retry=RetryPolicy(…))"
            )
        self.external = external
        self._trust_env = trust_env
        self._make_session = make or _new_api_session
        self._siblings: list[SessionPool] = []
        self._proxies: dict[str, str | None] = {}
        self._owned: dict[asyncio.AbstractEventLoop, _LoopSession] = {}
        self.close_count = 0

    def sibling(self, make: Callable[[], aiohttp.ClientSession]) -> SessionPool:
        """Return a pool of the package's own sessions made by `make`, closed together with this pool."""
        sibling = SessionPool(None, trust_env=self._trust_env, make=make)
        self._siblings.append(sibling)
        return sibling

    async def get(self) -> aiohttp.ClientSession:
        """Return the session of the running loop. Raises `ConfigurationError`."""
        loop = asyncio.get_running_loop()
        if self.external is not None:
            if self.external.closed:
                raise ConfigurationError(
                    "the session passed as session= is closed; keep it open as long as the client is used"
                )
            if getattr(self.external, "_loop", loop) is not loop:
                text = "the session passed as session= was made in another event loop"
                raise ConfigurationError(f"{text}; pass none: then the client makes one for each loop")
            return self.external
        owned = self._owned.get(loop)
        if owned is None or owned.session.closed:
            # Stored before anything is awaited, so that a concurrent caller finds it.
            session = self._make_session()
            owned = self._owned[loop] = _LoopSession(session, _close_with_loop(session), weakref.WeakSet())
            await anext(owned.lifeline)
            await self._drop_dead()
        return owned.session

    async def aclose(self) -> None:
        """Close the running loop's session; a later `get` makes a new one."""
        self.close_count += 1
        for sibling in self._siblings:
            await sibling.aclose()
        await self._drop_dead()
        owned = self._owned.pop(asyncio.get_running_loop(), None)
        if owned is not None:
            for response in list(owned.responses):
                response.close()
            await owned.lifeline.aclose()

    def proxy_for(self, url: str) -> str | None:
        """Return the environment's proxy for this URL, if `trust_env`; determined once per URL.

        Raises `ConfigurationError` if it cannot be used.
        """
        if url not in self._proxies:
            self._proxies[url] = (
                None if self.external is not None or not self._trust_env else environment_proxy(url)
            )
        return self._proxies[url]

    def track(self, response: aiohttp.ClientResponse) -> None:
        """Close this response when its session closes: otherwise its reader waits forever (aiohttp 3.14)."""
        owned = self._owned.get(asyncio.get_running_loop())
        if owned is not None:
            owned.responses.add(response)

    async def _drop_dead(self) -> None:
        """Remove sessions whose loop ended without closing its generators; their sockets are closed already."""
        for loop in list(self._owned):  # a copy: other threads add and remove loops
            owned = self._owned.pop(loop, None) if loop.is_closed() else None
            if owned is not None:
                with contextlib.suppress(RuntimeError):
                    await owned.session.close()


def new_session(connector: aiohttp.TCPConnector, *, auto_decompress: bool = True) -> aiohttp.ClientSession:
    """Return a session of the package's own, which keeps no cookies."""
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=auto_decompress,
        max_line_size=_LONGEST_HEADER,
        max_field_size=_LONGEST_HEADER,
    )


def _new_api_session() -> aiohttp.ClientSession:
    # No limit: the limiter has one, and waiting for a free connection would count as time to connect.
    connector = aiohttp.TCPConnector(limit=0, socket_factory=keepalive_socket, keepalive_timeout=KEPT_SECONDS)
    return new_session(connector)


async def _close_with_loop(session: aiohttp.ClientSession) -> AsyncGenerator[None]:
    try:
        yield
    finally:
        await session.close()


PORTS = {"http": 80, "https": 443}
_HOST_PORT = r"(\[[^\]]+\]|[^:]+):(\d+)"
_UNSAFE = r"[\s\x00-\x20\x7f]"


def parse_proxy(proxy: object, setting: str = "proxy=") -> str | None:
    """Return the proxy's URL, `http:` if it has no scheme; None for no proxy. Raises `ConfigurationError`."""
    if proxy is None or proxy == "":
        return None
    if not isinstance(proxy, str | URL):
        raise ConfigurationError(
            f"{setting} must be text such as 'http://host:port', not {type(proxy).__name__}"
        )
    text = str(proxy).strip()
    url = text if "://" in text else f"http://{text.removeprefix('//')}"
    scheme = url.partition("://")[0].lower()
    if scheme.startswith("socks"):
        raise ConfigurationError(
            f"{setting} names a SOCKS proxy, which aiohttp does not support; nothing was sent. Name an HTTP proxy "
            "(many SOCKS programs have one at another port), or pass session=aiohttp.ClientSession(connector=…) with a "
            "connector that supports SOCKS"
        )
    if scheme not in PORTS or not _names_host(url):
        raise ConfigurationError(
            f"{setting} names no valid proxy; nothing was sent. It should look like http://host:port or "
            "http://user:password@host:port, special characters of the password percent-encoded"
        )
    return url


def environment_proxy(url: str) -> str | None:
    """Return the environment's or the system's proxy for this URL. Raises `ConfigurationError`."""
    parts = urlsplit(url)
    host = (parts.hostname or "").rstrip(".")
    proxies = getproxies()
    kind = parts.scheme if proxies.get(parts.scheme) else "all"
    proxy = proxies.get(kind)
    if not host or not proxy:
        return None
    port = parts.port or PORTS.get(parts.scheme, 0)
    if any(_covers(entry, host, port) for entry in re.split(r"[\s,]+", proxies.get("no", "").lower())):
        return None
    if proxy_bypass(
        parts.netloc.rpartition("@")[2]
    ):  # also the exceptions in the settings of macOS and Windows
        return None
    return parse_proxy(proxy, f"the environment's {kind.upper()}_PROXY")


def _names_host(url: str) -> bool:
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0 and bool(URL(url).host)
        return has_host and not re.search(_UNSAFE, url)
    return False


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY covers the host: a name (with its subdomains), an address, a network, or `*`."""
    name = entry.rpartition("://")[2]
    if (with_port := re.fullmatch(_HOST_PORT, name)) is not None:
        if int(with_port[2]) != port:
            return False
        name = with_port[1]
    with contextlib.suppress(ValueError):  # neither an address nor a network
        return ip_address(host) in ip_network(re.sub(r"[\[\]]", "", name), strict=False)
    if "*" in name and fnmatchcase(host, name):
        return True
    name = name.lstrip("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))
