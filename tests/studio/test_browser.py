"""The studio's page in a real browser: a generation, an edit with a mask, an error, a restart, another origin."""

import asyncio
import base64
import io
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from PIL import Image as Pillow
from playwright.async_api import Browser, Page, Route, expect

from openai_images import ImagesClient, RetryPolicy
from openai_images.server import LocalImagesServer
from openai_images.studio import History, Studio, StudioSettings
from openai_images.studio.access import Access
from tests.helpers.browsers import chromium
from tests.helpers.leaks import until
from tests.studio.conftest import PNG

pytestmark = pytest.mark.asyncio(loop_scope="module")
SETTINGS = StudioSettings(model="gpt-image-2")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, without a window."""
    async with chromium() as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def upstream() -> AsyncIterator[LocalImagesServer]:
    """The images API."""
    async with LocalImagesServer(pictures=PNG) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def client(upstream: LocalImagesServer) -> AsyncIterator[ImagesClient]:
    """The studio's client."""
    async with ImagesClient(
        base_url=upstream.base_url, api_key=upstream.api_key, retry=RetryPolicy(max_retries=0)
    ) as client:
        yield client


@pytest_asyncio.fixture(loop_scope="module")
async def address(client: ImagesClient, history: History) -> AsyncIterator[str]:
    """A studio's address."""
    async with Studio(client, history, SETTINGS).serve() as url:
        yield url


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser, address: str) -> AsyncIterator[Page]:
    """A tab; errors of its scripts and of its policy fail the test, and so does a request to another host.

    It is closed before the studio: what it still loads then would be an error.
    """
    page = await (await browser.new_context()).new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("http://127.0.0.1:", "blob:", "data:"))
            else errors.append(request.url)
        ),
    )
    yield page
    await page.context.close()
    assert errors == []


async def open_studio(page: Page, address: str) -> None:
    """Open the address and wait until the page is ready."""
    await page.goto(address)
    await page.wait_for_selector("html[data-ready]")


async def test_a_generation(page: Page, address: str, upstream: LocalImagesServer, history: History) -> None:
    """From the keyboard: the estimate before, a preview while the rest is kept back, then the image and its cost."""
    upstream.script("stall_between_events")
    await open_studio(page, address)
    await page.keyboard.type("an otter")
    await expect(page.locator("#estimate")).to_contain_text("Costs at most $0.")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("figure .tag")).to_have_text("Preview 1")
    assert await page.locator("figure img").evaluate("(img) => img.naturalWidth") == 96
    await expect(page.locator("#stage")).to_contain_text("it may still be billed")
    upstream.release()
    await expect(page.get_by_role("link", name="Save")).to_be_visible()
    await expect(page.locator("#stage .facts b")).to_contain_text("$0.")
    await expect(page.locator("#history li")).to_have_count(1)
    assert len(history.page(None, 9)[0]["images"]) == 1


async def test_an_edit_with_a_mask(
    page: Page, address: str, upstream: LocalImagesServer, history: History
) -> None:
    """An image is chosen and brushed; the mask has its size, and is transparent where it was brushed."""
    await open_studio(page, address)
    await page.set_input_files("#pick", {"name": "house.png", "mimeType": "image/png", "buffer": PNG})
    await page.get_by_role("button", name="Brush a mask").click()
    canvas = page.get_by_label("Mask", exact=True)
    await expect(canvas).to_be_focused()
    await page.keyboard.press("Space")  # in the middle
    await page.keyboard.press("ArrowRight")
    await page.get_by_role("button", name="Use mask").click()
    await expect(page.get_by_role("button", name="Change mask")).to_be_visible()
    await page.fill("#prompt", "a balloon")
    await page.get_by_role("button", name="Edit", exact=True).click()
    await expect(page.get_by_role("link", name="Mask")).to_be_visible()
    record = history.page(None, 1)[0]
    mask = Pillow.open(io.BytesIO((history.folder / record["mask"]).read_bytes()))
    assert mask.size == (96, 64)
    assert [mask.getpixel(at)[3] for at in ((48, 32), (52, 32), (2, 2))] == [0, 0, 255]
    assert upstream.requests[0].path.endswith("/images/edits")
    assert [part.name for part in upstream.requests[0].parts if part.filename] == ["image", "mask"]


async def test_an_error_says_what_and_whether_it_costs(
    page: Page, address: str, upstream: LocalImagesServer
) -> None:
    """The server's reason, and what a broken connection does to the money."""
    upstream.script("moderation_mid_stream", "cut_mid_event")
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    await page.get_by_role("button", name="Generate").click()
    alert = page.locator("#stage [role=alert]")
    await expect(alert).to_contain_text("moderation_blocked")
    await expect(alert).not_to_contain_text("billed")
    await page.get_by_role("button", name="Generate").click()
    await expect(alert).to_contain_text("it may be billed although no image came")


async def test_a_wait_for_a_rate_limit(page: Page, address: str, upstream: LocalImagesServer) -> None:
    """The page says why nothing comes, and until when."""
    upstream.script("rate_limited:60")
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    await page.get_by_role("button", name="Generate").click()
    status = page.locator("#stage [role=status]")
    await expect(status).to_contain_text("Waiting: rate limited by the server, until")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#stage [role=alert]")).to_contain_text("Cancelled")


async def test_cancel(page: Page, address: str, upstream: LocalImagesServer) -> None:
    """It closes the call and says that it may be billed."""
    upstream.script("stall_between_events")
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    await page.get_by_role("button", name="Generate").click()
    await expect(page.locator("figure .tag")).to_have_text("Preview 1")
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#stage [role=alert]")).to_contain_text("may still be billed")
    await upstream.wait_disconnected()


async def test_cancel_during_the_upload(page: Page, address: str, upstream: LocalImagesServer) -> None:
    """The studio does not know the generation yet: it is never sent."""
    cancelled = asyncio.Event()

    async def upload(route: Route) -> None:
        await cancelled.wait()
        await route.continue_()

    await page.route("**/api/generate", upload)
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    await page.get_by_role("button", name="Generate").click()
    async with page.expect_response("**/api/cancel/*"):
        await page.get_by_role("button", name="Cancel").click()
    cancelled.set()
    await expect(page.locator("#stage [role=alert]")).to_have_text("Cancelled in time. It is not billed.")
    assert upstream.posts == 0


async def test_the_history_survives_a_restart(
    page: Page, client: ImagesClient, upstream: LocalImagesServer, tmp_path: Path
) -> None:
    """Images side by side are there again, generations without an end are unknown, and more is loaded as needed."""
    history = History(tmp_path / "restarted")
    async with Studio(client, history, SETTINGS).serve() as url:
        await open_studio(page, url)
        await page.fill("#prompt", "two otters")
        await page.select_option("#n", "2")
        await page.get_by_role("button", name="Generate").click()
        await expect(page.get_by_role("link", name="Save 2")).to_be_visible()
        for number in range(130):
            await history.begin(
                {
                    "id": f"20261129-080000-{number:08x}",
                    "at": number,
                    "prompt": f"otter {number}",
                    "params": {},
                }
            )
    history.close()
    history = History(tmp_path / "restarted")
    async with Studio(client, history, SETTINGS).serve() as url:
        await open_studio(page, url)
        await expect(page.locator("#count")).to_have_text("131 generations")
        assert await page.locator("#history li").count() == 60
        await expect(page.locator("#stage [role=alert]")).to_contain_text("was stopped before this ended")
        for count in (60, 120, 131):
            await expect(page.locator("#history li")).to_have_count(count)
            await page.locator("#history li").last.scroll_into_view_if_needed()
        last = page.locator("#history li").last
        await expect(last).to_contain_text("two otters")
        await last.get_by_role("button").click()
        await expect(page.locator("#stage figure img")).to_have_count(2)
        assert await page.locator("#stage figure img").first.evaluate(
            "(img) => img.decode().then(() => img.naturalWidth)"
        )
        await page.close()
    history.close()


ATTACK = """<!doctype html><body>
<form method="post" enctype="multipart/form-data" target="plain"><input name="id" value="20261129-080000-00000001">
<input name="order" value='{"prompt": "x", "params": {"model": "gpt-image-2"}}'></form><iframe name="plain"></iframe>
"""
ATTACKS = """async ([studio, id]) => {
    const order = new FormData(document.querySelector("form"));
    const post = {method: "POST", credentials: "include"};
    const text = {...post, body: "{}", headers: {"Content-Type": "text/plain"}};
    const results = [];
    const ask = async (path, given) =>
        results.push(await fetch(studio + path, given).then((response) => response.type, () => "blocked"));
    for (const mode of ["no-cors", "cors"]) {
        await ask("/api/generate", {...post, body: order, mode});
        await ask("/api/check", {...text, mode});
        await ask(`/api/cancel/${id}`, {...text, mode});
        await ask("/api/history", {credentials: "include", mode});
    }
    const load = (element) => new Promise((resolve) => {
        element.onload = () => resolve("loaded");
        element.onerror = () => resolve("blocked");
        document.body.append(element);
    });
    results.push(await load(Object.assign(new Image(), {src: `${studio}/files/${id}-1.png`})));
    results.push(await load(Object.assign(document.createElement("script"), {src: `${studio}/studio.js`})));
    navigator.sendBeacon(`${studio}/api/generate`, order);
    const form = document.querySelector("form");
    form.action = `${studio}/api/generate`;
    form.submit();
    const box = document.createElement("iframe"); // its origin is "null"
    box.sandbox = "allow-forms allow-scripts";
    box.srcdoc = `${form.outerHTML.replace('target="plain"', "")}<script>document.forms[0].submit()</${"script"}>`;
    document.body.append(box);
    return results;
}"""


@asynccontextmanager
async def foreign_page(host: str) -> AsyncGenerator[str]:
    """Yield the origin of a page that attacks the studio."""

    async def serve(_: web.Request) -> web.Response:
        return web.Response(text=ATTACK, content_type="text/html")

    app = web.Application()
    app.router.add_get("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, host, 0).start()
    yield f"http://{host}:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    """The origin and path of each request that the studio got, and the status of its refusal, or 200."""
    answers: list[tuple[str, str, int]] = []
    refuse = Access._refuse

    def watch(self: Access, request: web.Request) -> tuple[int, str] | None:
        refusal = refuse(self, request)
        answers.append((request.headers.get("Origin", ""), request.path, refusal[0] if refusal else 200))
        return refusal

    monkeypatch.setattr(Access, "_refuse", watch)
    return answers


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_another_origin_can_make_it_do_nothing(
    page: Page,
    address: str,
    upstream: LocalImagesServer,
    history: History,
    host: str,
    answers: list[tuple[str, str, int]],
) -> None:
    """A page on another port, of the same site and of another, in the browser that has the cookie.

    No POST, form, beacon or image is let through while a generation runs, which goes on.
    """
    studio = address.partition("/?")[0]
    upstream.script("stall_between_events")
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    await page.keyboard.press("Control+Enter")
    await expect(page.locator("figure .tag")).to_have_text("Preview 1")
    running = history.page(None, 1)[0]["id"]
    answers.clear()
    async with foreign_page(host) as origin:
        foreign = await page.context.new_page()
        await foreign.goto(origin)
        # `no-cors` reads nothing ("opaque"), here not even that: CORP blocks the 403.
        assert await foreign.evaluate(ATTACKS, [studio, running]) == ["blocked"] * 10
        async with asyncio.timeout(60):  # two fetches, a beacon and two forms
            while [path for _, path, _ in answers].count("/api/generate") < 5:
                await asyncio.sleep(0.01)
        attacks = [answer for answer in answers if answer[0] != studio]
        assert {status for _, _, status in attacks} == {403}
        paths = {path for _, path, _ in attacks}
        assert {"/api/check", f"/api/cancel/{running}", "/api/history", "/studio.js"} < paths
        assert {origin for origin, _, _ in attacks} == {"", "null", origin}
        await foreign.close()
    upstream.release()
    await expect(page.get_by_role("link", name="Save")).to_be_visible()
    assert (upstream.posts, upstream.disconnects, len(history)) == (1, 0, 1)
    assert history.page(None, 1)[0]["status"] == "done"


async def test_a_hidden_value_does_not_block(page: Page, address: str, upstream: LocalImagesServer) -> None:
    """Neither a size that was typed and then not chosen, nor the compression of another format."""
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    await page.select_option("#size", "custom")
    await page.fill("#custom", "wide")
    await page.select_option("#size", "1024x1024")
    await page.select_option("#output_format", "jpeg")
    await page.fill("#output_compression", "500")
    await page.select_option("#output_format", "png")
    await page.get_by_role("button", name="Generate").click()
    await expect(page.get_by_role("link", name="Save")).to_be_visible()
    assert upstream.requests[0].json["size"] == "1024x1024"


async def test_text_can_be_dropped(page: Page, address: str) -> None:
    """Only files are taken as images: the browser does with text what it always does."""
    await open_studio(page, address)
    text = await page.evaluate_handle(
        "() => { const text = new DataTransfer(); text.setData('text/plain', 'x'); return text; }"
    )
    cancelled = """(form, data) => {
        const event = new DragEvent("drop", {dataTransfer: data, bubbles: true, cancelable: true});
        return !form.dispatchEvent(event);
    }"""
    assert not await page.locator("#form").evaluate(cancelled, text)


async def test_images_are_dropped_on_the_page(
    page: Page, address: str, upstream: LocalImagesServer, history: History
) -> None:
    """Anywhere on it: they are what is edited; other files are left out, which is said."""
    await open_studio(page, address)
    dropped = await page.evaluate_handle(
        """(base64) => {
            const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "house.png", {type: "image/png"}));
            transfer.items.add(new File(["words"], "notes.txt", {type: "text/plain"}));
            transfer.items.add(new File([bytes], "barn.png", {type: "image/png"}));
            return transfer;
        }""",
        base64.b64encode(PNG).decode(),
    )
    drop = page.locator("#drop")
    await page.dispatch_event("h1", "dragenter", {"dataTransfer": dropped})
    await expect(drop).to_have_class("over")
    await page.dispatch_event("h1", "drop", {"dataTransfer": dropped})
    await expect(drop).to_have_class("")
    await expect(page.locator("#sources .thumb img")).to_have_count(2)
    assert [
        await image.get_attribute("alt") for image in await page.locator("#sources .thumb img").all()
    ] == [
        "house.png",
        "barn.png",
    ]
    await expect(page.locator("#left-out")).to_have_text(
        "Left out: notes.txt. Up to 16 PNG, JPEG or WebP images are accepted."
    )
    await page.get_by_role("button", name="Remove barn.png").click()
    await page.fill("#prompt", "make it night")
    await page.get_by_role("button", name="Edit", exact=True).click()
    await expect(page.get_by_role("link", name="Source")).to_be_visible()
    (source,) = history.page(None, 1)[0]["sources"]
    assert (history.folder / source).read_bytes() == PNG
    assert [part.name for part in upstream.requests[0].parts if part.filename] == ["image"]


@pytest.mark.parametrize("count", [4, 10])
async def test_many_images_on_a_phone(
    browser: Browser, address: str, upstream: LocalImagesServer, count: int
) -> None:
    """They fit while they are awaited, and Cancel is within a few screens; a prompt has its own direction."""
    upstream.script(*["stall"] * count)
    context = await browser.new_context(viewport={"width": 360, "height": 800})
    page = await context.new_page()
    await open_studio(page, address)
    await page.fill("#prompt", "قطة تقرأ كتابا")
    assert await page.locator("#prompt").evaluate("(prompt) => prompt.matches(':dir(rtl)')")
    await page.select_option("#n", str(count))
    await page.get_by_role("button", name="Generate").click()
    await expect(page.locator("#stage figure")).to_have_count(count)
    assert await page.evaluate("document.documentElement.scrollWidth") <= 360
    stage = await page.locator("#stage").bounding_box()
    assert stage is not None
    assert stage["height"] < 2 * 800
    await page.get_by_role("button", name="Cancel").click()
    await expect(page.locator("#stage [role=alert]")).to_be_visible()
    await context.close()


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark")])
async def test_a_phone_and_a_dark_page(browser: Browser, address: str, width: int, scheme: Any) -> None:
    """An empty start fits a narrow screen, follows the scheme of the system, and offers what to begin with."""
    context = await browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    try:
        page = await context.new_page()
        await open_studio(page, address)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        background = await page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(map(int, re.findall(r"\d+", background))) / 3
        assert brightness < 60 if scheme == "dark" else brightness > 200
        await expect(page.locator("#stage h2")).to_have_text("Nothing generated yet")
        await page.get_by_role("button", name="A city cut from paper").click()
        await expect(page.locator("#estimate")).to_contain_text("Costs at most $0.")
    finally:
        await context.close()


SUBMITS = """(form) => {
    for (const at of [0, 200, 600, 1000, 9000]) {
        const event = new SubmitEvent("submit", {cancelable: true});
        form.dispatchEvent(Object.defineProperty(event, "timeStamp", {value: performance.now() + at}));
    }
}"""


async def test_a_double_click_is_sent_once(page: Page, address: str, upstream: LocalImagesServer) -> None:
    """And so is a key that is held; a later click is another generation."""
    upstream.script("stall", "stall", "stall")
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    await page.get_by_role("button", name="Generate").evaluate(
        "(button) => { button.click(); button.click(); }"
    )
    await until(lambda: upstream.posts > 0)
    await expect(page.locator("#history li")).to_have_count(1)
    await page.reload()
    await page.wait_for_selector("html[data-ready]")
    await page.fill("#prompt", "an otter")
    await page.locator("#form").evaluate(SUBMITS)
    await expect(page.locator("#history li")).to_have_count(3)
    await until(lambda: upstream.posts == 3)
    upstream.release()
    await expect(page.get_by_role("link", name="Save")).to_be_visible()
    assert upstream.posts == 3


async def test_a_broken_connection(browser: Browser, address: str, upstream: LocalImagesServer) -> None:
    """The studio has the form: its generation goes on, and the page shows its end."""
    page = await (await browser.new_context()).new_page()
    upstream.script("stall_between_events")
    tasks: list[asyncio.Task[object]] = []

    async def cut(route: Route) -> None:
        request = route.request
        post = page.context.request.post(
            request.url, headers=await request.all_headers(), data=request.post_data_buffer
        )
        tasks.append(asyncio.create_task(post))
        await until(lambda: upstream.posts == 1)
        await route.abort("connectionreset")

    await page.route("**/api/generate", cut)
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    async with page.expect_response("**/api/history/*"):
        await page.get_by_role("button", name="Generate").click()
    await expect(page.locator("#stage [role=status]")).to_have_text("Generating…")
    upstream.release()
    await expect(page.get_by_role("link", name="Save")).to_be_visible()
    await asyncio.wait(tasks)
    await page.context.close()


async def test_what_did_not_arrive_is_not_billed(
    browser: Browser, address: str, upstream: LocalImagesServer
) -> None:
    """The upload is cut, or the studio was restarted: the page says that nothing was sent."""
    page = await (await browser.new_context()).new_page()
    await page.route("**/api/generate", lambda route: route.abort("connectionreset"))
    await open_studio(page, address)
    await page.fill("#prompt", "an otter")
    await page.get_by_role("button", name="Generate").click()
    alert = page.locator("#stage [role=alert]")
    await expect(alert).to_have_text("The connection to the studio broke. Nothing was sent.")
    await page.unroute("**/api/generate")
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Generate").click()
    await expect(alert).to_have_text("The studio was restarted: open the address that it printed.")
    assert upstream.posts == 0
    await page.context.close()


async def test_a_studio_that_is_stopped(
    browser: Browser, client: ImagesClient, history: History, upstream: LocalImagesServer
) -> None:
    """A page that follows a generation says so; nothing stands still without a reason."""
    page = await (await browser.new_context()).new_page()
    upstream.script("stall_between_events")
    async with Studio(client, history, SETTINGS).serve() as url:
        await open_studio(page, url)
        await page.fill("#prompt", "an otter")
        await page.get_by_role("button", name="Generate").click()
        await expect(page.locator("figure .tag")).to_have_text("Preview 1")
        await page.reload()
        await page.wait_for_selector("html[data-ready]")
    alert = page.locator("#stage [role=alert]")
    await expect(alert).to_have_text("The studio cannot be reached: perhaps it was stopped.")
    await page.close()
    upstream.release()


async def test_a_mask_that_is_cleared_is_not_sent(
    page: Page, address: str, upstream: LocalImagesServer
) -> None:
    """Nor is one that was cancelled in its place."""
    await open_studio(page, address)
    await page.set_input_files("#pick", {"name": "house.png", "mimeType": "image/png", "buffer": PNG})
    await page.get_by_role("button", name="Brush a mask").click()
    await page.keyboard.press("Space")
    await page.get_by_role("button", name="Use mask").click()
    await page.get_by_role("button", name="Change mask").click()
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Change mask").click()
    await page.get_by_role("button", name="Use mask").click()
    await expect(page.get_by_role("button", name="Brush a mask")).to_be_visible()
    await page.fill("#prompt", "a balloon")
    await page.get_by_role("button", name="Edit", exact=True).click()
    await expect(page.get_by_role("link", name="Source")).to_be_visible()
    assert [part.name for part in upstream.requests[0].parts if part.filename] == ["image"]
