"""The relay behind FastAPI, aiohttp.web and Django: real servers, real sockets, and browsers that leave."""

import asyncio
import contextlib
import json
import logging
import socket
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from openai_images import CompletedImage, Image, ImagesClient, PartialImage, RetryPolicy
from openai_images.server import LocalImagesServer
from openai_images.web import PictureStore, wait_for_background
from tests.helpers.leaks import until
from tests.helpers.tiny_images import png
from tests.helpers.web_apps import Shop, serve

PNG = png(bytes(range(256)) * 600)
AT_ONCE = 5  # 0.1 is promised; a busy machine may have bad moments

pytestmark = pytest.mark.parametrize("framework", ["fastapi", "aiohttp", "django"])


@pytest.fixture
async def upstream() -> AsyncIterator[LocalImagesServer]:
    """The images API."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


@pytest.fixture
async def shop(upstream: LocalImagesServer) -> AsyncIterator[Shop]:
    """The app's own things."""
    retry = RetryPolicy(max_retries=0, max_rate_limit_wait=0)
    async with ImagesClient(base_url=upstream.base_url, api_key=upstream.api_key, retry=retry) as client:
        yield Shop(client)


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    """Who asks the app."""
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(browser: aiohttp.ClientSession, url: str) -> bytes:
    """Ask the app, and read its response to the end."""
    async with browser.post(url, json={"prompt": "an otter"}) as response:
        return await response.read()


async def test_this_client_reads_the_relay_as_the_api(framework: str, shop: Shop) -> None:
    """Partial images come one by one, and the last image's bytes are those of the API."""
    async with (
        serve(framework, shop) as (url, _),
        ImagesClient(base_url=f"{url}/v1", api_key="browser") as reader,
        reader.stream("an otter", model="gpt-image-2", partial_images=2) as stream,
    ):
        events = [event async for event in stream]
    assert [type(event) for event in events] == [PartialImage, PartialImage, CompletedImage]
    assert stream.result.image.data == PNG
    assert [result.image.data for result in shop.results] == [PNG]


async def test_a_partial_image_does_not_wait_for_the_next(
    framework: str, shop: Shop, upstream: LocalImagesServer, browser: aiohttp.ClientSession
) -> None:
    """The first one is whole in the browser while the API still keeps back the rest."""
    upstream.script("stall_between_events")
    async with (
        serve(framework, shop) as (url, _),
        browser.post(f"{url}/v1/images/generations", json={"prompt": "an otter"}) as response,
    ):
        assert response.content_type == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        body = b""
        while body.count(b"\n\n") < 2:  # the first heartbeat and the first partial image
            body += await response.content.readany()
        upstream.release()
        body += await response.read()
    types = [line for line in body.decode().splitlines() if line.startswith("event: ")]
    assert types == ["event: image_generation.partial_image"] * 2 + ["event: image_generation.completed"]


async def test_middleware_that_compresses_holds_nothing_back(
    framework: str, shop: Shop, upstream: LocalImagesServer
) -> None:
    """A browser that accepts gzip gets each event and each image whole, and at once."""
    shop.pictures = PictureStore()
    upstream.script("stall_between_events")
    headers = {"Accept-Encoding": "gzip"}
    async with (
        serve(framework, shop) as (url, _),
        aiohttp.ClientSession(auto_decompress=False, headers=headers) as browser,
        browser.post(f"{url}/v1/images/generations", json={"prompt": "an otter"}) as response,
    ):
        body = b""
        while body.count(b"\n\n") < 2:  # the first heartbeat and the first partial image
            body += await response.content.readany()
        data = body.partition(b"data: ")[2].partition(b"\n")[0]
        async with browser.get(url + json.loads(data)["url"]) as picture:
            assert gunzipped(picture, await picture.read()) == PNG
        upstream.release()
        assert b"completed" in await response.read()


def gunzipped(response: aiohttp.ClientResponse, body: bytes) -> bytes:
    """Decode like a browser, which ignores what follows the first gzip member."""
    if response.headers.get("Content-Encoding") != "gzip":
        return body
    return zlib.decompressobj(wbits=31).decompress(body)


async def test_images_are_fetched_by_url(framework: str, shop: Shop, browser: aiohttp.ClientSession) -> None:
    """With a store the events are small, and each URL serves the image, once more as not modified."""
    shop.pictures = PictureStore()
    async with serve(framework, shop) as (url, _):
        async with browser.post(f"{url}/v1/images/generations", json={"prompt": "an otter"}) as response:
            lines = [line for line in (await response.text()).splitlines() if line.startswith("data: ")]
        urls = [json.loads(line.removeprefix("data: "))["url"] for line in lines]
        assert len(urls) == 3
        for path in urls:
            async with browser.get(url + path) as response:
                assert (await response.read(), response.content_type) == (PNG, "image/png")
                assert response.headers["X-Content-Type-Options"] == "nosniff"
                etag = response.headers["ETag"]
            async with browser.get(url + path, headers={"If-None-Match": etag}) as response:
                assert (response.status, await response.read()) == (304, b"")
            async with browser.head(url + path) as response:
                assert (response.status, response.content_length) == (200, len(PNG))
        async with browser.get(f"{url}/images/unknown.png") as response:
            assert response.status == 404
        async with browser.get(f"{url}/openai-images.js") as response:
            assert response.content_type == "text/javascript"
            assert "customElements" in await response.text()


@pytest.mark.parametrize("path", ["/v1/images/generations", "/image"])
@pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
async def test_a_browser_that_leaves(
    framework: str, shop: Shop, upstream: LocalImagesServer, path: str, on_disconnect: str
) -> None:
    """`cancel` closes the call at once; `finish` gives the paid image to `on_result`."""
    shop.on_disconnect = on_disconnect  # type: ignore[assignment]
    upstream.script("stall")
    async with serve(framework, shop) as (url, _):
        async with aiohttp.ClientSession() as browser:
            asking = asyncio.create_task(ask(browser, url + path))
            await until(lambda: upstream.posts == 1)
            asking.cancel()
            await asyncio.wait({asking})
        if on_disconnect == "cancel":
            await upstream.wait_disconnected(timeout=AT_ONCE)
            assert await wait_for_background(5) == 0
            assert not shop.results
        else:
            upstream.release()
            await until(lambda: bool(shop.results))
            assert await wait_for_background(5) == 0
            assert [result.image.data for result in shop.results] == [PNG]
            assert upstream.disconnects == 0


async def test_a_shutdown_ends_open_relays(
    framework: str, shop: Shop, upstream: LocalImagesServer, browser: aiohttp.ClientSession
) -> None:
    """The server stops within its two seconds although a relay is waiting, and then the call is closed."""
    upstream.script("stall")
    async with asyncio.timeout(30):
        async with serve(framework, shop) as (url, stop):
            response = await browser.post(f"{url}/v1/images/generations", json={"prompt": "an otter"})
            await until(lambda: upstream.posts == 1)
            stop()
        await upstream.wait_disconnected(timeout=None)
    response.close()


async def test_a_connection_that_is_reset_is_no_error(
    framework: str, shop: Shop, upstream: LocalImagesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """While an image is written, and waits for a browser that does not read."""
    shop.on_disconnect = "finish"
    upstream.reset(pictures=png(bytes(16_000_000)))
    body = b'{"prompt": "an otter", "partial_images": 0}'
    head = "POST /v1/images/generations HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    async with serve(framework, shop) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port, limit=1024)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await reader.readuntil(b'"b64_json":"')
        linger = struct.pack("ii", 1, 0)  # close() sends a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()
        await until(lambda: bool(shop.results))
    assert await wait_for_background(5) == 0
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_a_browser_that_takes_nothing_is_cut_off(
    framework: str, shop: Shop, upstream: LocalImagesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds the place of another call no longer, and the paid image is kept."""
    shop.on_disconnect, shop.send_timeout = "finish", 0.2
    upstream.reset(pictures=png(bytes(16_000_000)))
    body = b'{"prompt": "an otter", "partial_images": 2}'
    head = "POST /v1/images/generations HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    async with serve(framework, shop) as (url, _):
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port, limit=1024)
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await reader.readuntil(b'"b64_json":"')
        await until(lambda: bool(shop.results))
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(60):
                assert b"completed" not in await reader.read()
        writer.close()
    assert await wait_for_background(5) == 0
    assert "a browser has taken nothing for 0.2 s" in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


async def test_no_log_shows_an_image(
    framework: str, shop: Shop, browser: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    """Also at level DEBUG, also a library's."""
    caplog.set_level(logging.DEBUG)
    async with (
        serve(framework, shop) as (url, _),
        browser.post(f"{url}/v1/images/generations", json={"prompt": "zebra-7731"}) as response,
    ):
        assert b"iVBORw0KGgo" in await response.read()
    assert "iVBORw0KGgo" not in caplog.text
    assert "zebra-7731" not in caplog.text


@pytest.mark.parametrize("is_in_folder", [False, True])
async def test_a_browser_that_does_not_read_costs_no_copy_of_its_image(
    framework: str, shop: Shop, is_in_folder: bool, tmp_path: Path
) -> None:
    """What a server has taken and not sent yet is a piece of the image, beside the one in the store."""
    shop.pictures = PictureStore(folder=tmp_path if is_in_folder else None)
    address = await shop.pictures.put(Image.from_bytes(png(bytes(16_000_000))))
    async with serve(framework, shop) as (url, _):
        tracemalloc.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(url).port, limit=1024)
        try:
            writer.write(f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(1)
            assert b"content-length: 16000" in head.lower()
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()
            writer.close()
