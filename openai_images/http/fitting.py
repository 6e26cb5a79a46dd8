"""Which bucket of tokens would have accepted and refused just what a server did.

Rules: pure, times are parameters, in seconds. A refusal says that the bucket held less than was asked, its wait when
there is enough again: exactly, or, where it is a whole number (`Retry-After` knows no others), within a second. It
refuses rates beyond reason: `_REASON` times more or less than what was plainly accepted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import frozen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["LEAST_SECONDS", "Guess", "Refusal", "Sent", "first_guess", "fitted", "is_rounded"]

LEAST_SECONDS = 0.005
"""Shorter spans say nothing about a rate."""

_REASON = 8.0
_STEPS = 20
_FEW = 4
_TIGHT = 1.1
_TOWARDS_THE_HIGHER = 0.6
"""Too slow costs as long as the batch runs, too fast one refusal."""

_CAPACITIES = 4
"""How many capacities are tried, each larger by one, before the plain count is believed."""


@frozen
class Sent:
    """A request that was let go: in which phase, as which of it, when, and for how many pictures."""

    phase: int
    number: int
    at: float
    amount: float


@frozen
class Refusal:
    """A request that was refused, and how many seconds the server wants us to wait."""

    sent: Sent
    seconds: float


@frozen
class Guess:
    """A bucket: pictures a second, how many at most; and whether what was seen leaves little choice."""

    rate: float
    capacity: float
    is_sure: bool = False


def is_rounded(seconds: float) -> bool:
    """Whether up to a second less may have been meant."""
    return seconds == int(seconds)


def first_guess(accepted: Sequence[Sent], refusal: Refusal) -> Guess:
    """What was accepted, over the time until there is room again; no more than the one token that the wait is for."""
    sent, seconds = refusal.sent, refusal.seconds
    amount = sum(other.amount for other in accepted)
    span = sent.at - accepted[0].at if accepted else 0.0
    rate = max(amount, sent.amount) / max(span + seconds, LEAST_SECONDS)
    capacity = max(1.0, sent.amount, amount - rate * span)
    return Guess(min(rate, sent.amount / max(_least(seconds), LEAST_SECONDS)), capacity)


def fitted(last: Refusal, accepted: Sequence[Sent], refusal: Refusal, believed: Guess) -> Guess:
    """The bucket that was empty at the `last` refusal, accepted all those, and then refused this one.

    `believed` is how fast requests were sent in between, and the capacity as far as is known.
    """
    if not accepted:  # it came a little early, or someone else took what we had waited for
        is_early = refusal.seconds * believed.rate < refusal.sent.amount / 2
        return Guess(believed.rate if is_early else believed.rate / 2, believed.capacity)
    sent = refusal.sent
    plain = sum(other.amount for other in accepted) / max(
        sent.at - last.sent.at + refusal.seconds, LEAST_SECONDS
    )
    capacity = believed.capacity
    for _ in range(_CAPACITIES):

        def lowest(wait: float, capacity: float = capacity) -> float:
            return _lowest(
                plain,
                lambda rate: _left(last, accepted, sent.at, rate, capacity) + rate * wait >= sent.amount,
            )

        low, high = lowest(refusal.seconds), lowest(_least(refusal.seconds))
        if low < believed.rate:
            is_sure = high < _TIGHT * low and len(accepted) >= _FEW
            return Guess(low + _TOWARDS_THE_HIGHER * (high - low), capacity, is_sure)
        # A bucket of that rate would not have refused what went more slowly: it must hold more than we thought.
        capacity += 1
    return Guess(plain, capacity)


def _least(seconds: float) -> float:
    """The shortest wait that may have been meant."""
    return max(0.0, seconds - 1) if is_rounded(seconds) else seconds


def _lowest(plain: float, is_enough: Callable[[float], bool]) -> float:
    """The lowest rate, within reason, that is enough."""
    low, high = plain / _REASON, plain * _REASON
    for _ in range(_STEPS):
        middle = (low * high) ** 0.5
        low, high = (low, middle) if is_enough(middle) else (middle, high)
    return high


def _left(last: Refusal, sends: Sequence[Sent], until: float, rate: float, capacity: float) -> float:
    """What such a bucket holds after all of these; minus infinity where it would have refused one of them."""
    unsure = 0.5 * is_rounded(last.seconds)
    level, at = max(unsure, last.sent.amount - rate * (last.seconds - unsure)), last.sent.at
    for sent in sends:
        level = min(capacity, level + rate * (sent.at - at)) - sent.amount
        at = sent.at
        if level < -1e-3 and sent.amount <= capacity:
            return -math.inf
    return min(capacity, level + rate * (until - at))
