"""The benchmarks' arithmetic: medians, comparisons within a round, verdicts, and files that later runs complete."""

from pathlib import Path

import pytest

from benchmarks.__main__ import _quick
from benchmarks.cases import Case, Compare, Goal, Outcome, load, save
from benchmarks.contenders import CONTENDERS, FLOOR, OURS, SDK
from benchmarks.many import WORKERS
from benchmarks.measures import MEASURES, case_of
from benchmarks.payloads import SHAPES

CASES = [case for cases in MEASURES.values() for case in cases]


def case(*goals: Goal) -> Case:
    """A case with these goals."""
    return Case(key="k", title="t", unit="ms", probe="stall", goals=goals)


def test_the_median_of_ratios_is_of_rounds() -> None:
    """A slow round slows both and changes no ratio; the ratio of the medians would be another number."""
    outcome = Outcome({OURS: [2.0, 30.0, 4.0], FLOOR: [1.0, 10.0, 4.0]})
    assert outcome.median(OURS) == 4.0
    assert outcome.compared(OURS, FLOOR, Compare.RATIO) == 2.0
    assert outcome.compared(OURS, FLOOR, Compare.ABOVE) == 1.0
    assert outcome.compared(OURS, FLOOR, Compare.VALUE) == 4.0


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("", 3.0), True),
        (Goal("", 2.9), False),
        (Goal("", 0.25, Compare.RATIO, SDK), True),
        (Goal("", 1.5, Compare.RATIO), False),
        (Goal("", 2.0, Compare.ABOVE), True),
    ],
)
def test_goals_are_at_most(goal: Goal, met: bool) -> None:
    """A goal is met where the number is not above its limit."""
    outcome = Outcome({OURS: [3.0], FLOOR: [1.0], SDK: [12.0]})
    assert [verdict.met for verdict in outcome.judge(case(goal))] == [met]


@pytest.mark.parametrize("lack", ["missing", "broken"])
def test_what_was_not_measured_is_not_met(lack: str) -> None:
    """Not even where there are numbers of earlier rounds."""
    outcome = Outcome({OURS: [1.0, 1.0], SDK: [9.0]}, **{lack: {SDK: "why"}})
    goal = Goal("", 1.0, Compare.RATIO, SDK)
    assert [(v.measured, v.met) for v in outcome.judge(case(goal))] == [(None, False)]
    assert outcome.median(SDK) is None
    assert Outcome().compared(OURS, FLOOR, Compare.RATIO) is None


def test_failed_calls_miss_the_goal() -> None:
    """A good number is worth nothing where calls failed."""
    outcome = Outcome({OURS: [1.0]}, failures={OURS: 2})
    (verdict,) = outcome.judge(case(Goal("", 5.0)))
    assert (verdict.measured, verdict.met, verdict.failures) == (1.0, False, 2)


def test_a_note_is_kept_once() -> None:
    """What every round says again is not repeated."""
    outcome = Outcome()
    outcome.note(OURS, ["a", "b", "a"])
    outcome.note(OURS, ["b", "c"])
    assert outcome.notes == {OURS: ["a", "b", "c"]}


def test_results_are_stored_and_completed(tmp_path: Path) -> None:
    """What is saved is loaded; nothing is there before the first run."""
    path = tmp_path / "results.json"
    assert load(path) == {}
    outcomes = {"json": Outcome({OURS: [1.5]}, {SDK: "no module"}, conditions="5 rounds")}
    save(path, outcomes)
    assert load(path) == outcomes


@pytest.mark.parametrize("measure", MEASURES)
def test_a_quick_run_takes_one_turn_of_each(measure: str) -> None:
    """The first case with all that share its turn, of this client and two others: every measure is run."""
    first, *rest = _quick(MEASURES[measure])
    assert first.key == MEASURES[measure][0].key
    assert OURS in first.contenders
    assert set(first.contenders) <= {OURS, SDK, FLOOR}
    assert {case.load for case in rest} <= {first.load} - {None}


def test_each_case_can_be_run() -> None:
    """Keys are unique; shapes and contenders exist, also of the small variant; goals name who takes part."""
    assert len({one.key for one in CASES}) == len(CASES)
    for one in CASES:
        assert case_of(one.key) is one
        assert set(one.contenders) <= set(WORKERS if one.load else CONTENDERS)
        for shape in (*one.shapes.values(), *one.small.shapes.values()):
            assert shape in SHAPES.values()
        for goal in one.goals:
            assert {goal.of, goal.of if goal.compare is Compare.VALUE else goal.versus} <= set(one.contenders)
