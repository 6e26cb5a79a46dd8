"""What fails before the request is sent is safe: it is sent again by itself, and nothing was paid."""

import asyncio
import socket
import ssl
from typing import Any

import pytest
import trustme

from openai_images import (
    APIConnectionError,
    APITimeoutError,
    ImagesError,
    OutcomeUnknownError,
    RetryPolicy,
    Timeouts,
    Timing,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, JSON_ANSWER, KEY, Call, FakeTime, client_of, generate
from tests.helpers.raw_server import STALL, RawServer, free_port, reply


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority nobody trusts by itself."""
    return trustme.CA()


@pytest.fixture
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """What a server with a certificate of that authority needs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


class Nowhere:
    """An address where nothing answers."""

    base_url = f"http://127.0.0.1:{free_port()}/v1"


async def failing(call: Call, server: Any, **options: Any) -> tuple[APIConnectionError, FakeTime]:
    """The error of a call that cannot connect, after all its attempts."""
    time = FakeTime()
    async with client_of(server, timing=time.timing, **options) as client:
        with pytest.raises(APIConnectionError) as caught:
            await call(client)
    error = caught.value
    assert not isinstance(error, OutcomeUnknownError)
    assert (error.safe_to_resend, error.maybe_billed) == (True, False)
    assert KEY not in str(error)
    return error, time


@BOTH
async def test_refused(call: Call) -> None:
    """A refused connection is tried three times, half a second and a second apart."""
    error, time = await failing(call, Nowhere())
    assert (error.attempts, time.slept, error.elapsed >= 1.5) == (3, [0.5, 1.0], True)
    assert "no connection could be made" in str(error)


@pytest.mark.parametrize("retries", [0, 1, 5])
async def test_as_often_as_the_policy_says(retries: int) -> None:
    """`max_retries` counts the attempts behind the first."""
    error, time = await failing(generate, Nowhere(), retry=RetryPolicy(max_retries=retries))
    assert (error.attempts, len(time.slept)) == (1 + retries, retries)


@BOTH
async def test_unknown_name(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that is not found is safe to resend, and said to be the name."""

    def not_found(*args: object, **kwargs: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", not_found)
    error, _ = await failing(call, Nowhere(), base_url="http://images.invalid/v1")
    assert error.attempts == 3
    assert "could not be resolved" in str(error)
    assert "images.invalid" in str(error)


@BOTH
async def test_untrusted_certificate(call: Call, tls: ssl.SSLContext) -> None:
    """A certificate nobody vouches for fails before anything is sent."""
    async with RawServer([reply(JSON_ANSWER)], tls=tls) as server:
        error, _ = await failing(call, server)
        assert (error.attempts, server.posts) == (3, 0)
        assert "TLS handshake failed" in str(error)


@BOTH
async def test_plain_server_behind_https(call: Call, server: LocalImagesServer) -> None:
    """A server that does not speak TLS gets no request over https."""
    error, _ = await failing(call, server, base_url=server.base_url.replace("http:", "https:"))
    assert (error.attempts, server.posts) == (3, 0)
    assert "TLS handshake failed" in str(error)


@BOTH
async def test_handshake_that_stalls(call: Call) -> None:
    """A handshake without end is the connect timer's."""
    with socket.create_server(("127.0.0.1", 0)) as listening:  # the system connects, nobody ever answers
        base_url = f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        error, _ = await failing(call, Nowhere(), base_url=base_url, timeouts=Timeouts(connect=0.1))
    assert isinstance(error, APITimeoutError)
    assert isinstance(error, TimeoutError)
    assert (error.timer, error.seconds, error.attempts) == ("connect", 0.1, 3)


async def test_trusted_certificate(authority: trustme.CA, tls: ssl.SSLContext) -> None:
    """`ssl=` takes a context that trusts the server."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with RawServer([reply(JSON_ANSWER)], tls=tls) as server, client_of(server, ssl=context) as client:
        assert (await generate(client)).attempts == 1


async def test_any_certificate(tls: ssl.SSLContext) -> None:
    """`ssl=False` asks for none."""
    async with RawServer([reply(JSON_ANSWER)], tls=tls) as server, client_of(server, ssl=False) as client:
        assert (await generate(client)).attempts == 1


async def test_a_server_that_comes_up() -> None:
    """A server that is there at the second attempt gives the image."""
    port = free_port()
    server = RawServer([reply(JSON_ANSWER)], port=port)

    async def start_it(seconds: float) -> None:
        await server.__aenter__()

    base_url = f"http://127.0.0.1:{port}/v1"
    async with client_of(Nowhere(), base_url=base_url, timing=Timing(sleep=start_it)) as client:
        result = await generate(client)
    await server.__aexit__(None, None, None)
    assert (result.attempts, server.posts) == (2, 1)


async def test_a_pause_of_the_caller_is_no_timeout() -> None:
    """A caller's own time-out stays a plain TimeoutError."""
    async with RawServer([STALL]) as server, client_of(server) as client:
        with pytest.raises(TimeoutError) as caught:
            await asyncio.wait_for(generate(client), 0.1)
        assert not isinstance(caught.value, ImagesError)
