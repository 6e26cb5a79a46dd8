"""The studio over real sockets: who is let in, and what becomes of a generation."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer
from openai_images.studio import History, Studio
from openai_images.studio.orders import Order, model_choices
from tests.helpers.edit_images import encoded, layer
from tests.helpers.leaks import until
from tests.studio.conftest import PNG

ID = "20261129-080000-0000000{}"
CUSTOM = {"prompt": "an otter", "params": {"model": "gpt-image-2", "size": "1024x1024", "partial_images": 1}}


class Browser:
    """A session that sends what a page of the studio does."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.address = url
        self.origin = url.partition("/?")[0]

    async def post(self, path: str, data: Any, **headers: str) -> tuple[int, str]:
        """POST as the page does."""
        async with self.session.post(
            self.origin + path, data=data, headers={"Origin": self.origin, **headers}
        ) as response:
            return response.status, await response.text()

    async def get(self, path: str, **headers: str) -> aiohttp.ClientResponse:
        """GET, and read the response."""
        async with self.session.get(self.origin + path, headers=headers) as response:
            await response.read()
            return response

    async def records(self) -> list[dict[str, Any]]:
        """The history."""
        async with self.session.get(self.origin + "/api/history") as response:
            records: list[dict[str, Any]] = (await response.json())["records"]
        return records


def order(number: int = 1, value: Any = CUSTOM, **files: bytes | io.BytesIO) -> aiohttp.FormData:
    """The form of a generation."""
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("id", ID.format(number))
    form.add_field("order", json.dumps(value))
    for name, data in files.items():
        form.add_field(name, data, filename=f"{name}.png", content_type="image/png")
    return form


@pytest.fixture
async def stranger(studio: Studio) -> AsyncIterator[Browser]:
    """Who has not opened the address."""
    async with (
        studio.serve() as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session,
    ):
        yield Browser(session, url)


@pytest.fixture
async def browser(stranger: Browser) -> Browser:
    """Who has opened it."""
    async with stranger.session.get(stranger.address) as response:
        assert response.status == 200
        assert "HttpOnly" in response.headers["Set-Cookie"]
        assert "SameSite=Strict" in response.headers["Set-Cookie"]
    return stranger


async def test_the_token_works_once(browser: Browser) -> None:
    """A second browser gets nothing for it; the first one may open the address again."""
    async with aiohttp.ClientSession() as other:
        for address in (browser.address, browser.origin + "/", browser.origin + "/api/settings"):
            async with other.get(address) as response:
                assert (response.status, response.cookies) == (401, {})
    async with browser.session.get(browser.address) as response:
        assert (response.status, response.cookies) == (200, {})
    assert (await browser.get("/")).status == 200


async def test_a_look_does_not_use_the_token(stranger: Browser) -> None:
    """What asks for the headers of an address, such as the preview of a link, gets no cookie."""
    async with stranger.session.head(stranger.address) as response:
        assert (response.status, response.cookies) == (401, {})
    async with stranger.session.get(stranger.address) as response:
        assert (response.status, len(response.cookies)) == (200, 1)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "attacker.example"},
        {"Host": "127.0.0.1:1"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": ""},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
async def test_another_page_may_nothing(
    browser: Browser, upstream: LocalImagesServer, headers: dict[str, str]
) -> None:
    """Neither send nor read, although the cookie comes along."""
    assert (await browser.post("/api/generate", order(), **headers))[0] == 403
    assert (await browser.get("/api/settings", **headers)).status == 403
    assert upstream.posts == 0


async def test_a_post_needs_an_origin(browser: Browser) -> None:
    """Browsers send one with every POST."""
    async with browser.session.post(browser.origin + "/api/generate", data=order()) as response:
        assert response.status == 403


async def test_every_response_is_strict(browser: Browser) -> None:
    """The page, the script, a 404: no other host, no frame, no sniffing."""
    for path in ("/", "/studio.js", "/openai-images.js", "/api/settings", "/nothing", "/files/../secret"):
        headers = (await browser.get(path)).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self';"), path
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_a_generation_is_kept(browser: Browser, history: History) -> None:
    """Its request before, its image and its cost after; the key is nowhere."""
    status, text = await browser.post("/api/generate", order())
    assert status == 200
    assert "image_generation.completed" in text
    (record,) = await browser.records()
    assert (record["status"], record["prompt"], record["params"]) == ("done", "an otter", CUSTOM["params"])
    assert float(record["cost"]) > 0
    assert float(record["estimate"]) >= float(record["cost"])
    file = record["images"][0]["file"]
    shown = await browser.get(f"/files/{file}")
    assert (shown.status, shown.content_type) == (200, "image/png")
    assert "sandbox" in shown.headers["Content-Security-Policy"]
    small = await browser.get(f"/thumbnails/{file}")
    assert (small.status, small.content_type) == (200, "image/webp")
    assert (history.folder / file).read_bytes() == PNG
    assert "image_generation.completed" not in (await browser.post("/api/generate", order()))[1]


async def test_an_edit_is_sent_with_its_mask(
    browser: Browser, upstream: LocalImagesServer, history: History
) -> None:
    """What was dropped and brushed is kept too."""
    mask = encoded(layer((96, 64)))
    _, text = await browser.post("/api/generate", order(image=PNG, mask=mask))
    assert "image_edit.completed" in text
    sent = [part.sha256 for part in upstream.requests[0].parts if part.filename]
    assert sent == [sha256(data).hexdigest() for data in (PNG, mask)]
    (record,) = await browser.records()
    assert [(history.folder / name).read_bytes() for name in (*record["sources"], record["mask"])] == [
        PNG,
        mask,
    ]


async def test_a_closed_tab_loses_nothing(browser: Browser, upstream: LocalImagesServer) -> None:
    """The call goes on, and its image is in the history."""
    upstream.script("stall_between_events")
    task = asyncio.create_task(browser.post("/api/generate", order()))
    await until(lambda: upstream.posts == 1)
    assert (await browser.records())[0]["status"] == "running"
    task.cancel()
    await asyncio.wait({task})
    upstream.release()
    while (await browser.records())[0]["status"] == "running":
        await asyncio.sleep(0)
    assert (await browser.records())[0]["images"][0]["nbytes"] == len(PNG)
    assert upstream.disconnects == 0


async def test_cancel_closes_the_call(browser: Browser, upstream: LocalImagesServer) -> None:
    """And the record says that it may be billed."""
    upstream.script("stall_between_events")
    task = asyncio.create_task(browser.post("/api/generate", order()))
    await until(lambda: upstream.posts == 1)
    status, text = await browser.post(f"/api/cancel/{ID.format(1)}", b"")
    assert (status, json.loads(text)["status"], json.loads(text)["maybe_billed"]) == (200, "cancelled", True)
    await upstream.wait_disconnected()
    assert "event: error" in (await task)[1]


async def test_a_cancel_while_it_waits_for_a_limit(
    browser: Browser, upstream: LocalImagesServer, caplog: pytest.LogCaptureFixture
) -> None:
    """The server has rejected the request: it is not billed, and the record says so."""
    upstream.script("rate_limited:30")
    task = asyncio.create_task(browser.post("/api/generate", order()))
    await until(lambda: "rate limit" in caplog.text)  # what it waits for
    await browser.post(f"/api/cancel/{ID.format(1)}", b"")
    assert "event: error" in (await task)[1]
    (record,) = await browser.records()
    assert (record["status"], record["maybe_billed"], upstream.posts) == ("cancelled", False, 1)


async def test_a_cancel_before_the_generation(browser: Browser, upstream: LocalImagesServer) -> None:
    """While the form is still uploaded, for example: nothing is sent, and nothing is billed."""
    status, text = await browser.post(f"/api/cancel/{ID.format(1)}", b"")
    assert (status, json.loads(text)) == (200, {})
    assert "cancelled before it was sent" in (await browser.post("/api/generate", order()))[1]
    (record,) = await browser.records()
    assert (record["status"], record["maybe_billed"], record["prompt"]) == ("cancelled", False, "an otter")
    assert "image_generation.completed" in (await browser.post("/api/generate", order(2)))[1]
    assert upstream.posts == 1
    assert (await browser.post("/api/cancel/nonsense", b""))[0] == 404


async def test_one_of_several_images_cannot_be_downloaded(
    browser: Browser, upstream: LocalImagesServer
) -> None:
    """The others are kept, and the record has its URL."""
    upstream.reset(pictures=PNG, picture_links="absolute", faults=["download_404"])
    several = {**CUSTOM, "params": {"model": "gpt-image-2", "n": 3}}
    await browser.post("/api/generate", order(value=several))
    (record,) = await browser.records()
    assert (record["status"], len(record["images"])) == ("done", 2)
    assert upstream.base_url in record["message"]


async def test_a_failure_is_kept(browser: Browser, upstream: LocalImagesServer) -> None:
    """With the server's reason, and whether it may be billed."""
    upstream.script("moderation_mid_stream")
    assert "event: error" in (await browser.post("/api/generate", order()))[1]
    (record,) = await browser.records()
    assert (record["status"], record["maybe_billed"]) == ("failed", False)
    assert "moderation_blocked" in record["message"]


@pytest.mark.parametrize(
    "value",
    [
        {"params": {}},
        {"prompt": "x", "params": {"extra_body": {}}},
        {"prompt": "x", "params": {"n": 11}},
        {"prompt": "x", "params": {"n": "1"}},
        {"prompt": " ", "params": {"model": "gpt-image-2"}},
        {"prompt": "x", "params": {}, "sources": [1]},
        {"prompt": "x" * 200_000, "params": {"model": "gpt-image-2"}},  # would stall the event loop
    ],
)
async def test_what_is_refused_is_not_sent(browser: Browser, upstream: LocalImagesServer, value: Any) -> None:
    """Nor journalled; the page is told why."""
    _, text = await browser.post("/api/generate", order(value=value))
    assert '"code": "refused"' in text
    assert (upstream.posts, await browser.records()) == (0, [])


async def test_a_full_disk_sends_nothing(
    browser: Browser, upstream: LocalImagesServer, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be written down is not paid for."""

    def fail(row: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(history, "_append", fail)
    assert "No space left on device" in (await browser.post("/api/generate", order()))[1]
    assert upstream.posts == 0


async def test_an_image_that_cannot_be_written(
    browser: Browser, history: History, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is paid for: the page has it until the studio stops, which tries to write it again."""

    def fail(name: object, data: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(history, "_write_file", fail)
        await browser.post("/api/generate", order())
    (record,) = await browser.records()
    file = record["images"][0]["file"]
    assert "No space left on device" in record["message"]
    assert (await browser.get(f"/files/{file}")).content_length == len(PNG)
    assert (await browser.get(f"/thumbnails/{file}")).status == 200
    assert not (history.folder / file).exists()
    assert history.unwritten_count == 1
    history.close()
    assert (history.folder / file).read_bytes() == PNG
    again = History(history.folder)
    assert again.page(None, 1)[0]["images"] == record["images"]
    again.close()


async def test_a_form_that_comes_twice_is_sent_once(browser: Browser, upstream: LocalImagesServer) -> None:
    """A browser repeats a POST if its connection breaks."""
    answers = await asyncio.gather(*(browser.post("/api/generate", order(image=PNG)) for _ in range(4)))
    assert sum("exists already" in text for _, text in answers) == 3
    assert upstream.posts == 1


async def test_pages_may_send_the_same_image_at_once(browser: Browser, upstream: LocalImagesServer) -> None:
    """Each generation is sent, with the complete image."""
    forms = [order(number, image=PNG) for number in range(8)]
    answers = await asyncio.gather(*(browser.post("/api/generate", form) for form in forms))
    assert all("image_edit.completed" in text for _, text in answers)
    sent = {part.sha256 for request in upstream.requests for part in request.parts if part.filename}
    assert sent == {sha256(PNG).hexdigest()}


@pytest.fixture
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A studio that starts after this takes forms of at most 1 MB."""
    monkeypatch.setattr("openai_images.studio.app._MOST_BYTES", 1024 * 1024)


@pytest.mark.usefixtures("small_limit")
async def test_a_form_that_is_too_large(browser: Browser, upstream: LocalImagesServer) -> None:
    """It is refused like others, with the reason."""
    _, text = await browser.post("/api/generate", order(image=io.BytesIO(bytes(2_000_000))))
    assert "more than 1 MB together" in text
    assert upstream.posts == 0


async def test_the_check_estimates_and_writes_code(browser: Browser) -> None:
    """Before anything is sent; the code names the model and never the key."""
    _, text = await browser.post("/api/check", json.dumps(CUSTOM))
    answer = json.loads(text)
    assert float(answer["estimate"]) > 0.01
    assert answer["problem"] is None
    for code in answer["code"].values():
        assert "gpt-image-2" in code
    compile(answer["code"]["python"], "copied", "exec")
    _, text = await browser.post(
        "/api/check", json.dumps({**CUSTOM, "params": {"model": "gpt-image-2", "size": "10x10"}})
    )
    assert "10x10" in json.loads(text)["problem"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            json.dumps({**CUSTOM, "prompt": "x" * 200_000}),
            "the prompt is too long: at most 100,000 characters",
        ),
        ("[" * 50_000, "this is not JSON"),
    ],
    ids=["long", "deep"],
)
async def test_the_check_reports_what_cannot_be_read(browser: Browser, text: str, problem: str) -> None:
    """As a problem, without a traceback."""
    status, answer = await browser.post("/api/check", text)
    assert (status, json.loads(answer)["problem"]) == (200, problem)


def test_an_edit_as_code(client: Any) -> None:
    """The files are named in all three."""
    edit = Order("it's -night", {"model": "gpt-image-2", "n": 2}, ("a b.png",), "mask.png")
    code = edit.describe(client, local=True)["code"]
    assert code["command line"] == (
        """openai-images edit 'a b.png' '--prompt=it'"'"'s -night' --model gpt-image-2 --n 2 --mask mask.png --local"""
    )
    assert """-F 'image[]=@"a b.png"'""" in code["curl"]
    assert "image='a b.png'" in code["python"]
    dashed = Order("-5 degrees", {"model": "gpt-image-2"}).describe(client, local=False)["code"]
    assert dashed["command line"].endswith("-- '-5 degrees'")


def test_each_model_offers_what_it_takes() -> None:
    """Models that have ended are missing, and a model of the caller's own is offered first."""
    from datetime import date

    choices = model_choices("my-model", date(2026, 12, 2))
    names = [choice["name"] for choice in choices]
    assert names[0] == "my-model"
    assert "dall-e-3" not in names
    assert "gpt-image-1.5" not in names
    by_name = {choice["name"]: choice["values"] for choice in choices}
    assert "complexity" in by_name["gpt-image-2.6-flare"]
    assert "complexity" not in by_name["gpt-image-2"]
    assert by_name["gpt-image-2.6-flare"]["output_format"] == ["png", "webp", "jpeg"]


def test_the_folder_is_no_way_out() -> None:
    """Only names that the history gives are served."""
    from openai_images.studio.history import FILE_NAME

    for name in ("../history.jsonl", "history.jsonl", ".thumbnails", "source-0.png", "/etc/passwd"):
        assert not FILE_NAME.fullmatch(name)
