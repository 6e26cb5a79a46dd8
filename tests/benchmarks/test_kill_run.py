"""The harness that kills batches sees a broken promise: each kind of it, told apart."""

import asyncio
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from benchmarks import kill_run
from benchmarks.kill import Length, moment, noise
from benchmarks.kill_run import Job, Moment, Snapshot, Story
from openai_images.server import LocalImagesServer

pytestmark = pytest.mark.slow

PICTURE = b"the picture"


@pytest.fixture
def job(tmp_path: Path) -> Job:
    """Three prompts; nothing was started."""
    (tmp_path / "images").mkdir()
    server = LocalImagesServer(pictures=PICTURE)
    return Job(prompts=("a", "b", "c"), folder=tmp_path, server=server)


def rows(**states: str) -> dict[str, list[dict[str, Any]]]:
    """Rows by key: `k1="sent done"` are those of item 00001."""
    return {f"0000{name[1]}": [{"state": state} for state in given.split()] for name, given in states.items()}


def files(*numbers: int) -> dict[str, str]:
    """Images as they should be."""
    return {f"0000{number}.png": kill_run.hashlib.sha256(PICTURE).hexdigest() for number in numbers}


def story(**changes: Any) -> Story:
    """One where all went well: the first was done, the second in flight, the third not sent when it was killed."""
    killed = Snapshot(rows(k1="sent done", k2="sent"), files(1), Counter("ab"))
    resumed = Snapshot(rows(k1="sent done", k2="sent", k3="sent done"), files(1, 3), Counter("abc"))
    ended = Snapshot(
        rows(k1="sent done", k2="sent sent done", k3="sent done"), files(1, 2, 3), Counter("abbc")
    )
    good = Story(Moment(1, 0.0), killed, resumed, ended, "unknown: 00002", (1, 0))
    return evolve(good, **changes)


def wrong(job: Job, told: Story) -> list[str]:
    """What the harness says of it."""
    return [*kill_run._judge_resumed(job, told), *kill_run._judge_ended(job, told)]


def test_a_story_without_fault_is_right(job: Job) -> None:
    """The unknown one is missing and named, then it is there."""
    assert wrong(job, story()) == []


@pytest.mark.parametrize("named", [True, False])
def test_an_adopted_picture_is_neither_missing_nor_sent_again(job: Job, named: bool) -> None:
    """An image whose row was lost is done after the resumption, also if it had a temporary name only."""
    good = story()
    killed = evolve(good.killed, files=files(1, 2) if named else files(1))
    resumed = evolve(
        good.resumed, rows=rows(k1="sent done", k2="sent done", k3="sent done"), files=files(1, 2, 3)
    )
    ended = evolve(resumed, posts=Counter("abc"))
    assert wrong(job, story(killed=killed, resumed=resumed, ended=ended, output="", codes=(0, 0))) == []


@pytest.mark.parametrize(
    ("part", "change", "said"),
    [
        ("resumed", {"files": {**files(3), "00001.png": "other"}}, "00001.png was changed or lost"),
        ("resumed", {"files": files(3)}, "00001.png was changed or lost"),
        ("resumed", {"posts": Counter("aabc")}, "00001 was POSTed 2 times, 0 of them journalled as refused"),
        ("resumed", {"posts": Counter("abbc")}, "00002 was unknown, and sent again without being asked to"),
        ("resumed", {"rows": rows(k1="sent done", k2="sent")}, "00003 is missing, and was not unknown"),
        ("killed", {"posts": Counter("abc")}, "00003 was POSTed before the journal said so"),
        ("killed", {"files": {}}, "00001 is done without an image"),
        ("killed", {"files": files(1, 2)}, "00002 is missing, and its image was there"),
        ("resumed", {"files": {**files(1, 3), "00002.png": "half"}}, "00002.png is not the image"),
        ("ended", {"files": files(1, 2)}, "2 images for 3 prompts"),
        ("ended", {"files": {**files(1, 2, 3), "00002.png": "other"}}, "00002.png is not the image"),
        ("ended", {"posts": Counter("abbcc")}, "00003 was POSTed 2 times, at most 1 were right"),
        ("ended", {"rows": rows(k1="sent done", k3="sent done")}, "still missing: ['00002']"),
    ],
)
def test_a_broken_promise_is_seen(job: Job, part: str, change: dict[str, Any], said: str) -> None:
    """Lost, changed, sent twice, not there, or not even journalled."""
    good = story()
    assert any(
        said in sentence
        for sentence in wrong(job, evolve(good, **{part: evolve(getattr(good, part), **change)}))
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"output": "all is well"}, "00002 is missing and not named"),
        ({"codes": (0, 0)}, "exit code 0 with 1 missing"),
        ({"codes": (1, 1)}, "exit code 1 with nothing missing"),
    ],
)
def test_a_silent_command_is_seen(job: Job, change: dict[str, Any], said: str) -> None:
    """What is missing must be said, and so must success."""
    assert wrong(job, story(**change)) == [said]


def test_a_refused_request_may_be_sent_again(job: Job) -> None:
    """As often as the journal has it as refused."""
    good = story()
    resumed = evolve(
        good.resumed,
        rows=rows(k1="sent done", k2="sent", k3="sent refused sent done"),
        posts=Counter("abcc"),
    )
    ended = evolve(
        good.ended,
        rows=rows(k1="sent done", k2="sent sent done", k3="sent refused sent done"),
        posts=Counter("abbcc"),
    )
    assert wrong(job, story(resumed=resumed, ended=ended)) == []


def test_what_was_left_behind_is_seen(job: Job) -> None:
    """Half an image under its temporary name."""
    (job.folder / "images" / ".00002.png.part").write_bytes(b"half")
    assert wrong(job, story()) == ["left behind: .00002.png.part"]


def test_a_snapshot_reads_what_is_there(job: Job) -> None:
    """Rows up to the torn one, images without those being written, and no POST of anybody else."""
    lines = '{"state":"begun"}\n{"state":"sent","key":"00001"}\ngarbage\n{"state":"do'
    job.journal.write_text(lines)
    (job.folder / "images" / "00001.png").write_bytes(PICTURE)
    (job.folder / "images" / ".00002.part").write_bytes(b"half")
    seen = Snapshot.of(job)
    assert (seen.open, seen.done, seen.torn, seen.files) == ({"00001"}, set(), True, files(1))
    assert (seen.posts, seen.there) == (Counter(), {"00001"})


async def test_a_moment_comes_when_the_journal_is_long_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not before there is one, and not before it has the bytes."""
    monkeypatch.setattr(kill_run, "LOOK", 0)
    journal = tmp_path / "journal.jsonl"
    waiting = asyncio.create_task(Moment(4, 0.0).wait(journal))
    for nbytes in (0, 3):
        if nbytes:
            journal.write_bytes(bytes(nbytes))
        for _ in range(9):
            await asyncio.sleep(0)
        assert not waiting.done()
    journal.write_bytes(b"1234")
    await asyncio.wait_for(waiting, 60)
    assert [str(Moment(4, 0.0)), str(Moment(0, 0.25))] == ["4 bytes", "start + 250 ms"]


def test_moments_cover_a_whole_batch() -> None:
    """By bytes and by time, from the first to the last; the same for the same seed."""
    length = Length(nbytes=10_000, before=0.5, after=1.0)
    chance, again = random.Random(1), random.Random(1)
    moments = [moment(chance, length) for _ in range(200)]
    assert moments == [moment(again, length) for _ in range(200)]
    by_time = [one.later for one in moments if one.nbytes == 0]
    by_bytes = [one.nbytes for one in moments if one.nbytes > 1]
    assert min(by_time) < 0.3
    assert 1.2 < max(by_time) <= 1.5
    assert min(by_bytes) < 1_000
    assert 9_000 < max(by_bytes) <= 10_000


def test_the_picture_is_one() -> None:
    """A PNG that does not compress, the same each time."""
    assert noise(40).startswith(b"\x89PNG")
    assert noise(40) == noise(40)
    assert len(noise(40)) > 40 * 40 * 3
