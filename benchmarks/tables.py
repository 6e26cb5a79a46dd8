"""The outcomes as Markdown: a table of figures, a table of goals, and what is missing."""

from collections.abc import Iterable, Iterator, Mapping

from benchmarks.cases import Case, Compare
from benchmarks.contenders import CONTENDERS, FLOOR
from benchmarks.measures import MEASURES
from benchmarks.results import Outcome, Verdict

__all__ = ["cases_of", "figures", "goals", "number", "page", "remarks"]


def cases_of(outcomes: Mapping[str, Outcome]) -> Iterator[tuple[Case, Outcome]]:
    """The cases that were measured, in the order of the measures."""
    for cases in MEASURES.values():
        yield from ((case, outcomes[case.key]) for case in cases if case.key in outcomes)


def figures(outcomes: Mapping[str, Outcome]) -> str:
    """Each contender's median, with its ratio to the floor within a round."""
    rows = [
        [case.title, case.unit, *(_figure(name, case, outcome) for name in CONTENDERS)]
        for case, outcome in cases_of(outcomes)
    ]
    return _table(["measure", "unit", *CONTENDERS], rows, right=len(CONTENDERS))


def goals(outcomes: Mapping[str, Outcome]) -> str:
    """Each goal, what was measured, and whether it is met."""
    rows = [
        [case.title, verdict.goal.text, _measured(case, verdict), "met" if verdict.met else "**not met**"]
        for case, outcome in cases_of(outcomes)
        for verdict in outcome.judge(case)
    ]
    return _table(["measure", "goal", "measured", ""], rows)


def remarks(outcomes: Mapping[str, Outcome]) -> list[str]:
    """Who is missing, who broke, whose calls failed, each with the reason; and under which conditions."""
    found: dict[str, None] = {}
    for case, outcome in cases_of(outcomes):
        for name, why in outcome.missing.items():
            found[f"missing: {name} is not installed ({why})"] = None
        for name, why in outcome.broken.items():
            found[f"broken: {name} in {case.key!r}: {why}"] = None
        for name, count in outcome.failures.items():
            if count:
                reasons = "; ".join(outcome.notes.get(name, [])[:1])
                found[f"failed: {count} calls of {name} in {case.key!r}: {reasons}"] = None
    conditions: dict[str, list[str]] = {}
    for case, outcome in cases_of(outcomes):
        conditions.setdefault(outcome.conditions, []).append(case.key)
    for text, keys in conditions.items():
        found[text if len(conditions) == 1 else f"{', '.join(keys)}: {text}"] = None
    return list(found)


def page(outcomes: Mapping[str, Outcome], plots: Iterable[str]) -> str:
    """The whole page."""
    shown = "".join(f"![{name.removesuffix('.svg')}]({name})\n" for name in plots)
    listed = "".join(f"- {remark}\n" for remark in remarks(outcomes))
    return (
        f"# Benchmarks\n\n{listed}\n## Goals\n\n{goals(outcomes)}\n## Figures\n\n"
        f"Medians; in brackets the ratio to {FLOOR}, the median of those within each round.\n\n"
        f"{figures(outcomes)}\n{shown}"
    )


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}"


def _figure(name: str, case: Case, outcome: Outcome) -> str:
    if name not in case.contenders:
        return ""
    if not outcome.is_measured(name):
        return "missing" if name in outcome.missing else "broken"
    median = outcome.median(name)
    if median is None:
        return ""
    failures = outcome.failures.get(name, 0)
    failed = f", {failures} failed" if failures else ""
    ratio = outcome.compared(name, FLOOR, Compare.RATIO) if case.plot == "cpu" and name != FLOOR else None
    return f"{number(median)}{f' ({number(ratio)}x)' if ratio is not None else ''}{failed}"


def _measured(case: Case, verdict: Verdict) -> str:
    goal, value = verdict.goal, verdict.measured
    if value is None:
        return "not measured"
    failed = f", {verdict.failures} calls failed" if verdict.failures else ""
    if goal.compare is Compare.ABOVE:
        return f"{'+' if value >= 0 else '-'} {number(abs(value))} {case.unit.removeprefix('CPU ')}{failed}"
    if goal.compare is Compare.VALUE:
        return f"{number(value)} {case.unit.removeprefix('CPU ')}{failed}"
    inverse = goal.limit < 1 and value > 0 and "1/" in goal.text
    return (f"1/{number(1 / value)}" if inverse else f"{number(value)} x") + failed


def _table(head: list[str], rows: list[list[str]], right: int = 0) -> str:
    """A Markdown table with aligned columns, the last `right` of them to the right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    left = len(head) - right
    rule = ["-" * width if at < left else "-" * (width - 1) + ":" for at, width in enumerate(widths)]

    def line(cells: list[str]) -> str:
        padded = (
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |\n"

    return "".join(map(line, [head, rule, *rows]))
