"""The outcomes as Markdown (figures, limits, goals, what is missing) and as bar charts in SVG.

Rules: a chart has no script, no font and no background; it follows the reader's light or dark scheme, and each bar
carries its number, so that no grid is needed.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from attrs import frozen

from benchmarks.cases import Case, Compare, Outcome, Verdict
from benchmarks.contenders import CONTENDERS, FLOOR, INTO, OURS, SDK
from benchmarks.many import LIMIT, PROMPTS, SDK_PATIENT
from benchmarks.measures import MEASURES

PACED_TITLE = "At the speed of a network: in small pieces, by the clock"
LOOPBACK_TITLE = "On the loopback: as fast as it is read"
LATE_SHARE = 0.01
_AT_LIMITS = (OURS, SDK, SDK_PATIENT)


def cases_of(outcomes: Mapping[str, Outcome]) -> Iterator[tuple[Case, Outcome]]:
    """The cases that were measured, in the order of the measures."""
    for cases in MEASURES.values():
        yield from ((case, outcomes[case.key]) for case in cases if case.key in outcomes)


def figures(outcomes: Mapping[str, Outcome]) -> str:
    """Two tables under headings of their own: at the speed of a network, then on the loopback; less what is empty."""
    measured = [one for one in cases_of(outcomes) if not _is_limit(one[0])]
    paced = [one for one in measured if one[0].pace is not None]
    others = [one for one in measured if one[0].pace is None]
    tables = ((PACED_TITLE, paced), (LOOPBACK_TITLE, others))
    return "\n".join(f"### {title}\n\n{_figures(cases)}" for title, cases in tables if cases)


def _figures(measured: Sequence[tuple[Case, Outcome]]) -> str:
    """Each contender's median, with its ratios within a round; contenders of none of the cases are left out."""
    names = [name for name in CONTENDERS if any(name in case.contenders for case, _ in measured)]
    rows = [
        [case.title, case.unit, *(_figure(name, case, outcome) for name in names)]
        for case, outcome in measured
    ]
    return _table(["measure", "unit", *names], rows, right=len(names))


def limits(outcomes: Mapping[str, Outcome]) -> str:
    """What each worker made of each limit: images, refusals, time; nothing where none was measured."""
    rows: dict[str, list[str]] = {}
    for case, _ in cases_of(outcomes):
        if _is_limit(case) and case.title not in rows:
            shared = [other for other in LIMIT if other.title == case.title]
            rows[case.title] = [case.title, *(_worked(name, shared, outcomes) for name in _AT_LIMITS)]
    return _table(["limit", *_AT_LIMITS], list(rows.values()), right=len(_AT_LIMITS)) if rows else ""


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
        if outcome.late >= LATE_SHARE:
            found[f"late: {outcome.late:.0%} of the pieces in {case.key!r}: the machine was busy"] = None
    conditions: dict[str, dict[str, None]] = {}
    for measure, cases in MEASURES.items():
        texts = [(outcomes[case.key].conditions, case.key) for case in cases if case.key in outcomes]
        alike = len({text for text, _ in texts}) == 1
        for text, key in texts:
            conditions.setdefault(text, {})[measure if alike else key] = None
    for text, names in conditions.items():
        found[text if len(conditions) == 1 else f"{', '.join(names)}: {text}"] = None
    return list(found)


def page(outcomes: Mapping[str, Outcome], plots: Iterable[str]) -> str:
    shown = "".join(f"![{name.removesuffix('.svg')}]({name})\n" for name in plots)
    listed = "".join(f"- {remark}\n" for remark in remarks(outcomes))
    limited = limits(outcomes)
    explained = (
        f"\n## Limits\n\nOf {PROMPTS} prompts: images delivered, answers of 429 caused, and the time "
        f"by the ideal one.\n\n{limited}"
    )
    return (
        f"# Benchmarks\n\n{listed}\n## Goals\n\n{goals(outcomes)}\n## Figures\n\n"
        f"Medians; in brackets the ratios to {FLOOR} and to {SDK}, medians of those within each round.\n\n"
        f"{figures(outcomes)}{explained if limited else ''}\n{shown}"
    )


def number(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.1 else 3
    return f"{value:,.{digits}f}"


def _is_limit(case: Case) -> bool:
    return case.load is not None and case.load.per_minute is not None


def _worked(name: str, cases: Sequence[Case], outcomes: Mapping[str, Outcome]) -> str:
    """A cell: what one worker made of one limit."""
    if name not in cases[0].contenders:
        return ""
    if not outcomes[cases[0].key].is_measured(name):
        return "missing" if name in outcomes[cases[0].key].missing else "broken"
    found = {case.part: outcomes[case.key].median(name) or 0.0 for case in cases}
    return f"{found['delivered']:.0f}, {found['refused']:.0f} x 429, {number(found[None])} x"


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
    ratios = _ratios(name, outcome) if case.plot in ("cpu", "paced") else []
    return number(median) + (f" ({', '.join(ratios)})" if ratios else "") + failed


def _ratios(name: str, outcome: Outcome) -> list[str]:
    """To the floor, and of this client to the official one."""
    of_floor = outcome.compared(name, FLOOR, Compare.RATIO) if name != FLOOR else None
    of_sdk = outcome.compared(name, SDK, Compare.RATIO) if name in (OURS, INTO) else None
    ratios = [] if of_floor is None else [f"{number(of_floor)}x"]
    return ratios + ([f"1/{number(1 / of_sdk)}"] if of_sdk else [])


def _measured(case: Case, verdict: Verdict) -> str:
    goal, value = verdict.goal, verdict.measured
    if value is None:
        return "not measured"
    failed = f", {verdict.failures} calls failed" if verdict.failures else ""
    if goal.compare is Compare.ABOVE:
        return f"{'+' if value >= 0 else '-'} {number(abs(value))} {case.unit.removeprefix('CPU ')}{failed}"
    if goal.compare is Compare.VALUE:
        shown = f"{value:,.0f}" if case.part else number(value)
        return f"{shown} {case.unit.removeprefix('CPU ')}{failed}"
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


WIDTH, LABELS, NUMBERS = 760, 190, 70
BAR, GAP, TITLE, GROUP = 18, 6, 34, 40

STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .title { font-size: 16px; font-weight: 600 }
    .group { font-weight: 600 }
    .more { fill: #57606a }
    rect { fill: #afb8c1 }
    .ours { fill: #1a7f5a }
    line { stroke: #57606a }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 }
      .more { fill: #9198a1 }
      rect { fill: #57606a }
      .ours { fill: #3fb984 }
      line { stroke: #9198a1 }
    }
"""


@frozen
class Bar:
    """One bar: its name, its length, the number as text, and whether it is to stand out."""

    name: str
    value: float | None
    text: str
    stands_out: bool = False


@frozen
class Group:
    """Bars that are compared with each other."""

    title: str
    bars: Sequence[Bar]


def chart(title: str, groups: Sequence[Group]) -> str:
    """The chart as text; each group has a scale of its own, from zero to its longest bar."""
    parts = [_text(0, 20, title, "title")]
    y = TITLE
    for group in groups:
        y += GROUP - 10
        parts.append(_text(0, y, group.title, "group"))
        y += 12
        top = y
        longest = max((bar.value or 0 for bar in group.bars), default=0) or 1
        for bar in group.bars:
            parts += _bar(bar, y, longest)
            y += BAR + GAP
        parts.append(f'<line x1="{LABELS}" y1="{top - 3}" x2="{LABELS}" y2="{y - 3}"/>')
    height = y + 10
    body = "\n".join(f"  {part}" for part in parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-label="{escape(title)}">\n'
        f"  <style>{STYLE}  </style>\n{body}\n</svg>\n"
    )


def _bar(bar: Bar, y: int, longest: float) -> list[str]:
    middle = y + BAR - 5
    length = max(1.5, (WIDTH - LABELS - NUMBERS) * (bar.value or 0) / longest)
    marked = ' class="ours"' if bar.stands_out else ""
    parts = [_text(LABELS - 10, middle, bar.name, "" if bar.stands_out else "more", anchor="end")]
    if bar.value is None:
        return [*parts, _text(LABELS + 8, middle, bar.text, "more")]
    parts.append(
        f'<rect x="{LABELS}" y="{y}" width="{length:.1f}" height="{BAR}" rx="2"{marked}>'
        f"<title>{escape(f'{bar.name}: {bar.text}')}</title></rect>"
    )
    return [*parts, _text(LABELS + length + 8, middle, bar.text, "")]


def _text(x: float, y: int, text: str, kind: str, anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    end = ' text-anchor="end"' if anchor == "end" else ""
    return f'<text x="{x:g}" y="{y}"{named}{end}>{escape(text)}</text>'
