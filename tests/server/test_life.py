"""The life of a local server: where it binds, how it closes, what it notices."""

import asyncio
import contextlib
import errno
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from openai_images.server import AnsweredRequest, LocalImagesServer
from openai_images.server.requests.state import ActiveRequest

STREAM = {"stream": True, "partial_images": 1}


async def test_it_starts_and_closes_without_a_block(http: aiohttp.ClientSession) -> None:
    """`start` and `aclose` do what the block does, and `aclose` may come twice or first."""
    server = LocalImagesServer(api_key="sk-mine")
    await server.aclose()
    assert repr(server) == "<LocalImagesServer not started>"
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.base_url
    await server.start()
    url = server.base_url
    assert repr(server) == f"<LocalImagesServer {url}>"
    with pytest.raises(RuntimeError, match="already started"):
        await server.start()
    async with http.get(f"{url}/models", headers={"Authorization": "Bearer sk-mine"}) as response:
        assert response.status == 200
    await server.aclose()
    await server.aclose()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(f"{url}/models")
    assert server.open_connections == 0


async def test_it_can_start_again(ask: Any, picture: bytes) -> None:
    """A closed server starts anew and counts on."""
    server = LocalImagesServer(pictures=picture)
    for posts in (1, 2):
        async with server:
            assert (await ask(of=server)).status == 200
        assert server.posts == posts


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "example.com", "::", ""])
def test_it_refuses_other_addresses(host: str) -> None:
    """Nothing but loopback is bound."""
    with pytest.raises(ValueError, match="loopback"):
        LocalImagesServer(host=host)


async def test_localhost_is_loopback(ask: Any, picture: bytes) -> None:
    """The name is as good as the address."""
    async with LocalImagesServer(host="localhost", pictures=picture) as server:
        assert server.base_url.startswith("http://127.0.0.1:")
        assert (await ask(of=server)).status == 200


async def test_ipv6_loopback(ask: Any, picture: bytes) -> None:
    """The other loopback address works where the machine has it."""
    server = LocalImagesServer(host="::1", pictures=picture)
    try:
        await server.start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with aiohttp.ClientSession():
        assert server.base_url.startswith("http://[::1]:")
        assert (await ask(of=server)).status == 200
    await server.aclose()


async def test_a_port_in_use_is_said_clearly(server: LocalImagesServer) -> None:
    """The error names the port and what to do; the second server can be closed."""
    port = int(server.base_url.rpartition(":")[2].removesuffix("/v1"))
    second = LocalImagesServer(port=port)
    with pytest.raises(OSError, match=f"port {port} on 127.+ is already in use; choose another") as caught:
        await second.start()
    assert caught.value.errno == errno.EADDRINUSE
    await second.aclose()


async def test_a_start_that_fails_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of another kind comes as it is, and the server can be closed."""

    async def forbidden(_: web.TCPSite) -> None:
        raise PermissionError(errno.EACCES, "not below 1024")

    monkeypatch.setattr(web.TCPSite, "start", forbidden)
    server = LocalImagesServer(port=80)
    with pytest.raises(PermissionError, match="not below 1024"):
        await server.start()
    assert server._runner is None
    await server.aclose()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"pace": -1}, "pace must not be negative"),
        ({"keepalive_comments": 0}, "keepalive_comments must be above 0"),
        ({"port": 70_000}, "port must be from 0 .+ to 65535, not 70000"),
        ({"port": -1}, "port must be from 0 .+ to 65535, not -1"),
        ({"max_body_bytes": -1}, "max_body_bytes must be at least 1, not -1"),
        ({"keep_requests": -1}, "keep_requests must not be negative .+, not -1"),
        ({"pictures": {}}, "pictures must be 'small', 'full'"),
        ({"pictures": b""}, "pictures must be 'small', 'full'"),
        ({"pictures": {"png": "text"}}, "pictures must be 'small', 'full'"),
        (
            {"pictures": {"jpg": b"x"}},
            "pictures has the format 'jpg'; it must be one of png, jpeg, webp, gif, svg",
        ),
        ({"max_upload_bytes": 0}, "max_upload_bytes must be at least 1, not 0"),
        (
            {"picture_links": "short"},
            "picture_links must be None or one of 'absolute', 'relative', not 'short'",
        ),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], said: str) -> None:
    """A server that could never answer is not built, and says which option to change."""
    with pytest.raises(ValueError, match=said):
        LocalImagesServer(**options)


def test_a_key_is_not_shown() -> None:
    """The repr keeps the key to itself."""
    assert "sk-mine" not in repr(LocalImagesServer(api_key="sk-mine"))


@pytest.mark.parametrize("body", [{}, STREAM])
@pytest.mark.parametrize("fault", ["stall", "stall_after_headers", "stall_mid_event", "comments_forever"])
async def test_it_closes_at_once_with_answers_open(
    connect: Any, server: LocalImagesServer, fault: str, body: dict[str, Any]
) -> None:
    """Stalled answers and open streams do not hold the server up, nor count as clients that left."""
    server.always(fault)
    for _ in range(3):
        connection = await connect()
        connection.post(server.api_key, **body)
    while len(server.requests) < 3:
        await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await server.aclose()
    assert (server.disconnects, server.open_connections) == (0, 0)


@pytest.mark.parametrize("body", [{}, STREAM])
@pytest.mark.parametrize("fault", ["stall", "stall_after_headers", "stall_mid_event", "malformed_chunk"])
async def test_it_notices_a_client_that_leaves(
    connect: Any, server: LocalImagesServer, fault: str, body: dict[str, Any]
) -> None:
    """A client that goes while it is answered is counted, though its answer would never end."""
    server.script(fault)
    connection = await connect()
    connection.post(server.api_key, **body)
    while not server.requests:
        await asyncio.sleep(0)
    assert server.open_connections == 1
    connection.writer.close()
    await server.wait_disconnected(timeout=60)
    assert server.disconnects == 1
    while server.open_connections:
        await asyncio.sleep(0)


async def test_it_notices_a_client_that_stops_reading(connect: Any, server: LocalImagesServer) -> None:
    """An image that nobody reads does not hide that its reader has gone."""
    server.script("huge_picture:20")
    connection = await connect()
    connection.writer.transport.pause_reading()
    connection.post(server.api_key)
    while not server.requests:
        await asyncio.sleep(0)
    connection.writer.close()
    await server.wait_disconnected(timeout=60)
    assert server.disconnects == 1


async def test_it_notices_a_client_gone_before_the_answer(
    connect: Any, caplog: pytest.LogCaptureFixture, picture: bytes
) -> None:
    """An answer to a connection already lost is dropped without a word in the log."""

    async def sleep(_: float) -> None:
        # Without giving way to the loop: the handler meets the closed connection itself.
        for connection in server._runner.server.connections:
            connection.transport.abort()

    async with LocalImagesServer(pictures=picture, always="slow_first_byte", sleep=sleep) as server:
        for body in ({}, STREAM):
            connection = await connect(server)
            connection.post(server.api_key, **body)
            with contextlib.suppress(ConnectionResetError):
                assert await connection.reader.read() == b""
        assert server.disconnects == 2
    assert caplog.records == []


async def test_it_closes_while_it_paints(connect: Any) -> None:
    """An image half painted does not hold the server up."""
    server = LocalImagesServer()
    await server.start()
    connection = await connect(server)
    connection.post(server.api_key, size="3840x2160", stream=True)
    await connection.head()
    async with asyncio.timeout(20):
        await server.aclose()


def test_an_exchange_without_a_connection_is_dropped_too() -> None:
    """A connection lost before its request was looked at leaves nothing to abort."""
    active = ActiveRequest(request=SimpleNamespace(transport=None), clock=time.monotonic)
    active.abort()
    with pytest.raises(ConnectionResetError):
        active.open_transport()


async def test_it_notices_several(connect: Any, server: LocalImagesServer) -> None:
    """`wait_disconnected` waits for all it was asked for, and says how many there were."""
    server.always("stall")
    connections = [await connect() for _ in range(2)]
    for connection in connections:
        connection.post(server.api_key)
    while len(server.requests) < 2:
        await asyncio.sleep(0)
    connections[0].writer.close()
    with pytest.raises(TimeoutError, match=r"1 of 2 clients have disconnected within 0\.05 s"):
        await server.wait_disconnected(2, timeout=0.05)
    connections[1].writer.close()
    await server.wait_disconnected(2)


async def test_a_client_that_was_answered_is_no_disconnect(ask: Any, server: LocalImagesServer) -> None:
    """Only those still being answered count; connections are kept open for the next request."""
    for _ in range(3):
        await ask()
    assert (server.open_connections, server.disconnects) == (1, 0)


async def test_a_post_counts_when_its_headers_arrive(connect: Any, server: LocalImagesServer) -> None:
    """A request whose body never comes is counted, and not recorded."""
    connection = await connect()
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.api_key}\r\n"
    connection.writer.write(f"{head}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n".encode())
    while not server.posts:
        await asyncio.sleep(0)
    connection.writer.close()
    await server.wait_disconnected()
    assert server.requests == []


async def test_pictures_come_at_their_pace(ask: Any, picture: bytes) -> None:
    """Each stage is due one pace after the one before, counted from the request."""
    slept: list[float] = []
    now = [50.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    async with LocalImagesServer(pictures=picture, pace=2.0, clock=lambda: now[0], sleep=sleep) as server:
        await ask(of=server, stream=True, partial_images=2)
        assert slept == [2.0, 2.0, 2.0]
        slept.clear()
        await ask(of=server, n=3)
        assert slept == [2.0]


SILENT = """
import asyncio
from openai_images.server import AnsweredRequest, LocalImagesServer

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no fault
    async with LocalImagesServer() as server:
        host, port = server.base_url[7:-3].split(":")
        for fault in ("ok", "stall_mid_event", "reset_mid_stream", "one_byte_chunks"):
            server.script(fault)
            reader, writer = await asyncio.open_connection(host, int(port))
            body = '{"prompt": "quiet", "stream": true, "partial_images": 1}'
            head = ["POST /v1/images/generations HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
            head += [f"Authorization: Bearer {server.api_key}", f"Content-Length: {len(body)}", "", body]
            writer.write("\\r\\n".join(head).encode())
            await reader.readexactly(3000)
            writer.transport.abort()
        writer = (await asyncio.open_connection(host, int(port)))[1]
        writer.write(b"this is not HTTP\\r\\n\\r\\n")
        await writer.drain()
        writer.transport.abort()

asyncio.run(main())
asyncio.run(main())
"""


def test_it_is_silent() -> None:
    """Clients that break off leave no word behind, with every warning an error, in two loops of one process."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", SILENT]
    ran = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


async def test_it_tells_of_each_answer() -> None:
    """`on_answer` gets method, path, status and fault, also of unknown paths and of hang-ups."""
    told: list[AnsweredRequest] = []
    async with (
        LocalImagesServer(pictures=b"x", on_answer=told.append, keep_requests=1) as server,
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {server.api_key}"}) as session,
    ):
        url = f"{server.base_url}/images/generations"
        server.script("ok", "status:502")
        for _ in range(2):
            await (await session.post(url, json={"prompt": "a"})).read()
        await (await session.get(f"{server.base_url}/nowhere")).read()
        server.script("close_after_body")
        with pytest.raises(aiohttp.ServerDisconnectedError):
            await session.post(url, json={"prompt": "a"})
        assert [(answer.method, answer.status, answer.fault) for answer in told] == [
            ("POST", 200, "ok"),
            ("POST", 502, "status:502"),
            ("GET", 404, "ok"),
            ("POST", 0, "close_after_body"),
        ]
        assert [request.fault for request in server.requests] == ["close_after_body"]
