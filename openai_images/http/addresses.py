"""Which addresses pictures may be fetched from: what an IP address is, by the registries of IANA.

Rules: pure tables, which do not depend on the version of Python. An address that carries another one (IPv4 within IPv6,
whatever the way) is what that one is. What belongs to a network of one's own is reached only where the API itself
is in one; where clouds keep the credentials of a machine, and all that is no host's, never, unless the API is
exactly there. It refuses to judge names: a name is what it resolves to, when it is connected to.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection

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


def canonical(address: str) -> str:
    """The one spelling of an IP address, the one it carries in its place, without a zone. Raises ValueError."""
    return str(_inner(address))


def kind_of(address: str) -> Kind:
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
    kind = kind_of(address)
    if kind == "public" or canonical(address) in map(canonical, api):
        return True
    return kind != "forbidden" and any(kind_of(one) in ("private", "loopback") for one in api)


def _inner(text: str) -> _Address:
    """The address, or the IPv4 address that it carries."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        for network, bits in _CARRIERS:
            if address in network:
                return IPv4Address(int(address) >> bits & 0xFFFF_FFFF)
    return address
