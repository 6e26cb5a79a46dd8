"""Sessions, proxies and sockets: whose they are, and what is set on them."""

import asyncio
import contextlib
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from openai_images import (
    APIConnectionError,
    AuthenticationError,
    ConfigurationError,
    ImagesClient,
    RateLimitError,
)
from openai_images.http.sessions import SessionPool, keepalive_socket
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, JSON_ANSWER, KEY, Call, client_of, generate
from tests.helpers.raw_server import RawServer, free_port, reply

PROXIED = "http://images.example/v1"


@BOTH
async def test_session_handed_in(call: Call, server: LocalImagesServer) -> None:
    """A session handed in is used, with its headers, and stays open."""
    async with aiohttp.ClientSession(headers={"X-Session": "1", "User-Agent": "session"}) as session:
        for _ in range(2):
            async with client_of(server, session=session) as client:
                await call(client)
        assert not session.closed
    sent = server.requests[0].headers
    assert (sent["X-Session"], sent.getall("User-Agent")) == ("1", [sent["User-Agent"]])
    assert sent["User-Agent"].startswith("openai-images/")
    assert server.requests[0].peer_port == server.requests[1].peer_port


@BOTH
async def test_closed_session(call: Call, server: LocalImagesServer) -> None:
    """A session that was closed by its owner is a mistake in the set-up, said as one."""
    session = aiohttp.ClientSession()
    await session.close()
    async with client_of(server, session=session) as client:
        with pytest.raises(ConfigurationError, match="session passed as session= is closed"):
            await call(client)
    assert server.posts == 0


async def test_a_session_of_another_loop(server: LocalImagesServer) -> None:
    """Such as one made in an earlier `asyncio.run`, whose loop is closed."""
    made: list[aiohttp.ClientSession] = []

    async def make() -> None:
        made.append(aiohttp.ClientSession())

    await asyncio.to_thread(lambda: asyncio.run(make()))
    async with client_of(server, session=made[0]) as client:
        with pytest.raises(ConfigurationError, match="made in another event loop"):
            await generate(client)
    with contextlib.suppress(RuntimeError):
        await made[0].close()


@pytest.mark.parametrize("session", [object(), "session", aiohttp.ClientSession, aiohttp.ClientTimeout(), 0])
def test_what_is_no_session(session: Any) -> None:
    """Something else is refused when it is handed in, as all settings are."""
    with pytest.raises(ConfigurationError, match=r"session= must be an aiohttp\.ClientSession"):
        ImagesClient(api_key=KEY, session=session)


@BOTH
@pytest.mark.parametrize(
    ("fault", "kind"), [("status:401", AuthenticationError), ("should_retry_false:429", RateLimitError)]
)
async def test_session_that_raises(
    call: Call, server: LocalImagesServer, fault: str, kind: type[Exception]
) -> None:
    """`raise_for_status` of the session does not hide what the server said."""
    server.always(fault)
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        client_of(server, session=session) as client,
    ):
        with pytest.raises(kind):
            await call(client)


async def test_session_with_few_connections(server: LocalImagesServer) -> None:
    """Waiting for a connection of a small pool is neither connecting nor part of an attempt."""
    connector = aiohttp.TCPConnector(limit=1)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        client_of(server, session=session) as client,
    ):
        results = await asyncio.gather(*(generate(client) for _ in range(5)))
    assert [result.attempts for result in results] == [1] * 5


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_session_with_credentials(server: LocalImagesServer) -> None:
    """A session that brings a password of its own cannot carry the key: that is said, without either."""
    auth = aiohttp.BasicAuth("user", "sentinel")
    async with aiohttp.ClientSession(auth=auth) as session, client_of(server, session=session) as client:
        with pytest.raises(ConfigurationError, match="credentials of its own") as caught:
            await generate(client)
    assert "sentinel" not in str(caught.value)


async def test_password_in_netrc(
    server: LocalImagesServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password the user keeps in ~/.netrc is for other programs: it is neither sent nor in the way."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password sentinel\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with client_of(server) as client:
        await generate(client)
    assert server.requests[0].headers["Authorization"] == f"Bearer {server.api_key}"


@pytest.fixture
async def proxy() -> Any:
    """A proxy for plain HTTP: it answers in the server's place."""
    async with RawServer([reply(JSON_ANSWER)]) as proxy:
        yield proxy


@BOTH
async def test_proxy(call: Call, proxy: RawServer) -> None:
    """`proxy=` gets the request, with the whole address in its first line."""
    async with client_of(proxy, base_url=PROXIED, proxy=f"http://127.0.0.1:{proxy.port}") as client:
        await call(client)
    assert proxy.heads[0].startswith(f"POST {PROXIED}/images/generations HTTP/1.1\r\n")
    assert proxy.header("proxy-authorization") == []


async def test_proxy_with_a_password(proxy: RawServer) -> None:
    """The password in a proxy's address goes to the proxy only."""
    address = f"http://user:password@127.0.0.1:{proxy.port}"
    async with client_of(proxy, base_url=PROXIED, proxy=address) as client:
        await generate(client)
    assert proxy.header("proxy-authorization") == ["Basic dXNlcjpwYXNzd29yZA=="]
    assert proxy.header("authorization") == [f"Bearer {KEY}"]


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_proxy_of_the_environment(
    scheme: str, proxy: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HTTP_PROXY is heeded, NO_PROXY too."""
    monkeypatch.setenv("http_proxy", f"{scheme}127.0.0.1:{proxy.port}")
    async with client_of(proxy, base_url=PROXIED) as client:
        await generate(client)
    assert proxy.heads[0].startswith(f"POST {PROXIED}/")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    async with client_of(proxy) as client:
        await generate(client)
    assert proxy.heads[1].startswith("POST /v1/")


async def test_without_the_environment(proxy: RawServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`trust_env=False` does not look at the environment's proxies."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with client_of(proxy, trust_env=False) as client:
        assert (await generate(client)).attempts == 1


@BOTH
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_proxy_that_is_not_there(call: Call, scheme: str) -> None:
    """A proxy that cannot be reached is safe to resend, and its password stays out of sight."""
    address = f"http://user:sentinel@127.0.0.1:{free_port()}"
    async with client_of(Nowhere(), base_url=f"{scheme}://images.example/v1", proxy=address) as client:
        with pytest.raises(APIConnectionError, match="proxy could not be reached") as caught:
            await call(client)
    assert (caught.value.attempts, "sentinel" in str(caught.value)) == (3, False)


async def test_proxy_that_refuses() -> None:
    """A proxy that refuses to connect has sent nothing on, and never saw the key."""
    async with RawServer([b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n"]) as proxy:
        address = f"http://user:sentinel@127.0.0.1:{proxy.port}"
        async with client_of(Nowhere(), proxy=address) as client:
            with pytest.raises(APIConnectionError, match="the proxy refused") as caught:
                await generate(client)
        assert (caught.value.attempts, "sentinel" in str(caught.value)) == (3, False)
        assert [head.partition(" HTTP")[0] for head in proxy.heads] == ["CONNECT images.example:443"] * 3
        assert KEY not in "".join(proxy.heads)


class Nowhere:
    """A server nobody asks."""

    base_url = "https://images.example/v1"


def options(sock: socket.socket) -> dict[str, int]:
    """The keep-alive options of a socket, as far as this system has them."""
    names = ("TCP_KEEPIDLE", "TCP_KEEPALIVE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    known = {name: getattr(socket, name) for name in names if hasattr(socket, name)}
    return {name: sock.getsockopt(socket.IPPROTO_TCP, number) for name, number in known.items()}


EXPECTED = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 30, "TCP_KEEPCNT": 5}


def test_keepalive_socket() -> None:
    """A silent connection is probed after a minute, well before gateways forget it."""
    with keepalive_socket(
        (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", 80))
    ) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert options(sock) == {name: EXPECTED[name] for name in options(sock)}


async def test_keepalive_of_a_live_connection(
    server: LocalImagesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket a stream comes through has keep-alive on."""
    made: list[socket.socket] = []

    def note(info: tuple[Any, ...]) -> socket.socket:
        made.append(keepalive_socket(info))
        return made[-1]

    monkeypatch.setattr("openai_images.http.sessions.keepalive_socket", note)
    server.script("stall_between_events")
    async with (
        client_of(server) as client,
        client.stream("an otter", partial_images=1, model="gpt-image-2") as events,
    ):
        await anext(events)
        (live,) = made
        assert f":{live.getpeername()[1]}/" in server.base_url
        assert live.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


async def test_one_session_for_many() -> None:
    """Calls that start at once, right after another loop has gone, share one session."""
    sessions = SessionPool(None, trust_env=True)
    gone = asyncio.new_event_loop()
    await asyncio.to_thread(gone.run_until_complete, sessions.get())
    left = next(iter(sessions._owned.values())).session
    gone.close()
    try:
        found = await asyncio.gather(*(sessions.get() for _ in range(5)))
        assert len({id(session) for session in found}) == 1
        assert list(sessions._owned) == [asyncio.get_running_loop()]
    finally:
        await sessions.aclose()
    assert left.closed
