"""A bare HTTP server that sends as a network does: `python -m benchmarks.paced_server RATE PIECE plain|tls SHAPE...`.

Invariants: an answer goes out in pieces of PIECE bytes, each in a segment of its own as far as the kernel lets it, at
RATE bytes a second: each piece at its moment since the answer's start, so that no delay adds up. A client that does not
read holds the pieces back, and none of that time is made up for. A RATE of 0 is as fast as the client reads. Must not:
compute while it sends; answers are made beforehand. It prints its port, over TLS also the file with the certificate
authority that it made for itself, ends when its standard input does, and then prints which share of its pieces was
late. `GET /stamp` gives the moment, in nanoseconds of the system's monotonic clock, at which it last sent the last
piece of an answer.
"""

import asyncio
import selectors
import ssl
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import cast

from attrs import define, frozen

from benchmarks.payloads import SHAPES, response
from benchmarks.server import BACKLOG, REQUEST, end_of_request

_HEAD_END = b"\r\n\r\n"
_LATE = 0.001  # seconds
_FAST_PIECE = 256 * 1024
"""Bytes of a piece where no pace is asked for."""


@frozen
class Pieces:
    """An answer in pieces; `nbytes` of it were sent when one is due."""

    data: list[memoryview]
    starts: list[int]

    @classmethod
    def of(cls, answer: bytes, size: int) -> "Pieces":
        """Pieces of `size` bytes; the head of HTTP goes with the first."""
        head = answer.index(_HEAD_END) + len(_HEAD_END)
        bounds = [0, *range(head + size, len(answer), size), len(answer)]
        view = memoryview(answer)
        return cls([view[a:b] for a, b in pairwise(bounds)], bounds[:-1])


@define
class Server:
    """The answers by name, the speed in bytes a second, and when the last piece of one was sent.

    Of all pieces `late` ones were sent too late to be read by themselves.
    """

    answers: dict[str, Pieces]
    rate: float
    stamp: int = 0
    pieces: int = 0
    late: int = 0


class Connection(asyncio.Protocol):
    """Answers the requests of one connection in turn."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._received = b""
        self._is_paused = False
        self._timer: asyncio.TimerHandle | None = None
        self._answer: Pieces | None = None
        self._next, self._start = 0, 0.0
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = end_of_request(self._received)
        if end is None:
            return
        name = REQUEST.match(self._received)
        self._received = self._received[end:]
        if name is None or name[1] == b"stamp":
            self._transport.write(b"HTTP/1.1 200 OK\r\n\r\n%d" % self._server.stamp)
            return
        self._answer = self._server.answers[name[1].decode()]
        self._next, self._start = 0, self._loop.time()
        self._send()

    def pause_writing(self) -> None:
        self._is_paused = True

    def resume_writing(self) -> None:
        """It has read: go on as if no time had passed."""
        self._is_paused = False
        if self._answer is not None and self._timer is None:
            self._start = max(self._start, self._loop.time() - self._offset(self._answer))
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._answer = None
        if self._timer is not None:
            self._timer.cancel()

    def _offset(self, answer: Pieces) -> float:
        """Seconds from the answer's start to its next piece."""
        return answer.starts[self._next] / self._server.rate if self._server.rate else 0.0

    def _send(self) -> None:
        """The pieces that are due; for the next one a timer is set."""
        self._timer = None
        while self._answer is not None and not self._is_paused:
            due, now = self._start + self._offset(self._answer), self._loop.time()
            if due > now:
                self._timer = self._loop.call_at(due, self._send)
                return
            self._server.pieces += 1
            self._server.late += bool(self._server.rate) and now - due > _LATE
            piece = self._answer.data[self._next]
            self._next += 1
            if self._next == len(self._answer.data):
                self._answer = None
                self._server.stamp = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
            self._transport.write(piece)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop whose timers are exact: epoll, the default, rounds them up to whole milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


def _tls(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """For a certificate made now, and the file with the authority that vouches for it."""
    import trustme

    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)  # pyright: ignore[reportUnknownMemberType]
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    return context, folder / "authority.pem"


async def main() -> None:
    rate, size, security, *names = sys.argv[1:]
    answers = {name: Pieces.of(b"".join(response(SHAPES[name])), int(size) or _FAST_PIECE) for name in names}
    state = Server(answers, float(rate))
    with tempfile.TemporaryDirectory() as folder:
        context, authority = _tls(Path(folder)) if security == "tls" else (None, "")
        loop = asyncio.get_running_loop()
        server = await loop.create_server(
            lambda: Connection(state, loop), "127.0.0.1", 0, backlog=BACKLOG, ssl=context
        )
        async with server:
            print(server.sockets[0].getsockname()[1], authority, flush=True)
            await asyncio.to_thread(sys.stdin.read)
    print(state.late / max(1, state.pieces), flush=True)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())
