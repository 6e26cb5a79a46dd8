"""One limit for four real processes: the measure itself, shorter than it is taken for the figures."""

import pytest

from benchmarks.shared_limit import Case, Measured, faults, measure

pytestmark = pytest.mark.slow

SECONDS, TRIES = 3.0, 4


@pytest.mark.parametrize(
    "case",
    [
        Case("clocks 2 s apart, and a pause", skews=(0.0, 2.0, 0.0, 2.0), has_pause=True),
        Case("a process killed", kills=True),
    ],
    ids=lambda case: case.name,
)
def test_four_processes_keep_one_limit(case: Case) -> None:
    """At most 100 a second, fairly, with little more than one script for each; a pause stops all; a kill stops none.

    Other programs may have the processor meanwhile: one of several measurements has to be right, and none is too slow.
    """
    for _ in range(TRIES):
        if not (found := list(faults(case, measure(case, SECONDS), SECONDS, is_slow=True))):
            return
    pytest.fail(f"in the last of {TRIES} measurements: {found}")


def test_what_is_out_of_bounds_is_seen() -> None:
    """Too many, too unfair, too many scripts, requests in a pause: silence above means that all is well."""
    many = [number / 128 for number in range(384)]
    assert found(Case("bad"), Measured([many[:256], many[256:]], 512, paused_at=1.0)) == [
        "128 in a second",
        "1.33 scripts per grant",
        "a process is 33% from the mean",
        "172 in the pause",
    ]
    assert found(Case("bad"), Measured([many], 384)) == ["128 in a second", "128.4 a second"]
    few = [number / 64 for number in range(192)]
    lost = found(Case("bad", kills=True), Measured([few], 192, killed_at=1.0))
    assert lost == ["64.2 a second", "68.0 lost with the process"]
    slow = Measured([few], 192, killed_at=1.0)
    assert list(faults(Case("bad", kills=True), slow, SECONDS, is_slow=True)) == []
    ended = Measured([few[:64]], 64, killed_at=1.0)
    assert found(Case("bad", kills=True), ended)[-1] == "nothing after the kill"


def found(case: Case, measured: Measured) -> list[str]:
    """What is said of it."""
    return list(faults(case, measured, SECONDS))
