"""Numbers, durations and money as text.

Invariants: pure; an amount that is not zero never reads as zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, ROUND_UP, Decimal

_CENT, _FINE = Decimal("0.01"), Decimal("0.0001")


def plural(number: int, thing: str) -> str:
    """Format a count: `1 image`, `1,200 images`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Format the two largest units: `42 s`, `3 min 12 s`, `2 h 5 min`, `3 d 4 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _pair(whole // 60, "min", whole % 60, "s")
    minutes = round(whole / 60)
    if minutes < 1440:
        return _pair(minutes // 60, "h", minutes % 60, "min")
    hours = round(minutes / 60)
    return _pair(hours // 24, "d", hours % 24, "h")


def _pair(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large} {large_unit} {small} {small_unit}" if small else f"{large} {large_unit}"


def dollars(amount: Decimal) -> str:
    """Format US dollars: cents, and below one dollar up to four digits: `$12.30`, `$0.0412`, `$0.41`."""
    return _money(amount, ROUND_HALF_UP)


def dollars_rounded_up(amount: Decimal) -> str:
    """Format US dollars, rounded up: for upper bounds."""
    return _money(amount, ROUND_UP)


def _money(amount: Decimal, rounding: str) -> str:
    if amount >= 1 or not amount:
        return f"${amount.quantize(_CENT, rounding):,}"
    if amount < _FINE:
        return f"under ${_FINE}"
    fine = amount.quantize(_FINE, rounding).normalize()
    cents = fine.quantize(_CENT)
    return f"${cents if cents == fine else fine}"


def images_per_minute(rate: float) -> str:
    """Format a rate: `118 images/min`, `4.3 images/min`."""
    digits = 0 if rate >= 10 else 1
    return f"{rate:,.{digits}f} images/min"


def truncate(text: str, limit: int) -> str:
    """Return the text in one line of at most `limit` characters."""
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def join_limited(names: Sequence[str], limit: int) -> str:
    """Join at most `limit` names: `a, b, c and 12 more`."""
    shown = ", ".join(names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit:,} more"
