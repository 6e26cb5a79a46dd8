"""Checks the options of a server before it is built.

Rules: an option that makes no sense is a `ValueError` that says what does. It refuses to change one.
"""

import ipaddress
from collections.abc import Mapping
from typing import Protocol, get_args

from openai_images.server.checks import PAINTED
from openai_images.server.parameters import Links


class Options(Protocol):
    """The options that are checked here."""

    port: int
    pace: float
    keepalive_comments: float | None
    max_body_bytes: int
    max_upload_bytes: int
    body_timeout: float
    keep_requests: int | None
    picture_links: Links | None
    pictures: bytes | Mapping[str, bytes] | None


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_options(server: Options) -> None:
    """Refuses options with which no server could be of use, each with what it may be."""
    if not 0 <= server.port <= 65_535:
        raise ValueError(f"port must be from 0 (any that is free) to 65535, not {server.port}")
    if server.pace < 0 or (server.keepalive_comments is not None and server.keepalive_comments <= 0):
        raise ValueError("pace must not be negative and keepalive_comments must be above 0")
    if server.max_body_bytes < 1:
        raise ValueError(f"max_body_bytes must be at least 1, not {server.max_body_bytes}")
    if server.max_upload_bytes < 1:
        raise ValueError(f"max_upload_bytes must be at least 1, not {server.max_upload_bytes}")
    if server.body_timeout <= 0:
        raise ValueError(f"body_timeout must be above 0 seconds, not {server.body_timeout}")
    if server.picture_links not in {None, *get_args(Links)}:
        known = ", ".join(map(repr, get_args(Links)))
        raise ValueError(f"picture_links must be None or one of {known}, not {server.picture_links!r}")
    if server.keep_requests is not None and server.keep_requests < 0:
        raise ValueError(f"keep_requests must not be negative (None keeps all), not {server.keep_requests}")
    if server.pictures is not None:
        _check_pictures(server.pictures if isinstance(server.pictures, Mapping) else {"png": server.pictures})


def _check_pictures(by_format: Mapping[str, object]) -> None:
    if not by_format or not all(isinstance(data, bytes) and data for data in by_format.values()):
        raise ValueError(
            "pictures must be a picture's bytes, or a mapping with such bytes (None: they are painted)"
        )
    if unknown := sorted(set(by_format) - set(PAINTED)):
        raise ValueError(f"pictures has {unknown[0]!r}, but what can be asked for is {', '.join(PAINTED)}")
