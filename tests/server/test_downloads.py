"""Answers that carry urls, and everything that may go wrong when those are fetched."""

import asyncio
import base64
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer
from openai_images.server.images.encoder import LinkedImage, LinkStore

MARK = b"\x89PNG\r\n\x1a\n"


async def url_of(ask: Any, server: LocalImagesServer, fault: str = "url_answer") -> str:
    """The url of one answer."""
    server.script(fault)
    url: str = (await ask()).json["data"][0]["url"]
    return url


@pytest.fixture
async def url(ask: Any, server: LocalImagesServer) -> str:
    """An absolute url of the fixed image."""
    return await url_of(ask, server)


async def fetch(http: aiohttp.ClientSession, url: str, **options: Any) -> tuple[int, str, bytes]:
    """Status, content type and body."""
    async with http.get(url, allow_redirects=False, **options) as response:
        return response.status, response.headers["content-type"], await response.read()


async def test_a_url_gives_the_picture_without_a_key(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str, picture: bytes
) -> None:
    """It is recorded as a download, as no POST, and with whether a key came along."""
    assert url.startswith(server.base_url.removesuffix("/v1") + "/v1/images/img_")
    assert await fetch(http, url) == (200, "image/png", picture)
    await fetch(http, url, headers={"Authorization": "Bearer k"})
    await fetch(http, url, headers={"api-key": "k"})
    assert [one.with_key for one in server.downloads] == [False, True, True]
    first = server.downloads[0]
    assert url.endswith(first.path)
    assert (first.method, first.fault) == ("GET", "download_ok")
    assert first.host == url.split("/")[2]
    assert first.peer_port
    assert (server.posts, len(server.requests)) == (1, 1)


async def test_a_refused_download_is_counted(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str
) -> None:
    """A 429 is one for any reason."""
    server.script("download_status:429")
    assert (await fetch(http, url))[0] == 429
    assert server.refused == 1


async def test_a_relative_url(
    ask: Any, http: aiohttp.ClientSession, server: LocalImagesServer, picture: bytes
) -> None:
    """It is a path alone, as some servers give it."""
    path = await url_of(ask, server, "relative_url_answer")
    assert path.startswith("/v1/images/img_")
    assert path.endswith("/content?variant=0")
    assert (await fetch(http, server.base_url.removesuffix("/v1") + path))[2] == picture


async def test_a_data_url(ask: Any, server: LocalImagesServer, picture: bytes) -> None:
    """The image within the url."""
    found = await url_of(ask, server, "data_url_answer")
    assert found == "data:image/png;base64," + base64.b64encode(picture).decode()


async def test_every_model_may_answer_with_urls(
    ask: Any, http: aiohttp.ClientSession, picture: bytes
) -> None:
    """With `picture_links`; base64 comes where it is asked for, and streams link their last image."""
    async with LocalImagesServer(pictures=picture, picture_links="relative") as server:
        items = (await ask(of=server, n=2)).json["data"]
        assert [list(item) for item in items] == [["url", "generation_id"]] * 2
        assert [item["url"][-1] for item in items] == ["0", "1"]
        assert "b64_json" in (await ask(of=server, response_format="b64_json")).json["data"][0]
        refused = await ask(of=server, response_format="file")
        assert refused.error["message"].startswith("Invalid value: 'file'.")
        partial, completed = (await ask(of=server, stream=True, partial_images=1)).events
        assert "b64_json" in partial
        assert "b64_json" not in completed
        root = server.base_url.removesuffix("/v1")
        assert (await fetch(http, root + completed["url"]))[2] == picture


async def test_painted_pictures_of_every_format(ask: Any, http: aiohttp.ClientSession) -> None:
    """Each comes with its own content type, and as large as it is."""
    async with LocalImagesServer(picture_links="absolute") as server:
        for kind, start in (("jpeg", b"\xff\xd8"), ("gif", b"GIF89a"), ("svg", b"<svg")):
            more = {"svg": {"model": "writer"}, "size": "1024x640"} if kind == "svg" else {}
            more |= {"size": "288x288", "frame_count": 2} if kind == "gif" else {}
            reply = await ask(of=server, model="gpt-image-2.6-flare", output_format=kind, **more)
            status, content_type, body = await fetch(http, reply.json["data"][0]["url"])
            assert (status, content_type) == (200, "image/svg+xml" if kind == "svg" else f"image/{kind}")
            assert body.startswith(start)


async def test_unknown_pictures_and_other_methods(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str
) -> None:
    """404 for a link that is over and for another number; nothing but GET."""
    assert (await fetch(http, url.replace("img_", "img_0")))[0] == 404
    assert (await fetch(http, url[:-1] + "7"))[0] == 404
    async with http.delete(url) as response:
        assert response.status == 405


@pytest.mark.parametrize(
    ("fault", "status", "content_type", "start"),
    [
        ("download_404", 404, "application/json", b'{"error":'),
        ("download_status:503", 503, "application/json", b'{"error":'),
        ("download_status:502", 502, "text/html", b"<!DOCTYPE"),
        ("download_expired_403", 403, "application/xml", b"\xef\xbb\xbf<?xml"),
        ("download_html", 200, "text/html", b"<!DOCTYPE"),
        ("download_empty", 200, "image/png", b""),
        ("download_huge:2", 200, "image/png", MARK),
    ],
)
async def test_other_answers(
    http: aiohttp.ClientSession,
    server: LocalImagesServer,
    url: str,
    fault: str,
    status: int,
    content_type: str,
    start: bytes,
) -> None:
    """The next download meets the fault, the one after it the image; a POST meets neither."""
    server.script(fault)
    assert server.faults == (fault,)
    got = await fetch(http, url)
    assert got[0] == status
    assert got[1].startswith(content_type)
    assert got[2].startswith(start)
    assert (len(got[2]) == 2_000_000) == (fault == "download_huge:2")
    assert (await fetch(http, url))[0] == 200
    assert [one.fault for one in server.downloads] == [fault, "download_ok"]


async def test_500_then_ok(http: aiohttp.ClientSession, server: LocalImagesServer, url: str) -> None:
    """Kept on, every other download fails; scripted, the next one passes."""
    server.always("download_500_then_ok")
    assert [(await fetch(http, url))[0] for _ in range(4)] == [500, 200, 500, 200]
    server.always(None)
    server.script("download_500_then_ok")
    assert [(await fetch(http, url))[0] for _ in range(2)] == [500, 200]


@pytest.mark.parametrize(
    ("fault", "location"),
    [
        ("download_redirect_link_local", "http://169.254.169.254/latest/meta-data/"),
        ("download_redirect_file", "file:///etc/passwd"),
        ("download_redirect:https://192.0.2.7/x?y=1", "https://192.0.2.7/x?y=1"),
    ],
)
async def test_redirects_elsewhere(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str, fault: str, location: str
) -> None:
    """A 302 with that very location."""
    server.script(fault)
    async with http.get(url, allow_redirects=False) as response:
        assert (response.status, response.headers["location"]) == (302, location)


@pytest.mark.parametrize(
    ("fault", "host"),
    [
        ("download_redirect_relative", "127.0.0.1"),
        ("download_redirect_other_host", "localhost"),
        ("download_redirect", "localhost"),
    ],
)
async def test_redirects_that_work(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str, picture: bytes, fault: str, host: str
) -> None:
    """They lead to the image, under another name or the same, even where they are always on."""
    server.always(fault)
    async with http.get(url, headers={"Authorization": "Bearer k"}) as response:
        assert (response.status, await response.read()) == (200, picture)
    assert [one.host.partition(":")[0] for one in server.downloads] == ["127.0.0.1", host]
    assert [one.fault for one in server.downloads] == [fault, "download_ok"]


async def test_a_redirect_loop_never_ends(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str
) -> None:
    """Two places that send to each other, for whoever follows."""
    server.script("download_redirect_loop")
    with pytest.raises(aiohttp.TooManyRedirects):
        await http.get(url, max_redirects=9)
    assert len(server.downloads) == 9
    assert len({one.path for one in server.downloads}) == 3


async def test_an_endless_download(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str, picture: bytes
) -> None:
    """It begins as the image does and goes on until its reader has gone, which is noticed."""
    server.script("download_endless")
    async with http.get(url) as response:
        assert response.headers.get("content-length") is None
        start = await response.content.readexactly(3_000_000)
    assert start.startswith(picture * 2)
    await server.wait_disconnected()
    assert server.disconnects == 1


@pytest.mark.parametrize("fault", ["download_cut", "download_reset"])
async def test_a_download_that_breaks_off(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str, picture: bytes, fault: str
) -> None:
    """Half of what was declared comes; that is no client that left."""
    server.script(fault)
    async with http.get(url) as response:
        assert response.content_length == len(picture)
        assert await response.content.readexactly(len(picture) // 2) == picture[: len(picture) // 2]
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    assert server.disconnects == 0


@pytest.mark.parametrize(("fault", "before"), [("download_stall", 0), ("download_stall_mid_body", 1)])
async def test_a_download_that_stalls(
    http: aiohttp.ClientSession, server: LocalImagesServer, url: str, picture: bytes, fault: str, before: int
) -> None:
    """Nothing, or half and then nothing, until `release()`."""
    server.script(fault)
    asked = asyncio.ensure_future(http.get(url))
    while not server.downloads:
        await asyncio.sleep(0)
    if before:
        async with await asked as response:
            assert len(await response.content.readexactly(len(picture) // 2)) == len(picture) // 2
            server.release()
            assert len(await response.read()) == len(picture) - len(picture) // 2
    else:
        await asyncio.sleep(0)
        assert not asked.done()
        server.release()
        async with await asked as response:
            assert await response.read() == picture


async def test_a_client_gone_before_its_download(
    connect: Any, server: LocalImagesServer, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is dropped without a word in the log, and counted."""
    server.script("download_stall")
    connection = await connect()
    connection.writer.write(
        f"GET {url.partition('/v1')[1] + url.partition('/v1')[2]} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    )
    while not server.downloads:
        await asyncio.sleep(0)
    # Without giving way to the loop: the handler meets the closed connection itself.
    server.release()
    for open_one in server._runner.server.connections:
        open_one.transport.abort()
    await server.wait_disconnected()
    assert (server.disconnects, caplog.records) == (1, [])


async def test_a_header_names_the_fault_of_one_download(
    ask: Any, http: aiohttp.ClientSession, server: LocalImagesServer, url: str
) -> None:
    """X-Local-Fault works on downloads; names of the other sort are refused on either side."""
    assert (await fetch(http, url, headers={"X-Local-Fault": "download_404"}))[0] == 404
    assert (await fetch(http, url, headers={"X-Local-Fault": "download_ok"}))[0] == 200
    wrong = await fetch(http, url, headers={"X-Local-Fault": "html_200"})
    assert (wrong[0], b"is not one of downloads" in wrong[2]) == (400, True)
    refused = await ask(headers={"X-Local-Fault": "download_404"})
    assert (refused.status, refused.error["param"]) == (400, "X-Local-Fault")


async def test_one_script_for_both(ask: Any, http: aiohttp.ClientSession, server: LocalImagesServer) -> None:
    """Each name waits for its sort of request; a wrong one takes nothing; a new script replaces both."""
    server.script("download_404", "url_answer", "download_ok", "status:500")
    with pytest.raises(ValueError, match="bad argument 'x' for the fault 'download_huge'"):
        server.script("ok", "download_404", "download_huge:x")
    assert server.faults == ("url_answer", "status:500", "download_404", "download_ok")
    url = (await ask()).json["data"][0]["url"]
    assert [(await fetch(http, url))[0] for _ in range(2)] == [404, 200]
    assert (await ask()).status == 500
    server.faults = ["download_html"]
    assert server.faults == ("download_html",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("download_huge:0", "megabytes from just above 0"),
        ("download_status:200", "a status from 400 to 599"),
        ("download_redirect:a b", "a url"),
        ("download_404:1", "takes no argument"),
        ("download_nothing", "unknown fault 'download_nothing'; known faults: .*download_404"),
    ],
)
def test_wrong_faults_of_downloads(name: str, said: str) -> None:
    """Refused where they are named."""
    with pytest.raises(ValueError, match=said):
        LocalImagesServer(faults=[name])
    with pytest.raises(ValueError, match=said):
        LocalImagesServer(always=name)


async def test_the_number_of_records_is_bounded(
    http: aiohttp.ClientSession, ask: Any, picture: bytes
) -> None:
    """`keep_requests` holds for downloads as well."""
    async with LocalImagesServer(pictures=picture, picture_links="absolute", keep_requests=1) as server:
        url = (await ask(of=server)).json["data"][0]["url"]
        for _ in range(3):
            await fetch(http, url)
        assert len(server.downloads) == 1


def test_the_shelf_forgets_the_oldest() -> None:
    """By their bytes; an image that is there many times counts once."""
    shelf = LinkStore(limit=10)
    shared, other = b"12345678", b"abcdefgh"

    def named(path: str) -> Any:
        name, _, number = path.removeprefix("/v1/images/").partition("/content?variant=")
        return shelf.find(name, number)

    paths = [shelf.add(LinkedImage(shared, "image/png"), number) for number in range(5)]
    assert all(named(path) is not None for path in paths)
    last = shelf.add(LinkedImage(other, "image/png"), 0)
    assert [named(path) for path in paths] == [None] * 5
    assert named(last).base64 is other
