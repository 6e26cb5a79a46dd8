"""The proof of large uploads works with small ones, and its goals can be missed."""

from pathlib import Path
from typing import Any

import pytest

from benchmarks import uploads
from benchmarks.uploads import COPIES, WAYS, Sent, judge


@pytest.mark.parametrize("way", WAYS)
async def test_each_way(way: str, tmp_path: Path) -> None:
    """In a process of its own, everything arrives; ours keep their goal."""
    seen = await uploads.measure(way, 3, 300_000, tmp_path)
    assert seen.peak >= seen.idle > 0
    assert judge(way, seen, 3, 300_000)[2]


@pytest.mark.parametrize(
    ("way", "above", "met"),
    [("paths", 4.0, True), ("paths", 4.1, False), ("bytes", 24.0, True), ("bytes", 24.1, False)],
)
def test_the_goals(way: str, above: float, met: bool) -> None:
    """Four megabytes, and one copy of what the user holds in memory."""
    seen = Sent(idle=50_000_000, peak=50_000_000 + round(above * 1e6), seconds=1.0)
    assert judge(way, seen, 2, 10_000_000)[2] is met
    assert judge("aiohttp, files", seen, 2, 10_000_000) == ("", f"{above:.1f} MB above idle, 1.00 s", True)
    assert COPIES.keys() < WAYS.keys()


@pytest.mark.parametrize(("peak", "code"), [(1, 0), (60_000_000, 1)])
def test_the_command_says_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], peak: int, code: int
) -> None:
    """A line for each way; exit code 1 where a goal is not met."""

    async def measured(*_: Any) -> Sent:
        return Sent(idle=1, peak=peak, seconds=2.0)

    monkeypatch.setattr(uploads, "measure", measured)
    monkeypatch.setattr("sys.argv", ["uploads", "paths", "aiohttp, files"])
    assert uploads.main() == code
    said = capsys.readouterr().out.splitlines()
    assert [line[:6] for line in said[1:]] == ["paths ", "aiohtt"]
    assert ("NOT MET" in said[1]) == bool(code)
