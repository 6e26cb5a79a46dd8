"""Feed a million damaged answers to decoder and client: `python -m benchmarks fuzz [--count 1000000] [--seed 1]`.

Rules: each case comes from the seed and its number, so that `--first N --count 1` has it again. A case gets so many
seconds of processor time, a worker so much memory; what takes more is a finding, as is every promise that was broken.
Every sixteenth case is examined closely: its memory is measured, and it comes whole as well as in pieces. Each also
comes to the client over a socket, with deadlines on: `fuzz_client.py` judges stalls and deadlines. A table
says what was found; exits with 1 where anything was. No figures, only right and wrong.
"""

import argparse
import faulthandler
import math
import multiprocessing
import os
import re
import resource
import signal
import time
from collections import Counter
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import FrameType

from attrs import field, frozen, mutable

from benchmarks.corpus import Answer, answers
from benchmarks.fuzz_cases import case
from benchmarks.fuzz_client import Driven, drive
from benchmarks.fuzz_decoder import broken

CLOSELY = 16
SECONDS = 10.0
"""Processor time for one case, hundreds of times what the slowest needs; a decoder that hangs never ends."""

MEMORY = 2 << 30
_STEP = 1_000
_NUMBERS = re.compile(r"[0-9]+")


class TooLongError(BaseException):
    """A case took too much processor time; not an Exception, so that nothing catches it on its way."""


@frozen
class Job:
    """The cases `first`, …, `first + count - 1` of a seed."""

    seed: int
    first: int
    count: int


@frozen
class Finding:
    """A promise that the case with this number broke."""

    number: int
    made: str
    what: str


@mutable
class Found:
    """What came of cases: how many of each kind, and what was found (of each kind of finding the first).

    `stall` is the longest of the event loop and `late` how late the latest deadline was, in seconds.
    """

    cases: int = 0
    nbytes: int = 0
    kinds: Counter[str] = field(factory=Counter[str])
    times: Counter[str] = field(factory=Counter[str])
    firsts: dict[str, Finding] = field(factory=dict[str, Finding])
    stall: float = 0.0
    late: float = -math.inf

    def add(self, other: "Found") -> None:
        self.cases += other.cases
        self.nbytes += other.nbytes
        self.stall = max(self.stall, other.stall)
        self.late = max(self.late, other.late)
        self.kinds += other.kinds
        self.times += other.times
        for kind, finding in other.firsts.items():
            mine = self.firsts.get(kind, finding)
            self.firsts[kind] = min(mine, finding, key=lambda one: one.number)

    def note(self, finding: Finding) -> None:
        """One more; those that differ in a number only are one kind."""
        kind = _NUMBERS.sub("#", finding.what)
        self.times[kind] += 1
        self.firsts.setdefault(kind, finding)


@contextmanager
def watched(seconds: float) -> Generator[None]:
    """Raises `TooLongError` in here after so many seconds of processor time (where the system has such a timer)."""

    def ring(_: int, __: FrameType | None) -> None:
        raise TooLongError

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def run(job: Job, corpus: list[Answer], seconds: float = SECONDS) -> Found:
    found = Found()
    for number in range(job.first, job.first + job.count):
        damaged = case(corpus, job.seed, number)
        found.cases += 1
        found.nbytes += len(damaged.body)
        found.kinds[f"status {damaged.status // 100}xx"] += 1
        try:
            with watched(seconds):
                wrong = broken(damaged, job.seed, thorough=number % CLOSELY == 0)
        except TooLongError:
            wrong = [f"more than {seconds:g} seconds of processor time"]
        for what in wrong:
            found.note(Finding(number, damaged.made, what))
    return found


def driven(found: Found, came: Driven) -> None:
    """Add what came of the same cases over a socket."""
    found.stall = max(found.stall, came.stall)
    found.late = max(found.late, came.late)
    for damaged, what in came.findings:
        found.note(Finding(damaged.number, damaged.made, f"in the client: {what}"))


def _work(job: Job) -> Found:
    """In a process of its own, which gives way to all others."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(_STEP * SECONDS, exit=True)  # a hang that no signal interrupts
    os.nice(19 - os.nice(0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        corpus = list(answers().values())
        found = run(job, corpus)
        driven(found, drive(corpus, job.seed, range(job.first, job.first + job.count)))
        return found
    finally:
        faulthandler.cancel_dump_traceback_later()


def _told(found: Found, jobs: Iterable[Found], count: int) -> None:
    """Add up what the workers found; say how far they are, and what is new at once."""
    begun = time.monotonic()
    for number, part in enumerate(jobs, 1):
        for kind in part.firsts.keys() - found.firsts.keys():
            print(_line(part.firsts[kind], part.times[kind]), flush=True)
        found.add(part)
        if number % 50 == 0 or found.cases == count:
            rate = found.cases / (time.monotonic() - begun)
            wrong = sum(found.times.values())
            print(
                f"{found.cases:,} of {count:,} cases, {rate:,.0f} a second, {wrong:,} promises broken",
                flush=True,
            )


def _line(finding: Finding, times: int) -> str:
    return f"{times:7,} x {finding.what}\n          in case {finding.number}: {finding.made}"


def _summary(found: Found) -> str:
    lines = [_line(found.firsts[kind], times) for kind, times in found.times.most_common()]
    kinds = ", ".join(f"{times:,} {kind}" for kind, times in sorted(found.kinds.items()))
    lines.append(f"{found.cases:,} damaged answers ({found.nbytes / 1e9:.2f} GB; {kinds})")
    lines.append(
        f"the longest stall of the event loop {found.stall * 1000:.0f} ms, "
        f"the latest deadline {found.late * 1000:+.0f} ms"
    )
    lines.append(f"{sum(found.times.values()):,} promises broken, of {len(found.times)} kinds")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks fuzz", description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000, help="how many (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the damage (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    arguments = parser.parse_args()
    end = arguments.first + arguments.count
    jobs = [Job(arguments.seed, at, min(_STEP, end - at)) for at in range(arguments.first, end, _STEP)]
    found = Found()
    with multiprocessing.get_context("spawn").Pool(arguments.workers, maxtasksperchild=100) as pool:
        _told(found, pool.imap_unordered(_work, jobs), arguments.count)
    print(_summary(found))
    return int(bool(found.times))
