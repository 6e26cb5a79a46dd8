"""Limits and crowds in the benchmarks: the server's bucket, the loads, whose turn is shared, and the tables."""

import asyncio
import json
from typing import Any

import pytest
from attrs import evolve

from benchmarks import many, running
from benchmarks.cases import Load, Outcome
from benchmarks.contenders import FLOOR, OURS, SDK
from benchmarks.many import LIMIT, SDK_PATIENT, WORKERS, Done
from benchmarks.measures import case_of
from benchmarks.payloads import SHAPES, digests, response
from benchmarks.rate_limit_server import SHAPE, Bucket, Door
from benchmarks.running import Effort, compare, compare_at_once
from benchmarks.tables import limits, page
from benchmarks.turn import Turn

TOLD = tuple(case for case in LIMIT if case.key.startswith("limit-300-told"))
HIDDEN = tuple(case for case in LIMIT if case.key.startswith("limit-300-exact"))


def test_a_bucket_gives_its_burst_and_then_its_rate() -> None:
    """Five at once, then one in a fifth of a second; it never holds more than its burst."""
    bucket = Bucket(per_minute=300, burst=5)
    assert [bucket.take(100.0) for _ in range(6)] == [0, 0, 0, 0, 0, pytest.approx(0.2)]
    assert bucket.take(100.1) == pytest.approx(0.1)
    assert bucket.take(100.2 + 1e-6) == 0
    assert [bucket.take(1000.0) == 0 for _ in range(6)] == [True] * 5 + [False]
    assert [Bucket(per_minute=0, burst=1).take(1.0) for _ in range(3)] == [0, 0, 0]


@pytest.mark.parametrize(
    ("exact", "headers", "again"),
    [(True, [b"Retry-After: 1", b"retry-after-ms: "], "ms."), (False, [b"Retry-After: 1"], " 1s.")],
)
def test_a_refusal_says_when_to_come_back(exact: bool, headers: list[bytes], again: str) -> None:
    """To the millisecond or in whole seconds, in headers and message alike, and nothing of what is left."""
    door = Door(Bucket(60, 1), exact=exact, seconds=0.25)
    assert door.answer(b"POST / HTTP/1.1\r\n\r\n") == (response(SHAPES[SHAPE])[0], 0.25)
    answer, seconds = door.answer(b"POST / HTTP/1.1\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert (head.startswith(b"HTTP/1.1 429 "), seconds) == (True, 0)
    found = [line for line in head.split(b"\r\n") if b"retry" in line.lower()]
    assert [line.startswith(start) for line, start in zip(found, headers, strict=True)] == [True] * len(
        headers
    )
    assert json.loads(body)["error"]["message"].endswith(again)
    assert b"ratelimit" not in head.lower()
    assert (door.images, door.refused) == (1, 1)


def test_the_ideal_is_what_the_server_allows() -> None:
    """The rate behind the burst, or the slots one round after the other."""
    assert Load(prompts=150, concurrency=16, per_minute=300).ideal == 29.0
    assert Load(prompts=3_000, concurrency=100, seconds=0.2).ideal == 6.0
    assert Load(prompts=101, concurrency=100, seconds=1.0).ideal == 2.0


@pytest.mark.parametrize("case", [case_of("limit-1000-told-time"), case_of("efficiency")])
def test_this_client_works_off_a_load(case: Any) -> None:
    """In its own process, against a server of its own: the whole way of a quick run."""
    outcome = compare(evolve(case, contenders=(OURS,)), Effort(1, small=True))
    assert outcome.broken == {}
    (times,) = outcome.rounds.values()
    assert times[0] > 0.9


def test_all_workers_give_the_same_numbers_of_a_load_without_a_limit() -> None:
    """Each delivers everything, and the server saw no more than that."""
    pytest.importorskip("openai")
    case = evolve(case_of("efficiency"), load=Load(prompts=12, concurrency=4, seconds=0.01))
    for name in WORKERS:
        with running._server(case) as server:
            turn = Turn(name, case, server.port)
            assert asyncio.run(many.work_off(turn)) >= 1
        assert turn.parts == {"delivered": 12, "missing": 0, "refused": 0}


def test_what_images_take_is_measured() -> None:
    """CPU of each, and the memory of many by that of a few, each worker in its turn."""
    case = evolve(case_of("many-cpu"), load=Load(prompts=64, concurrency=4))
    with running._server(case) as server:
        assert 0 < asyncio.run(many.cpu_per_image(Turn(FLOOR, case, server.port))) < 1_000
        turn = Turn(OURS, case, server.port)
        assert -50 < asyncio.run(many.memory_growth(turn)) < 50
    assert [note.partition(":")[0] for note in turn.notes] == ["4 images", "64 images"]


def test_an_image_that_is_missing_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it takes is told of all or of none."""

    async def fail(*_: Any) -> Done:
        return Done(images=1, errors={"OSError": 63})

    monkeypatch.setitem(many.WORKERS, OURS, fail)
    case = evolve(case_of("many-cpu"), load=Load(prompts=64, concurrency=4))
    for measure in (many.cpu_per_image, many.memory_growth):
        with pytest.raises(AssertionError, match="OSError"):
            asyncio.run(measure(Turn(OURS, case, 1)))


def test_a_wrong_picture_does_not_count() -> None:
    """It breaks the turn: a client that gives other bytes is no contender."""
    done = Done()
    with pytest.raises(AssertionError, match="not the image"):
        done.take(b"other bytes")
    done.fail(OSError("a"))
    done.fail(OSError("b"))
    assert (done.images, done.errors) == (0, {"OSError": 2})
    assert digests(SHAPES[SHAPE]) == [done._right]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Who was asked to take a turn, with the rate of the server; no process is started."""
    asked: list[tuple[str, int]] = []

    def turn(name: str, case: Any, *_: Any, **__: Any) -> dict[str, Any]:
        asked.append((name, case.load.per_minute))
        if name == SDK_PATIENT:
            return {"missing": "no module 'openai'"}
        parts = {"delivered": 18, "missing": 132, "refused": 261}
        return {"value": 1.5, "parts": parts, "digests": [], "errors": [], "notes": ["132 x RateLimitError"]}

    monkeypatch.setattr(running, "_turn", turn)
    return asked


def test_cases_of_one_load_share_a_turn(taken: list[tuple[str, int]]) -> None:
    """Time, images and refusals are numbers of the same run, each contender's against a server of its own."""
    outcomes = compare_at_once(TOLD + HIDDEN, Effort(5))
    assert sorted(taken) == [(SDK, 300), (SDK_PATIENT, 300), (OURS, 300), (OURS, 300)]
    assert outcomes["limit-300-told-time"].rounds == {OURS: [1.5]}
    assert outcomes["limit-300-exact-refusals"].rounds == {OURS: [261], SDK: [261]}
    assert outcomes["limit-300-exact-missing"].missing == {SDK_PATIENT: "no module 'openai'"}
    verdicts = [verdict.met for case in HIDDEN for verdict in outcomes[case.key].judge(case)]
    assert verdicts == [False, False]


def test_a_quick_run_asks_each_load_once(taken: list[tuple[str, int]]) -> None:
    """The rates are one when they are all made high: seven turns stand for all cases."""
    outcomes = compare_at_once(LIMIT, Effort(1, small=True, at_once=2))
    assert len(taken) == 7
    assert {rate for _, rate in taken} == {1_200}
    assert set(outcomes) == {case.key for case in LIMIT}


def test_limits_have_a_table_of_their_own() -> None:
    """A row for each limit with images, refusals and time; whoever could not be measured is named."""
    numbers = {"time": 1.02, "images": 150.0, "missing": 0.0, "refusals": 3.0}
    outcomes = {
        case.key: Outcome(
            {OURS: [numbers[case.key.rpartition("-")[2]]]}, {SDK: "no module"}, {SDK_PATIENT: "OSError"}
        )
        for case in HIDDEN
    }
    _, _, row = limits(outcomes).splitlines()
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "300 a minute, hidden, exact retry-after-ms",
        "150, 3 x 429, 1.02 x",
        "missing",
        "broken",
    ]
    text = page(outcomes, [])
    assert "\n## Limits\n" in text
    assert text.count("a minute, hidden") == 3  # twice among the goals
    assert "| 0 missing " in text
    assert (limits({}), "## Limits" in page({}, [])) == ("", False)
