"""The browser's side in a real browser: `<image-stream>` and `streamImages` against each framework's relay."""

import base64
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from openai_images import ImagesClient, RetryPolicy
from openai_images.server import LocalImagesServer
from openai_images.web import PictureStore, wait_for_background
from tests.helpers.browsers import chromium
from tests.helpers.edit_images import encoded, house
from tests.helpers.leaks import until
from tests.helpers.web_apps import Shop, serve

PNG = encoded(house((96, 64)))
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Relay</title>
<link rel="icon" href="data:,">
<body><image-stream alt="an otter"></image-stream>
<script type="module" src="/openai-images.js"></script></body></html>"""
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self' blob:; img-src 'self' blob: data:"
START = """([url, body]) => { window.ended = false;
    document.querySelector('image-stream').start(url, body).then(() => { window.ended = true; }); }"""
SHOWN = """() => [...document.querySelector('image-stream').shadowRoot.querySelectorAll('img')].map(
    (img) => ({className: img.className, alt: img.alt, width: img.complete ? img.naturalWidth : 0, src: img.src}))"""
TEXT = """(role) => { const p = document.querySelector('image-stream').shadowRoot.querySelector(`[role=${role}]`);
    return p.hidden ? '' : p.textContent; }"""
BYTES = """async (url) => { const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
    return btoa(String.fromCharCode(...bytes)); }"""

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("framework", ["fastapi", "aiohttp", "django"]),
]


@pytest_asyncio.fixture(loop_scope="module")
async def upstream() -> AsyncIterator[LocalImagesServer]:
    """The images API."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def shop(upstream: LocalImagesServer) -> AsyncIterator[Shop]:
    """The app's own things."""
    async with ImagesClient(
        base_url=upstream.base_url, api_key=upstream.api_key, retry=RetryPolicy(max_retries=0)
    ) as client:
        yield Shop(client, page=PAGE, page_policy=POLICY)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, without a window."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A tab; errors of its scripts and of its policy fail the test."""
    page = await browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    yield page
    assert errors == []


async def open_page(page: Page, url: str) -> None:
    """Open the app's page and wait for its element."""
    await page.goto(f"{url}/page")
    await page.wait_for_function("() => customElements.get('image-stream') !== undefined")


async def shown(page: Page, predicate: str) -> list[dict[str, Any]]:
    """Wait until the images that are shown satisfy a predicate; return them."""
    await page.wait_for_function(f"() => {{ const images = ({SHOWN})(); return {predicate}; }}")
    images: list[dict[str, Any]] = await page.evaluate(SHOWN)
    return images


@pytest.mark.parametrize("pictures", ["inline", "store"])
async def test_an_image_sharpens(
    framework: str, shop: Shop, upstream: LocalImagesServer, page: Page, pictures: str
) -> None:
    """Each partial image is shown while the next is kept back, and the last one's bytes are the API's."""
    shop.pictures = PictureStore() if pictures == "store" else None
    upstream.script("stall_between_events")
    async with serve(framework, shop) as (url, _):
        await open_page(page, url)
        await page.evaluate(START, ["/v1/images/generations", {"prompt": "an otter"}])
        (partial,) = await shown(page, "images[0]?.width > 0 && images[0].className === 'partial'")
        assert (partial["alt"], partial["width"]) == ("an otter (preview)", 96)
        assert await page.evaluate(TEXT, "status") == "Preview 1…"
        upstream.release()
        (final,) = await shown(page, "images[0]?.width > 0 && images[0].className === ''")
        assert final["alt"] == "an otter"
        assert final["src"].startswith("blob:" if pictures == "inline" else url)
        assert base64.b64decode(await page.evaluate(BYTES, final["src"])) == PNG
        await page.wait_for_function("() => window.ended")
        assert await page.evaluate(TEXT, "status") == "The image is complete."


WATCH = """async ([url, body]) => {
    const element = document.querySelector("image-stream"), seen = [];
    element.addEventListener("image", ({detail}) => seen.push({at: performance.now(), ...detail}));
    await element.start(url, body);
    for (const image of seen) {
        const context = new OffscreenCanvas(256, 256).getContext("2d");
        context.drawImage(await createImageBitmap(image.blob), 0, 0, 256, 256);
        const {data} = context.getImageData(0, 0, 256, 256);
        image.edges = data.reduce((sum, value, at) => sum + (at > 4 ? Math.abs(value - data[at - 4]) : 0), 0);
    }
    return seen.map(({at, edges, isFinal}) => ({at, edges, isFinal}));
}"""


async def test_each_image_is_sharper_and_comes_in_its_time(framework: str, page: Page) -> None:
    """The browser has each image when the API sent it, and its pixels are those of an image that sharpens.

    A busy machine may hold up an image on its way to the page: one of three calls counts.
    """
    are_apart, seen = False, []
    async with (
        LocalImagesServer(pace=0.4) as upstream,
        ImagesClient(base_url=upstream.base_url, api_key=upstream.api_key) as client,
        serve(framework, Shop(client, page=PAGE, page_policy=POLICY)) as (url, _),
    ):
        await open_page(page, url)
        for number in range(3):
            prompt = {"prompt": f"lighthouse {number}"}
            seen = await page.evaluate(WATCH, ["/v1/images/generations", prompt])
            assert [image["isFinal"] for image in seen] == [False, False, True]
            sharper = [later["edges"] > 1.05 * image["edges"] for image, later in pairwise(seen)]
            assert sharper == [True, True]
            are_apart = all(later["at"] - image["at"] > 100 for image, later in pairwise(seen))
            if are_apart:
                break
    assert are_apart, seen


async def test_an_error_shows_its_safe_text(
    framework: str, shop: Shop, upstream: LocalImagesServer, page: Page
) -> None:
    """What the safety system says is not shown; that it rejected the request is."""
    upstream.script("moderation_mid_stream")
    async with serve(framework, shop) as (url, _):
        await open_page(page, url)
        await page.evaluate(START, ["/v1/images/generations", {"prompt": "an otter"}])
        await page.wait_for_function("() => window.ended")
        assert (await page.evaluate(TEXT, "alert")).startswith("The safety system rejected the request.")


@pytest.mark.parametrize("on_disconnect", ["cancel", "finish"])
async def test_closing_the_tab(
    framework: str, shop: Shop, upstream: LocalImagesServer, browser: Browser, on_disconnect: str
) -> None:
    """`cancel` closes the call, `finish` yields the image."""
    shop.on_disconnect = on_disconnect  # type: ignore[assignment]
    upstream.script("stall_between_events")
    async with serve(framework, shop) as (url, _):
        page = await browser.new_page()
        await open_page(page, url)
        await page.evaluate(START, ["/v1/images/generations", {"prompt": "an otter"}])
        await shown(page, "images[0]?.width > 0")
        await page.close()
        if on_disconnect == "cancel":
            await upstream.wait_disconnected()
        else:
            upstream.release()
            await until(lambda: bool(shop.results))
            assert shop.results[0].image.data == PNG
        assert await wait_for_background(5) == 0
