"""Image URLs as servers send them: resolved, checked before a connection is made, and made printable.

Invariants: pure; http and https only, no credentials, and a host that all parsers understand in the same way. Path and
query are sent unchanged, because a signature may cover them; a query may be a secret and is not displayed.
Must not: resolve names; `address_guard.py` checks the addresses.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, unquote_to_bytes, urljoin, urlsplit

from attrs import evolve, field, frozen

from openai_images.errors import DecodeError
from openai_images.http.sessions import PORTS
from openai_images.models.completeness import ImageProbe
from openai_images.models.image import Image
from openai_images.wire.base64_decoder import Base64Decoder, Sink, image_too_large, join_bytes

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


def is_data_url(url: str) -> bool:
    """Whether the URL contains the image itself."""
    return url[:5].lower() == "data:"


def decode_data_url(url: str, sink: Sink, max_bytes: int) -> Image:
    """Decode the image of a `data:` URL into the sink; it may have a `flaw`.

    Raises `DecodeError` and `ResponseTooLargeError`.
    """
    head, comma, body = url.partition(",")
    if not comma:
        raise DecodeError("its data: URL has no data")
    probe = ImageProbe()
    data = unquote_to_bytes(body) if "%" in body else body.encode()
    if head.lower().endswith(";base64"):
        decoder = Base64Decoder(join_bytes(probe.feed, sink.write), max_bytes)
        decoder.feed(data)
        decoder.close()
    elif len(data) > max_bytes:
        raise image_too_large(max_bytes)
    else:
        join_bytes(probe.feed, sink.write)(data)
    return evolve(sink.finish(), flaw=probe.flaw)


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
