"""What the server's tests share: a server with small fixed images, a raw client, and a way to ask it things."""

import asyncio
import io
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import attrs
import pytest

from openai_images.server import LocalImagesServer
from tests.helpers.server_thread import NOW

# Bytes that begin as a PNG does; base64 of them has +, / and = in it.
PICTURE = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + struct.pack(">II", 1024, 1024) + bytes(range(30, 256))


@attrs.frozen
class Reply:
    """An answer read to its end."""

    status: int
    headers: Any
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def error(self) -> dict[str, Any]:
        """The error object."""
        return self.json["error"]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON of every data line."""
        return [json.loads(line[6:]) for line in self.body.splitlines() if line.startswith(b"data: {")]


Ask = Callable[..., Awaitable[Reply]]


@pytest.fixture
def picture() -> bytes:
    """The bytes the server serves as every image."""
    return PICTURE


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that paints nothing."""
    async with LocalImagesServer(pictures=PICTURE, now=lambda: NOW) as server:
        yield server


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain aiohttp session."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
def ask(server: LocalImagesServer, http: aiohttp.ClientSession) -> Ask:
    """Posts a generation to `server` (or another one) and reads the answer."""

    async def post(
        *, of: LocalImagesServer = server, headers: dict[str, str] | None = None, **body: Any
    ) -> Reply:
        url = f"{of.base_url}/images/generations"
        all_headers = {"Authorization": f"Bearer {of.api_key}"} | (headers or {})
        body = {"prompt": "a lighthouse"} | body
        async with http.post(url, json=body, headers=all_headers, allow_redirects=False) as response:
            return Reply(response.status, response.headers, await response.read())

    return post


@pytest.fixture
def edit(server: LocalImagesServer, http: aiohttp.ClientSession) -> Ask:
    """Posts an edit to `server` (or another one): a form, or keywords as JSON."""

    async def post(
        form: aiohttp.FormData | None = None,
        *,
        of: LocalImagesServer = server,
        headers: dict[str, str] | None = None,
        **body: Any,
    ) -> Reply:
        all_headers = {"Authorization": f"Bearer {of.api_key}"} | (headers or {})
        if form is None:
            all_headers["Content-Type"] = "application/json"
        # As a file, since aiohttp warns of large bodies that are none.
        sent = {"data": form or io.BytesIO(json.dumps({"prompt": "night"} | body).encode())}
        async with http.post(f"{of.base_url}/images/edits", headers=all_headers, **sent) as response:
            return Reply(response.status, response.headers, await response.read())

    return post


@attrs.frozen
class RawConnection:
    """A bare TCP connection to the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def post(self, key: str, *, close: bool = False, **body: Any) -> None:
        """Sends a generation request, after whose answer the connection may close."""
        data = json.dumps({"prompt": "a lighthouse", **body}).encode()
        head = (
            "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nContent-Length: {len(data)}\r\n"
            f"Connection: {'close' if close else 'keep-alive'}\r\n\r\n"
        )
        self.writer.write(head.encode() + data)

    async def head(self) -> bytes:
        """The status line and headers of the answer."""
        return await self.reader.readuntil(b"\r\n\r\n")


@pytest.fixture
async def connect(server: LocalImagesServer) -> AsyncIterator[Callable[..., Awaitable[RawConnection]]]:
    """Opens bare connections to `server` (or another one), which are closed after the test."""
    opened: list[RawConnection] = []

    async def open_one(of: LocalImagesServer = server) -> RawConnection:
        host, _, port = of.base_url.removeprefix("http://").removesuffix("/v1").partition(":")
        opened.append(RawConnection(*await asyncio.open_connection(host, int(port))))
        return opened[-1]

    yield open_one
    for connection in opened:
        connection.writer.transport.abort()
