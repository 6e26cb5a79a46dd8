"""The files of docs/examples/, each run as its first lines say, against the local server."""

import ast
import asyncio
import importlib.util
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import nbclient
import nbformat
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from openai_images import Image
from openai_images.server import LocalImagesServer
from openai_images.web import wait_for_background
from tests.helpers.browsers import chromium
from tests.helpers.edit_images import encoded, house
from tests.helpers.leaks import until

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
APPS = ["fastapi_app.py", "aiohttp_app.py", "django_app.py"]
PNG = encoded(house((96, 64)))
SHOWN = """(name) => { const image = document.querySelector('image-stream').shadowRoot.querySelector('img');
    return image !== null && image.className === name && image.naturalWidth === 96; }"""
SECONDS = 60


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the examples, in which they run."""
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(EXAMPLES, tmp_path, dirs_exist_ok=True))


def command(example: Path) -> str:
    """The command in an example's first lines."""
    text = ast.get_docstring(ast.parse(example.read_text()))
    found = re.search(r"^OPENAI_API_KEY=… (.+)$", text or "", re.MULTILINE)
    assert found is not None, f"{example.name} does not say how it is run"
    return found[1]


@asynccontextmanager
async def running(example: Path) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """Run an app by its command in the folder that it is in; yield its address and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    paths = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    process = await asyncio.create_subprocess_shell(
        f"exec {command(example)}",
        cwd=example.parent,
        env={**os.environ, **paths, "PORT": port, "UVICORN_PORT": port, "PYTHONWARNINGS": "error"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield f"http://127.0.0.1:{port}", process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def started(url: str, session: aiohttp.ClientSession) -> None:
    """Wait until the app answers."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                async with session.get(url) as response:
                    assert response.status == 200
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.05)


async def order_what_is_no_order(url: str, session: aiohttp.ClientSession) -> None:
    """Other methods, pages of other sites, and bodies that are no order: each is the client's mistake."""
    async with session.get(url) as response:
        token = response.cookies["csrftoken"].value if "csrftoken" in response.cookies else ""
    ours = {"Content-Type": "application/json", "X-CSRFToken": token, "Cookie": f"csrftoken={token}"}
    good = b'{"prompt": "an otter"}'
    orders = [(method, good, ours) for method in ("GET", "HEAD", "PUT")]
    orders += [("POST", good, {"Content-Type": "text/plain"})]
    orders += [("POST", body, ours) for body in (b"", b"{", b"[]", b'{"prompt": ""}', b"\xff")]
    orders += [("POST", b'{"prompt": "%b"}' % (b"x" * 4001), ours)]
    for method, body, headers in orders:
        async with session.request(method, f"{url}/generate", data=body, headers=headers) as response:
            assert 400 <= response.status < 500, (method, body[:40], response.status)


def kept(folder: Path) -> list[bytes]:
    """The images in the gallery."""
    return [path.read_bytes() for path in sorted(folder.glob("gallery/*.png"))]


@pytest_asyncio.fixture
async def browser() -> AsyncIterator[Browser]:
    """Chromium, without a window."""
    async with chromium() as browser:
        yield browser


@pytest.mark.images_server(pictures=PNG)
@pytest.mark.parametrize("name", APPS)
async def test_a_web_app(name: str, folder: Path, images_env: LocalImagesServer, browser: Browser) -> None:
    """Its page shows the images while they come, and no paid one is lost to a tab or a server that is closed."""
    page = await browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    async with aiohttp.ClientSession() as session, running(folder / name) as (url, process):
        await started(url, session)
        await order_what_is_no_order(url, session)
        assert images_env.posts == 0
        await page.goto(url)
        images_env.script("stall_between_events", "stall", "stall")
        await page.fill("input", "an otter")
        await page.click("text=Generate")
        await page.wait_for_function(SHOWN, arg="partial")
        await page.click("text=Generate")  # a double click is one order
        images_env.release()
        await page.wait_for_function(SHOWN, arg="")
        await page.wait_for_selector("text=Stop", state="hidden")
        assert kept(folder) == [PNG]

        await page.click("text=Generate")
        await until(lambda: images_env.posts == 2)
        await page.click("text=Stop")
        await page.click("text=Generate")
        await until(lambda: images_env.posts == 3)
        process.send_signal(signal.SIGTERM)
        await page.wait_for_selector("text=Stop", state="hidden")
        await asyncio.sleep(0.5)  # a server that waits for nothing has ended by now, and both calls with it
        images_env.release()
        images_env.release()
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    assert kept(folder) == [PNG] * 3, output.decode()
    assert (errors, images_env.disconnects) == ([], 0)
    assert b"Traceback" not in output, output.decode()


class Chat:
    """An interaction of a chat that is acknowledged in 3 s, and whose follow-ups end after `lifetime` seconds."""

    id = 7

    def __init__(self, refusal: type[Exception], lifetime: float = 60.0) -> None:
        loop = asyncio.get_running_loop()
        self.created = loop.time()
        self.lifetime = lifetime
        self.refusal = refusal
        self.acknowledged: float | None = None
        self.texts: list[str] = []
        self.images: list[bytes] = []

    @property
    def age(self) -> float:
        """Seconds since the command."""
        return asyncio.get_running_loop().time() - self.created

    async def defer(self) -> None:
        """Acknowledge."""
        self.acknowledged = self.age

    async def edit(self, text: str, image: Image | None = None) -> None:
        """Answer, if the chat still waits."""
        assert self.acknowledged is not None
        assert self.acknowledged < 3
        if self.age > self.lifetime:
            raise self.refusal
        self.texts.append(text)
        if image is not None:
            self.images.append(image.data)


@pytest.fixture
def bot(folder: Path) -> Iterator[Any]:
    """The bot as a module."""
    spec = importlib.util.spec_from_file_location("bot", folder / "bot.py")
    assert spec is not None
    assert spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.images_server(pictures=PNG)
async def test_a_bot_in_time(bot: Any, images_env: LocalImagesServer, folder: Path) -> None:
    """It acknowledges, shows previews and then the image; a refusal is a sentence."""
    chat = Chat(bot.ChatError)
    await bot.imagine(chat, "an otter")
    assert (chat.texts, chat.images) == (["drawing…", "drawing…", "an otter"], [PNG] * 3)
    images_env.script("moderation_400", "quota_429")
    await bot.imagine(chat, "an otter")
    await bot.imagine(chat, "an otter")
    assert [text.split(".")[0] for text in chat.texts[3:]] == [
        "This cannot be drawn",
        "The image could not be generated",
    ]
    assert kept(folder) == [PNG]


@pytest.mark.images_server(pictures=PNG)
@pytest.mark.parametrize("fault", ["stall", "stall_between_events"])
async def test_a_bot_past_its_deadline(
    bot: Any, images_env: LocalImagesServer, folder: Path, fault: str
) -> None:
    """The user is told in time, nothing is said afterwards, and the image that was paid for is kept."""
    images_env.script(fault)
    chat = Chat(bot.ChatError, lifetime=5)
    await bot.imagine(chat, "an otter", 0.5)
    assert chat.age < chat.lifetime
    said = list(chat.texts)
    assert said[-1] == "This takes longer than the chat waits: look for 7 later."
    assert kept(folder) == []
    images_env.release()
    assert await wait_for_background(5) == 0
    assert (chat.texts, kept(folder)) == (said, [PNG])


@pytest.mark.images_server(pictures=PNG)
async def test_a_bot_whose_previews_are_not_taken(
    bot: Any, images_env: LocalImagesServer, folder: Path
) -> None:
    """A chat that ends before the deadline costs the previews, not the image."""
    with pytest.raises(bot.ChatError):
        await bot.imagine(Chat(bot.ChatError, lifetime=-1), "an otter")
    assert kept(folder) == [PNG]


async def test_the_bot_on_the_terminal(images_env: LocalImagesServer, folder: Path) -> None:
    """It runs as it says."""
    async with running(folder / "bot.py") as (_, process), asyncio.timeout(SECONDS):
        output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert output.decode().splitlines()[0] == "thinking…"
    assert len(kept(folder)) == 1


def test_the_notebook(images_env: LocalImagesServer, folder: Path) -> None:
    """Each cell runs in a kernel, and what it shows is images; it is kept without outputs."""
    notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)
    assert [cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs] == []
    nbclient.NotebookClient(
        notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output.name for output in outputs if output.output_type == "stream"] == ["stdout"]
    shown = [set(output.data) - {"text/plain"} for output in outputs if "data" in output]
    assert shown == [{"image/png"}] * 3 + [{"text/html"}] * 3
    assert (folder / "otter-at-night.png").exists()
    assert images_env.posts == 6
