"""Rounds of the benchmarks: whose turn it is, and what becomes of those that cannot take it."""

import asyncio
from typing import Any

import pytest
from attrs import evolve

from benchmarks import running
from benchmarks.contenders import CONTENDERS, FLOOR, OURS, SDK, Missing
from benchmarks.measures import case_of
from benchmarks.payloads import SHAPES, digests
from benchmarks.running import Effort, compare

CASE = evolve(case_of("json"), contenders=(OURS, SDK, FLOOR))
RIGHT = digests(SHAPES["json-10x8mb-small"])


def report(value: float = 1.0, **fields: Any) -> dict[str, Any]:
    """What a turn says."""
    return {"value": value, "digests": RIGHT, "errors": [], "notes": [], **fields}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compare for some rounds, with reports instead of turns; who was asked is in `order`."""

    def run(reports: dict[str, dict[str, Any]], rounds: int = 3) -> Any:
        order: list[str] = []

        def turn(name: str, *_: Any, **__: Any) -> dict[str, Any]:
            order.append(name)
            return reports.get(name) or report()

        monkeypatch.setattr(running, "_turn", turn)
        return order, compare(CASE, Effort(rounds, small=True))

    return run


def test_each_round_begins_with_another(measured: Any) -> None:
    """So that none always comes after the same one."""
    order, outcome = measured({})
    assert order == [OURS, SDK, FLOOR, SDK, FLOOR, OURS, FLOOR, OURS, SDK]
    assert outcome.rounds == {name: [1.0] * 3 for name in (OURS, SDK, FLOOR)}


def test_one_that_is_missing_is_named_and_not_asked_again(measured: Any) -> None:
    """Never skipped in silence."""
    order, outcome = measured({SDK: {"missing": "no module 'openai'"}})
    assert order.count(SDK) == 1
    assert outcome.missing == {SDK: "no module 'openai'"}


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        ({"broken": "OSError: gone"}, "OSError: gone"),
        (report(digests=["0" * 64]), "its images are not those that were sent"),
    ],
)
def test_one_that_breaks_is_named(measured: Any, broken: dict[str, Any], why: str) -> None:
    """Whether it fails or gives other images."""
    assert measured({OURS: broken})[1].broken == {OURS: why}


def test_failed_calls_are_counted(measured: Any) -> None:
    """Over all rounds, with what they said."""
    _, outcome = measured({SDK: report(errors=["a", "b"], notes=["c"])})
    assert outcome.failures[SDK] == 6
    assert outcome.notes[SDK] == ["a", "b", "c"]


def test_a_turn_that_cannot_be_taken_says_why() -> None:
    """The last line of its traceback."""
    case = evolve(CASE, key="no such case")
    assert running._turn(OURS, case, running.Address(1), small=True)["broken"].startswith("StopIteration")


def test_the_official_client_may_lack_its_aiohttp_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then that contender is missing, the other is not."""
    openai = pytest.importorskip("openai")

    def without() -> None:
        raise RuntimeError("To use the aiohttp client you must have installed the extra")

    monkeypatch.setattr(openai, "DefaultAioHttpClient", without)

    async def enter() -> None:
        async with CONTENDERS["AsyncOpenAI on aiohttp"]("http://127.0.0.1:1/v1", SHAPES["json-1kb"]):
            pass

    with pytest.raises(Missing, match="must have installed"):
        asyncio.run(enter())
