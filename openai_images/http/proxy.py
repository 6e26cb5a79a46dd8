"""The proxy of a request: `proxy=` or the environment's, validated.

Invariants: a proxy that aiohttp cannot use is rejected before anything is sent; no message contains a proxy's address,
which may hold a password. Must not: use aiohttp's `trust_env`, which also takes passwords from ~/.netrc.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from yarl import URL

from openai_images.errors import ConfigurationError

_PORTS = {"http": 80, "https": 443}
_HOST_PORT = re.compile(r"(\[[^\]]+\]|[^:]+):(\d+)")
_UNSAFE = re.compile(r"[\s\x00-\x20\x7f]")


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
            f"{setting} names a SOCKS proxy, which aiohttp cannot speak to; nothing was sent. Name an HTTP proxy (many "
            "SOCKS programs have one at another port), or pass session=aiohttp.ClientSession(connector=…) with a "
            "connector that speaks SOCKS"
        )
    if scheme not in _PORTS or not _names_host(url):
        raise ConfigurationError(
            f"{setting} names no proxy that can be used; nothing was sent. It should look like http://host:port or "
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
    port = parts.port or _PORTS.get(parts.scheme, 0)
    if any(_covers(entry, host, port) for entry in re.split(r"[\s,]+", proxies.get("no", "").lower())):
        return None
    if proxy_bypass(
        parts.netloc.rpartition("@")[2]
    ):  # also the exceptions in the settings of macOS and Windows
        return None
    return parse_proxy(proxy, f"the environment's {kind.upper()}_PROXY")


def _names_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0 and bool(URL(url).host) and not _UNSAFE.search(url)
    except ValueError:
        return False


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY covers the host: a name (with its subdomains), an address, a network, or `*`."""
    name = entry.rpartition("://")[2]
    if (with_port := _HOST_PORT.fullmatch(name)) is not None:
        if int(with_port[2]) != port:
            return False
        name = with_port[1]
    address, entry_address = _address(host), _address(name)
    if address is not None and "/" in name:
        return _network_contains(name, address)
    if address is not None and entry_address is not None:
        return address == entry_address
    if "*" in name and fnmatchcase(host, name):
        return True
    name = name.lstrip("*").strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def _network_contains(network: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return address in ip_network(network.replace("[", "").replace("]", ""), strict=False)
    except ValueError:
        return False
