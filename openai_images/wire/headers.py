"""Reads waits, limits and ids from response headers, and waits from the words of an error.

Invariants: pure; the wall clock is a parameter; an invalid value is None, never an exception. Header names are lower
case, as a case-insensitive mapping or a plain dict gives them.
Must not: return a wait longer than `LONGEST_WAIT`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple

# A duration as Go prints it, which OpenAI's limits use: "1ms", "58.891s", "6m0s"; a bare number means seconds.
_DURATION = (  # patterns are compiled at their first use
    r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+(?:\.\d+)?)ms)?"
)
# "try again in 6m0s", "try again after 51.84 seconds", "retry after 8 seconds" (Azure), "quota will reset after 3s",
# "please wait 20 seconds", "1 hour 30 minutes".
_UNITS = r"milliseconds?|msecs?|ms|seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d"
_PART = rf"\d{{1,15}}(?:\.\d{{1,15}})?[ \t]?(?:{_UNITS})(?![a-z])"
_AGAIN = r"(?:try(?: it)? again|retry(?:ing)?|resets?|renewed|renews|refreshe[sd]|available(?: again)?)"
_WAIT_WORDS = (
    rf"(?:\b{_AGAIN} (?:in|after)|\bwait(?: for)?):? (?:about |approximately |another |at least |~ ?)?"
    rf"({_PART}(?:(?:,| and)? ?{_PART}){{0,4}})"
    # "请在10秒后重试", "5 分钟后再试"
    "|([0-9]{1,15}(?:[.][0-9]{1,15})? ?(?:毫秒|秒|分|小时|小時|天))[钟鐘]?之?[后後][^0-9]{0,3}[再重][试試新]"
)
_PARTS = r"(?i)([\d.]+)[ \t]?([a-z]+|毫秒|秒|分|小时|小時|天)"
_SECONDS_IN = {
    "s": 1, "m": 60, "h": 3600, "d": 86_400,
    "毫秒": 0.001, "秒": 1, "分": 60, "小时": 3600, "小時": 3600, "天": 86_400,
}  # fmt: skip

LONGEST_WAIT = 86_400.0
"""Seconds. A larger number is a point in time (Unix, in seconds or milliseconds) or a mistake."""

_LONGEST_ID = 200  # characters; the API's ids have 36

_LIMITS = (("images", "images"), ("images", "input-images"), ("requests", "requests"), ("tokens", "tokens"))


class AdvertisedLimit(NamedTuple):
    """A rate limit in a response: `remaining` of `limit` are left, and `rate` per second are restored."""

    limit: float
    remaining: float
    rate: float


def advertised_limits(headers: Mapping[str, str]) -> dict[str, AdvertisedLimit]:
    """Return the limits in `x-ratelimit-*` headers by kind (images, requests, tokens), without incomplete ones.

    The reset, such as "12" or "58.891s", is the time until all of `limit` is restored (seen on the wire in
    2025); one minute is assumed if it is missing, longer than a day, or nothing is used.
    """
    return {kind: limit for kind, name in _LIMITS if (limit := _advertised(headers, name)) is not None}


def parse_duration(text: str) -> float | None:
    """Return the seconds of "12", "12.5", "1ms", "58.891s" or "6m0s"; None for other text."""
    try:
        return _valid_seconds(float(text))
    except ValueError:
        pass
    match = re.fullmatch(_DURATION, text.strip())
    if match is None or not text.strip():
        return None
    hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
    return _valid_seconds(hours * 3600 + minutes * 60 + seconds + milliseconds / 1000)


def retry_after(headers: Mapping[str, str], message: str, now: float, body_wait: str = "") -> float | None:
    """Return the seconds to wait; None if the response has no valid wait.

    Sources in this order: `retry-after-ms`, `retry-after`, `body_wait` (a field of the error body), the words
    of `message`. Each may be seconds, a duration, a date or a point in time (the last two are relative to
    `now`, Unix seconds). Zero is ignored, as in the official SDKs, and so is a wait in the past or longer
    than `LONGEST_WAIT`.
    """
    milliseconds = headers.get("retry-after-ms", "").strip()
    waits = (
        _parse_wait(f"{milliseconds}ms", now),
        _parse_wait(headers.get("retry-after", ""), now),
        _parse_wait(body_wait, now),
        _from_message(message),
    )
    return next((wait for wait in waits if wait and wait <= LONGEST_WAIT), None)


def has_retry_after(headers: Mapping[str, str]) -> bool:
    """Return whether a header requests a later attempt, also with an unreadable time."""
    return "retry-after" in headers or "retry-after-ms" in headers


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return the server's decision in `x-should-retry`; None if there is none."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the server's id of the request, made printable; Azure has its own headers for it."""
    names = ("x-request-id", "apim-request-id", "x-ms-request-id")
    name = next(filter(None, map(headers.get, names)), None)
    return name and "".join(char if char.isprintable() else "\ufffd" for char in name[:_LONGEST_ID])


def _advertised(headers: Mapping[str, str], name: str) -> AdvertisedLimit | None:
    text = headers.get(f"x-ratelimit-limit-{name}")
    if text is None:
        return None
    limit = parse_duration(text)
    remaining = parse_duration(headers.get(f"x-ratelimit-remaining-{name}", ""))
    if limit is None or limit < 1 or remaining is None or remaining > limit:
        return None
    reset = parse_duration(headers.get(f"x-ratelimit-reset-{name}", ""))
    rate = (limit - remaining) / reset if reset and reset <= LONGEST_WAIT else 0.0
    return AdvertisedLimit(limit, remaining, rate if 0 < rate < math.inf else limit / 60)


def _parse_wait(text: str, now: float) -> float | None:
    """Return the seconds of a header's or a field's text; None for an invalid wait."""
    wait = parse_duration(text)
    candidates = (_from_date(text, now),) if wait is None else (wait, wait - now, wait / 1000 - now)
    return next(
        (seconds for seconds in candidates if seconds is not None and 0 < seconds <= LONGEST_WAIT), None
    )


def _from_message(message: str) -> float | None:
    match = re.search(_WAIT_WORDS, message, re.IGNORECASE)
    if match is None:
        return None
    parts = re.findall(_PARTS, match[1] or match[2])
    return _valid_seconds(sum(float(number) * _seconds_in(unit.lower()) for number, unit in parts))


def _seconds_in(unit: str) -> float:
    """Return the length of a unit in seconds; English units are recognized by their first letters."""
    if unit in _SECONDS_IN:
        return _SECONDS_IN[unit]
    return 0.001 if unit.startswith(("ms", "mil")) else _SECONDS_IN[unit[0]]


def _from_date(date: str, now: float) -> float | None:
    """Return the seconds until an HTTP or ISO date; a date without a zone is in UTC."""
    for read in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = read(date.strip())
            return _valid_seconds((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
        except (ValueError, TypeError, IndexError, OverflowError):
            continue
    return None


def _valid_seconds(seconds: float) -> float | None:
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
