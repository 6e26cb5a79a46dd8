"""One limit for four processes: `python -m benchmarks shared_limit [--seconds 15]`. Needs redis-server.

Rules: each process has 32 calls that wait, the limit is 100 a second; the times of the grants are those of the
machine's clock, the limiter's may be wrong. A process, `python -m benchmarks.shared_limit URL NAME NUMBERS`, prints
"ready", and after a line the time of each grant. A table says what was measured; exits with 1 where it is not within
the bounds.
"""

import argparse
import asyncio
import bisect
import itertools
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager

from attrs import define, field, frozen

from benchmarks.redis_server import RedisServer, is_installed
from openai_images import Limits, RateLimitError, Timing
from openai_images.ratelimit.limiter import Limiter
from openai_images.ratelimit.new_limiter import new_limiter

PER_MINUTE = 6000
RATE = PER_MINUTE / 60
PROCESSES, WAITERS, PAUSE = 4, 32, 1.5
NEAR, MOST_IN_A_SECOND, SCRIPTS, FAIR = 0.02, 110, 1.2, 0.2
STARTED = 1.0  # seconds after which the rate is measured
LATE = 0.15  # seconds in which places given before a pause may still be used


@frozen
class Case:
    """What is measured: clocks that are wrong, a pause, a process that is killed."""

    name: str
    skews: tuple[float, ...] = (0.0,) * PROCESSES
    has_pause: bool = False
    kills: bool = False


CASES = (
    Case("plain"),
    Case("clocks 2 s apart", skews=(0.0, 2.0, 0.0, 2.0)),
    Case("a pause of 1.5 s", has_pause=True),
    Case("a process killed", kills=True),
)


@define
class Measured:
    """The grants of each process in order, and the calls of the script for all of them."""

    grants: list[list[float]]
    scripts: int
    paused_at: float | None = None
    killed_at: float | None = None
    times: list[float] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.times = sorted(itertools.chain(*self.grants))

    def rate(self, start: float, end: float) -> float:
        return self.count(start, end) / (end - start)

    def count(self, start: float, end: float) -> int:
        return bisect.bisect_left(self.times, end) - bisect.bisect_left(self.times, start)

    @property
    def most_in_a_second(self) -> int:
        """The most grants in any second."""
        return max(self.count(at, at + 1.0) for at in self.times)

    @property
    def scripts_per_grant(self) -> float:
        return self.scripts / len(self.times)

    @property
    def unfair(self) -> float:
        """How far a process is from the mean, as a fraction."""
        counts = [len(grants) for grants in self.grants]
        mean = sum(counts) / len(counts)
        return max(abs(count - mean) for count in counts) / mean


def measure(case: Case, seconds: float, waiters: int = WAITERS) -> Measured:
    with RedisServer() as server, _processes(server.url, case, seconds, waiters) as running:
        before = server.calls()
        for process in running:
            _write(process)
        killed_at = None
        if case.kills:
            time.sleep(seconds / 2)
            running[0].kill()
            killed_at = time.time()
        lines = [process.communicate()[0].splitlines() for process in running]
        scripts = server.calls() - before
    pauses = [float(line.split()[1]) for one in lines for line in one if line.startswith("paused")]
    grants = [[float(line) for line in one if _is_time(line)] for one in lines]
    return Measured(grants, scripts, pauses[0] if pauses else None, killed_at)


def faults(case: Case, found: Measured, seconds: float, *, is_slow: bool = False) -> Iterator[str]:
    """What is not within the bounds; where other programs use the processor (`is_slow`), fewer grants are no fault."""
    start = found.times[0] + STARTED
    end = found.times[0] + seconds - 0.1
    if found.most_in_a_second > MOST_IN_A_SECOND:
        yield f"{found.most_in_a_second} in a second"
    if found.scripts_per_grant > SCRIPTS:
        yield f"{found.scripts_per_grant:.2f} scripts per grant"
    if not case.kills and found.unfair > FAIR:
        yield f"a process is {found.unfair:.0%} from the mean"
    if found.paused_at is not None:
        strays = found.count(found.paused_at + LATE, found.paused_at + PAUSE - 0.001)
        if strays:
            yield f"{strays} in the pause"
        if not found.count(found.paused_at + PAUSE, found.paused_at + PAUSE + 0.5):
            yield "nothing after the pause"
    elif not (0 if is_slow else 1 - NEAR) <= found.rate(start, end) / RATE <= 1 + NEAR:
        yield f"{found.rate(start, end):.1f} a second"
    if found.killed_at is not None:
        yield from _faults_of_kill(found, found.killed_at, end, is_slow=is_slow)


def _faults_of_kill(found: Measured, killed_at: float, end: float, *, is_slow: bool) -> Iterator[str]:
    count = found.count(killed_at, end)
    lost = (end - killed_at) * RATE - count
    if not count:
        yield "nothing after the kill"
    elif lost > 2 and not is_slow:  # its place, and one for the edges of the time
        yield f"{lost:.1f} lost with the process"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks shared_limit", description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="of each case (%(default)s)")
    seconds = parser.parse_args().seconds
    if not is_installed():
        print("redis-server is not installed")
        return 1
    wrong = 0
    for case in CASES:
        found = measure(case, seconds)
        counts = sorted(len(grants) for grants in found.grants)
        start, end = found.times[0] + STARTED, found.times[0] + seconds - 0.1
        problems = list(faults(case, found, seconds))
        wrong += len(problems)
        print(
            f"{case.name}: {found.rate(start, end):.1f}/s, at most {found.most_in_a_second} in a second, "
            f"{found.scripts_per_grant:.3f} scripts per grant, {counts[0]} to {counts[-1]} per process"
            f"{_pause_text(found)}; {', '.join(problems) or 'as promised'}",
            flush=True,
        )
    return int(wrong > 0)


def _pause_text(found: Measured) -> str:
    if found.paused_at is None:
        return ""
    strays = found.count(found.paused_at, found.paused_at + PAUSE - 0.001)
    later = next((at for at in found.times if at >= found.paused_at + PAUSE - 0.001), found.paused_at)
    return f", {strays} after the pause began, the next after {later - found.paused_at:.3f} s"


@contextmanager
def _processes(
    url: str, case: Case, seconds: float, waiters: int
) -> Generator[Sequence["subprocess.Popen[str]"]]:
    """The processes, ready to go."""
    running: list[subprocess.Popen[str]] = []
    try:
        for number, skew in enumerate(case.skews):
            pause = PAUSE if case.has_pause and number == 0 else 0.0
            numbers = [str(each) for each in (waiters, seconds, skew, pause)]
            command = [sys.executable, "-m", "benchmarks.shared_limit", url, "all", *numbers]
            running.append(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        for process in running:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        yield running
    finally:
        for process in running:
            process.kill()
            process.wait()


def _write(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def _is_time(text: str) -> bool:
    return text.replace(".", "", 1).isdecimal()


@frozen
class Role:
    """What a process does: so many calls at once for so long, with a wrong clock, and a 429 in the middle."""

    waiters: int
    seconds: float
    skew: float
    pause: float


async def run(url: str, name: str, role: Role) -> None:
    skew = role.skew
    timing = Timing(monotonic=lambda: time.monotonic() + skew, wall=lambda: time.time() + skew)
    limiter = new_limiter(Limits(shared=url, name=name, images_per_minute=PER_MINUTE), timing)
    (await limiter.acquire()).release()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    end = time.time() + role.seconds
    rejecting = [reject(limiter, role.seconds / 2, role.pause)] if role.pause else []
    await asyncio.gather(*(call(limiter, end) for _ in range(role.waiters)), *rejecting)
    await limiter.aclose()


async def call(limiter: Limiter, end: float) -> None:
    """One call after another, which take no time."""
    while time.time() < end:
        slot = await limiter.acquire()
        print(f"{time.time():.6f}", flush=True)
        slot.record_success({})
        slot.release()


async def reject(limiter: Limiter, after: float, pause: float) -> None:
    """A 429 with a Retry-After of so many seconds."""
    await asyncio.sleep(after)
    slot = await limiter.acquire()
    print(f"{time.time():.6f}", flush=True)
    slot.release()
    error = RateLimitError("", status_code=429)
    error.retry_after, error.safe_to_resend = pause, True
    print(f"paused {time.time():.6f}", flush=True)
    slot.record_rejection({}, pause, error)


if __name__ == "__main__":
    url, name, *numbers = sys.argv[1:]
    waiters, seconds, skew, pause = map(float, numbers)
    asyncio.run(run(url, name, Role(int(waiters), seconds, skew, pause)))
