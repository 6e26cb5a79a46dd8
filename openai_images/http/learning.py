"""A server's rate limit found out from its refusals, where nobody has told it.

Rules: pure, times are parameters, in seconds. Until the first refusal requests are let go a few milliseconds apart,
so that a limit is met by one of them and not by all; once answers come this is no brake. From then on the server is
taken for a bucket of tokens that is fitted to what it accepted and refused (`fitting.py`). Its rate grows while it
is used to the full, in case there is more, and ever more slowly. Every refusal pauses all, for as long as the server
said. It refuses to let anyone go during a pause, and to grow faster where there is nothing to do.
"""

from __future__ import annotations

import math
from collections import deque

from openai_images.http.buckets import Bucket
from openai_images.http.fitting import Guess, Refusal, Sent, first_guess, fitted, is_rounded

__all__ = ["Learner"]

_APART = 0.003
"""Seconds between two first requests: a refusal comes back within a few of these."""

_AT_ONCE = 4
_PER_ANSWER = 2
_MOST_AT_ONCE = 1000.0
"""Before the first refusal: so many at once, so many more for each answer, so many at most."""

_KEPT = 64
"""How many of the last requests a fit looks at."""

_SLACK = 0.1
"""Of a picture: to keep so far from the edge costs nothing but this once, and a packet may be early."""

_FIRST_DOUBLING, _LONGEST_DOUBLING = 0.4, 3600.0  # seconds in which the rate doubles
_SLOWER = 16.0
_PART_OF_A_WAIT = 8
_FEW = 4


class Learner:
    """`wait` before a request, `take` when it goes, `answered` or `refused` when the server has said."""

    def __init__(self) -> None:
        """Know nothing."""
        self._phase = 0  # from one refusal to the next
        self._number = 0
        self._sent = deque[Sent](maxlen=_KEPT)
        self._resume_at = -math.inf
        self._free: Bucket | None = None
        self._bucket: Bucket | None = None
        self._capacity = 1.0
        self._last: Refusal | None = None
        self._short_phases = 0
        self._doubling = _FIRST_DOUBLING
        self._grown_at = 0.0
        self._accepted: list[Sent] = []
        self._before: tuple[Bucket | None, Refusal | None, float, int, float]
        self._before = (None, None, self._capacity, 0, self._doubling)

    @property
    def rate(self) -> float | None:
        """Pictures a second, as far as was found out; None before the first refusal."""
        return self._bucket.rate if self._bucket else None

    def wait(self, amount: float, now: float) -> float:
        """Seconds until a request for `amount` pictures should go."""
        pause = self.pause_left(now)
        if self._bucket is not None:
            return pause + self._bucket.wait(amount, now + pause)
        return max(pause, self._free.wait(1, now) if self._free else 0.0)

    def pause_left(self, now: float) -> float:
        """Seconds until the pause that a refusal asked for is over."""
        return max(0.0, self._resume_at - now)

    def take(self, amount: float, now: float) -> Sent:
        """A request goes now."""
        if self._bucket is not None:
            self._grow(self._bucket, amount, now)
            self._bucket.take(amount if self._sent else amount + _SLACK, now)
        else:
            self._free = self._free or Bucket(1 / _APART, _AT_ONCE, now)
            self._free.take(1, now)
        self._number += 1
        sent = Sent(self._phase, self._number, now, amount)
        self._sent.append(sent)
        return sent

    def answered(self, now: float) -> None:
        """A request was accepted: more may go at once as long as nothing was refused."""
        if self._free is not None and self._bucket is None:
            self._free.capacity = min(_MOST_AT_ONCE, self._free.capacity + _PER_ANSWER)
            self._free.take(-_PER_ANSWER, now)

    def pause(self, seconds: float, now: float) -> None:
        """Let nobody go for so long."""
        self._resume_at = max(self._resume_at, now + seconds)

    def refused(self, sent: Sent, seconds: float, now: float) -> None:
        """This request was refused, and the server wants that long a pause."""
        self.pause(seconds, now)
        if sent.phase == self._phase:
            self._accepted = [other for other in self._sent if other.number < sent.number]
            self._before = (self._bucket, self._last, self._capacity, self._short_phases, self._doubling)
            self._phase += 1
            self._conclude(Refusal(sent, seconds))
        elif sent.phase == self._phase - 1 and not self._sent and self._last and sent in self._accepted:
            # It was let go before everyone was paused, and answered later: it was not accepted after all.
            self._accepted.remove(sent)
            refusal = self._last
            self._bucket, self._last, self._capacity, self._short_phases, self._doubling = self._before
            self._conclude(refusal)

    def _conclude(self, refusal: Refusal) -> None:
        """Go on with what was learned, when the pause is over."""
        sent, seconds = refusal.sent, refusal.seconds
        guess = self._learn(refusal, self._accepted)
        self._capacity = guess.capacity
        room = max(
            1.0, sent.amount, guess.capacity - 1
        )  # one less than it seems: rather slow by one than refused
        back = (
            max(sent.amount, min(guess.rate * seconds, sent.amount + guess.rate))
            if is_rounded(seconds)
            else 1.0
        )
        level = min(room, max(_AT_ONCE, sent.amount), max(sent.amount, back))
        self._bucket = Bucket(guess.rate, room, self._resume_at, level)
        self._grown_at = self._resume_at
        self._last = refusal
        self._sent.clear()

    def _learn(self, refusal: Refusal, accepted: list[Sent]) -> Guess:
        """What this refusal teaches."""
        if self._bucket is None or self._last is None:
            self._doubling = max(_FIRST_DOUBLING, refusal.seconds / _PART_OF_A_WAIT)
            return first_guess(accepted, refusal)
        self._short_phases = self._short_phases + 1 if len(accepted) < _FEW else 0
        # Twice in a row after a few requests: what seemed to have come back was there all along.
        capacity = self._capacity + (self._short_phases > 1 and bool(accepted))
        guess = fitted(self._last, accepted, refusal, Guess(self._bucket.rate, capacity))
        slower = self._doubling * _SLOWER ** (2 if guess.is_sure else 1)
        self._doubling = min(_LONGEST_DOUBLING, max(slower, _SLOWER / guess.rate))
        return guess

    def _grow(self, bucket: Bucket, amount: float, now: float) -> None:
        """A little faster where the limit is what holds us back."""
        is_idle = bucket.level(now) - amount >= min(1.0, bucket.capacity / 2)
        if not is_idle and now > self._grown_at:
            bucket.set_rate(bucket.rate * 2 ** ((now - self._grown_at) / self._doubling), now)
        self._grown_at = max(self._grown_at, now)
