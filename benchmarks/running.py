"""The rounds: a server for each case, and the contenders in turn, each in a new process.

Rules: contenders that compute take turns; those that only wait for a limit may do so at the same time, once, each with
a server of its own.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from attrs import define, frozen

from benchmarks.cases import Case, Load, Outcome
from benchmarks.contenders import FLOOR
from benchmarks.payloads import SHAPES, digests
from benchmarks.processes import ROOT, environment

SECONDS = 300


@frozen
class Effort:
    """How many rounds, whether with `small` images once, and how many turns at once."""

    rounds: int
    small: bool = False
    at_once: int = 1


@define
class Address:
    """Where a server listens, and the file with the authority that its certificate is of, if it has one.

    When it has ended, `late` is the share of its pieces that were late.
    """

    port: int
    authority: str = ""
    late: float = 0.0


WAITING_AT_ONCE = 8
"""Contenders that wait at the same time: few enough for their starts not to slow each other."""

Report = dict[str, Any]
Take = Callable[[str], Report]


def compare(case: Case, effort: Effort) -> Outcome:
    """Let the contenders take turns; each round begins with another one."""
    outcome = Outcome()
    case = case.small if effort.small else case
    with _server(case) as server, ThreadPoolExecutor(effort.at_once) as pool:

        def take(name: str) -> Report:
            return _turn(name, case, server, small=effort.small)

        for number in range(min(effort.rounds, case.rounds)):
            _round(case, number, outcome, lambda names: zip(names, pool.map(take, names), strict=True))
    outcome.late = server.late
    return outcome


def compare_at_once(cases: Sequence[Case], effort: Effort) -> dict[str, Outcome]:
    """Let all contenders wait at the same time; cases with the same load share a contender's turn."""
    cases = [case.small if effort.small else case for case in cases]
    turns = {(case.load, name): case for case in reversed(cases) for name in case.contenders}

    def take(turn: tuple[tuple[Load | None, str], Case]) -> Report:
        (_, name), case = turn
        with _server(case) as server:
            return _turn(name, case, server, small=effort.small)

    longest_first = sorted(
        turns.items(), key=lambda turn: turn[0][0].ideal if turn[0][0] else 0, reverse=True
    )
    with ThreadPoolExecutor(effort.at_once if effort.small else WAITING_AT_ONCE) as pool:
        reports = dict(zip((key for key, _ in longest_first), pool.map(take, longest_first), strict=True))
    outcomes: dict[str, Outcome] = {}
    for case in cases:
        outcome = outcomes[case.key] = Outcome()
        for name in case.contenders:
            _enter(outcome, case, name, reports[case.load, name])
    return outcomes


def _round(
    case: Case, number: int, outcome: Outcome, take: Callable[[list[str]], Iterable[tuple[str, Report]]]
) -> None:
    """One turn of each contender that can."""
    first = number % len(case.contenders)
    order = case.contenders[first:] + case.contenders[:first]
    for name, report in take([name for name in order if outcome.is_measured(name)]):
        _enter(outcome, case, name, report)


def _enter(outcome: Outcome, case: Case, name: str, report: Report) -> None:
    """What a turn gave."""
    if "missing" in report:
        outcome.missing[name] = report["missing"]
    elif broken := report.get("broken") or _wrong(name, case, report):
        outcome.broken[name] = broken
    else:
        value = report["parts"][case.part] if case.part else report["value"]
        outcome.rounds.setdefault(name, []).append(value)
        outcome.failures[name] = outcome.failures.get(name, 0) + len(report["errors"])
        outcome.note(name, report["errors"] + report["notes"])


def _wrong(name: str, case: Case, report: Report) -> str | None:
    """What is wrong with the images that the contender gave."""
    given = report["digests"]
    if name == FLOOR or not given or given == digests(SHAPES[case.shape]):
        return None
    return "its images are not those that were sent"


def _turn(name: str, case: Case, server: Address, *, small: bool) -> Report:
    module = "benchmarks.contender_process"
    command = [sys.executable, "-m", module, name, case.key, str(server.port), *["small"] * small]
    env = environment(**{"SSL_CERT_FILE": server.authority} if server.authority else {})
    try:
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS, env=env
        )
    except subprocess.TimeoutExpired:
        return {"broken": f"not done within {SECONDS} s"}
    if done.returncode:
        return {"broken": (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]}
    report: Report = json.loads(done.stdout)
    return report


@contextmanager
def _server(case: Case) -> Generator[Address]:
    command = [sys.executable, "-m", *case.server]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port, authority, *_ = [*process.stdout.readline().split(), ""]
        address = Address(int(port), authority)
        yield address
        address.late = float(process.communicate()[0] or 0.0)
