"""Image URLs as servers send them: resolved, checked before anybody connects, and made printable.

Invariants: pure; http and https only, no credentials, and a host that all parsers read alike. The signed part is sent
unchanged, as the signature may be for exactly that; a query may be a secret and is not shown.
Must not: resolve names; `address_guard.py` judges the addresses.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from attrs import evolve, field, frozen

from openai_images.errors import DecodeError
from openai_images.models.completeness import ImageProbe
from openai_images.models.image import Image
from openai_images.wire.base64_decoder import Base64Decoder, image_too_large, join_bytes
from openai_images.wire.sinks import Sink

_PORTS = {"http": 80, "https": 443}
_NAME = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_NOT_SENT = re.compile(r"[^\x21-\x7e]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_SHOWN = 200


class UnsafeURLError(Exception):
    """Why nothing is fetched from a URL."""


@frozen
class ImageURL:
    """A place that can be asked: `url` is whole and ASCII, `address` set where the host is an IP address."""

    url: str = field(repr=False)
    scheme: str
    host: str
    port: int
    address: str | None = None

    @property
    def origin(self) -> tuple[str, str, int]:
        """What must be the same for two places to belong to the same server."""
        return self.scheme, self.host, self.port

    @property
    def root(self) -> str:
        """The URL of the origin."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/"


def resolve_url(url: str, base: str) -> ImageURL:
    """Where `url` leads, seen from `base`. Raises `UnsafeURLError`."""
    text = url.strip(" \t\r\n")
    if _CONTROL.search(text):
        raise UnsafeURLError("its URL holds control characters")
    try:
        parts = urlsplit(urljoin(base, text))
        port, host = parts.port, parts.hostname or ""
        path, query = _sendable(parts.path) or "/", _sendable(parts.query)
    except ValueError:
        raise UnsafeURLError("its URL cannot be understood") from None
    if parts.scheme not in _PORTS:
        raise UnsafeURLError(f"its URL is one of {parts.scheme[:20]}:, and only http and https are fetched")
    if "@" in parts.netloc:
        raise UnsafeURLError("its URL holds credentials, which are not sent on")
    host, address = _host(host, bracketed="[" in parts.netloc)
    if port == 0:
        raise UnsafeURLError("its URL has the port 0")
    spelled = f"[{host}]" if ":" in host else host
    authority = spelled if port is None else f"{spelled}:{port}"
    whole = f"{parts.scheme}://{authority}{path}{'?' if query else ''}{query}"
    return ImageURL(whole, parts.scheme, host, port or _PORTS[parts.scheme], address)


def resolve_redirect(here: ImageURL, header: str) -> ImageURL:
    """Where a redirect leads, which must not be from https to http. Raises `UnsafeURLError`."""
    there = resolve_url(header, here.url)
    if here.scheme == "https" and there.scheme == "http":
        raise UnsafeURLError("a redirect leads from https to http")
    return there


def display_url(url: str) -> str:
    """A URL as it may stand in a text: without its query, which may be a signature, and not too long to read."""
    if is_data_url(url):
        return "a data: URL"
    text = re.split(r"[?#;]", url, maxsplit=1)[0]
    scheme, mark, rest = text.partition("//")
    authority, slash, path = rest.partition("/")
    text = f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}" if mark else text
    text = _NOT_SENT.sub("?", text)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"


def encode_url(url: str) -> str:
    """A URL whole, for people to use: what could move a terminal's cursor, or is no character, is encoded."""
    return _NOT_SENT.sub(lambda found: quote(found[0], safe="", errors="replace"), url)


def is_data_url(url: str) -> bool:
    """Whether the URL is the picture itself."""
    return url[:5].lower() == "data:"


def decode_data_url(url: str, sink: Sink, max_bytes: int) -> Image:
    """The picture in a `data:` URL, put into the sink; it may have a `flaw`.

    Raises `DecodeError` and `ResponseTooLargeError`.
    """
    head, comma, body = url.partition(",")
    if not comma:
        raise DecodeError("its data: URL has no data")
    probe = ImageProbe()
    plain = unquote_to_bytes(body) if "%" in body else body.encode()
    if head.lower().endswith(";base64"):
        decoder = Base64Decoder(join_bytes(probe.feed, sink.write), max_bytes)
        decoder.feed(plain)
        decoder.close()
    elif len(plain) > max_bytes:
        raise image_too_large(max_bytes)
    else:
        join_bytes(probe.feed, sink.write)(plain)
    return evolve(sink.finish(), flaw=probe.flaw)


def _host(text: str, *, bracketed: bool) -> tuple[str, str | None]:
    """A host as it is sent, and its address where it is one. Raises `UnsafeURLError`."""
    try:
        if bracketed:
            address = str(IPv6Address(text)) if "%" not in text else ""
            if address:
                return address, address
        else:
            host = text if text.isascii() else text.encode("idna").decode().lower()
            if _NAME.fullmatch(host):
                if not _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]):
                    return host, None
                # What ends in a number is an address to every browser: 127.1, 0x7f.0.0.1, 2130706433, 010.0.0.1.
                return str(IPv4Address(host)), host
    except (AddressValueError, UnicodeError):
        pass
    raise UnsafeURLError(
        "its URL names no host that can be asked: a plain name, or a plainly spelled address"
    )


def _sendable(text: str) -> str:
    """Only what cannot travel is encoded: a signature may hold for the rest as it is. Raises UnicodeEncodeError.

    Bytes of a header that are no UTF-8 are escaped surrogates, and travel as the bytes that they were.
    """
    return _NOT_SENT.sub(lambda found: quote(found[0], safe="", errors="surrogateescape"), text)
