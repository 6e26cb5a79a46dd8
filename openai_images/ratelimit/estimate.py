"""What a rejection (429) says of a rate limit that nobody states.

Invariants: pure; times are parameters, in seconds. The limit is taken for a token bucket: when a stated wait is over it
holds just what was asked of it, so from the end of one wait to the end of the next it refills by what it accepted. A
wait in whole seconds may be up to one too long, which gives a lowest and a highest rate. A longer wait than such a
bucket needs is a pause, and explains nothing. Must not: know when to send.
"""

from __future__ import annotations

from attrs import evolve, frozen

_MAX_WAIT = 60.0  # seconds between two requests: what is slower is a pause, and no rate
_MIN_SPAN, _MIN_PROOF = 0.005, 0.1  # seconds
_KEPT, _TOWARDS_HIGH = 0.55, 0.3  # of what was known before; of the way from the lowest rate to the highest
_FIRST_DOUBLING, _DOUBLINGS_PER_WAIT = 0.2, 8
_SLOWER, _SLOWEST = 16.0, 2000.0  # times, seconds: growth slows with each rejection that it explains


@frozen(eq=False)
class SentRequest:
    """A request that went, and how many images its period had sent before; a rejection ends a period."""

    at: float
    images: float
    period: int
    before: float


@frozen
class Estimate:
    """A rate in images a second, and in how many seconds it doubles while it holds requests back."""

    rate: float
    doubling: float
    capacity: float
    level: float  # what the bucket holds when the wait is over
    since: float  # when that is
    accepted: float = 0.0  # images, those of long ago counting less
    longest: float = 0.0  # seconds that this took
    shortest: float = 0.0


@frozen
class Rejection:
    """A rejected request, the wait that it asked for, the rate at which it went, and those that went before it."""

    sent: SentRequest
    seconds: float
    pace: float
    recent: tuple[SentRequest, ...]

    @property
    def shortest(self) -> float:
        """Seconds that the wait lasts at least."""
        return max(0.0, self.seconds - 1) if self.seconds == int(self.seconds) else self.seconds

    @property
    def doubling(self) -> float:
        """Seconds in which the rate doubles where nothing is known."""
        return max(_FIRST_DOUBLING, min(self.seconds, _MAX_WAIT) / _DOUBLINGS_PER_WAIT)

    def is_pause(self, rate: float) -> bool:
        """Whether no bucket of this rate asks for so long a wait."""
        return self.shortest * rate > 1.05 * self.sent.images


def learn(rejection: Rejection, accepted: float, last: Estimate | None) -> Estimate:
    """The estimate after it, where so many images were accepted since the wait before."""
    estimate = _first(rejection, accepted) if last is None else _next(rejection, accepted, last)
    return evolve(estimate, rate=max(estimate.rate, rejection.sent.images / _MAX_WAIT))


def _first(rejection: Rejection, accepted: float) -> Estimate:
    sent, started = rejection.sent, rejection.recent[0].at
    end = sent.at + rejection.seconds
    measured = max(accepted, sent.images) / max(end - started, _MIN_SPAN)
    rate = min(measured, sent.images / max(rejection.shortest, _MIN_SPAN))
    capacity = max(1.0, sent.images, accepted - rate * (sent.at - started))
    level = capacity if rejection.is_pause(measured) else sent.images
    return Estimate(rate, rejection.doubling, capacity, level, end)


def _next(rejection: Rejection, accepted: float, last: Estimate) -> Estimate:
    sent, wait = rejection.sent, rejection.seconds
    estimate = evolve(last, level=sent.images, since=sent.at + wait)
    if accepted <= 0:
        return estimate
    total, span = last.accepted * _KEPT + accepted, sent.at - last.since
    longest = max(_MIN_SPAN, last.longest * _KEPT + span + wait)
    shortest = max(_MIN_SPAN, last.shortest * _KEPT + span + rejection.shortest)
    low, high = total / longest, total / shortest
    estimate = evolve(estimate, accepted=total, longest=longest, shortest=shortest)
    if rejection.is_pause(low):
        rate, doubling = max(last.rate, low), rejection.doubling
        return evolve(estimate, rate=rate, doubling=doubling, level=last.capacity)
    if accepted <= last.rate * span:  # no faster than the estimate: it was too high
        rate, doubling = max(low, min(high, last.rate)), max(rejection.doubling, last.doubling / _SLOWER)
        return evolve(estimate, rate=rate, doubling=doubling)
    high = min(high, max(low, rejection.pace))
    rate = max(low + _TOWARDS_HIGH * (high - low), _proved_rate(rejection, last.capacity))
    rate, doubling = min(rate, max(low, rejection.pace)), min(last.doubling * _SLOWER, _SLOWEST)
    return evolve(estimate, rate=rate, doubling=doubling)


def _proved_rate(rejection: Rejection, capacity: float) -> float:
    """What the last requests show, beyond what a full bucket may have given."""
    sent = rejection.sent
    proofs = (
        (sent.before - other.before - capacity) / (sent.at - other.at)
        for other in rejection.recent
        if sent.at - other.at > _MIN_PROOF
    )
    return max(proofs, default=0.0)
