"""Who the local server answers: this machine under its own names, with the key, and nobody's web page."""

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer

HERE = ["localhost", "LOCALHOST:80", "localhost.", "127.0.0.1:9", "127.8.9.10", "[::1]", "[::1]:7"]
ELSEWHERE = [
    "evil.example",
    "evil.example:80",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil.example#localhost",
    "user@localhost",
    "192.168.0.1",
    "0.0.0.0",
    "[::]",
    "169.254.169.254",
    "",
]


async def status(
    server: LocalImagesServer, session: aiohttp.ClientSession, **headers: str
) -> tuple[int, Any]:
    """Status and error code of a request with the right key and these headers."""
    headers = {"Authorization": f"Bearer {server.api_key}", **headers}
    url = f"{server.base_url}/images/generations"
    async with session.post(url, json={"prompt": "a"}, headers=headers) as answer:
        return answer.status, (await answer.json()).get("error", {}).get("code")


@pytest.mark.parametrize("host", HERE)
async def test_names_of_this_machine_are_answered(
    server: LocalImagesServer, http: aiohttp.ClientSession, host: str
) -> None:
    """As Host and as Origin, with any port."""
    assert await status(server, http, Host=host) == (200, None)
    assert await status(server, http, Origin=f"http://{host}") == (200, None)


@pytest.mark.parametrize("host", ELSEWHERE)
async def test_other_names_are_refused(
    server: LocalImagesServer, http: aiohttp.ClientSession, host: str
) -> None:
    """A name that leads here is no reason to answer, and no page of another site is."""
    server.script("status:503")
    if host:  # aiohttp's client would send its own
        assert await status(server, http, Host=host) == (403, "host_not_allowed")
    assert await status(server, http, Origin=f"https://{host}") == (403, "origin_not_allowed")
    assert (server.faults, server.requests) == (("status:503",), [])


@pytest.mark.parametrize("origin", ["null", "file://", "chrome-extension://abc", "localhost", "//localhost"])
async def test_an_origin_that_is_no_site_is_refused(
    server: LocalImagesServer, http: aiohttp.ClientSession, origin: str
) -> None:
    """A sandboxed frame and a page on the disk have an origin too."""
    assert await status(server, http, Origin=origin) == (403, "origin_not_allowed")


@pytest.mark.parametrize("path", ["/v1/models", "/v1/images/img_x/content", "/nowhere"])
async def test_every_path_is_guarded(
    server: LocalImagesServer, http: aiohttp.ClientSession, path: str
) -> None:
    """Also those that need no key; the error says what to do."""
    url = server.base_url.removesuffix("/v1") + path
    async with http.get(url, headers={"Host": "evil.example"}) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, list(error)) == (403, ["message", "type", "param", "code"])
    assert "'Host: evil.example'" in error["message"]
    assert "127.0.0.1" in error["message"]


async def test_a_client_of_http_1_0_needs_no_host(server: LocalImagesServer, connect: Any) -> None:
    """No browser leaves it out."""
    connection = await connect()
    connection.writer.write(
        f"GET /v1/models HTTP/1.0\r\nAuthorization: Bearer {server.api_key}\r\n\r\n".encode()
    )
    assert b" 200 " in await connection.head()


def test_each_server_has_a_key_of_its_own() -> None:
    """Nobody can know it who was not told, unless it was set."""
    keys = {LocalImagesServer().api_key for _ in range(20)}
    assert len(keys) == 20
    assert all(len(key) > 30 and key.startswith("sk-") for key in keys)
    assert LocalImagesServer(api_key="sk-mine").api_key == "sk-mine"


@pytest.mark.parametrize("key", [None, "Bearer sk-wrong", ""])
async def test_no_body_is_read_without_the_key(
    server: LocalImagesServer, connect: Any, key: str | None
) -> None:
    """The answer is there before the first byte of the body, which is not recorded."""
    for path, kind in (("generations", "application/json"), ("edits", "multipart/form-data; boundary=b")):
        connection = await connect()
        given = "" if key is None else f"Authorization: {key}\r\n"
        connection.writer.write(
            f"POST /v1/images/{path} HTTP/1.1\r\nHost: localhost\r\n{given}Content-Type: {kind}\r\n"
            "Content-Length: 1000000\r\n\r\n".encode()
        )
        assert b" 401 " in await connection.head()
        assert (server.requests[-1].path, server.requests[-1].body) == (f"/v1/images/{path}", b"")


@pytest.mark.parametrize("body", [{"stream": True, "partial_images": 1}, {}])
@pytest.mark.parametrize(
    "fault", ["ok", "one_byte_chunks", "tiny_chunks:100", "cut_mid_event", "keepalive_comments"]
)
async def test_http_1_0_is_answered_without_chunks(
    server: LocalImagesServer, connect: Any, body: dict[str, Any], fault: str
) -> None:
    """The body ends with the connection, whatever goes wrong with it."""
    server.script(fault)
    data = json.dumps({"prompt": "a", **body}).encode()
    connection = await connect()
    connection.writer.write(
        f"POST /v1/images/generations HTTP/1.0\r\nAuthorization: Bearer {server.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
        + data
    )
    async with asyncio.timeout(60):
        head, answer = await connection.head(), await connection.reader.read()
    assert b" 200 " in head
    assert b"transfer-encoding" not in head.lower()
    if fault != "cut_mid_event":
        last = answer.split(b"data: ")[-1]
        assert "b64_json" in str(json.loads(last))
