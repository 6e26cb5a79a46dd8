"""The settings of one local server, and how its batches run (`BatchPace`).

Invariants: an invalid setting is a `ValueError` that names the valid values.
Must not: hold state.
"""

import asyncio
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal, TypeAlias, get_args

import attrs

from openai_images.server.faults.queues import POST_FAULTS, find_fault
from openai_images.server.protocol.catalog import ALL_FORMATS
from openai_images.server.protocol.rate_limits import RetryAfter
from openai_images.server.requests.records import AnsweredRequest

Links: TypeAlias = Literal["absolute", "relative"]
"""The form of image URLs: with this server's address, or only the path."""
PictureMode: TypeAlias = Literal["small", "full"]
Pictures: TypeAlias = PictureMode | bytes | Mapping[str, bytes] | None

MAX_BODY_BYTES: Final = 25 * 1024 * 1024
# 16 images, a mask and a markup may have just under 50 MiB each.
MAX_UPLOAD_BYTES: Final = 1024 * 1024 * 1024
# aiohttp.web does not report a malformed chunk to a handler that waits for its body: it would wait forever.
BODY_TIMEOUT: Final = 2.5
"""Seconds without a byte after which a body is considered stopped."""

_Attribute: TypeAlias = "attrs.Attribute[Any]"


def is_loopback(host: str) -> bool:
    """Whether an address is reachable only from this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _address(host: str) -> str:
    return "127.0.0.1" if host == "localhost" else host


def _key_or_new(key: str | None) -> str:
    return f"sk-local-{secrets.token_hex(16)}" if key is None else key


def _rule(accepts: Callable[[Any], bool], message: str) -> Callable[[object, _Attribute, Any], None]:
    """Return a validator that raises `message` for a value that is not accepted."""

    def check(_: object, attribute: _Attribute, value: Any) -> None:
        if not accepts(value):
            raise ValueError(message.format(name=attribute.name, value=value))

    return check


_check_not_negative = _rule(lambda x: x is None or x >= 0, "{name} must not be negative, not {value}")
_check_above_zero = _rule(lambda x: x is None or x > 0, "{name} must be above 0, not {value}")
_check_share = _rule(lambda x: 0 <= x <= 1, "{name} must be a share from 0 to 1, not {value}")


def _check_failure(_: object, __: _Attribute, name: str) -> None:
    if find_fault(name, POST_FAULTS, "POSTs").plan.reply is None:
        raise ValueError(f"failure must be a fault with a status, such as status:500, not {name!r}")


@attrs.frozen(kw_only=True)
class BatchPace:
    """How the batches of a local server run.

    A batch stays `seconds_per_state` in each of validating, finalizing and cancelling; with `hold` it stays in each
    state until `release()`. It runs `requests_per_second`; None: as fast as the images are drawn. After `window`
    seconds it expires. `failed` is the share of its requests, from 0 to 1, that get the error of the fault `failure`;
    `expired` is the share that is not run in time: a batch with such requests ends as expired. Raises ValueError.
    """

    seconds_per_state: float = attrs.field(default=0.0, validator=_check_not_negative)
    hold: bool = False
    requests_per_second: float | None = attrs.field(default=None, validator=_check_above_zero)
    window: float = attrs.field(default=86_400.0, validator=_check_above_zero)
    failed: float = attrs.field(default=0.0, validator=_check_share)
    failure: str = attrs.field(default="moderation_400", validator=_check_failure)
    expired: float = attrs.field(default=0.0, validator=_check_share)


_PACE_MESSAGE: Final = "pace must not be negative and keepalive_comments must be above 0"
_RETRY_AFTER_MESSAGE: Final = "retry_after must be one of 'exact', 'seconds', 'none', not {value!r}"
_LINKS_MESSAGE: Final = "picture_links must be None or one of 'absolute', 'relative', not {value!r}"
_check_host = _rule(is_loopback, "host must be a loopback address such as 127.0.0.1 or ::1, not {value!r}")
_check_port = _rule(
    lambda port: 0 <= port <= 65_535, "port must be from 0 (any that is free) to 65535, not {value}"
)
_check_count = _rule(lambda count: count is None or count >= 1, "{name} must be at least 1, not {value}")
_check_keep = _rule(
    lambda count: count is None or count >= 0,
    "keep_requests must not be negative (None keeps all), not {value}",
)


def _check_burst(settings: Any, attribute: _Attribute, burst: int | None) -> None:
    _check_count(settings, attribute, burst)
    if burst is not None and settings.images_per_minute is None and settings.requests_per_minute is None:
        raise ValueError("rate_limit_burst needs images_per_minute or requests_per_minute")


def _check_pictures(_: object, __: _Attribute, pictures: Pictures) -> None:
    if pictures is None or pictures in get_args(PictureMode):
        return
    by_format: Mapping[str, object] = pictures if isinstance(pictures, Mapping) else {"png": pictures}
    values: list[object] = [*by_format.values()]
    if not all(isinstance(data, bytes) and data for data in values or [None]):
        raise ValueError(
            "pictures must be 'small', 'full' (drawn for each prompt, as with None), an image's bytes, or a mapping "
            "with such bytes"
        )
    if unknown := sorted(set(by_format) - set(ALL_FORMATS)):
        raise ValueError(
            f"pictures has the format {unknown[0]!r}; it must be one of {', '.join(ALL_FORMATS)}"
        )


@attrs.define(kw_only=True, eq=False, repr=False)
class ServerSettings:
    """The options of a server except faults and records; `LocalImagesServer` describes them."""

    host: str = attrs.field(default="127.0.0.1", converter=_address, validator=_check_host)
    """A loopback address to listen on."""
    port: int = attrs.field(default=0, validator=_check_port)
    """The port to listen on; 0 for any free port."""
    api_key: str = attrs.field(default=None, converter=_key_or_new)
    images_per_minute: int | None = attrs.field(default=None, validator=_check_count)
    """Images per minute that are accepted; more get a 429. None: no limit."""
    requests_per_minute: int | None = attrs.field(default=None, validator=_check_count)
    """Requests per minute that are accepted; more get a 429. None: no limit."""
    rate_limit_burst: int | None = attrs.field(default=None, validator=_check_burst)
    rate_limit_headers: bool = True
    retry_after: RetryAfter = attrs.field(
        default="exact", validator=_rule(set(get_args(RetryAfter)).__contains__, _RETRY_AFTER_MESSAGE)
    )
    pace: float = attrs.field(default=0.0, validator=_rule(lambda pace: pace >= 0, _PACE_MESSAGE))
    pictures: Pictures = attrs.field(default=None, validator=_check_pictures)
    batch_pace: BatchPace = attrs.field(
        default=BatchPace(), validator=attrs.validators.instance_of(BatchPace)
    )
    legacy: bool = False
    picture_links: Links | None = attrs.field(
        default=None, validator=_rule({None, *get_args(Links)}.__contains__, _LINKS_MESSAGE)
    )
    max_body_bytes: int = attrs.field(default=MAX_BODY_BYTES, validator=_check_count)
    max_upload_bytes: int = attrs.field(default=MAX_UPLOAD_BYTES, validator=_check_count)
    body_timeout: float = attrs.field(
        default=BODY_TIMEOUT,
        validator=_rule(lambda x: x > 0, "body_timeout must be above 0 seconds, not {value}"),
    )
    keepalive_comments: float | None = attrs.field(
        default=None, validator=_rule(lambda s: s is None or s > 0, _PACE_MESSAGE)
    )
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    on_answer: Callable[[AnsweredRequest], object] | None = None
    keep_requests: int | None = attrs.field(default=None, validator=_check_keep)
