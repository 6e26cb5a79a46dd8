"""The scheduler without a loop: who may start, what is ready, whom a stop drops, and what progress says."""

from decimal import Decimal

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from openai_images import Failed, GenerateRequest, Outcome, Succeeded
from openai_images.errors import ImagesError
from openai_images.many.scheduler import Scheduler
from tests.helpers.fake_send import result

REQUEST = GenerateRequest("an otter")


def done(index: int) -> Succeeded:
    """A good outcome."""
    return Succeeded(index, str(index), REQUEST, result())


def failed(index: int) -> Failed:
    """A bad one."""
    return Failed(index, str(index), REQUEST, ImagesError("no"))


def indices(scheduler: Scheduler) -> list[int]:
    """What can be taken now."""
    found = []
    while (outcome := scheduler.take()) is not None:
        found.append(outcome.index)
    return found


def test_as_they_finish() -> None:
    """Without order, what finishes first is first."""
    scheduler = Scheduler(3)
    assert [scheduler.start() for _ in range(3)] == [0, 1, 2]
    for ticket in (2, 0, 1):
        scheduler.finish(ticket, done(ticket), 0.0)
    assert indices(scheduler) == [2, 0, 1]


def test_in_order() -> None:
    """What finishes early waits for its turn; what is abandoned holds up nobody."""
    scheduler = Scheduler(5, ordered=True)
    for _ in range(5):
        scheduler.start()
    scheduler.finish(2, done(2), 0.0)
    scheduler.finish(1, done(1), 0.0)
    assert indices(scheduler) == []
    scheduler.drop(0)
    assert indices(scheduler) == [1, 2]
    scheduler.finish(4, done(4), 0.0)
    scheduler.end(0.0)
    assert indices(scheduler) == [4]


@pytest.mark.parametrize("ordered", [True, False])
def test_room(ordered: bool) -> None:
    """What is in flight, ready, or in hand takes room; the next `take` gives back that of the one before."""
    scheduler = Scheduler(2, ordered=ordered)
    scheduler.start()
    scheduler.start()
    assert not scheduler.can_start
    scheduler.finish(0, done(0), 0.0)
    assert not scheduler.can_start
    assert scheduler.take() == done(0)
    assert not scheduler.can_start
    assert scheduler.take() is None
    assert scheduler.can_start
    scheduler.drop(1)
    assert scheduler.held == 0


def test_a_close_lets_go_on_and_a_stop_does_not() -> None:
    """After a close what was started goes on; after a stop what was not sent is dropped."""
    scheduler = Scheduler(4)
    for _ in range(4):
        scheduler.start()
    scheduler.wait(0)  # never sent
    scheduler.wait(1)
    scheduler.send(1)  # on the wire
    scheduler.send(2)
    scheduler.record_not_executed(2)  # did not run, and waits
    scheduler.send(3)
    scheduler.wait(3)  # may have run, and waits for another attempt
    scheduler.close()
    assert not scheduler.can_start
    assert scheduler.stop() == (0, 2)
    assert [scheduler.may_be_billed(ticket) for ticket in range(4)] == [False, True, False, True]


def test_waiting_and_in_flight() -> None:
    """Each request is one or the other, and what ended is neither."""
    scheduler = Scheduler(3)
    counts = []

    def count() -> None:
        progress = scheduler.progress(0.0)
        counts.append((progress.in_flight, progress.waiting))

    for step in (
        scheduler.start,
        lambda: scheduler.wait(0),
        lambda: scheduler.send(0),
        lambda: scheduler.record_not_executed(0),
        lambda: scheduler.resume(0),
        lambda: scheduler.finish(0, done(0), 0.0),
        lambda: scheduler.wait(0),
        lambda: scheduler.send(0),
    ):
        step()
        count()
    assert counts == [(1, 0), (0, 1), (1, 0), (0, 1), (1, 0), (0, 0), (0, 0), (0, 0)]


def test_total_and_eta() -> None:
    """The total is the one given, or known at the end of the source; what a stop leaves out is not waited for."""
    scheduler = Scheduler(4)
    scheduler.begin(100.0)
    for _ in range(4):
        scheduler.start()
    scheduler.finish(0, done(0), 110.0)
    progress = scheduler.progress(110.0)
    assert (progress.total, progress.eta, progress.elapsed) == (None, None, 10.0)
    scheduler.close()
    progress = scheduler.progress(110.0)
    assert (progress.total, progress.eta) == (4, 30.0)

    scheduler = Scheduler(4, total=10)
    scheduler.begin(0.0)
    assert scheduler.progress(5.0).eta is None
    scheduler.start()
    scheduler.start()
    scheduler.finish(0, failed(0), 6.0, None)
    assert scheduler.progress(6.0).eta == 54.0
    scheduler.stop()
    progress = scheduler.progress(6.0)
    assert (progress.total, progress.eta) == (10, 6.0)
    scheduler.drop(1)
    scheduler.end(7.0)
    progress = scheduler.progress(99.0)
    assert (progress.eta, progress.elapsed, progress.spent) == (0.0, 7.0, None)


def test_what_nobody_wants() -> None:
    """It is let go of, ready or not; the counts stay."""
    scheduler = Scheduler(3, ordered=True)
    for ticket in range(3):
        scheduler.start()
        scheduler.finish(ticket, done(ticket), 0.0) if ticket else None
    scheduler.clear()
    scheduler.drop(0)
    assert (scheduler.take(), scheduler.held, scheduler.progress(0.0).done) == (None, 0, 2)


def test_costs_are_passed_on() -> None:
    """What an outcome cost is in the sum."""
    scheduler = Scheduler(2)
    scheduler.start()
    scheduler.finish(0, done(0), 0.0, Decimal("0.25"))
    assert scheduler.progress(0.0).spent == Decimal("0.25")


class Scheduling(RuleBasedStateMachine):
    """Any course of events, held against a plain model of it."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        """Nothing has happened."""
        super().__init__()
        self.clock = 0.0
        self.open: dict[int, str] = {}
        self.ended: list[tuple[int, Outcome]] = []
        self.given_up: set[int] = set()
        self.taken: list[int] = []
        self.in_hand = False
        self.closed = False

    @precondition(lambda self: not hasattr(self, "scheduler"))
    @rule(concurrency=st.integers(1, 4), ordered=st.booleans())
    def make(self, concurrency: int, ordered: bool) -> None:
        """Choose a kind."""
        self.concurrency, self.ordered = concurrency, ordered
        self.scheduler = Scheduler(concurrency, ordered=ordered)
        self.scheduler.begin(0.0)

    @precondition(lambda self: hasattr(self, "scheduler") and self.scheduler.can_start)
    @rule(target=tickets)
    def start(self) -> int:
        """One more, numbered on."""
        ticket = self.scheduler.start()
        assert ticket == len(self.open) + len(self.ended) + len(self.given_up)
        self.open[ticket] = "new"
        return ticket

    @rule(ticket=tickets, how=st.sampled_from(["wait", "send", "record_not_executed"]))
    def move(self, ticket: int, how: str) -> None:
        """One waits, or goes on; after its end that means nothing."""
        getattr(self.scheduler, how)(ticket)
        if ticket in self.open:
            sent = self.open[ticket].startswith("sent")
            self.open[ticket] = {
                "wait": "sent, waits" if sent else "waits",
                "send": "sent",
                "record_not_executed": "waits",
            }[how]

    @rule(ticket=consumes(tickets), good=st.booleans(), seconds=st.floats(0, 100))
    def finish(self, ticket: int, good: bool, seconds: float) -> None:
        """One has its outcome."""
        self.clock += seconds
        outcome = done(ticket) if good else failed(ticket)
        self.scheduler.finish(ticket, outcome, self.clock, Decimal(1) if good else None)
        del self.open[ticket]
        self.ended.append((ticket, outcome))

    @rule(ticket=consumes(tickets))
    def abandon(self, ticket: int) -> None:
        """One has none."""
        self.scheduler.drop(ticket)
        del self.open[ticket]
        self.given_up.add(ticket)

    @precondition(lambda self: hasattr(self, "scheduler"))
    @rule()
    def take(self) -> None:
        """The consumer asks for the next."""
        expected = self._next()
        outcome = self.scheduler.take()
        assert (None if outcome is None else outcome.index) == expected
        self.in_hand = expected is not None
        if expected is not None:
            self.taken.append(expected)

    @precondition(lambda self: hasattr(self, "scheduler") and len(self.taken) > 2)
    @rule(stop=st.booleans())
    def close(self, stop: bool) -> None:
        """The source ends, or somebody stops it."""
        self.closed = True
        if stop:
            waiting = tuple(sorted(ticket for ticket, state in self.open.items() if state == "waits"))
            assert self.scheduler.stop() == waiting
        else:
            self.scheduler.close()

    def _next(self) -> int | None:
        """Whose turn it is, by the model."""
        left = [ticket for ticket, _ in self.ended if ticket not in self.taken]
        if not left or not self.ordered:
            return left[0] if left else None
        return min(left) if all(min(left) < ticket for ticket in self.open) else None

    @invariant()
    def never_more_than_allowed(self) -> None:
        """What is in flight, finished and not handed over, and in hand, is at most `concurrency`."""
        if hasattr(self, "scheduler"):
            held = len(self.open) + len(self.ended) - len(self.taken) + self.in_hand
            assert self.scheduler.held == held <= self.concurrency
            assert self.scheduler.can_start == (held < self.concurrency and not self.closed)

    @invariant()
    def says_what_is_so(self) -> None:
        """Progress, and who may have been billed, are those of the model."""
        if hasattr(self, "scheduler"):
            progress = self.scheduler.progress(self.clock)
            good = sum(isinstance(outcome, Succeeded) for _, outcome in self.ended)
            waiting = sum(state.endswith("waits") for state in self.open.values())
            assert (progress.done, progress.failed) == (good, len(self.ended) - good)
            assert (progress.in_flight, progress.waiting) == (len(self.open) - waiting, waiting)
            assert progress.spent == (good or None)
            assert self.scheduler.has_ready == (self._next() is not None)
            for ticket, state in self.open.items():
                assert self.scheduler.may_be_billed(ticket) == state.startswith("sent")


TestScheduling = Scheduling.TestCase
TestScheduling.settings = settings(stateful_step_count=60, max_examples=60)
