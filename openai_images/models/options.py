"""How the client behaves: time-outs and limits, as frozen values.

Rules: times are seconds, None means "no such limit"; a value that makes no sense is refused when it is made.
"""

from __future__ import annotations

from typing import Any, NoReturn

from attrs import Attribute, field, frozen

from openai_images.errors import ConfigurationError

__all__ = ["Limits", "Timeouts"]


def _seconds(instance: Any, attribute: Attribute[Any], value: object) -> None:
    if value is not None and not (isinstance(value, int | float) and value > 0):
        _refuse(instance, attribute, value, "a number of seconds above 0, or None for no limit")


def _rate(instance: Any, attribute: Attribute[Any], value: object) -> None:
    is_rate = isinstance(value, int | float) and 0 < value < float("inf")
    if value is not None and (isinstance(value, bool) or not is_rate):
        _refuse(instance, attribute, value, "a number above 0, or None where it is not known")


def _count(instance: Any, attribute: Attribute[Any], value: object) -> None:
    if not (isinstance(value, int) and value > 0):
        _refuse(instance, attribute, value, "a whole number above 0")


def _refuse(instance: Any, attribute: Attribute[Any], value: object, wanted: str) -> NoReturn:
    msg = f"{type(instance).__name__}({attribute.name}={value!r}): must be {wanted}"
    raise ConfigurationError(msg)


@frozen(kw_only=True)
class Timeouts:
    """The client's timers, in seconds.

    `connect`: name look-up, TCP and TLS. `first_byte`: from the request sent to the answer's headers. `idle`: between
    two pieces of the answer. `total`: one attempt, from the moment its request is sent, without waits for the limiter
    or a Retry-After. They bound the client's own waiting and decoding, never the caller's code between two events.
    `comments_are_life=False` makes `idle` ignore the comment lines that gateways send to keep a stream open.
    """

    connect: float | None = field(default=10.0, validator=_seconds)
    first_byte: float | None = field(default=None, validator=_seconds)
    idle: float | None = field(default=None, validator=_seconds)
    total: float | None = field(default=600.0, validator=_seconds)
    comments_are_life: bool = True


@frozen(kw_only=True)
class Limits:
    """How much at once: `concurrency` requests under way, and `max_picture_bytes` for one decoded picture.

    `images_per_minute` (a request for n counts n), `requests_per_minute` and `tokens_per_minute` are the account's
    limits, kept evenly by all calls of the client; None leaves it to the server's own headers and refusals.
    The default of 64 MiB for a picture is twice what the largest one (8,294,400 pixels) takes uncompressed.
    """

    concurrency: int = field(default=100, validator=_count)
    images_per_minute: float | None = field(default=None, validator=_rate)
    requests_per_minute: float | None = field(default=None, validator=_rate)
    tokens_per_minute: float | None = field(default=None, validator=_rate)
    max_picture_bytes: int = field(default=64 * 1024 * 1024, validator=_count)
