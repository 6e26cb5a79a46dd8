"""Run the benchmarks: `python -m benchmarks [--quick] [MEASURE...]`, or a proof: `python -m benchmarks cancel`.

Prints the tables and writes them, the numbers (JSON) and the plots (SVG) into a folder, after each measure: a run that
was broken off, or one of some measures only, is completed by another. Exits with 1 where a contender broke, gave
wrong images, or this client is missing; goals that are not met are reported, nothing more.
"""

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from attrs import evolve

from benchmarks.cases import Case, Outcome, load, save
from benchmarks.contenders import CONTENDERS, FLOOR, INTO, OURS, SDK
from benchmarks.measures import AT_ONCE, MEASURES
from benchmarks.running import Effort, compare, compare_at_once
from benchmarks.tables import Bar, Group, cases_of, chart, figures, goals, limits, number, page, remarks

RESULTS = Path(__file__).parent / "results"
PLOTS = {
    "paced": "CPU at the speed of a network",
    "cpu": "CPU of answers that are there at once",
    "memory": "Memory",
    "stall": "Worst stall of the event loop",
}
QUICK = (OURS, SDK, FLOOR)
"""Who is measured in a quick run, which takes the first case of each measure."""

PROOFS = (
    "cancel",
    "closed_connections",
    "dask_faults",
    "economy",
    "economy_kill",
    "fast_path",
    "fuzz",
    "kill",
    "kill_workers",
    "relay",
    "scale",
    "shared_limit",
    "uploads",
)
"""Commands of their own, each the module of this name: right or wrong, no figures."""

PACKAGES = ("openai-images", "aiohttp", "pybase64", "openai", "httpx2")


def main() -> int:
    """Measure, print, write; 1 where something is broken."""
    if sys.argv[1:] and sys.argv[1] in PROOFS:
        proof = import_module(f"benchmarks.{sys.argv.pop(1)}")
        return int(proof.main() or 0)
    arguments = _arguments()
    effort = Effort(rounds=arguments.rounds)
    folder: Path = arguments.output or RESULTS
    if arguments.quick:
        effort = Effort(rounds=1, small=True, at_once=os.cpu_count() or 1)
        folder = arguments.output or RESULTS / "quick"
    outcomes = load(folder / "results.json")
    fresh: dict[str, Outcome] = {}
    for measure in dict.fromkeys(arguments.measures or MEASURES):
        started = time.monotonic()
        for key, outcome in _take(measure, effort):
            outcome.conditions = _conditions(evolve(effort, rounds=1) if measure in AT_ONCE else effort)
            fresh[key] = outcomes[key] = outcome
        _write(folder, outcomes)
        print(f"{measure}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    print("\n".join(remarks(fresh)), *filter(None, [figures(fresh), limits(fresh)]), sep="\n\n")
    if not arguments.quick:
        print(goals(fresh))
    print(f"written to {folder}")
    return int(any(outcome.broken or {OURS, INTO} & set(outcome.missing) for outcome in fresh.values()))


def _take(measure: str, effort: Effort) -> Iterable[tuple[str, Outcome]]:
    """The measure's cases, one after the other unless they only wait."""
    cases = _quick(MEASURES[measure]) if effort.small else MEASURES[measure]
    if measure in AT_ONCE:
        return compare_at_once(cases, effort).items()
    return ((case.key, compare(case, effort)) for case in cases)


def _quick(cases: tuple[Case, ...]) -> tuple[Case, ...]:
    """The first case, and those that share its turn; only some contenders."""
    load = cases[0].load
    chosen = cases[:1] if load is None else [case for case in cases if case.load == load]
    return tuple(
        evolve(case, contenders=tuple(filter(QUICK.__contains__, case.contenders))) for case in chosen
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure this client beside others."
    )
    parser.add_argument("measures", nargs="*", metavar="MEASURE", help=f"of: {', '.join(MEASURES)} (all)")
    parser.add_argument(
        "--quick",
        action="store_true",
        help="small images, once, some cases: shows that it works, not how fast",
    )
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender (%(default)s)")
    parser.add_argument("--output", type=Path, help="folder for the results (benchmarks/results)")
    arguments = parser.parse_args()
    if unknown := set(arguments.measures) - set(MEASURES):
        parser.error(f"no such measure: {', '.join(sorted(unknown))}")
    return arguments


def _conditions(effort: Effort) -> str:
    """What the numbers depend on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    packages = ", ".join(f"{name} {_installed(name)}" for name in PACKAGES)
    kind = (
        "a quick run whose figures mean nothing"
        if effort.small
        else f"{effort.rounds} round{'s' * (effort.rounds != 1)}"
    )
    return f"{kind}; {python}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs; {packages}"


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _write(folder: Path, outcomes: Mapping[str, Outcome]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / "results.json", dict(outcomes))
    plots: list[str] = []
    for plot, title in PLOTS.items():
        groups = [
            Group(f"{case.title} ({case.unit})", [_bar(name, outcome) for name in case.contenders])
            for case, outcome in cases_of(outcomes)
            if case.plot == plot
        ]
        if groups:
            plots.append(f"{plot}.svg")
            (folder / f"{plot}.svg").write_text(chart(title, groups))
    (folder / "results.md").write_text(page(outcomes, plots))


def _bar(name: str, outcome: Outcome) -> Bar:
    assert name in CONTENDERS
    median = outcome.median(name)
    text = number(median) if median is not None else "missing" if name in outcome.missing else "broken"
    return Bar(name, median, text, stands_out=name in (OURS, INTO))


if __name__ == "__main__":
    sys.exit(main())
