"""The SSRF guard: connects only to addresses from which images may be fetched.

Invariants: the address that is connected to counts: it is judged when a name is resolved, and again when its socket
is made, so that a second look-up cannot replace it. The API's own addresses are looked up only where one is not
public, and kept for a minute. Behind a proxy, which resolves names itself, only an address in the URL is judged.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Literal, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from openai_images.http.sessions import HEAD_LIMITS, keepalive_socket
from openai_images.http.urls import ImageURL
from openai_images.models.options import Timing

Kind: TypeAlias = Literal["public", "private", "loopback", "forbidden"]

_Address: TypeAlias = IPv4Address | IPv6Address

_METADATA = frozenset(
    map(
        ip_address,
        (
            "100.100.100.200",  # Alibaba, within the shared addresses
            "168.63.129.16",  # Azure, among the public ones
            "fd00:ec2::254",  # AWS, within the private ones
            "fd20:ce::254",  # Google
            "fd00:c1::a9fe:a9fe",  # Oracle
        ),
    )
)

_IPV4: tuple[tuple[str, Kind], ...] = (
    ("0.0.0.0/32", "loopback"),  # connecting to it is connecting to this machine
    ("0.0.0.0/8", "forbidden"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "private"),  # carriers' NAT; overlay networks such as Tailscale
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "forbidden"),  # link-local: the metadata of most clouds
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "forbidden"),  # protocol assignments; Oracle's metadata
    ("192.0.2.0/24", "forbidden"),  # documentation, as the next two of its kind
    ("192.88.99.0/24", "forbidden"),  # relays of 6to4, of old
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "private"),  # benchmarks; local proxies give every name an address of these
    ("198.51.100.0/24", "forbidden"),
    ("203.0.113.0/24", "forbidden"),
    ("224.0.0.0/3", "forbidden"),  # multicast, reserved, broadcast
)

_IPV6: tuple[tuple[str, Kind], ...] = (
    ("::/128", "loopback"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "private"),  # NAT64 of a network's own making
    ("fc00::/7", "private"),
    ("2001::/23", "forbidden"),  # Teredo, ORCHID and other protocols
    ("2001:db8::/32", "forbidden"),  # documentation, as 3fff::/20
    ("3fff::/20", "forbidden"),
    ("2000::/3", "public"),
    ("::/0", "forbidden"),  # link-local, site-local, multicast, and what nobody has assigned
)

_NETWORKS4: list[tuple[IPv4Network, Kind]] = [(IPv4Network(network), kind) for network, kind in _IPV4]
_NETWORKS6: list[tuple[IPv6Network, Kind]] = [(IPv6Network(network), kind) for network, kind in _IPV6]

_CARRIERS = (  # networks of addresses that carry an IPv4 address, and how far from the right it ends, in bits
    (IPv6Network("::ffff:0:0/96"), 0),  # mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64: in networks without IPv4 every other host has such an address
    (IPv6Network("2002::/16"), 80),  # 6to4
)


def normalize(address: str) -> str:
    """The one spelling of an IP address, the one it carries in its place, without a zone. Raises ValueError."""
    return str(_inner(address))


def classify(address: str) -> Kind:
    """What an IP address is. Raises ValueError where the text is none."""
    inner = _inner(address)
    if inner in _METADATA:
        return "forbidden"
    for network, kind in _NETWORKS4 if isinstance(inner, IPv4Address) else _NETWORKS6:
        if inner in network:
            return kind
    return "public"


def is_allowed(address: str, api: Collection[str]) -> bool:
    """Whether a picture may be fetched from this address, where `api` are those of the API. Raises ValueError."""
    kind = classify(address)
    if kind == "public" or normalize(address) in map(normalize, api):
        return True
    return kind != "forbidden" and any(classify(one) in ("private", "loopback") for one in api)


def _inner(text: str) -> _Address:
    """The address, or the IPv4 address that it carries."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        for network, bits in _CARRIERS:
            if address in network:
                return IPv4Address(int(address) >> bits & 0xFFFF_FFFF)
    return address


_KEPT = 60.0
"""Seconds for which the API's addresses are believed: a container's change with each start."""

_LOOPBACK = "127.0.0.1"


class BlockedAddressError(OSError):
    """The only addresses of a host are such that nothing is fetched from."""


class AddressGuard:
    """Judges places by the addresses of `api`, and makes the session that connects to what it allows."""

    def __init__(self, api: ImageURL | None, timing: Timing) -> None:
        """Look nothing up yet; without an `api` only public addresses are allowed."""
        self._api = api
        self._timing = timing
        self._addresses: frozenset[str] = frozenset()
        self._until = 0.0
        self._lookup = asyncio.Lock()

    async def check(self, place: ImageURL, *, proxied: bool) -> None:
        """Judge what a URL spells. Raises `BlockedAddressError`."""
        address = place.address
        if proxied:
            address = _spelled(place)
            api = _spelled(self._api) if self._api is not None else None
            allowed = address is None or is_allowed(address, () if api is None else (api,))
        else:
            allowed = address is None or await self._allows(address)
        if not allowed:
            raise _forbidden(place.host)

    def session(self) -> aiohttp.ClientSession:
        """A session that connects to allowed addresses only, keeps no cookies and unpacks nothing."""
        connector = aiohttp.TCPConnector(
            limit=0, resolver=_Resolver(self), socket_factory=self._socket, use_dns_cache=False
        )
        return _session(connector)

    def proxied_session(self) -> aiohttp.ClientSession:
        """A session for what goes through a proxy, which may well be in a network of one's own."""
        return _session(aiohttp.TCPConnector(limit=0, socket_factory=keepalive_socket))

    async def allowed(self, found: list[ResolveResult]) -> list[ResolveResult]:
        """Those of a name's addresses that may be connected to."""
        return [one for one in found if await self._allows(one["host"])]

    async def _allows(self, address: str) -> bool:
        return classify(address) == "public" or is_allowed(address, await self._of_the_api())

    async def _of_the_api(self) -> frozenset[str]:
        """The addresses of the API, none where they cannot be found out."""
        async with self._lookup:
            if self._api is not None and self._timing.monotonic() >= self._until:
                self._addresses = await _addresses(self._api)
                self._until = self._timing.monotonic() + _KEPT
        return self._addresses

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for one address, if it is allowed by what is known of the API."""
        if not is_allowed(str(info[4][0]), self._addresses):
            raise BlockedAddressError(errno.EACCES, "not an address that pictures are fetched from")
        return keepalive_socket(info)


class _Resolver(AbstractResolver):
    """Looks names up as the system does, and leaves out what is not allowed."""

    def __init__(self, guard: AddressGuard) -> None:
        self._guard = guard
        self._system = aiohttp.ThreadedResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        found = await self._system.resolve(host, port, family)
        allowed = await self._guard.allowed(found)
        if found and not allowed:
            raise _forbidden(host)
        return allowed

    async def close(self) -> None:
        """Nothing is open."""


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, **HEAD_LIMITS
    )


def _forbidden(host: str) -> BlockedAddressError:
    return BlockedAddressError(
        errno.EACCES,
        f"{host} is in a network of one's own, or no public address, and the API is not there",
    )


def _spelled(place: ImageURL) -> str | None:
    """The address that a URL spells by itself."""
    name = place.host.removesuffix(".")
    return _LOOPBACK if name == "localhost" or name.endswith(".localhost") else place.address


async def _addresses(api: ImageURL) -> frozenset[str]:
    if api.address is not None:
        return frozenset((api.address,))
    try:
        found = await asyncio.get_running_loop().getaddrinfo(api.host, api.port, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(str(info[4][0]) for info in found)
