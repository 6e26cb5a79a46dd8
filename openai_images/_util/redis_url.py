"""Checks the URL of a Redis server, and makes it safe to display.

Invariants: a displayed URL has no user, no password and no query, which may contain one.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

_FORMS = "redis://host:6379/0, rediss://host:6379/0 (TLS) or unix:///path/to/socket"

REDIS_URL = (
    f"a URL such as {_FORMS}; a password goes before the host, percent-encoded: redis://:password@host"
)
"""The text for errors: what a setting with such a URL must be."""


def is_redis_url(url: Any) -> bool:
    """Whether this is the URL of a server: a host and port, or the path of a socket."""
    if not isinstance(url, str):
        return False
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0  # `port` raises ValueError
    except ValueError:
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    database = parts.path.strip("/")
    return parts.scheme in {"redis", "rediss"} and has_host and (not database or database.isdecimal())


def display_redis_url(url: Any) -> str:
    """Return the URL without credentials and query; for any other value, its type or length."""
    if not isinstance(url, str):
        return f"<{type(url).__name__}>"
    if not is_redis_url(url):
        return f"<{len(url)} characters>"
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
