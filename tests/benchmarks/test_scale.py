"""The proof of ten thousand prompts works with a hundred, and its goals can be missed."""

from typing import Any

import pytest
from attrs import evolve

from benchmarks import scale
from benchmarks.kill import noise
from benchmarks.scale import judge, judge_growth
from benchmarks.scaling import ALONE, WAYS, Seen


@pytest.mark.parametrize("way", WAYS)
async def test_each_way_meets_its_goals(way: str) -> None:
    """In processes of their own: all images, memory, tasks, and how far the source was read."""
    picture = noise(20)
    seen = await scale.measure(way, 100, 10, picture)
    goals = judge(way, seen, 100, 10, len(picture))
    assert [goal for goal, _, met in goals if not met] == []
    assert (seen.done, seen.read, seen.images) == (100, 100, 100)
    assert seen.tasks >= 10
    assert seen.peak > seen.idle > 0


@pytest.mark.parametrize("way", ALONE)
async def test_ways_that_send_nothing(way: str) -> None:
    """Each is measured twice, in processes of its own; so few prompts show nothing about the growth."""
    quarter, seen = await scale.measure_growth(way, 40)
    assert quarter.seconds > 0 < seen.seconds
    assert seen.peak >= seen.idle > 0
    assert seen.done == 0


@pytest.mark.parametrize(
    ("seconds", "peak", "met"),
    [(5.0, 115, [True, True]), (5.1, 115, [False, True]), (4.0, 200, [True, False])],
)
def test_the_goals_of_growth(seconds: float, peak: int, met: list[bool]) -> None:
    """Five times the time for four times the prompts, and a few KB for each."""
    seen = Seen(idle=100_000_000, peak=peak * 1_000_000, seconds=seconds)
    found = judge_growth("resume", Seen(seconds=1.0), seen, 100)
    assert [good for _, _, good in found] == met


@pytest.mark.parametrize(
    ("change", "met"),
    [
        ({}, [True, True, True, True]),
        ({"errors": {"OSError": 1}}, [False, True, True, True]),
        ({"images": 99}, [False, True, True, True]),
        ({"peak": 260_000_001}, [True, False, True, True]),
        ({"tasks": 13}, [True, True, False, True]),
        ({"ahead": 13}, [True, True, True, False]),
    ],
)
def test_the_goals_of_a_large_run(change: dict[str, Any], met: list[bool]) -> None:
    """Images, memory (150 MB and an image for each slot), tasks, and how far it read ahead."""
    seen = evolve(Seen(idle=100_000_000, peak=260_000_000, images=100, tasks=12, ahead=12), **change)
    found = judge("generate_many", seen, prompts=100, concurrency=10, image=1_000_000)
    assert [good for _, _, good in found] == met
    assert len(judge("Batch", seen, 100, 10, 1_000_000)) == 3


@pytest.mark.parametrize(("errors", "code"), [({}, 0), ({"APIConnectionError": 2}, 1)])
def test_the_command_says_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], errors: dict[str, int], code: int
) -> None:
    """A line for each goal; exit code 1 where one is not met."""

    async def measured(*_: Any) -> Seen:
        return Seen(idle=1, peak=2, seconds=2.0, done=50, images=50, errors=errors)

    monkeypatch.setattr(scale, "measure", measured)
    monkeypatch.setattr("sys.argv", ["scale", "generate_many", "--prompts", "50"])
    assert scale.main() == code
    said = capsys.readouterr().out
    assert "generate_many: 2.0 s, 25 a second" in said
    assert ("NOT MET" in said) == bool(code)


async def test_a_process_that_fails_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    """A figure that was not measured is no figure."""
    with pytest.raises(RuntimeError, match="no such way ended with 1"):
        await scale.measure("no such way", 1, 1, b"picture")
    assert "KeyError: 'no such way'" in capfd.readouterr().err
