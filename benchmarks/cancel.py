"""Cancel calls at every step of the event loop: `python -m benchmarks cancel [SCENARIO...] [--every 1] [--again 0]`.

Rules: each scenario is cancelled after 0, 1, 2, … steps, until it ends before its turn comes. What arrives when is up
to the machine, so that the same number may be another moment in another round. A table says what was found; exits with
1 where anything was left. No figures, only right and wrong.
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path

from attrs import frozen

from benchmarks.cancel_run import Moment, Scenario, Server, cancelled, serving
from benchmarks.cancel_scenarios import SCENARIOS
from benchmarks.kill import noise

SIDE = 600  # of the image, in pixels: 1 MB arrives in several pieces, and goes to its file in two
MOST = 20_000
"""Steps of a scenario; one that goes on for longer never ends."""


@frozen
class Finding:
    """What was wrong when it was cancelled at a moment."""

    when: Moment
    what: str


@frozen
class Found:
    """What came of one scenario: how often it was cancelled, the steps of a whole run, and the findings."""

    scenario: str
    cancelled: int
    steps: int
    findings: list[Finding]


def at_every_step(
    scenario: Scenario,
    server: Server,
    root: Path,
    moments: Iterable[Moment],
) -> Found:
    """Cancel a scenario at each of these moments, until it ends before; what was found."""
    findings: list[Finding] = []
    times = 0
    for when in moments:
        seen = cancelled(when, scenario, server, root / f"{scenario.name} {when.after}")
        findings += [Finding(when, fault) for fault in seen.faults]
        if not seen.was_cancelled:
            return Found(scenario.name, times, seen.steps, findings)
        times += 1
    return Found(scenario.name, times, MOST, [*findings, Finding(Moment(MOST), "it does not end")])


def main() -> int:
    """Cancel, print; 1 where something was left."""
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks cancel", description="Cancel calls at every step of the event loop."
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of: {'; '.join(names)} (all)")
    parser.add_argument("--every", type=int, default=1, help="cancel after every so many steps (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="the first number of steps (%(default)s)")
    parser.add_argument("--again", type=int, default=0, help="and once more so many steps later (never)")
    parser.add_argument("--rounds", type=int, default=1, help="how often (%(default)s)")
    arguments = parser.parse_args()
    if unknown := set(arguments.scenarios) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    chosen = [one for one in SCENARIOS if one.name in (arguments.scenarios or names)]
    picture = noise(SIDE)
    print(f"{'scenario':36} {'steps':>6} {'cancelled':>9} {'faults':>6}", flush=True)
    total = wrong = 0
    for scenario in chosen * arguments.rounds:
        with tempfile.TemporaryDirectory() as folder, serving(picture, links=scenario.links) as server:
            numbers = range(arguments.first, MOST, arguments.every)
            moments = (Moment(after, arguments.again) for after in numbers)
            found = at_every_step(scenario, server, Path(folder), moments)
        print(f"{found.scenario:36} {found.steps:6} {found.cancelled:9} {len(found.findings):6}", flush=True)
        for finding in found.findings:
            print(f"    after {finding.when.after} steps: {finding.what}", flush=True)
        total += found.cancelled
        wrong += len(found.findings)
    print(f"{total:,} cancellations, {wrong:,} faults")
    return int(bool(wrong))
