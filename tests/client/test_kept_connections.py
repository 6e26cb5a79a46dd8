"""Kept connections: one that the server has closed meanwhile is found out before anything is sent on it."""

import asyncio
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
import trustme

from openai_images import ConfigurationError, ImageResult, ImagesClient, RetryPolicy
from openai_images.http.sessions import KEPT_SECONDS, is_open
from openai_images.server import LocalImagesServer
from tests.helpers.clients import JSON_ANSWER, PNG, client_of, generate, stream
from tests.helpers.raw_server import RawServer, reply


class Closing(threading.Thread):
    """A server in a thread: it ends each connection behind one answer, when it is told to."""

    def __init__(self, tls: ssl.SSLContext | None, *, reset: bool) -> None:
        """Listen."""
        super().__init__(daemon=True)
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.tls = tls
        self.reset = reset
        self.requests = 0
        self.end, self.ended = threading.Event(), threading.Event()
        scheme = "http" if tls is None else "https"
        self.base_url = f"{scheme}://127.0.0.1:{self.listening.getsockname()[1]}/v1"

    def run(self) -> None:
        """Serve until it is closed."""
        while True:
            try:
                sock, _ = self.listening.accept()
            except OSError:
                return
            self.serve(sock if self.tls is None else self.tls.wrap_socket(sock, server_side=True))

    def serve(self, sock: socket.socket) -> None:
        """One answer, then the end."""
        with sock, sock.makefile("rb") as lines:
            length = 0
            while (line := lines.readline().lower().strip()) != b"":
                length = int(line.split()[1]) if line.startswith(b"content-length:") else length
            lines.read(length)
            self.requests += 1
            sock.sendall(reply(JSON_ANSWER))
            self.end.wait()
            if self.reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.ended.set()


@pytest.fixture(params=["closed", "reset", "closed over TLS"])
def closing(request: pytest.FixtureRequest) -> Iterator[Closing]:
    """Such a server."""
    tls = None
    if "TLS" in request.param:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(tls)
    server = Closing(tls, reset=request.param == "reset")
    server.start()
    yield server
    server.end.set()
    server.listening.shutdown(socket.SHUT_RDWR)
    server.listening.close()
    server.join()


async def edit(client: ImagesClient) -> ImageResult:
    """An upload."""
    return await client.edit("an otter", image=PNG, model="gpt-image-2")


@pytest.mark.parametrize("call", [generate, stream, edit])
@pytest.mark.parametrize("is_handed_in", [False, True])
async def test_closed_while_nobody_looked(call: Any, closing: Closing, *, is_handed_in: bool) -> None:
    """What ended while the loop was busy is not used: the request goes out once, over a new connection."""
    session = aiohttp.ClientSession() if is_handed_in else None
    options: dict[str, Any] = {"ssl": False, "session": session, "retry": RetryPolicy(max_retries=0)}
    async with client_of(closing, validate="off", **options) as client:
        await call(client)
        closing.end.set()
        assert closing.ended.wait(5)  # on purpose without giving way to the loop
        result = await call(client)
    if session is not None:
        await session.close()
    assert (result.attempts, closing.requests) == (1, 2)


async def test_a_connection_that_lives_is_used_again(server: LocalImagesServer) -> None:
    """Looking at it costs no connection."""
    async with client_of(server) as client:
        for call in (generate, stream, generate):
            await call(client)
    assert len({request.peer_port for request in server.requests}) == 1


async def test_kept_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle connection is kept for less time than servers keep it."""
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server) as client:
        await generate(client)
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr("aiohttp.connector.monotonic", lambda: now + KEPT_SECONDS + 0.1)
        await generate(client)
        assert server.connections == 2


async def test_what_writes_elsewhere_is_open() -> None:
    """A writer that is none of aiohttp's, as in wrappers and tests, is left to itself."""
    writer: Any = object()
    assert await is_open(writer)


async def test_a_session_closed_by_its_owner() -> None:
    """It is told before a socket is looked at."""
    session = aiohttp.ClientSession()
    await session.close()
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server, session=session) as client:
        with pytest.raises(ConfigurationError, match="is closed"):
            await generate(client)


async def test_the_client_is_closed_before_the_first_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request that finds its kept connection closed, because the client was closed, is sent on a new one."""
    async with LocalImagesServer(pictures=PNG) as server, client_of(server) as client:
        await generate(client)

        async def closed(writer: Any) -> bool:
            monkeypatch.undo()
            writer.transport.abort()
            closing.append(asyncio.ensure_future(client.aclose()))
            return False

        closing: list[asyncio.Future[None]] = []

        monkeypatch.setattr("openai_images.http.request_body.is_open", closed)
        result = await generate(client)
        await closing[0]
        assert (result.image.data, server.posts) == (PNG, 2)
