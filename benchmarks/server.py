"""A bare HTTP server that answers every POST with bytes made beforehand: `python -m benchmarks.server SHAPE...`.

Rules: it does as little as can be, in a process of its own, so that what is measured is the client: the path names the
answer, which goes from where it lies into the socket. It prints its port once it listens, and ends when its standard
input does. `GET /stamp` gives the moment, in nanoseconds of the system's monotonic clock, at which it last sent the
bytes it had held back.
"""

import asyncio
import contextlib
import re
import resource
import socket
import sys
import time
from pathlib import Path

from benchmarks.payloads import SHAPES, Gate, Shape, response

BACKLOG = 2_000
"""Connections that may wait to be accepted: twice the largest crowd."""

PATIENCE = 30.0
"""Seconds to wait for the crowd; then the connection is closed, which its client sees as an error."""

REQUEST = re.compile(rb"\w+ /([\w-]+)")
CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
SETTLE = 0.1  # seconds in which a client deals with what it has read last


class Server:
    """Answers one connection after the other, all at once."""

    def __init__(self, shapes: dict[str, Shape], port: int) -> None:
        self._shapes = shapes
        self._answers = {name: response(shape) for name, shape in shapes.items()}
        self._port = port
        self._stamp = 0
        self._open = 0
        self._crowd = asyncio.Event()

    async def serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        received = b""
        with connection, contextlib.suppress(ConnectionError, TimeoutError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while True:
                while (end := end_of_request(received)) is None:
                    more = await loop.sock_recv(connection, 65536)
                    if not more:
                        return
                    received += more
                name = REQUEST.match(received)
                received = received[end:]
                await self._answer(connection, name[1].decode() if name else "")

    async def _answer(self, connection: socket.socket, name: str) -> None:
        loop = asyncio.get_running_loop()
        if name == "stamp":
            text = str(self._stamp)
            await loop.sock_sendall(connection, f"HTTP/1.1 200 OK\r\n\r\n{text}".encode())
            return
        shape, (*parts, last) = self._shapes[name], self._answers[name]
        for part in parts:
            await loop.sock_sendall(connection, part)
            if shape.apart:
                await asyncio.sleep(0)
        if shape.gate is Gate.DRAINED:
            await self._until_drained(connection)
            self._stamp = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        elif shape.gate is Gate.CROWD:
            await self._until_crowded(shape.crowd)
        await loop.sock_sendall(connection, last)

    async def _until_drained(self, connection: socket.socket) -> None:
        """Until the client has taken everything out of its socket, and a moment longer."""
        port = connection.getpeername()[1]
        while _unread(port, self._port):  # noqa: ASYNC110  the kernel tells nobody
            await asyncio.sleep(0.005)
        await asyncio.sleep(SETTLE)

    async def _until_crowded(self, crowd: int) -> None:
        self._open += 1
        if self._open == crowd:
            self._open = 0
            self._crowd.set()
            self._crowd = asyncio.Event()
        else:
            await asyncio.wait_for(self._crowd.wait(), PATIENCE)


def allow_many_sockets() -> None:
    """Raise this process's limit of open files, which is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def end_of_request(received: bytes) -> int | None:
    """Where the first request ends, None while it is not complete."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = CONTENT_LENGTH.search(received, 0, end + 2)
    end += 4 + (int(length[1]) if length else 0)
    return end if len(received) >= end else None


def _unread(client: int, server: int) -> bool:
    """Whether bytes lie unread in the client's socket, or on their way there; where nobody tells, False."""
    table = Path("/proc/net/tcp")
    if not table.exists():
        return False
    ends = {(client, server), (server, client)}
    for line in table.read_text().splitlines()[1:]:
        _, here, there, _, queues, *_ = line.split()
        if (int(here[-4:], 16), int(there[-4:], 16)) in ends and queues != "00000000:00000000":
            return True
    return False


async def _accept(listener: socket.socket, server: Server) -> None:
    loop = asyncio.get_running_loop()
    serving: set[asyncio.Task[None]] = set()
    while True:
        connection, _ = await loop.sock_accept(listener)
        task = loop.create_task(server.serve(connection))
        serving.add(task)
        task.add_done_callback(serving.discard)


async def main() -> None:
    allow_many_sockets()
    with socket.create_server(("127.0.0.1", 0), backlog=BACKLOG) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        server = Server({name: SHAPES[name] for name in sys.argv[1:]}, port)
        accepting = asyncio.create_task(_accept(listener, server))
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.read)
        accepting.cancel()
        await asyncio.wait([accepting])


if __name__ == "__main__":
    asyncio.run(main())
