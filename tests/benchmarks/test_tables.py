"""What the benchmarks print: figures, goals, and nobody left out in silence."""

import re
from xml.etree import ElementTree as ET

import pytest

from benchmarks.cases import Outcome
from benchmarks.contenders import CONTENDERS, FLOOR, INTO, OURS, SDK, SDK_AIOHTTP
from benchmarks.tables import (
    LOOPBACK_TITLE,
    PACED_TITLE,
    Bar,
    Group,
    chart,
    figures,
    goals,
    number,
    page,
    remarks,
)

SVG = "{http://www.w3.org/2000/svg}"


def outcome() -> Outcome:
    """An outcome with a contender missing and another broken."""
    return Outcome(
        {OURS: [2.0, 2.0], INTO: [3.0, 3.0], SDK: [30.0, 30.0], FLOOR: [1.0, 2.0]},
        missing={SDK_AIOHTTP: "no module 'openai'"},
        broken={"naive aiohttp": "OSError: gone"},
        conditions="2 rounds",
    )


def cells(table: str) -> list[list[str]]:
    """A Markdown table's rows without the rule below its head."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()]
    assert all(re.fullmatch(r"-+:?", cell) for cell in rows[1])
    return [rows[0], *rows[2:]]


def test_figures_name_everyone() -> None:
    """A column for each contender: the median and the ratios, or why there is none."""
    title, _, table = figures({"json": outcome()}).split("\n", 2)
    assert title == f"### {LOOPBACK_TITLE}"
    head, row = cells(table)
    assert head[2:] == list(CONTENDERS)
    shown = dict(zip(head, row, strict=True))
    assert shown[OURS] == "2.00 (1.50x, 1/15.0)"
    assert shown[FLOOR] == "1.50"
    assert shown[SDK_AIOHTTP] == "missing"
    assert shown["naive aiohttp"] == "broken"


def test_what_users_see_comes_first() -> None:
    """The speed of a network, then the loopback; each table has the contenders that take part in it."""
    first, second = figures({"json": outcome(), "paced-tls": outcome()}).split("\n\n### ")
    title, _, table = first.split("\n", 2)
    assert title == f"### {PACED_TITLE}"
    assert cells(table)[0][2:] == [OURS, SDK, FLOOR]
    assert "over TLS" in table
    assert second.startswith(LOOPBACK_TITLE)
    assert figures({}) == ""


def test_goals_stand_beside_what_was_measured() -> None:
    """Fractions are shown as the goal says them."""
    _, *rows = cells(goals({"json": outcome()}))
    assert [row[1:] for row in rows] == [
        [f"<= 1/7.5 of {SDK}", "1/15.0", "met"],
        [f"<= 1.5 x {FLOOR}", "1.50 x", "met"],
    ]
    slow = Outcome({OURS: [9.0], FLOOR: [1.0]}, failures={OURS: 3})
    (_, over, zero) = cells(goals({"stall-json": slow}))
    assert over[2:] == ["+ 8.00 ms, 3 calls failed", "**not met**"]
    assert zero[2:] == ["not measured", "**not met**"]


def test_remarks_name_missing_broken_and_failed() -> None:
    """Each with its reason, once; and the conditions."""
    failed = Outcome(
        {SDK: [1.0]},
        failures={SDK: 7},
        notes={SDK: ["Refused: no"]},
        missing={SDK_AIOHTTP: "no module 'openai'"},
    )
    said = remarks({"json": outcome(), "crowd": failed})
    assert said == [
        f"missing: {SDK_AIOHTTP} is not installed (no module 'openai')",
        "broken: naive aiohttp in 'json': OSError: gone",
        f"failed: 7 calls of {SDK} in 'crowd': Refused: no",
        "json: 2 rounds",
        "crowd: ",
    ]


def test_remarks_name_a_busy_machine() -> None:
    """Where a paced server could not keep its pace, which changes what is measured."""
    told = {"paced": Outcome(late=0.123), "paced-tls": Outcome(late=0.009)}
    assert [line for line in remarks(told) if line.startswith("late")] == [
        "late: 12% of the pieces in 'paced': the machine was busy"
    ]


def test_conditions_name_measures() -> None:
    """Or the cases, where those of a measure differ."""
    old, new = Outcome(conditions="old"), Outcome(conditions="new")
    told = {"json": old, "stream-2x2mb": new, "stream-8mb": new, "stall-json": old, "stall-stream": new}
    assert remarks(told) == ["stream, stall-stream: new", "json, stall-json: old"]


def test_the_page_holds_it_all() -> None:
    """Remarks, both tables, and the plots."""
    text = page({"json": outcome()}, ["cpu.svg"])
    assert "- missing: " in text
    assert "- 2 rounds\n" in text
    assert "\n## Goals\n\n| measure" in text
    assert "\n![cpu](cpu.svg)\n" in text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123, "0.012"),
        (0.5, "0.50"),
        (9.876, "9.88"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (-0.5, "-0.50"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    """Enough to compare, without an exponent."""
    assert number(value) == text


def test_a_chart_is_drawn_to_scale() -> None:
    """Well-formed; the longest bar of a group has the whole width; one without a number says why."""
    bars = [Bar("a < b", 1.0, "1.00", stands_out=True), Bar("c", 4.0, "4.00"), Bar("d", None, "missing")]
    root = ET.fromstring(chart("CPU & more", [Group("one", bars), Group("none", [])]))
    drawn = root.findall(f"{SVG}rect")
    assert [float(bar.get("width", "")) for bar in drawn] == [125.0, 500.0]
    assert [bar.get("class") for bar in drawn] == ["ours", None]
    texts = [text.text for text in root.findall(f"{SVG}text")]
    assert {"CPU & more", "a < b", "1.00", "missing"} <= set(texts)
    assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")
