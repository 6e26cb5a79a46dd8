"""`GET /`: the page for people."""

import base64
import hashlib
import html
import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer
from openai_images.server.requests.state import PROMPT_BEGINNING, RECENT_REQUESTS
from tests.helpers.clients import PNG


@pytest.fixture
def tiny() -> Callable[..., Any]:
    """Make a server that draws nothing."""
    return partial(LocalImagesServer, pictures=PNG)


@pytest.fixture
async def server(tiny: Callable[..., Any]) -> AsyncIterator[LocalImagesServer]:
    """A started one."""
    async with tiny() as server:
        yield server


NASTY = "<script>alert(1)</script> \"'& a fox"


async def page(server: LocalImagesServer, http: aiohttp.ClientSession, path: str = "/") -> tuple[Any, str]:
    """The response, and its text."""
    async with http.get(server.base_url.removesuffix("/v1") + path) as response:
        assert (response.status, response.content_type) == (200, "text/html")
        return response, await response.text()


async def post(
    server: LocalImagesServer, http: aiohttp.ClientSession, body: Any, key: str | None = None
) -> int:
    """The status of a request for an image."""
    headers = {"Authorization": f"Bearer {key or server.api_key}"}
    url = f"{server.base_url}/images/generations"
    async with http.post(url, json=body, headers=headers) as response:
        await response.read()
        return response.status


def rows(text: str) -> list[list[str]]:
    """The cells of the table's rows as a browser shows them, without the times."""
    found = re.findall("<tr><td.*</tr>", text)
    cells = [re.findall("<td [^>]*>(.*?)</td>", row) for row in found]
    return [[html.unescape(re.sub("<.*?>", " ", cell)).strip() for cell in row[1:-1]] for row in cells]


async def test_it_says_the_address_and_how_to_use_it(
    server: LocalImagesServer, http: aiohttp.ClientSession
) -> None:
    """Variables, Python that compiles and curl, each with a model, and nothing that was asked yet."""
    _, text = await page(server, http)
    codes = [html.unescape(code) for code in re.findall("(?s)<pre><code>(.*?)</code></pre>", text)]
    variables, curl, command, python = codes
    assert f'<p class="address">{server.base_url}</p>' in text
    assert variables.startswith(f"export OPENAI_BASE_URL={server.base_url}\n")
    assert '"model": "gpt-image-2"' in curl
    assert command.startswith("openai-images generate")
    assert 'model="gpt-image-2"' in python
    compile(python, "page", "exec")
    assert "No requests yet." in text


async def test_its_python_runs(
    server: LocalImagesServer, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """As it is printed, with the variables that it names."""
    import asyncio

    _, text = await page(server, http)
    python = html.unescape(re.findall("(?s)<pre><code>(.*?)</code></pre>", text)[-1])
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", server.api_key)
    monkeypatch.chdir(tmp_path)
    await asyncio.to_thread(exec, python, {})
    assert (tmp_path / "lighthouse.png").read_bytes() == PNG


async def test_it_lists_what_was_asked(http: aiohttp.ClientSession, tiny: Callable[..., Any]) -> None:
    """The newest first: status, method and path, fault, model and prompt; not the page itself."""
    async with tiny(faults=["ok", "status:404", "reset_after_body"]) as server:
        assert await post(server, http, {"prompt": "a red fox", "model": "gpt-image-2"}) == 200
        assert await post(server, http, {"prompt": NASTY}) == 404
        with pytest.raises(aiohttp.ClientError):
            await post(server, http, {"prompt": "gone"})
        assert await post(server, http, {"prompt": "not read"}, key="sk-wrong") == 401
        form = aiohttp.FormData({"prompt": "make it night", "model": "gpt-image-2.6-flare"})
        form.add_field("image", PNG, filename="a.png", content_type="image/png")
        headers = {"Authorization": f"Bearer {server.api_key}"}
        async with http.post(f"{server.base_url}/images/edits", data=form, headers=headers) as response:
            assert response.status == 200
        await page(server, http)
        _, text = await page(server, http)
        assert rows(text) == [
            ["200", "POST /v1/images/edits", "gpt-image-2.6-flare", "make it night"],
            ["401", "POST /v1/images/generations", "", ""],
            ["closed", "POST /v1/images/generations fault reset_after_body", "", "gone"],
            ["404", "POST /v1/images/generations fault status:404", "", NASTY],
            ["200", "POST /v1/images/generations", "gpt-image-2", "a red fox"],
        ]
        assert "5 requests, the newest first" in text
        assert "<script" not in text
        assert server.api_key not in text


async def test_it_lists_downloads(http: aiohttp.ClientSession, tiny: Callable[..., Any]) -> None:
    """With their faults, and with no word about one without."""
    async with tiny(faults=["download_status:404", "download_ok"]) as server:
        for _ in range(2):
            await (await http.get(f"{server.base_url}/images/img_1/content")).read()
        _, text = await page(server, http)
    assert rows(text) == [
        ["404", "GET /v1/images/img_1/content", "", ""],
        ["404", "GET /v1/images/img_1/content fault download_status:404", "", ""],
    ]


async def test_what_it_keeps_is_bounded(http: aiohttp.ClientSession, tiny: Callable[..., Any]) -> None:
    """A number of requests, and the beginnings of their prompts; odd values are no reason to fail."""
    async with tiny() as server:
        await post(server, http, {"prompt": "x" * 5000, "model": ["a"]})
        await post(server, http, ["no", "object"])
        _, text = await page(server, http)
        assert rows(text)[1][2:] == ["", "x" * PROMPT_BEGINNING + "…"]
        for number in range(RECENT_REQUESTS):
            async with http.get(f"{server.base_url}/{number}/<b>/{'y' * 3000}") as response:
                assert response.status == 404
        _, text = await page(server, http)
    assert len(rows(text)) == RECENT_REQUESTS
    assert f"The last {RECENT_REQUESTS} of {RECENT_REQUESTS + 2} requests" in text
    assert len(text) < 50_000
    assert "<b>" not in text


async def test_it_loads_nothing_and_runs_nothing(
    server: LocalImagesServer, http: aiohttp.ClientSession
) -> None:
    """By what is in it, and by its policy, which lets in its own style alone."""
    response, text = await page(server, http)
    style = re.findall("(?s)<style>(.*?)</style>", text)
    digest = base64.b64encode(hashlib.sha256(style[0].encode()).digest()).decode()
    assert response.headers["Content-Security-Policy"] == (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    )
    assert response.headers["Cache-Control"] == "no-store"
    assert len(style) == 1
    assert " style=" not in text
    assert not re.search(r"<script|<iframe|<img|\son\w+=|@import|url\(", text)
    assert set(re.findall(r'(?:href|src)="([^"]*)', text)) - {"/", "/?refresh"} == set(
        re.findall(r'href="(data:image/svg[^"]*)', text)
    )


async def test_it_refreshes_itself_on_demand(server: LocalImagesServer, http: aiohttp.ClientSession) -> None:
    """And not else, as that would undo a selection."""
    assert '<meta http-equiv="refresh"' not in (await page(server, http))[1]
    _, text = await page(server, http, "/?refresh")
    assert '<meta http-equiv="refresh" content="2">' in text
    assert '<a href="/">Stop</a>' in text


@pytest.mark.parametrize("header", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
async def test_nobody_else_gets_it(
    server: LocalImagesServer, http: aiohttp.ClientSession, header: dict[str, str]
) -> None:
    """A page of another site, and a name that leads here, get the 403 of every path."""
    async with http.get(server.base_url.removesuffix("/v1") + "/", headers=header) as response:
        assert response.status == 403
        assert "Recent requests" not in await response.text()


async def test_other_methods_get_the_error_of_the_api(
    server: LocalImagesServer, http: aiohttp.ClientSession
) -> None:
    """It is a page to look at."""
    async with http.post(server.base_url.removesuffix("/v1") + "/") as response:
        assert response.status == 405
