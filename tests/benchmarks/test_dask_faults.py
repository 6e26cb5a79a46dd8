"""What the proof of a Dask cluster with faults sees."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.dask_case import Case, Cluster, Story, judge_posts, judge_unknown
from benchmarks.dask_faults import describe

CASE = Case(items=3, image=b"picture")


class Seen(Cluster):
    """What is in a folder, without one."""

    def __init__(self, claimed: set[str], images: set[str]) -> None:
        self.case = CASE
        self._claimed, self._images = claimed, images

    def claimed(self) -> set[str]:
        """As said."""
        return self._claimed

    def images(self) -> set[str]:
        """As said."""
        return self._images


def report(**fields: Any) -> dict[str, Any]:
    """A driver's report."""
    return {"entering": 1.0, "seconds": 2.0, "closing": 0.1, "done": 2, "unknown": 1, "failed": 0, **fields}


def test_the_most_requests_in_a_second() -> None:
    """Of any second, not of those of a clock."""
    story = Story(CASE, times=[0.0, 0.9, 1.5, 1.6, 1.7, 3.0])
    assert story.max_in_a_second == 4


def test_what_was_sent_twice_or_without_a_claim_is_wrong() -> None:
    """And what was sent once is not."""
    story = Story(CASE, posts=Counter({"otter number 1": 1, "otter number 2": 1}))
    judge_posts(story, {"00001", "00002"})
    assert story.wrong == []
    story.posts["otter number 1"] += 1
    judge_posts(story, {"00001"})
    assert len(story.wrong) == 2


@pytest.mark.parametrize(
    ("fields", "wrong"), [({}, 0), ({"unknown": 0}, 1), ({"done": 3}, 1), ({"failed": 1}, 1)]
)
def test_the_driver_has_to_know_what_is_unknown(fields: dict[str, Any], wrong: int) -> None:
    """What was claimed and has no image."""
    story = Story(CASE, reports=[report(**fields)])
    judge_unknown(Seen({"00001", "00002", "00003"}, {"00001", "00002"}), story)
    assert len(story.wrong) == wrong


def test_a_line_for_people(tmp_path: Path) -> None:
    """It has the numbers of the driver."""
    line = describe(Story(CASE, reports=[report(memory=[70, 76])], times=[0.0, 1.0]))
    assert "70 to 76 MB" in line
    assert "wrong: nothing" in line
