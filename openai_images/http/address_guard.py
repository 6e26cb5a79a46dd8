"""The SSRF guard: from which URLs, and from which addresses, images may be fetched.

Invariants: http and https only, no credentials, and a host that all parsers understand in the same way. Path and query
are sent unchanged, because a signature may cover them; a query may be a secret and is not displayed. An address is
checked when a name is resolved, and again when its socket is made, so that a second look-up cannot replace it. The
API's own addresses are allowed; they are looked up only when an address is not public, and cached for a minute. A proxy
resolves names itself: then only an address in the URL is checked.
"""

from __future__ import annotations

import asyncio
import errno
import re
import socket
from collections.abc import Collection
from ipaddress import AddressValueError, IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Literal, TypeAlias
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
from aiohttp.abc import ResolveResult
from attrs import field, frozen

from openai_images.http.sessions import PORTS, keepalive_socket, new_session
from openai_images.models.options import Timing
from openai_images.wire.base64_decoder import is_data_url

_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NOT_SENT = re.compile(r"[^\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_MAX_DISPLAY_LENGTH = 200


class UnsafeURLError(Exception):
    """Nothing is fetched from this URL; the text is the reason."""


@frozen
class ImageURL:
    """A URL that can be fetched: `url` is complete and ASCII; `address` is set if the host is an IP address."""

    url: str = field(repr=False)
    scheme: str
    host: str
    port: int
    address: str | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: equal for URLs of the same server."""
        return self.scheme, self.host, self.port

    @property
    def root(self) -> str:
        """The URL of the origin."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/"


def resolve_url(url: str, base: str) -> ImageURL:
    """Resolve `url` against `base`, and check it. Raises `UnsafeURLError`."""
    text = url.strip(" \t\r\n")
    if _CONTROL.search(text):
        raise UnsafeURLError("its URL has control characters")
    try:
        parts = urlsplit(urljoin(base, text))
        port, host = parts.port, parts.hostname or ""
        # Header bytes that are not UTF-8 arrive as escaped surrogates, and are sent as the original bytes.
        path, query = (encode_url(part, "surrogateescape") for part in (parts.path or "/", parts.query))
    except ValueError:
        raise UnsafeURLError("its URL cannot be parsed") from None
    if parts.scheme not in PORTS:
        raise UnsafeURLError(f"its URL begins with {parts.scheme[:20]}:, and only http and https are fetched")
    if "@" in parts.netloc:
        raise UnsafeURLError("its URL has credentials, which are not sent")
    host, address = _host(host, bracketed="[" in parts.netloc)
    if port == 0:
        raise UnsafeURLError("its URL has the port 0")
    authority = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
    full_url = f"{parts.scheme}://{authority}{path}{'?' if query else ''}{query}"
    return ImageURL(full_url, parts.scheme, host, port or PORTS[parts.scheme], address)


def resolve_redirect(source: ImageURL, location: str) -> ImageURL:
    """Resolve a redirect, which must not lead from https to http. Raises `UnsafeURLError`."""
    target = resolve_url(location, source.url)
    if source.scheme == "https" and target.scheme == "http":
        raise UnsafeURLError("a redirect leads from https to http")
    return target


def display_url(url: str) -> str:
    """Return a URL for a message: without its query, which may be a signature, and shortened."""
    if is_data_url(url):
        return "a data: URL"
    text = re.split(r"[?#;]", url, maxsplit=1)[0]
    scheme, mark, rest = text.partition("//")
    authority, slash, path = rest.partition("/")
    text = f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}" if mark else text
    text = _NOT_SENT.sub("?", text)
    return text if len(text) <= _MAX_DISPLAY_LENGTH else f"{text[:_MAX_DISPLAY_LENGTH]}…"


def encode_url(url: str, errors: str = "replace") -> str:
    """Encode only the characters of a URL that cannot be sent: a signature may cover the others.

    Raises UnicodeEncodeError with other `errors` than "replace".
    """
    return _NOT_SENT.sub(lambda match: quote(match[0], safe="", errors=errors), url)


def _host(text: str, *, bracketed: bool) -> tuple[str, str | None]:
    """Return the host as it is sent, and the IP address if it is one. Raises `UnsafeURLError`."""
    try:
        if bracketed and "%" not in text:
            address = str(IPv6Address(text))
            return address, address
        if not bracketed:
            host = text if text.isascii() else text.encode("idna").decode().lower()
            if _NAME.fullmatch(host):
                if not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
                    return host, None
                # Browsers read a host that ends in a number as an address: 127.1, 0x7f.0.0.1, 2130706433, 010.0.0.1.
                return str(IPv4Address(host)), host
    except (AddressValueError, UnicodeError):
        pass
    raise UnsafeURLError("its URL has no valid host: a host name, or an IP address in its usual form")


Kind: TypeAlias = Literal["public", "private", "loopback", "forbidden"]

_NETWORKS: tuple[tuple[Any, Kind], ...] = (  # the first network that has the address decides
    (ip_network("100.100.100.200"), "forbidden"),  # metadata of Alibaba, in the shared address space
    (ip_network("168.63.129.16"), "forbidden"),  # metadata of Azure, in public address space
    (ip_network("fd00:ec2::254"), "forbidden"),  # metadata of AWS, in private address space
    (ip_network("fd20:ce::254"), "forbidden"),  # of Google
    (ip_network("fd00:c1::a9fe:a9fe"), "forbidden"),  # of Oracle
    (ip_network("0.0.0.0/32"), "loopback"),  # connects to this machine
    (ip_network("0.0.0.0/8"), "forbidden"),
    (ip_network("10.0.0.0/8"), "private"),
    (ip_network("100.64.0.0/10"), "private"),  # carrier-grade NAT; overlay networks such as Tailscale
    (ip_network("127.0.0.0/8"), "loopback"),
    (ip_network("169.254.0.0/16"), "forbidden"),  # link-local: the metadata of most clouds
    (ip_network("172.16.0.0/12"), "private"),
    (ip_network("192.0.0.0/24"), "forbidden"),  # protocol assignments; Oracle's metadata
    (ip_network("192.0.2.0/24"), "forbidden"),  # documentation, like 198.51.100.0/24 and 203.0.113.0/24
    (ip_network("192.88.99.0/24"), "forbidden"),  # 6to4 relays, deprecated
    (ip_network("192.168.0.0/16"), "private"),
    (ip_network("198.18.0.0/15"), "private"),  # benchmarks; some local proxies resolve every name to these
    (ip_network("198.51.100.0/24"), "forbidden"),
    (ip_network("203.0.113.0/24"), "forbidden"),
    (ip_network("224.0.0.0/3"), "forbidden"),  # multicast, reserved, broadcast
    (ip_network("0.0.0.0/0"), "public"),
    (ip_network("::/128"), "loopback"),
    (ip_network("::1/128"), "loopback"),
    (ip_network("64:ff9b:1::/48"), "private"),  # locally assigned NAT64
    (ip_network("fc00::/7"), "private"),
    (ip_network("2001::/23"), "forbidden"),  # Teredo, ORCHID and other protocols
    (ip_network("2001:db8::/32"), "forbidden"),  # documentation, like 3fff::/20
    (ip_network("3fff::/20"), "forbidden"),
    (ip_network("2000::/3"), "public"),
    (ip_network("::/0"), "forbidden"),  # link-local, site-local, multicast, unassigned
)

_EMBEDDING = (  # networks whose addresses embed an IPv4 address, and how many bits follow it
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64: all IPv4 hosts have such an address in IPv6-only networks
    (IPv6Network("2002::/16"), 80),  # 6to4
)


def normalize(address: str) -> str:
    """Return the canonical text of an IP address, or of the IPv4 address it embeds. Raises ValueError."""
    return str(_unwrap(address))


def classify(address: str) -> Kind:
    """Return the kind of an IP address. Raises ValueError if the text is not one."""
    inner = _unwrap(address)
    return next(kind for network, kind in _NETWORKS if inner in network)


def is_allowed(address: str, api_addresses: Collection[str]) -> bool:
    """Whether an image may be fetched from this address. Raises ValueError."""
    kind = classify(address)
    if kind == "public" or normalize(address) in map(normalize, api_addresses):
        return True
    return kind != "forbidden" and any(classify(api) in ("private", "loopback") for api in api_addresses)


def _unwrap(text: str) -> IPv4Address | IPv6Address:
    """Parse an address; return the IPv4 address that it embeds, if it does."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        for network, bits in _EMBEDDING:
            if address in network:
                return IPv4Address(int(address) >> bits & 0xFFFF_FFFF)
    return address


_CACHE_SECONDS = 60.0
"""Seconds for which the API's addresses are cached; the address of a container changes with each start."""


class BlockedAddressError(OSError):
    """All addresses of a host are in blocked networks."""


class AddressGuard:
    """Decides which addresses are allowed, and makes sessions that connect only to these."""

    def __init__(self, api: ImageURL | None, timing: Timing) -> None:
        """Allow public addresses, and those of `api` if it is set."""
        self._api = api
        self._timing = timing
        self._addresses: frozenset[str] = frozenset()
        self._cached_until = 0.0
        self._lookup = asyncio.Lock()

    async def check(self, url: ImageURL, *, proxied: bool) -> None:
        """Check the address in a URL, if there is one. Raises `BlockedAddressError`."""
        address = _literal_address(url) if proxied else url.address
        if address is None:
            return
        if proxied:
            api = None if self._api is None else _literal_address(self._api)
            allowed = is_allowed(address, () if api is None else (api,))
        else:
            allowed = await self._allows(address)
        if not allowed:
            raise _blocked(url.host)

    def session(self) -> aiohttp.ClientSession:
        """Make a session that connects only to allowed addresses, keeps no cookies and decompresses nothing."""
        connector = aiohttp.TCPConnector(
            limit=0, resolver=_Resolver(self), socket_factory=self._socket, use_dns_cache=False
        )
        return new_session(connector, auto_decompress=False)

    def proxied_session(self) -> aiohttp.ClientSession:
        """Make a session for requests through a proxy, which may be in a private network."""
        connector = aiohttp.TCPConnector(limit=0, socket_factory=keepalive_socket)
        return new_session(connector, auto_decompress=False)

    async def filter_allowed(self, results: list[ResolveResult]) -> list[ResolveResult]:
        """Return the addresses of a host name that are allowed."""
        return [result for result in results if await self._allows(result["host"])]

    async def _allows(self, address: str) -> bool:
        return classify(address) == "public" or is_allowed(address, await self._api_addresses())

    async def _api_addresses(self) -> frozenset[str]:
        """Return the addresses of the API; none if its name cannot be resolved."""
        api, loop = self._api, asyncio.get_running_loop()
        async with self._lookup:
            if api is not None and self._timing.monotonic() >= self._cached_until:
                try:
                    infos = await loop.getaddrinfo(api.address or api.host, api.port, type=socket.SOCK_STREAM)
                    self._addresses = frozenset(str(info[4][0]) for info in infos)
                except OSError:
                    self._addresses = frozenset()
                self._cached_until = self._timing.monotonic() + _CACHE_SECONDS
        return self._addresses

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Make a socket for one address, which must be allowed by the cached addresses of the API."""
        if not is_allowed(str(info[4][0]), self._addresses):
            raise BlockedAddressError(errno.EACCES, "images are not fetched from this address")
        return keepalive_socket(info)


class _Resolver(aiohttp.ThreadedResolver):
    """Resolves names with the system's resolver, and removes addresses that are not allowed."""

    def __init__(self, guard: AddressGuard) -> None:
        super().__init__()
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        results = await super().resolve(host, port, family)
        allowed = await self._guard.filter_allowed(results)
        if results and not allowed:
            raise _blocked(host)
        return allowed


def _blocked(host: str) -> BlockedAddressError:
    text = f"{host} is a private or reserved address, and images are not fetched from there"
    return BlockedAddressError(errno.EACCES, text)


def _literal_address(url: ImageURL) -> str | None:
    """Return the IP address that a URL has in place of a host name, if it has one."""
    name = url.host.removesuffix(".")
    return "127.0.0.1" if name == "localhost" or name.endswith(".localhost") else url.address
