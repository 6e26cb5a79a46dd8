"""Whatever goes wrong: neither the key nor the prompt nor base64 in a text, and every exception can be pickled."""

import asyncio
import copy
import copyreg
import gc
import json
import logging
import pickle
import re
import socket
import time
import traceback
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import pytest
import tblib.pickling_support

from openai_images import (
    APIConnectionError,
    ConfigurationError,
    GenerateRequest,
    ImagesClient,
    ImagesError,
    RequestInvalidError,
    RetryPolicy,
    Timeouts,
)
from openai_images.http.get_requests import open_file
from openai_images.models.image import Image
from openai_images.models.options import Timing
from openai_images.server import FAULTS, LocalImagesServer
from tests.helpers.tiny_images import png

KEY = "sk-sentinel-4b7e0c55d1f94a2e"
PROMPT = 'an otter named "Sentinel", ünder\nthe prompt\'s moon'
OTHERS = {
    "user": "sentinel-user",
    "safety_identifier": "sentinel-safety",
    "extra_body": {"note": "sentinel-extra"},
}
FORBIDDEN = re.compile(r"sentinel|otter named|[A-Za-z0-9+/_=-]{100,}", re.IGNORECASE)

ARGUMENTS = {
    "slow_first_byte": ":0.01",
    "status": ":403",
    "huge_picture": ":1",
    "redirect_307": ":http://127.0.0.1:9/elsewhere",
}
MORE = tuple(f"status:{status}" for status in (400, 401, 404, 408, 409, 413, 418, 429, 500, 502, 503, 524))
PICTURE = png(bytes(range(256)) * 40)


class Hurried:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        """Start now."""
        self.slept = 0.0
        self.timing = Timing(monotonic=lambda: time.monotonic() + self.slept, sleep=self.sleep)

    async def sleep(self, seconds: float) -> None:
        """Be there at once."""
        self.slept += seconds
        await asyncio.sleep(0)


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server whose key is the sentinel."""
    async with LocalImagesServer(api_key=KEY, pictures=PICTURE) as server:
        yield server


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """All loggers at DEBUG, the event loop's too; what they said is looked through."""
    caplog.set_level(logging.DEBUG)
    yield
    refuse_secrets(caplog.text, *(repr(vars(record)) for record in caplog.records))


def a_client(base_url: str, **settings: Any) -> ImagesClient:
    """A client in a hurry."""
    settings = {
        "api_key": KEY,
        "timeouts": Timeouts(connect=5, total=0.15),
        "timing": Hurried().timing,
    } | settings
    return ImagesClient(base_url=base_url, **settings)


def refuse_secrets(*texts: str) -> None:
    """Fail where a text holds what it must not."""
    for text in texts:
        found = FORBIDDEN.search(text)
        assert found is None, f"{found[0][:60]!r} in {text[:2000]!r}"


def chain_of(error: BaseException) -> list[BaseException]:
    """An exception and all that are behind it, shown or not."""
    chain, pending = list[BaseException](), [error]
    while pending:
        one = pending.pop()
        if one not in chain:
            chain.append(one)
            pending += [linked for linked in (one.__cause__, one.__context__) if linked is not None]
    return chain


def pickled_with_causes(error: BaseException) -> bytes:
    """As `distributed` sends it from worker to driver: with tracebacks, and all that is behind it."""
    before = copyreg.dispatch_table.copy()
    tblib.pickling_support.install(*chain_of(error))
    try:
        return pickle.dumps(error)
    finally:
        copyreg.dispatch_table.clear()
        copyreg.dispatch_table.update(before)


def look_at(error: BaseException) -> None:
    """Everything that can be printed of an exception, and of those behind it."""
    assert str(error)
    refuse_secrets(
        "".join(traceback.format_exception(error)),
        "".join(traceback.TracebackException.from_exception(error, capture_locals=False).format()),
    )
    behind: BaseException | None = error
    while behind is not None:
        refuse_secrets(str(behind), repr(behind), *getattr(behind, "__notes__", ()))
        behind = behind.__cause__ or (None if behind.__suppress_context__ else behind.__context__)
    pickled = pickled_with_causes(error)
    refuse_secrets(pickled.decode("latin-1"))
    copied = pickle.loads(pickled)
    assert (type(copied), str(copied)) == (type(error), str(error))
    assert [*map(str, chain_of(copied))] == [*map(str, chain_of(error))]
    if isinstance(error, ImagesError):
        refuse_secrets(repr(vars(error)))
        for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
            assert type(twin) is type(error)
            assert (str(twin), vars(twin)) == (str(error), vars(error))


async def generate(client: ImagesClient) -> None:
    """Await an image."""
    result = await client.generate(PROMPT, **OTHERS)
    refuse_secrets(repr(result), repr(client))


async def stream(client: ImagesClient) -> None:
    """Iterate a stream and look at every event."""
    async with client.stream(PROMPT, partial_images=2, **OTHERS) as stream:
        async for event in stream:
            refuse_secrets(repr(event), repr(stream))
    refuse_secrets(repr(stream), repr(stream.result))


CALLS = pytest.mark.parametrize("call", [generate, stream])


NAMES = sorted({name + ARGUMENTS.get(name, "") for name in FAULTS} | set(MORE))


@pytest.mark.slow
@CALLS
@pytest.mark.parametrize("quarter", range(4))
async def test_every_fault_of_the_server(server: LocalImagesServer, quarter: int, call: Any) -> None:
    """Each fault as an answer to both kinds of call."""
    asyncio.get_running_loop().set_debug(enabled=True)
    async with a_client(server.base_url) as client:
        for fault in NAMES[quarter::4]:
            server.faults = (fault,)
            try:
                await call(client)
            except ImagesError as error:
                look_at(error)
    gc.collect()


@CALLS
@pytest.mark.parametrize(
    "where", ["refused", "dns", "tls", "proxy", "mute", "not_http", "bad_header", "wrong_key"]
)
async def test_every_failure_to_connect(server: LocalImagesServer, where: str, call: Any) -> None:
    """The connection fails, or what answers is no HTTP."""

    async def gibberish(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if where == "mute":
            held.append(writer)
            return
        start = b"" if where == "not_http" else b"HTTP/1.1 200 OK\r\n"
        writer.write(start + b64encode(PICTURE) + b"\r\n\r\n")
        writer.close()

    held: list[asyncio.StreamWriter] = []

    settings: dict[str, Any] = {"retry": RetryPolicy(max_retries=1), "trust_env": False}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = "127.0.0.1:{1}".format(*free.getsockname())
    other = await asyncio.start_server(gibberish, "127.0.0.1", 0)
    base_url = {
        "refused": f"http://{closed}/v1",
        "dns": "http://no-such-host.invalid/v1",
        "tls": server.base_url.replace("http:", "https:"),
        "proxy": server.base_url,
        "wrong_key": server.base_url,
    }.get(where) or "http://127.0.0.1:{1}/v1".format(*other.sockets[0].getsockname())
    if where == "proxy":
        settings["proxy"] = f"http://someone:sentinel-password@{closed}"
    if where == "wrong_key":
        settings["api_key"] = "sk-another-sentinel-key"
    async with a_client(base_url, **settings) as client:
        with pytest.raises(ImagesError) as caught:
            await call(client)
    look_at(caught.value)
    for writer in held:
        writer.close()
    other.close()
    await other.wait_closed()


@CALLS
async def test_a_proxy_that_refuses(call: Any) -> None:
    """Its address is told, its password is not."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        address = "127.0.0.1:{1}".format(*proxy.sockets[0].getsockname())
        settings = {
            "proxy": f"http://someone:sentinel-password@{address}",
            "retry": RetryPolicy(max_retries=0),
        }
        async with a_client("https://127.0.0.1:9/v1", **settings) as client:
            with pytest.raises(APIConnectionError) as caught:
                await call(client)
    look_at(caught.value)


@CALLS
@pytest.mark.parametrize("header", ["Authorization", "authorization", "api-key"])
async def test_a_key_among_the_headers(server: LocalImagesServer, header: str, call: Any) -> None:
    """A key that is given as a header is a key."""
    server.script("echo_secrets")
    value = f"Bearer {KEY}" if header != "api-key" else KEY
    both = {header: value} if header != "api-key" else {header: value, "Authorization": f"Bearer {KEY}"}
    async with a_client(server.base_url, api_key=None, headers=both) as client:
        with pytest.raises(ImagesError) as caught:
            await call(client)
    look_at(caught.value)


@CALLS
@pytest.mark.parametrize(
    "params",
    [
        {"extra_body": {"note": object()}},
        {"extra_body": {"note": float("nan")}},
        {"svg": {"model": {1, 2}}},
        {"extra_body": {"note": "\ud800"}},
    ],
)
async def test_requests_that_cannot_be_sent(
    server: LocalImagesServer, params: dict[str, Any], call: Any
) -> None:
    """What is found here is told without the values."""
    client = a_client(server.base_url)
    prompt = GenerateRequest(PROMPT, **params)
    refuse_secrets(repr(prompt))
    with pytest.raises((RequestInvalidError, ConfigurationError)) as caught:
        await client.generate(prompt)
    look_at(caught.value)
    await client.aclose()
    assert server.posts == 0


async def test_headers_that_cannot_be_sent(server: LocalImagesServer) -> None:
    """Of the client or of one call, they are refused by their names."""
    headers = {"X-Team": f"{KEY}\r\nvalue"}
    with pytest.raises(ConfigurationError) as caught:
        a_client(server.base_url, headers=headers)
    look_at(caught.value)
    async with a_client(server.base_url) as client:
        with pytest.raises(ConfigurationError) as caught:
            await client.generate(PROMPT, headers=headers)
    look_at(caught.value)
    assert server.posts == 0


@pytest.mark.parametrize("key", ["", " ", "sk-sentinel\nsk-two", "sk-sentinél", "sk sentinel"])
def test_keys_that_are_none(key: str) -> None:
    """A key that cannot be one is refused without being shown."""
    with pytest.raises(ConfigurationError) as caught:
        ImagesClient(api_key=key)
    look_at(caught.value)


MARKED = [
    '"sk-sentinel"',
    "'sk-sentinel'",
    '"sk-sentinel',
    "sk-sentinel'",
    "\u201csk-sentinel\u201d",
    '""',
    " 'sk-sentinel'\n",
]


@pytest.mark.parametrize("key", MARKED)
@pytest.mark.parametrize("place", ["given", "environment", "function", "azure", "azure token"])
async def test_a_key_in_quotation_marks(
    server: LocalImagesServer, monkeypatch: pytest.MonkeyPatch, place: str, key: str
) -> None:
    """It is refused before anything is sent, wherever it comes from, in words that name the marks and not the key."""

    async def give() -> str:
        return key

    names = {
        "environment": "OPENAI_API_KEY",
        "azure": "AZURE_OPENAI_API_KEY",
        "azure token": "AZURE_OPENAI_AD_TOKEN",
    }
    for name in names.values():
        monkeypatch.delenv(name, raising=False)
    if place in names:
        monkeypatch.setenv(names[place], key)
    with pytest.raises(ConfigurationError, match="quotation marks") as caught:  # noqa: PT012  where it is found differs
        if "azure" in place:
            ImagesClient.azure("http://127.0.0.1:9", deployment="pics").stream(PROMPT)
        client = a_client(server.base_url, api_key={"given": key, "function": give}.get(place))
        await client.generate(PROMPT)
    look_at(caught.value)
    assert server.posts == 0


ECHOES = [KEY, f"key={KEY}", f"Bearer {KEY}", f"a{KEY}b", KEY[:60]]


@CALLS
@pytest.mark.parametrize("name", ["x-request-id", "apim-request-id", "x-ms-request-id"])
@pytest.mark.parametrize("status", [200, 400, 429, 503])
async def test_a_key_in_the_name_of_the_request(status: int, name: str, call: Any) -> None:
    """Neither result nor error nor log repeats it; an image with such a name is delivered all the same."""
    body = (
        json.dumps({"data": [{"b64_json": b64encode(PICTURE).decode()}]})
        if status == 200
        else '{"error": {"message": "no"}}'
    ).encode()
    names: list[str | None] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0]))
        shown = f"{name}: {echo}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        writer.write(f"HTTP/1.1 {status} x\r\n{shown}\r\nConnection: close\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as echoing:
        base_url = "http://127.0.0.1:{1}/v1".format(*echoing.sockets[0].getsockname())
        retry = RetryPolicy(max_retries=0, max_rate_limit_wait=0)
        async with a_client(base_url, retry=retry, timeouts=Timeouts(connect=5, total=5)) as client:
            for echo in ECHOES:  # noqa: B007  the server reads it
                try:
                    result = await client.generate(PROMPT)
                    await call(client)
                except ImagesError as error:
                    look_at(error)
                    names.append(error.request_id)
                else:
                    refuse_secrets(repr(result), str(result.request_id))
                    names.append(result.request_id)
    assert len(names) == len(ECHOES)
    assert all(shown is not None and "<hidden>" in shown for shown in names)


def test_a_password_in_the_base_url() -> None:
    """It is shown neither by the client nor by the error that refuses the URL."""
    url = "http://someone:sentinel-password@127.0.0.1:9/v1"
    query = url + "?sentinel=1"
    with suppress(ConfigurationError):
        refuse_secrets(repr(ImagesClient(base_url=url, api_key=KEY)))
    with pytest.raises(ConfigurationError) as caught:
        ImagesClient(base_url=query, api_key=KEY)
    look_at(caught.value)


def test_what_people_print() -> None:
    """The repr of a request, of a stream and of a client."""
    client = ImagesClient(
        api_key=KEY, model="gpt-image-2", organization="org", headers={"X-Sentinel": "sentinel"}
    )
    request = GenerateRequest(PROMPT, **OTHERS)
    refuse_secrets(repr(request), str(request), repr(client), str(client), repr(client.stream(request)))
    assert repr(request).startswith("GenerateRequest(prompt=<")


@pytest.mark.parametrize("way", ["list of models", "file", "image"])
@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nx: 1\r\n\r\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 20",
        b"",
    ],
)
async def test_failures_of_what_is_free(way: str, answer: bytes) -> None:
    """What is read with the key besides images leaves nothing of it behind an error either."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(break_off, "127.0.0.1", 0) as broken:
        base_url = "http://127.0.0.1:{1}/v1".format(*broken.sockets[0].getsockname())
        retry = RetryPolicy(max_retries=0)
        async with a_client(base_url, retry=retry, timeouts=Timeouts(), trust_env=False) as client:
            _, context = client._calls.connection()

            async def read() -> None:
                if way == "list of models":
                    await client.list_models()
                elif way == "image":
                    await client.download(Image(url=f"{base_url}/image.png"))
                else:
                    headers = {"Authorization": f"Bearer {KEY}"}
                    download = await open_file(f"{base_url}/f", headers, context.transport, context.timeouts)
                    while await download.read():
                        pass

            with pytest.raises(ImagesError) as caught:
                await read()
    look_at(caught.value)
