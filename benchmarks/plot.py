"""A bar chart as SVG, by hand: groups of horizontal bars from one zero line.

Rules: no script, no font of its own, no background; it follows the reader's light or dark scheme, and each bar carries
its number, so that no grid is needed.
"""

from collections.abc import Sequence
from html import escape

from attrs import frozen

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
