"""What an answer's headers (and the words of a refusal) say about waiting.

Rules: pure; the wall clock is a parameter; what makes no sense is None, never an exception. Header names are
lower case, as a case-insensitive mapping or a plain dict gives them.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Mapping

# Go's spelling of a duration, which OpenAI's limits use: "1ms", "58.891s", "6m0s"; a bare number means seconds.
_DURATION = re.compile(
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
# "try again in 6m0s", "try again after 51.84 seconds", "retry after 8 seconds" (Azure), "quota will reset after 3s",
# "please wait 20 seconds", "1 hour 30 minutes".
_UNITS = r"milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d"
_PART = rf"\d{{1,15}}(?:\.\d{{1,15}})?[ \t]?(?:{_UNITS})(?![a-z])"
_AGAIN = r"(?:try(?: it)? again|retry(?:ing)?|resets?|renewed|renews|refreshe[sd]|available(?: again)?)"
_IN_WORDS = re.compile(
    rf"(?:\b{_AGAIN} (?:in|after)|\bwait(?: for)?):? (?:about |approximately |another |at least |~ ?)?"
    rf"({_PART}(?:(?:,| and)? ?{_PART}){{0,4}})"
    # "请在10秒后重试", "5 分钟后再试"
    "|([0-9]{1,15}(?:[.][0-9]{1,15})? ?(?:毫秒|秒|分|小时|小時|天))[钟鐘]?之?[后後][^0-9]{0,3}[再重][试試新]",
    re.IGNORECASE,
)
_PARTS = re.compile(r"([\d.]+)[ \t]?([a-z]+|毫秒|秒|分|小时|小時|天)", re.IGNORECASE)
_SECONDS_IN = {
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86_400,
    "毫秒": 0.001,
    "秒": 1,
    "分": 60,
    "小时": 3600,
    "小時": 3600,
    "天": 86_400,
}

LONGEST_WAIT = 86_400.0
"""Seconds; the longest wait a statement can mean, in a header, a body or words. A larger number is a moment (Unix time,
in seconds or milliseconds), or a mistake that would be waited for as long as it says: it states nothing."""

_LONGEST_NAME = 200
"""The API's have 36 characters."""

_LIMITS = {"images": ("images", "input-images"), "requests": ("requests",), "tokens": ("tokens",)}


@frozen
class AdvertisedLimit:
    """A rate limit as an answer states it: `remaining` of `limit` are left, and `rate` a second come back."""

    limit: float
    remaining: float
    rate: float


def advertised_limits(headers: Mapping[str, str]) -> dict[str, AdvertisedLimit]:
    """The limits of an answer's `x-ratelimit-*` headers, by kind: images, requests, tokens; empty where none is whole.

    The reset, spelled "12" or "58.891s", is the time until all of `limit` is there again (seen on the wire in 2025); a
    minute is taken where it is missing, more than a day, or nothing is used.
    """
    found = ((kind, _advertised(headers, name)) for kind, names in _LIMITS.items() for name in names)
    return {kind: limit for kind, limit in found if limit is not None}


def parse_duration(text: str) -> float | None:
    """Seconds from "12", "12.5", "1ms", "58.891s" or "6m0s"."""
    try:
        return _valid_seconds(float(text))
    except ValueError:
        pass
    match = _DURATION.fullmatch(text.strip())
    if match is None or not text.strip():
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return _valid_seconds(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)


def retry_after(headers: Mapping[str, str], message: str, now: float, stated: str = "") -> float | None:
    """Seconds to wait: `retry-after-ms`, then `retry-after`, then what the body `stated`, then the message's own words.

    Each may be seconds, a duration, a date or a moment; `now` is Unix time, for the last two. Zero says nothing and is
    passed over, as the official SDKs do; so is whatever is longer than `LONGEST_WAIT`, or past.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    found = (
        _parse_wait(f"{milliseconds}ms", now),
        _parse_wait(headers.get("retry-after", ""), now),
        _parse_wait(stated, now),
        _from_message(message),
    )
    return next((wait for wait in found if wait and wait <= LONGEST_WAIT), None)


def has_retry_after(headers: Mapping[str, str]) -> bool:
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


def _advertised(headers: Mapping[str, str], name: str) -> AdvertisedLimit | None:
    stated = headers.get(f"x-ratelimit-limit-{name}")
    if stated is None:
        return None
    limit = parse_duration(stated)
    remaining = parse_duration(headers.get(f"x-ratelimit-remaining-{name}", ""))
    if limit is None or limit < 1 or remaining is None or remaining > limit:
        return None
    reset = parse_duration(headers.get(f"x-ratelimit-reset-{name}", ""))
    rate = (limit - remaining) / reset if reset and reset <= LONGEST_WAIT else 0.0
    return AdvertisedLimit(limit, remaining, rate if 0 < rate < math.inf else limit / 60)


def _parse_wait(text: str, now: float) -> float | None:
    """Seconds from a header's or a field's text; None where it is no wait that a server can mean."""
    wait = parse_duration(text)
    moments = (_from_date(text, now),) if wait is None else (wait, wait - now, wait / 1000 - now)
    return next((seconds for seconds in moments if seconds is not None and 0 < seconds <= LONGEST_WAIT), None)


def _from_message(message: str) -> float | None:
    match = _IN_WORDS.search(message)
    if match is None:
        return None
    parts = _PARTS.findall(match[1] or match[2])
    return _valid_seconds(sum(float(number) * _seconds_in(unit.lower()) for number, unit in parts))


def _seconds_in(unit: str) -> float:
    """The length of a unit, in English by its beginning."""
    if unit in _SECONDS_IN:
        return _SECONDS_IN[unit]
    return 0.001 if unit.startswith(("ms", "mil")) else _SECONDS_IN[unit[0]]


def _from_date(date: str, now: float) -> float | None:
    """Seconds until an HTTP date or an ISO one; one without a zone is in UTC, as all of them are."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(date.strip())
            return _valid_seconds((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _valid_seconds(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
