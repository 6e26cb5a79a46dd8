"""The settings of a local server, each checked when it is set.

Invariants: a setting with which no server could be of use is a `ValueError` that says what it may be.
Must not: know what the settings are used for.
"""

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from openai_images.server.catalog import ALL_FORMATS

RetryAfter: TypeAlias = Literal["exact", "seconds", "none"]
"""How a 429 says when to come back: to the millisecond, in whole seconds rounded up, or not at all."""
Links: TypeAlias = Literal["absolute", "relative"]
"""How URLs of images are written: with this server's address, or as a path alone."""

MAX_BODY_BYTES: Final = 25 * 1024 * 1024
# 16 images, a mask and a markup may have just under 50 MiB each.
MAX_UPLOAD_BYTES: Final = 1024 * 1024 * 1024
# aiohttp.web does not tell a handler that waits for its body of a malformed chunk: it waits for ever.
BODY_TIMEOUT: Final = 2.5
"""Seconds without a byte after which a body is taken to have stopped."""

_Attribute: TypeAlias = "attrs.Attribute[Any]"


def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _check_host(_: object, __: _Attribute, host: str) -> None:
    if not is_loopback(host):
        raise ValueError(f"host must be a loopback address such as 127.0.0.1 or ::1, not {host!r}")


def _check_port(_: object, __: _Attribute, port: int) -> None:
    if not 0 <= port <= 65_535:
        raise ValueError(f"port must be from 0 (any that is free) to 65535, not {port}")


def _key_or_new(key: str | None) -> str:
    return f"sk-local-{secrets.token_hex(16)}" if key is None else key


def _check_count(_: object, attribute: _Attribute, count: int | None) -> None:
    if count is not None and count < 1:
        raise ValueError(f"{attribute.name} must be at least 1, not {count}")


def _check_burst(settings: Any, attribute: _Attribute, burst: int | None) -> None:
    _check_count(settings, attribute, burst)
    if burst is not None and settings.images_per_minute is None and settings.requests_per_minute is None:
        raise ValueError("rate_limit_burst needs images_per_minute or requests_per_minute to be the burst of")


def _check_choice(_: object, attribute: _Attribute, value: str | None) -> None:
    choices, prefix = get_args(RetryAfter), ""
    if attribute.name == "picture_links":
        choices, prefix = get_args(Links), "None or "
    if value not in {*choices, attribute.default}:
        known = ", ".join(map(repr, choices))
        raise ValueError(f"{attribute.name} must be {prefix}one of {known}, not {value!r}")


def _check_pace(_: object, attribute: _Attribute, seconds: float | None) -> None:
    if seconds is not None and (seconds < 0 or (seconds == 0 and attribute.name != "pace")):
        raise ValueError("pace must not be negative and keepalive_comments must be above 0")


def _check_timeout(_: object, __: _Attribute, seconds: float) -> None:
    if seconds <= 0:
        raise ValueError(f"body_timeout must be above 0 seconds, not {seconds}")


def check_keep(_: object, __: _Attribute, count: int | None) -> None:
    """Rejects a negative number of requests to keep."""
    if count is not None and count < 0:
        raise ValueError(f"keep_requests must not be negative (None keeps all), not {count}")


def _check_pictures(_: object, __: _Attribute, pictures: bytes | Mapping[str, bytes] | None) -> None:
    if pictures is None:
        return
    by_format: Mapping[str, object] = pictures if isinstance(pictures, Mapping) else {"png": pictures}
    values: list[object] = list(by_format.values())
    if not all(isinstance(data, bytes) and data for data in values or [None]):
        raise ValueError(
            "pictures must be a picture's bytes, or a mapping with such bytes (None: they are painted)"
        )
    if unknown := sorted(set(by_format) - set(ALL_FORMATS)):
        raise ValueError(
            f"pictures has {unknown[0]!r}, but what can be asked for is {', '.join(ALL_FORMATS)}"
        )


@attrs.define(kw_only=True, eq=False, repr=False)
class ServerSettings:
    """The options of a server but those of faults and records; `LocalImagesServer` describes them."""

    host: str = attrs.field(default="127.0.0.1", converter=_address, validator=_check_host)
    port: int = attrs.field(default=0, validator=_check_port)
    api_key: str = attrs.field(default=None, converter=_key_or_new)
    images_per_minute: int | None = attrs.field(default=None, validator=_check_count)
    requests_per_minute: int | None = attrs.field(default=None, validator=_check_count)
    rate_limit_burst: int | None = attrs.field(default=None, validator=_check_burst)
    rate_limit_headers: bool = True
    retry_after: RetryAfter = attrs.field(default="exact", validator=_check_choice)
    pace: float = attrs.field(default=0.0, validator=_check_pace)
    pictures: bytes | Mapping[str, bytes] | None = attrs.field(default=None, validator=_check_pictures)
    legacy: bool = False
    picture_links: Links | None = attrs.field(default=None, validator=_check_choice)
    max_body_bytes: int = attrs.field(default=MAX_BODY_BYTES, validator=_check_count)
    max_upload_bytes: int = attrs.field(default=MAX_UPLOAD_BYTES, validator=_check_count)
    body_timeout: float = attrs.field(default=BODY_TIMEOUT, validator=_check_timeout)
    keepalive_comments: float | None = attrs.field(default=None, validator=_check_pace)
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
