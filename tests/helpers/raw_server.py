"""A server whose bytes a test writes itself, for answers that no HTTP server gives.

Each POST takes the next script, the last one stays. A script is a sequence of parts: bytes are sent; an
`asyncio.Event` is waited for; STALL waits for the client to leave, CLOSE and RESET end the connection. Behind a script
without CLOSE or RESET the connection takes its next request.
"""

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Literal, Self

STALL: Final = "stall"
CLOSE: Final = "close"
RESET: Final = "reset"
Part = bytes | asyncio.Event | Literal["stall", "close", "reset"]
Script = Sequence[Part]


def reply(
    body: bytes, *headers: str, status: int = 200, kind: str = "application/json", length: int | None = None
) -> bytes:
    """A whole answer; `length` is what it declares, if not the truth."""
    stated = len(body) if length is None else length
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {stated}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def chunked(*pieces: bytes, kind: str = "text/event-stream") -> bytes:
    """An answer in chunks, without the last one."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"".join(map(chunk, pieces))


LAST_CHUNK: Final = b"0\r\n\r\n"


class RawServer:
    """`async with RawServer(script, …) as server`; counts what came and keeps each request."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        """Answer with these scripts, over TLS if there is a context."""
        self.scripts = list(scripts)
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.connections = 0
        self.left = asyncio.Event()
        self._tls = tls
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self._port, ssl=self._tls)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def posts(self) -> int:
        """How many POSTs came with their body."""
        return len(self.heads)

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    @property
    def base_url(self) -> str:
        """What a client takes."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    def header(self, name: str, post: int = 0) -> list[str]:
        """The values of a header as they came, one for each time it was sent."""
        return re.findall(rf"(?im)^{name}: (.*?)\r$", self.heads[post])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while True:
                    script = await self._request(reader)
                    for part in script:
                        await self._play(part, reader, writer)
        finally:
            self.left.set()
            writer.transport.abort()
            self._tasks.discard(task)

    async def _request(self, reader: asyncio.StreamReader) -> Script:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        self.bodies.append(await reader.readexactly(int(length[1]) if length else 0))
        self.heads.append(head)
        return self.scripts[min(len(self.heads), len(self.scripts)) - 1]

    async def _play(self, part: Part, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        match part:
            case bytes():
                writer.write(part)
                await writer.drain()
            case asyncio.Event():
                await part.wait()
            case "stall":
                await reader.read(1)
                raise ConnectionResetError
            case "close":
                writer.close()
                raise ConnectionResetError
            case "reset":
                sock = writer.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raise ConnectionResetError


def free_port() -> int:
    """A port nobody listens at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
