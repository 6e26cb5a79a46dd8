"""Secrets that are never sent to workers, which take them from their own environment.

Invariants: keys, headers with a name such as "token", and a Redis URL with a password stay with the driver. If one is
missing in a worker's environment, an error names the variable to set, and nothing is sent.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Final
from urllib.parse import urlsplit

from attrs import evolve

from openai_images._util.redis_url import display_redis_url
from openai_images.errors import ConfigurationError
from openai_images.http.endpoint import credentials
from openai_images.models.options import Limits

_SECRET: Final = re.compile("auth|cookie|credential|key|passw|secret|session|signature|token", re.IGNORECASE)
_SHARED_LIMIT: Final = "OPENAI_IMAGES_SHARED_LIMIT"


def is_secret(header: str) -> bool:
    """Return whether a header is probably secret, by its name."""
    return _SECRET.search(header) is not None


def header_variable(header: str) -> str:
    """Return the environment variable for a secret header, such as OPENAI_IMAGES_HEADER_X_TOKEN for X-Token."""
    return f"OPENAI_IMAGES_HEADER_{re.sub('[^A-Z0-9]', '_', header.upper())}"


def read_headers(names: Iterable[str]) -> Mapping[str, str]:
    """Read these headers from the environment. Raises `ConfigurationError` for a missing one.

    Headers that contain the API key may be missing: it has its own variables.
    """
    headers: dict[str, str] = {}
    for name in names:
        value = os.environ.get(header_variable(name))
        if value:
            headers[name] = value
        elif not credentials({name: "key"}):
            raise ConfigurationError(
                f"the header {name!r} is not sent to workers, because it may be secret: set {header_variable(name)} in "
                "their environment"
            )
    return headers


def without_password(limits: Limits) -> Limits:
    """Return the limits without the password of their Redis server."""
    if limits.shared is None or not _has_password(limits.shared):
        return limits
    return evolve(limits, shared=display_redis_url(limits.shared))


def with_password(limits: Limits) -> Limits:
    """Return the limits with the URL of their Redis server from the environment. Raises `ConfigurationError`."""
    if url := os.environ.get(_SHARED_LIMIT):
        return evolve(limits, shared=url)
    raise ConfigurationError(
        f"the Redis server {display_redis_url(limits.shared)} has a password, which is not sent to workers: set "
        f"{_SHARED_LIMIT} in their environment to its complete URL"
    )


def _has_password(url: str) -> bool:
    parts = urlsplit(url)
    return "@" in parts.netloc or "password" in parts.query
