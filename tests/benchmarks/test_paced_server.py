"""The paced server sends each piece at its moment, makes up for no time in which nobody read, and speaks TLS."""

from collections.abc import Callable
from typing import Any

import pytest
from attrs import evolve

from benchmarks.contenders import FLOOR, OURS
from benchmarks.measures import case_of
from benchmarks.paced_server import Connection, Pieces, Server
from benchmarks.running import Effort, compare

ANSWER = b"HTTP/1.1 200 OK\r\n\r\n" + bytes(range(256)) * 4
REQUEST = b"POST /otter/v1 HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}"
SIZE, RATE = 100, 1_000.0  # a piece each tenth of a second


class Stage:
    """The loop, whose time is set, and the transport of one connection."""

    def __init__(self, rate: float = RATE) -> None:
        self.now = 50.0
        self.sent: list[tuple[float, bytes]] = []
        self.due: list[tuple[float, Callable[[], None]]] = []
        self.server = Server({"otter": Pieces.of(ANSWER, SIZE)}, rate)
        stage: Any = self
        self.connection = Connection(self.server, stage)
        self.connection.connection_made(stage)

    def time(self) -> float:
        """Now."""
        return self.now

    def call_at(self, when: float, act: Callable[[], None]) -> "Stage":
        """Remember it."""
        self.due.append((when, act))
        return self

    def cancel(self) -> None:
        """Forget it."""
        self.due.clear()

    def write(self, data: bytes) -> None:
        """Take it."""
        self.sent.append((round(self.now - 50.0, 6), bytes(data)))

    def run(self, late: float = 0.0, times: int = 100) -> None:
        """Let what is due happen, so late each time."""
        while self.due and times:
            when, act = self.due.pop(0)
            self.now = max(self.now, when + late)
            act()
            times -= 1


def test_pieces_come_by_the_clock() -> None:
    """Of their size, the head with the first; each at its moment, however late the one before was."""
    stage = Stage()
    stage.connection.data_received(REQUEST[:30])
    assert stage.sent == []
    stage.connection.data_received(REQUEST[30:])
    stage.run(late=0.03)
    head = len(ANSWER) - 1024
    assert b"".join(data for _, data in stage.sent) == ANSWER
    assert [len(data) for _, data in stage.sent] == [head + SIZE, *[SIZE] * 9, 24]
    assert (stage.server.pieces, stage.server.late) == (11, 10)
    gaps = [moment for moment, _ in stage.sent]
    first = (head + SIZE) / RATE
    assert gaps == [0.0, *(pytest.approx(first + number / 10 + 0.03) for number in range(10))]


def test_no_time_is_made_up_for_that_a_client_did_not_read() -> None:
    """What it holds back comes at the same speed as before, not all at once."""
    stage = Stage()
    stage.connection.data_received(REQUEST)
    stage.connection.pause_writing()
    stage.run()
    assert len(stage.sent) == 1
    stage.now += 10
    stage.connection.resume_writing()
    assert len(stage.sent) == 2
    stage.run()
    assert b"".join(data for _, data in stage.sent) == ANSWER
    assert stage.sent[-1][0] - stage.sent[1][0] == pytest.approx(0.9)


def test_without_a_pace_only_the_client_holds_it_back() -> None:
    """Everything at once, and nothing while it does not read or has gone."""
    stage = Stage(rate=0)
    stage.connection.pause_writing()
    stage.connection.data_received(REQUEST)
    assert stage.sent == []
    stage.connection.resume_writing()
    assert b"".join(data for _, data in stage.sent) == ANSWER
    slow = Stage()
    slow.connection.data_received(REQUEST)
    slow.connection.connection_lost(None)
    slow.run()
    assert len(slow.sent) == 1


def test_the_moment_of_the_last_piece_is_told() -> None:
    """In nanoseconds of the system's clock."""
    stage = Stage(rate=0)
    stage.connection.data_received(REQUEST)
    stage.connection.data_received(b"GET /stamp HTTP/1.1\r\n\r\n")
    assert int(stage.sent[-1][1].rpartition(b"\r\n")[2]) == stage.server.stamp > 0


@pytest.mark.parametrize("key", ["paced-tls", "paced-packets", "tls-json", "latency-paced"])
def test_clients_are_measured_at_it(key: str) -> None:
    """A server and two contenders in processes of their own, which trust its certificate."""
    case = evolve(case_of(key), contenders=(OURS, FLOOR))
    outcome = compare(case, Effort(rounds=1, small=True, at_once=2))
    assert (outcome.broken, outcome.missing) == ({}, {})
    assert outcome.rounds[OURS][0] > 0
    assert outcome.rounds[FLOOR][0] > 0
    assert 0 <= outcome.late <= 1
