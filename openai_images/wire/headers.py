"""What an answer's headers (and the words of a refusal) say about waiting.

Rules: pure; the wall clock is a parameter; what makes no sense is None, never an exception. Header names are
lower case, as a case-insensitive mapping or a plain dict gives them.
"""

from __future__ import annotations

import math
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "StatedLimit",
    "asks_to_wait",
    "parse_duration",
    "request_id",
    "retry_after",
    "should_retry",
    "stated_limits",
]

# Go's spelling of a duration, which OpenAI's limits use: "1ms", "58.891s", "6m0s"; a bare number means seconds.
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
# "try again in 6m0s", "try again after 51.84 seconds", Azure's "retry after 8 seconds"
_IN_WORDS = re.compile(
    r"(?:try again|retry) (?:in|after) (?:(\d+(?:\.\d+)?) ?(sec|min|hour)|((?:\d+(?:\.\d+)?(?:ms|h|m|s))+))",
    re.IGNORECASE,
)
_SECONDS_IN = {"sec": 1, "min": 60, "hour": 3600}


_LONGEST_NAME = 200
"""The API's have 36 characters."""

_LONGEST_RESET = 86_400.0
"""Seconds; a larger number is a time of day, or a mistake, and would be waited for as long as it says."""

_LIMITS = {"images": ("images", "input-images"), "requests": ("requests",), "tokens": ("tokens",)}


@frozen
class StatedLimit:
    """A rate limit as an answer states it: `remaining` of `limit` are left, and `rate` a second come back."""

    limit: float
    remaining: float
    rate: float


def stated_limits(headers: Mapping[str, str]) -> dict[str, StatedLimit]:
    """The limits of an answer's `x-ratelimit-*` headers, by kind: images, requests, tokens; empty where none is whole.

    The reset, spelled "12" or "58.891s", is the time until all of `limit` is there again (seen on the wire in 2025); a
    minute is taken where it is missing, more than a day, or nothing is used.
    """
    found = ((kind, _stated(headers, name)) for kind, names in _LIMITS.items() for name in names)
    return {kind: limit for kind, limit in found if limit is not None}


def parse_duration(text: str) -> float | None:
    """Seconds from "12", "12.5", "1ms", "58.891s" or "6m0s"."""
    try:
        return _sensible(float(text))
    except ValueError:
        pass
    match = _DURATION.fullmatch(text.strip())
    if match is None or not text.strip():
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return _sensible(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)


def retry_after(headers: Mapping[str, str], message: str, now: float) -> float | None:
    """Seconds to wait: `retry-after-ms`, then `retry-after` (seconds or a date), then the message's own words.

    `now` is Unix time, for dates. Zero says nothing and is passed over, as the official SDKs do.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    stated = headers.get("retry-after", "")
    return (
        parse_duration(f"{milliseconds}ms")
        or parse_duration(stated)
        or _until(stated, now)
        or _in_words(message)
        or None
    )


def asks_to_wait(headers: Mapping[str, str]) -> bool:
    """Whether a header asks for another attempt later, even if it does not say sensibly when."""
    return "retry-after" in headers or "retry-after-ms" in headers


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """The server's own word on sending again, None where it has not said."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def request_id(headers: Mapping[str, str]) -> str | None:
    """The server's name for the request, such that it can be printed; Azure has one of its own."""
    names = ("x-request-id", "apim-request-id", "x-ms-request-id")
    name = next((stated for header in names if (stated := headers.get(header))), None)
    return name and "".join(one if one.isprintable() else "\ufffd" for one in name[:_LONGEST_NAME])


def _stated(headers: Mapping[str, str], name: str) -> StatedLimit | None:
    stated = headers.get(f"x-ratelimit-limit-{name}")
    if stated is None:
        return None
    limit = parse_duration(stated)
    remaining = parse_duration(headers.get(f"x-ratelimit-remaining-{name}", ""))
    if limit is None or limit < 1 or remaining is None or remaining > limit:
        return None
    reset = parse_duration(headers.get(f"x-ratelimit-reset-{name}", ""))
    rate = (limit - remaining) / reset if reset and reset <= _LONGEST_RESET else 0.0
    return StatedLimit(limit, remaining, rate if 0 < rate < math.inf else limit / 60)


def _in_words(message: str) -> float | None:
    match = _IN_WORDS.search(message)
    if match is None:
        return None
    number, unit, duration = match.groups()
    return (
        parse_duration(duration.lower()) if duration else _sensible(float(number) * _SECONDS_IN[unit.lower()])
    )


def _until(date: str, now: float) -> float | None:
    """Seconds until an HTTP date; one without a zone is in UTC, as all of them are."""
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return _sensible((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)


def _sensible(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
