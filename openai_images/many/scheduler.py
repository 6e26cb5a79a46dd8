"""The state of many calls: which may start, which outcomes are ready, and the progress.

Invariants: pure state, changed by synchronous calls; times are parameters, in seconds. A call is held from its start
until the `take` after its outcome was taken, so at most `concurrency` results are held. The rate is that of the last
five minutes, or of the whole run if few calls ended in them; an unknown value is None, never 0.
Must not: handle tasks (the runner drops those that this names).
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from attrs import define

from openai_images.errors import ModerationBlockedError
from openai_images.models.outcomes import Outcome, Progress, Succeeded
from openai_images.models.results import ImageResult

_WINDOW = 300.0
"""Seconds over which the rate is measured: several times the duration of the slowest images."""

_MIN_REQUESTS = 10
"""The fewest requests in the window for which its rate is used."""


class Scheduler:
    """The state of all calls: `start` returns a ticket; `finish` or `drop` ends it; `take` yields an outcome."""

    def __init__(self, concurrency: int, *, ordered: bool = False, total: int | None = None) -> None:
        """Hold at most `concurrency` requests and outcomes; `total` is the number of requests, if known."""
        self._concurrency = concurrency
        self._ordered = ordered
        self._total = total
        self._meter = ProgressMeter()
        self._started = 0
        self._open: set[int] = set()
        self._waiting: set[int] = set()
        self._sent: set[int] = set()  # in flight, or may have been billed
        self._queue: deque[int] = deque()  # tickets in order, if `ordered`
        self._out_of_order: dict[int, Outcome] = {}  # finished before their turn
        self._ready: deque[Outcome] = deque()
        self._delivered = 0
        self._closed = False
        self._stopped = False

    @property
    def started(self) -> int:
        """The number of calls started."""
        return self._started

    @property
    def held(self) -> int:
        """The number of open calls and outcomes, including the outcome taken last."""
        return len(self._open) + len(self._out_of_order) + len(self._ready) + self._delivered

    @property
    def can_start(self) -> bool:
        """Whether another call may start now."""
        return not self._closed and self.held < self._concurrency

    @property
    def is_closed(self) -> bool:
        """Whether nothing new will start."""
        return self._closed

    @property
    def has_in_flight(self) -> bool:
        """Whether any request is in flight; one that may have been billed and waits to be sent again is not."""
        return not self._sent <= self._waiting

    @property
    def may_be_billed_count(self) -> int:
        """The number of open calls that may have been billed."""
        return len(self._sent | (self._open - self._waiting))

    @property
    def has_more(self) -> bool:
        """Whether calls are open, or may still start."""
        return bool(self._open) or not (self._closed or self._started == self._total)

    @property
    def has_ready(self) -> bool:
        """Whether an outcome is ready for `take`."""
        return bool(self._ready)

    @property
    def unread(self) -> tuple[Outcome, ...]:
        """The outcomes that were not taken."""
        return (*self._ready, *self._out_of_order.values())

    def begin(self, now: float) -> None:
        """Start the clock."""
        self._meter.begin(now)

    def start(self) -> int:
        """Start a call and return its ticket. Requires `can_start`."""
        ticket = self._started
        self._started += 1
        self._open.add(ticket)
        if self._ordered:
            self._queue.append(ticket)
        return ticket

    def wait(self, ticket: int) -> None:
        """Record that the call waits for a limit or its next attempt."""
        if ticket in self._open:
            self._waiting.add(ticket)

    def may_be_billed(self, ticket: int) -> bool:
        """Return whether its request is in flight, or may have been executed."""
        return ticket in self._sent

    def resume(self, ticket: int) -> None:
        """Record that the call no longer waits."""
        self._waiting.discard(ticket)

    def send(self, ticket: int) -> None:
        """Record that its request is being sent."""
        self.resume(ticket)
        if ticket in self._open:
            self._sent.add(ticket)

    def record_not_executed(self, ticket: int) -> None:
        """Record that its request was not executed; it may be sent again."""
        self._sent.discard(ticket)
        self.wait(ticket)

    def finish(self, ticket: int, outcome: Outcome, now: float, cost: Decimal | None = None) -> None:
        """End the call with an outcome, which `take` returns in its turn."""
        self._end(ticket)
        self._meter.add(outcome, now, cost)
        if self._ordered:
            self._out_of_order[ticket] = outcome
            self._advance()
        else:
            self._ready.append(outcome)

    def drop(self, ticket: int) -> None:
        """End the call without an outcome."""
        self._end(ticket)
        self._advance()

    def take(self) -> Outcome | None:
        """Release the outcome taken last and return the next one; None if none is ready."""
        self._delivered = 0
        if not self._ready:
            return None
        self._delivered = 1
        return self._ready.popleft()

    def close(self) -> None:
        """Start nothing new; started calls continue."""
        self._closed = True

    def stop(self) -> tuple[int, ...]:
        """Start nothing new; return the tickets to drop: waiting calls that were not sent."""
        self._closed = self._stopped = True
        return tuple(sorted(self._waiting - self._sent))

    def end(self, now: float) -> None:
        """Stop the clock, and drop all open calls."""
        self._meter.end(now)
        for ticket in sorted(self._open):
            self.drop(ticket)

    def clear(self) -> None:
        """Discard all outcomes."""
        self._ready.clear()
        self._out_of_order.clear()
        self._delivered = 0

    def progress(self, now: float, wait_reason: str | None = None) -> Progress:
        """Return the progress of all calls."""
        meter, waiting = self._meter, len(self._waiting)
        total = self._started if self._total is None and self._closed and not self._stopped else self._total
        left = len(self._open) if self._closed else None if total is None else max(0, total - meter.finished)
        return Progress(
            total=total,
            done=meter.done,
            failed=meter.failed,
            blocked=meter.blocked,
            unknown=meter.unknown,
            in_flight=len(self._open) - waiting,
            waiting=waiting,
            images=meter.images,
            elapsed=meter.elapsed(now),
            images_per_minute=meter.images_per_minute(now),
            eta=meter.eta(left, now),
            spent=meter.spent,
            unpriced=meter.unpriced,
            wait_reason=wait_reason,
        )

    def _end(self, ticket: int) -> None:
        self._open.remove(ticket)
        self._waiting.discard(ticket)
        self._sent.discard(ticket)

    def _advance(self) -> None:
        while self._queue and self._queue[0] not in self._open:
            outcome = self._out_of_order.pop(self._queue.popleft(), None)
            if outcome is not None:
                self._ready.append(outcome)


@define
class _Second:
    """Requests and images that ended in one second of the clock, or in the whole window."""

    second: int = 0
    requests: int = 0
    images: int = 0


class ProgressMeter:
    """Counts, costs and rates of the outcomes that were added."""

    def __init__(self) -> None:
        self.done = self.failed = self.blocked = self.unknown = self.images = self.unpriced = 0
        self.spent: Decimal | None = None
        self._started_at: float | None = None
        self._ended_at: float | None = None
        self._recent: deque[_Second] = deque()
        self._window = _Second()

    @property
    def finished(self) -> int:
        """The number of calls that have ended."""
        return self.done + self.failed

    def begin(self, now: float) -> None:
        """Start the clock."""
        self._started_at = now

    def end(self, now: float) -> None:
        """Stop the clock."""
        self._ended_at = now

    def add(self, outcome: Outcome, now: float, cost: Decimal | None) -> None:
        """Count an outcome and its cost."""
        images = 0
        if isinstance(outcome, Succeeded):
            images = len(outcome.result.images)
            self.done += 1
            self.unpriced += cost is None
        else:
            partial: ImageResult | None = getattr(outcome.error, "result", None)
            images = 0 if partial is None else len(partial.images)
            self.failed += 1
            self.unpriced += partial is not None and cost is None
            self.blocked += isinstance(outcome.error, ModerationBlockedError)
            self.unknown += bool(getattr(outcome.error, "maybe_billed", False))
        self.images += images
        if cost is not None:
            self.spent = (self.spent or Decimal(0)) + cost
        if not self._recent or self._recent[-1].second != int(now):
            self._forget(now)
            self._recent.append(_Second(int(now)))
        for span in (self._recent[-1], self._window):
            span.requests += 1
            span.images += images

    def elapsed(self, now: float) -> float:
        """Return the seconds from the start to now or the end; 0 before the start."""
        return 0.0 if self._started_at is None else max(0.0, self._clock(now) - self._started_at)

    def images_per_minute(self, now: float) -> float:
        """Return the recent rate in images per minute."""
        return self._speed(now)[1] * 60

    def eta(self, left: int | None, now: float) -> float | None:
        """Return the estimated seconds for `left` more requests; None if unknown."""
        if not left:
            return left if left is None else 0.0
        requests = self._speed(now)[0]
        return left / requests if requests else None

    def _clock(self, now: float) -> float:
        return now if self._ended_at is None else self._ended_at

    def _speed(self, now: float) -> tuple[float, float]:
        elapsed = self.elapsed(now)
        if not elapsed:
            return 0.0, 0.0
        self._forget(self._clock(now))
        if elapsed <= _WINDOW or self._window.requests < _MIN_REQUESTS:
            return self.finished / elapsed, self.images / elapsed
        return self._window.requests / _WINDOW, self._window.images / _WINDOW

    def _forget(self, now: float) -> None:
        """Remove seconds before the window, so that reading the rate takes constant time."""
        while self._recent and self._recent[0].second <= now - _WINDOW:
            oldest = self._recent.popleft()
            self._window.requests -= oldest.requests
            self._window.images -= oldest.images
