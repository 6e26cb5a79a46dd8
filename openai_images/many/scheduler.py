"""Which of many calls may start, which outcomes are ready, and the progress of all.

Invariants: pure state; each change is one synchronous call, and times are parameters, in seconds. A call counts from
its start until its outcome was delivered and the next is asked for, so that at most `concurrency` results are held.
Must not: know tasks; it says which to drop, and the runner does it.
"""

from __future__ import annotations

from collections import deque
from decimal import Decimal

from openai_images.many.tally import ProgressMeter
from openai_images.models.outcomes import Outcome, Progress


class Scheduler:
    """`start` gives a ticket; `finish` or `abandon` ends it; `take` hands an outcome over."""

    def __init__(self, concurrency: int, *, ordered: bool = False, total: int | None = None) -> None:
        """Hold at most `concurrency` requests and outcomes; `total` is how many will come, where that is known."""
        self._concurrency = concurrency
        self._ordered = ordered
        self._total = total
        self._tally = ProgressMeter()
        self._started = 0
        self._open: set[int] = set()
        self._waiting: set[int] = set()
        self._sent: set[int] = set()  # something of them is on the wire, or may have been paid
        self._queue: deque[int] = deque()  # tickets in their order, where order counts
        self._early: dict[int, Outcome] = {}  # finished before their turn
        self._ready: deque[Outcome] = deque()
        self._in_hand = 0
        self._closed = False
        self._stopped = False

    @property
    def started(self) -> int:
        """How many were started."""
        return self._started

    @property
    def held(self) -> int:
        """Requests under way, and outcomes up to the one last handed over."""
        return len(self._open) + len(self._early) + len(self._ready) + self._in_hand

    @property
    def can_start(self) -> bool:
        """Whether there is room for one more, and nothing speaks against it."""
        return not self._closed and self.held < self._concurrency

    @property
    def is_closed(self) -> bool:
        """Whether nothing new will start."""
        return self._closed

    @property
    def has_sent(self) -> bool:
        """Whether something is on the wire."""
        return bool(self._sent)

    @property
    def has_more(self) -> bool:
        """Whether anything is under way or, as far as that is known, still to come."""
        return bool(self._open) or not (self._closed or self._started == self._total)

    @property
    def has_ready(self) -> bool:
        """Whether `take` would give something."""
        return bool(self._ready)

    def begin(self, now: float) -> None:
        """The time counts from here."""
        self._tally.begin(now)

    def start(self) -> int:
        """One more is under way; its ticket. Only where `can_start`."""
        ticket = self._started
        self._started += 1
        self._open.add(ticket)
        if self._ordered:
            self._queue.append(ticket)
        return ticket

    def wait(self, ticket: int) -> None:
        """It is held back: by a limit, or until its next attempt."""
        if ticket in self._open:
            self._waiting.add(ticket)

    def can_send(self, ticket: int) -> bool:
        """Whether its request may go out: after a stop only where it may have been paid already."""
        return not self._stopped or ticket in self._sent

    def resume(self, ticket: int) -> None:
        """It waits no longer."""
        self._waiting.discard(ticket)

    def send(self, ticket: int) -> None:
        """Its request goes out."""
        self.resume(ticket)
        if ticket in self._open:
            self._sent.add(ticket)

    def record_not_executed(self, ticket: int) -> None:
        """Its request did not run, and may go out again."""
        self._sent.discard(ticket)
        self.wait(ticket)

    def finish(self, ticket: int, outcome: Outcome, now: float, cost: Decimal | None = None) -> None:
        """It ended with this outcome, which `take` gives when it is its turn."""
        self._end(ticket)
        self._tally.add(outcome, now, cost)
        if self._ordered:
            self._early[ticket] = outcome
            self._advance()
        else:
            self._ready.append(outcome)

    def drop(self, ticket: int) -> None:
        """It ended without an outcome."""
        self._end(ticket)
        self._advance()

    def take(self) -> Outcome | None:
        """Let go of the outcome handed over last, and hand over the next; None where none is ready."""
        self._in_hand = 0
        if not self._ready:
            return None
        self._in_hand = 1
        return self._ready.popleft()

    def close(self) -> None:
        """Nothing more will be given; what was started goes on."""
        self._closed = True

    def stop(self) -> tuple[int, ...]:
        """Start nothing new and send nothing new; the tickets to drop, which wait with nothing sent."""
        self._closed = self._stopped = True
        return tuple(sorted(self._waiting - self._sent))

    def end(self, now: float) -> None:
        """All is over: the time stands still, and whoever was still under way has no outcome."""
        self._tally.end(now)
        for ticket in sorted(self._open):
            self.drop(ticket)

    def clear(self) -> None:
        """Nobody wants what is ready any more."""
        self._ready.clear()
        self._early.clear()
        self._in_hand = 0

    def progress(self, now: float, wait_reason: str | None = None) -> Progress:
        """How far it is."""
        tally, waiting = self._tally, len(self._waiting)
        total = self._started if self._total is None and self._closed and not self._stopped else self._total
        left = len(self._open) if self._closed else None if total is None else max(0, total - tally.finished)
        return Progress(
            total=total,
            done=tally.done,
            failed=tally.failed,
            blocked=tally.blocked,
            unknown=tally.unknown,
            in_flight=len(self._open) - waiting,
            waiting=waiting,
            images=tally.images,
            elapsed=tally.elapsed(now),
            images_per_minute=tally.images_per_minute(now),
            eta=tally.eta(left, now),
            spent=tally.spent,
            unpriced=tally.unpriced,
            wait_reason=wait_reason if waiting else None,
        )

    def _end(self, ticket: int) -> None:
        self._open.remove(ticket)
        self._waiting.discard(ticket)
        self._sent.discard(ticket)

    def _advance(self) -> None:
        """Those whose turn it is are ready."""
        while self._queue and self._queue[0] not in self._open:
            outcome = self._early.pop(self._queue.popleft(), None)
            if outcome is not None:
                self._ready.append(outcome)
