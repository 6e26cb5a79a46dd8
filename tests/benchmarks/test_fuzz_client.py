"""The fuzzer sees what the client does with damaged answers: stalls, missed deadlines and foreign exceptions."""

import time
from typing import Any

import pytest
from attrs import evolve

from benchmarks import fuzz, fuzz_client
from benchmarks.corpus import answers
from benchmarks.fuzz_client import drive
from openai_images import Timeouts
from openai_images.wire import response as reader

CORPUS = list(answers().values())
STOPPED = range(fuzz_client._STOPPED, 3 * fuzz_client._STOPPED, fuzz_client._STOPPED)


def test_the_first_of_a_million() -> None:
    """The client keeps its deadlines, does not stall, and raises errors of ours only; large answers are left out."""
    driven = drive(CORPUS, 1, range(fuzz_client._LARGE - 1))
    assert [(damaged.number, what) for damaged, what in driven.findings] == []
    assert driven.cases == fuzz_client._LARGE - 1
    assert 0 < driven.stall <= fuzz_client.STALL
    assert driven.late <= fuzz_client.LATE


def spinning(whole: Any, seconds: float) -> Any:
    """The same, after so much processor time."""

    def spin(self: Any, *words: Any) -> Any:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return whole(self, *words)

    return spin


def test_a_stall_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the processor time of one turn of the loop, each time anew."""
    monkeypatch.setattr(reader.ResponseDecoder, "finish", spinning(reader.ResponseDecoder.finish, 0.07))
    driven = drive(CORPUS, 1, range(1, 12))
    assert driven.stall >= 0.07
    assert all("ms of processor time" in what for _, what in driven.findings)
    assert driven.findings


def test_a_wait_is_no_stall(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another program takes is not counted."""

    def rest(whole: Any) -> Any:
        def wait(self: Any, *words: Any) -> Any:
            time.sleep(0.07)  # as if others had the processor
            return whole(self, *words)

        return wait

    monkeypatch.setattr(reader.ResponseDecoder, "finish", rest(reader.ResponseDecoder.finish))
    assert drive(CORPUS, 1, range(1, 6)).stall < 0.05


def test_a_machine_that_is_busy_makes_no_deadline_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadlines of answers that stop are kept, whoever has the processor at that moment."""
    stop = fuzz_client._stop

    async def late(*words: Any) -> None:
        time.sleep(0.3)  # as if others had the processor
        await stop(*words)

    monkeypatch.setattr(fuzz_client, "_stop", late)
    monkeypatch.setattr(fuzz_client, "TIMEOUTS", Timeouts(total=0.1))
    driven = drive(CORPUS, 1, STOPPED)
    assert [what for _, what in driven.findings] == []
    assert driven.cases == len(STOPPED)
    assert driven.late < fuzz_client.LATE


def test_a_missed_deadline_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """In answers that stop, and only where it is missed each time."""
    patient = fuzz_client._Server.client
    times: list[int] = []

    def client(self: Any, number: int) -> Any:
        times.append(number)
        monkeypatch.setattr(fuzz_client, "TIMEOUTS", Timeouts(total=0.6))
        made = patient(self, number)
        monkeypatch.setattr(fuzz_client, "TIMEOUTS", Timeouts(total=0.1))
        return made

    monkeypatch.setattr(fuzz_client._Server, "client", client)
    driven = drive(CORPUS, 1, STOPPED)
    assert {what.rstrip("0123456789 ms") for _, what in driven.findings} == {"a deadline missed by"}
    assert driven.late > 0.2
    assert len(times) == 3 * len(driven.findings)


def test_a_foreign_exception_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its class and its place, once for each answer that led to it."""

    def fail(_: Any) -> Any:
        raise KeyError("otter")

    monkeypatch.setattr(reader.ResponseDecoder, "finish", fail)
    driven = drive(CORPUS, 1, range(1, 12))
    assert driven.findings
    for _, what in driven.findings:
        assert what.startswith("KeyError: 'otter', in ")
        assert "test_fuzz_client.py, line" in what


def test_what_is_planned_is_repeatable() -> None:
    """From the seed and the number; some stop, some are large, others travel as they are."""
    plans = [fuzz_client._planned(CORPUS, 1, number) for number in range(1, 500)]
    again = [fuzz_client._planned(CORPUS, 1, number) for number in range(1, 500)]
    assert plans == again
    assert {plan.stop for plan in plans} == {"", "at once", "behind the headers", "in the body", "drip"}
    large = [plan for plan in plans if sum(map(len, plan.chunks)) > 1_000_000]
    assert [plan.damaged.number for plan in large] == [198, 397]


def test_headers_keep_the_framing() -> None:
    """No line end and no length of another body gets into the head."""
    plan = fuzz_client._planned(CORPUS, 1, 1)
    headers = {"x-request-id": "a\r\nb\n\udc80", "Content-Length": "9", "retry-after": "1"}
    head = evolve(plan, damaged=evolve(plan.damaged, status=429, headers=headers)).head()
    assert head.startswith(b"HTTP/1.1 429 X\r\n")
    assert head.split(b"\r\n")[1:] == [
        b"x-request-id: a  b \x80",
        b"retry-after: 1",
        b"transfer-encoding: chunked",
        b"",
        b"",
    ]


def test_findings_of_the_client_are_told() -> None:
    """With those of the decoder, and the extremes of all."""
    found = fuzz.Found()
    damaged = fuzz_client._planned(CORPUS, 1, 7).damaged
    fuzz.driven(found, fuzz_client.Driven(1, [(damaged, "a stall of 81 ms")], stall=0.081, late=-0.02))
    other = fuzz.Found(stall=0.01, late=0.15)
    other.add(found)
    assert (other.stall, other.late) == (0.081, 0.15)
    said = fuzz._summary(other)
    assert "1 x in the client: a stall of 81 ms\n          in case 7" in said
    assert "the longest stall of the event loop 81 ms, the latest deadline +150 ms" in said
