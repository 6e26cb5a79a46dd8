"""When the next request may go: the limits that were told, those that answers state, and what refusals teach.

Rules: pure, times are parameters, in seconds. Every limit must allow a request. A limit that was told is kept by
itself, evenly, with a few requests at once; one that the server states (`x-ratelimit-*`) is followed with what is said
to be left; only where neither is known is the limit found out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import define, field

from openai_images.http.buckets import Bucket
from openai_images.http.fitting import Sent
from openai_images.http.learning import Learner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from openai_images.models.options import Limits
    from openai_images.wire.headers import StatedLimit

__all__ = ["Pace", "Ticket"]

_AT_ONCE = 4
"""Requests of a limit that was told which may go at once: servers differ in how unevenly they let it be used."""

_KINDS = ("images", "requests", "tokens")


@define(eq=False)
class Ticket:
    """A request that was let go: what it was charged, and what each stated bucket held behind it."""

    sent: Sent
    charged: dict[str, float]
    held: dict[str, float] = field(factory=dict[str, float])
    is_open: bool = True


class Pace:
    """`wait` before a request, `take` when it goes; then `answered` or `refused`, and `used` with its tokens."""

    def __init__(self, limits: Limits, now: float) -> None:
        """Keep what was told."""
        told = {
            "images": limits.images_per_minute,
            "requests": limits.requests_per_minute,
            "tokens": limits.tokens_per_minute,
        }
        self._told = {
            kind: Bucket(limit / 60, limit / 15 if kind == "tokens" else min(limit, _AT_ONCE), now)
            for kind, limit in told.items()
            if limit is not None
        }
        self._stated: dict[str, Bucket] = {}
        self._learner = Learner()
        self._open: dict[str, float] = dict.fromkeys(_KINDS, 0.0)
        self._tokens_each = 0.0  # of one picture, as the last ones were

    @property
    def learned_rate(self) -> float | None:
        """Pictures a second that refusals have shown to be possible."""
        return self._learner.rate

    def wait(self, images: int, now: float) -> float:
        """Seconds until a request for so many pictures may go."""
        if not self._told and not self._stated:
            return self._learner.wait(images, now)
        charge = self._charge(images)
        waits = [
            bucket.wait(charge[kind], now) for kind, bucket in (*self._told.items(), *self._stated.items())
        ]
        if "images" in self._stated and self._learner.rate is None:
            return max(*waits, self._learner.pause_left(now))
        return max(0.0, *waits, self._learner.wait(images, now))

    def take(self, images: int, now: float) -> Ticket:
        """It goes now."""
        charge = self._charge(images)
        for kind, bucket in self._told.items():
            bucket.take(charge[kind], now)
        held = {kind: bucket.take(charge[kind], now) for kind, bucket in self._stated.items()}
        for kind in _KINDS:
            self._open[kind] += charge[kind]
        return Ticket(self._learner.take(images, now), charge, held)

    def answered(self, ticket: Ticket, stated: Mapping[str, StatedLimit], now: float) -> None:
        """It was accepted; the server said this of its limits."""
        self._learner.answered(now)
        self._close(ticket)
        self._follow(ticket, stated, now)

    def refused(self, ticket: Ticket, stated: Mapping[str, StatedLimit], seconds: float, now: float) -> None:
        """It was refused for the rate: nothing was charged, and everyone waits `seconds`."""
        self._close(ticket)
        for kind, bucket in self._stated.items():
            bucket.take(-ticket.charged[kind], now)
        self._follow(ticket, stated, now)
        if any(limit.remaining < ticket.charged[kind] for kind, limit in stated.items()):
            self._learner.pause(seconds, now)  # as was to be expected: there is nothing to find out
        else:
            self._learner.refused(ticket.sent, seconds, now)

    def used(self, ticket: Ticket, images: int, tokens: int, now: float) -> None:
        """So many tokens it really took; the next ones are expected to take as many."""
        self._tokens_each = tokens / max(1, images)
        more = tokens - ticket.charged["tokens"]
        for bucket in filter(None, (self._told.get("tokens"), self._stated.get("tokens"))):
            bucket.take(more, now)

    def abandoned(self, ticket: Ticket) -> None:
        """Nobody waits for its answer any more."""
        self._close(ticket)

    def _charge(self, images: int) -> dict[str, float]:
        return {"images": images, "requests": 1, "tokens": self._tokens_each * images}

    def _close(self, ticket: Ticket) -> None:
        if ticket.is_open:
            ticket.is_open = False
            for kind in _KINDS:
                self._open[kind] -= ticket.charged[kind]

    def _follow(self, ticket: Ticket, stated: Mapping[str, StatedLimit], now: float) -> None:
        """Believe what the server says is left, less what is on its way there."""
        for kind, limit in stated.items():
            # Servers count when they are asked or when they answer: either way so much is left at least.
            left = max(0.0, limit.remaining - self._open[kind])
            bucket = self._stated.get(kind)
            if bucket is None:
                self._stated[kind] = Bucket(limit.rate, limit.limit, now, left)
                continue
            bucket.capacity = limit.limit
            bucket.set_rate(limit.rate, now)
            # And only what is less than we thought at both moments is news: another process under the same limit.
            thought = min(ticket.held.get(kind, limit.limit), bucket.level(now))
            if left > bucket.level(now):
                bucket.set_level(left, now)
            elif limit.remaining < thought:
                bucket.take(thought - limit.remaining, now)
