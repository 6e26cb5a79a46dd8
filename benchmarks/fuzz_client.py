"""Damaged answers as the client gets them: over a socket, with all its deadlines on, its event loop watched.

Rules: the answers are those of `fuzz_cases.py`, with the framing of HTTP kept whole; some are stopped, or drip, so that
only a deadline ends them. What is no `ImagesError` is a finding, and so are a stall of the event loop and a deadline
that was missed. Other processes do not count: a stall is the processor time between two turns of the loop, and a
deadline is judged by the loop's own time (`LoopClock`); what was too long all the same must be so twice more,
alone. It refuses to judge what an answer comes to; `fuzz_decoder.py` does.
"""

import asyncio
import contextlib
import gc
import math
from collections.abc import Sequence
from random import Random
from typing import Any, Final

import aiohttp
from attrs import Factory, define, frozen

from benchmarks.corpus import KEY, PROMPT, Answer
from benchmarks.fuzz_cases import Case, case, pieces
from benchmarks.fuzz_decoder import where
from benchmarks.turn import LoopClock
from openai_images import ImagesClient, ImagesError, Limits, RetryPolicy, Timeouts

TIMEOUTS: Final = Timeouts(connect=2.0, first_byte=0.3, idle=0.2, total=0.4)
STALL: Final = 0.050
"""Seconds of processor time that no turn of the loop may take."""

LATE: Final = 0.100
"""Seconds by which no deadline may be missed."""

_STOPPED: Final = 25
"""Every so many answers is stopped: they wait for their deadlines all together, at the end."""

_LARGE: Final = 199
_LARGE_BYTES: Final = 4_000_000
"""Every so many answers repeats what is in its middle until it is so large."""

_FRAMING: Final = {"content-length", "transfer-encoding", "connection"}
_DRIP: Final = 0.05
_TURN: Final = 100
"""Chunks that the server sends in one turn of the loop, which is the client's, too."""

_APART: Final = 0.005
"""Seconds between the starts of those that stop: their deadlines shall not come in one turn of the loop."""

_AGAIN: Final = 2
_END: Final = 60.0
"""Seconds after which a call that has missed all its deadlines is ended."""


@define
class Driven:
    """What came of it: for each finding the case; the longest stall and the latest deadline, in seconds."""

    cases: int = 0
    findings: list[tuple[Case, str]] = Factory(list[tuple[Case, str]])
    stall: float = 0.0
    late: float = -math.inf


@frozen
class _Planned:
    """An answer, how it travels, and where it stops."""

    damaged: Case
    chunks: list[bytes]
    stop: str = ""

    def head(self) -> bytes:
        """Status line and headers; line ends in them would be framing."""
        lines = [f"HTTP/1.1 {self.damaged.status} X"]
        for name, text in self.damaged.headers.items():
            if name.lower() not in _FRAMING:
                lines.append(f"{name}: {text}".replace("\r", " ").replace("\n", " ").replace("\0", " "))
        lines.append("transfer-encoding: chunked")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


def drive(answers: Sequence[Answer], seed: int, numbers: Sequence[int]) -> Driven:
    """Send these damaged answers to the client, one after the other, and then all that stop."""
    driven = Driven()
    gc.freeze()  # so that no collection of what is there already counts as a stall
    try:
        clock = LoopClock()
        # Debug mode would be measured, not the client.
        with asyncio.Runner(debug=False, loop_factory=clock.new_loop) as runner:
            server = runner.run(_Server.start(clock))
            stopped: list[_Planned] = []
            for number in numbers:
                one = _planned(answers, seed, number)
                if one.stop:
                    stopped.append(one)
                else:
                    runner.run(_judge([one], server, driven))
            runner.run(_judge(stopped, server, driven))
            runner.run(server.close())
    finally:
        gc.unfreeze()
    return driven


def _planned(answers: Sequence[Answer], seed: int, number: int) -> _Planned:
    damaged = case(answers, seed, number)
    chance = Random(f"{seed}:{number}:driving")  # noqa: S311  repeatable, not secret
    if damaged.status in range(100, 200) or damaged.status in (204, 304):  # have no body
        return _Planned(damaged, [])
    body = damaged.body
    if number % _LARGE == _LARGE - 1 and body:
        start = chance.randrange(len(body))
        middle = body[start : start + chance.choice([1, 7, 100, 3_000])]
        body = body[:start] + middle * (_LARGE_BYTES // len(middle)) + body[start:]
        return _Planned(damaged, [body])
    stop = chance.choice(["at once", "behind the headers", "in the body", "drip"])
    return _Planned(damaged, pieces(damaged, seed), stop if number % _STOPPED == 0 else "")


class _Server:
    """Answers each request with what was planned for it."""

    def __init__(self, clock: LoopClock) -> None:
        self.plans: dict[str, _Planned] = {}
        self.clock = clock
        self._answering: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._server: asyncio.Server
        self._session: aiohttp.ClientSession

    @classmethod
    async def start(cls, clock: LoopClock) -> "_Server":
        """On a port of its own, in the loop of this clock."""
        server = cls(clock)
        server._server = await asyncio.start_server(server._answer, "127.0.0.1", 0)
        server._session = aiohttp.ClientSession()
        return server

    def client(self, number: int) -> ImagesClient:
        """A client of its own for each case, over connections that all share."""
        port = self._server.sockets[0].getsockname()[1]
        return ImagesClient(
            base_url=f"http://127.0.0.1:{port}/v1",
            api_key=KEY,
            headers={"x-case": str(number)},
            timeouts=TIMEOUTS,
            retry=RetryPolicy(max_retries=0, max_rate_limit_wait=0),
            limits=Limits(concurrency=1),
            session=self._session,
            validate="off",
        )

    async def close(self) -> None:
        await self._session.close()
        self._server.close()
        await self._server.wait_closed()
        for writer in self._answering:
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._answering.values()))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._answering[writer] = asyncio.current_task()
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:-2])
                    await reader.readexactly(int(fields["content-length"]))
                    await _send(self.plans[fields["x-case"]], reader, writer)
            finally:
                del self._answering[writer]
                writer.transport.abort()


async def _send(plan: _Planned, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    chunks = [b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in plan.chunks if chunk]
    if plan.stop:
        await _stop(plan, chunks, reader, writer)
        raise ConnectionResetError
    for number, chunk in enumerate([plan.head(), *chunks, b"0\r\n\r\n"]):
        writer.write(chunk)
        await writer.drain()
        if number % _TURN == 0:
            await asyncio.sleep(0)


async def _stop(
    plan: _Planned, chunks: list[bytes], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Send no end, until the client has gone."""
    if plan.stop != "at once":
        writer.write(plan.head())
    if plan.stop == "in the body":
        writer.writelines(chunks[: len(chunks) // 2])
    if plan.stop == "drip":
        while not (reader.at_eof() or writer.is_closing()):
            writer.write(b"1\r\n\n\r\n")
            await asyncio.sleep(_DRIP)
    await reader.read()


async def _judge(plans: Sequence[_Planned], server: _Server, driven: Driven) -> None:
    """These at the same time, and those that seem to take too long again, alone."""
    for plan, late, stall in zip(plans, *await _all(plans, server, driven), strict=True):
        for _ in range(_AGAIN):
            if late > LATE or stall > STALL:
                [late_again], [stall_again] = await _all([plan], server, driven)
                late, stall = min(late, late_again), min(stall, stall_again)  # noqa: PLW2901  the least
        driven.cases += 1
        driven.late = max(driven.late, late)
        driven.stall = max(driven.stall, stall)
        if late > LATE:
            driven.findings.append((plan.damaged, f"a deadline missed by {late * 1000:.0f} ms"))
        if stall > STALL:
            driven.findings.append((plan.damaged, f"a stall of {stall * 1000:.0f} ms of processor time"))


async def _all(plans: Sequence[_Planned], server: _Server, driven: Driven) -> tuple[list[float], list[float]]:
    """These at the same time; how late each was, and the longest stall of all, for each."""
    loop = asyncio.get_running_loop()
    server.plans = {str(plan.damaged.number): plan for plan in plans}

    def said(_: object, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, ConnectionError):
            driven.findings.append((plans[0].damaged, f"the loop was told: {context['message']} {error!r}"))

    loop.set_exception_handler(said)
    await asyncio.sleep(0)  # what came before, such as making the answers, is no turn of the client's
    server.clock.longest = 0.0
    calls = (_one(plan, place * _APART, server, driven) for place, plan in enumerate(plans))
    lateness = await asyncio.gather(*calls)
    await asyncio.sleep(0)  # the last turn counts
    return lateness, [server.clock.longest] * len(plans)


async def _one(plan: _Planned, wait: float, server: _Server, driven: Driven) -> float:
    """One call, after a wait in seconds; by how many seconds of the loop's time it went beyond its last deadline."""
    await asyncio.sleep(wait)
    client, number = server.client(plan.damaged.number), plan.damaged.number
    begun = server.clock.time()
    try:
        async with asyncio.timeout(_END):
            if number % 2:
                await client.generate(PROMPT)
            else:
                async with client.stream(PROMPT) as stream:
                    async for _ in stream:
                        pass
    except ImagesError:
        pass
    except Exception as error:  # noqa: BLE001  this is what is looked for
        driven.findings.append((plan.damaged, f"{type(error).__name__}: {str(error)[:200]}, {where(error)}"))
    late = server.clock.time() - begun - (TIMEOUTS.total or 0.0)
    await client.aclose()
    return late
