"""Where images are fetched from, and what is sent there: no address of a network of one's own, and never the key."""

import asyncio
import subprocess
import sys
from typing import Any

import aiohttp
import pytest

from openai_images import DownloadError, ImagesClient
from openai_images.http.address_guard import AddressGuard, ImageURL, resolve_url
from openai_images.models.options import Timing
from tests.helpers.clients import KEY, PNG, FakeTime, client_of, generate
from tests.helpers.download_servers import PUBLIC, away, names
from tests.helpers.leaks import nothing_left, until
from tests.helpers.raw_server import RawServer, reply

PICTURE = reply(PNG, kind="image/png")
API = "http://api.test/v1"


def client_at(base_url: str, **options: Any) -> ImagesClient:
    """A client of an API that is there."""
    return ImagesClient(base_url=base_url, api_key=KEY, timing=FakeTime().timing, **options)


async def refused(client: ImagesClient, url: str, why: str = "images are not fetched from there") -> None:
    """The image is not fetched, and that is final."""
    with pytest.raises(DownloadError, match=why) as caught:
        await client.download(away(url))
    assert "attempts)" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]"),
        *("10.0.0.1", "172.16.5.4", "192.168.0.1", "100.64.1.1", "[fd00::1]", "[2002:a00:1::]"),
        *("169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "224.0.0.1", "255.255.255.255"),
        *("localhost", "localhost.", "LOCALHOST", "inside.test", "inside.test.", "mapped.test", "both.test"),
    ],
)
async def test_an_api_that_is_public(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers, and redirects, lead into no network of one's own, however that is spelled."""
    async with RawServer([PICTURE]) as server:
        names(
            monkeypatch,
            api=[PUBLIC],
            inside=["127.0.0.1"],
            mapped=["::ffff:127.0.0.1"],
            both=["10.0.0.1", "127.0.0.1"],
            localhost=["127.0.0.1", "::1"],
        )
        async with nothing_left(), client_at(API) as client:
            await refused(client, f"http://{host}:{server.port}/a.png")
        assert server.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "inside.test", "[::ffff:127.0.0.1]"])
@pytest.mark.parametrize("api", ["http://127.0.0.1:1/v1", "http://10.1.2.3/v1", "http://inside.test/v1", API])
async def test_an_api_that_is_not(host: str, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the API is in a network of one's own, so may be its images."""
    async with RawServer([PICTURE]) as server:
        names(monkeypatch, api=["192.168.7.7"], inside=["127.0.0.1"], localhost=["127.0.0.1"])
        async with client_at(api) as client:
            image = await client.download(away(f"http://{host}:{server.port}/a.png"))
        assert image.data == PNG
        assert server.header("authorization") == []


@pytest.mark.parametrize("api", ["http://127.0.0.1:1/v1", "http://10.1.2.3/v1", API])
@pytest.mark.parametrize(
    "host", ["169.254.169.254", "[fe80::1]", "100.100.100.200", "metadata.test", "224.0.0.1"]
)
async def test_what_no_api_leads_to(host: str, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where clouds keep credentials nobody is asked for an image, wherever the API is."""
    names(monkeypatch, api=["127.0.0.1"], metadata=["169.254.169.254"])
    async with client_at(api) as client:
        await refused(client, f"http://{host}/latest/meta-data/")


async def test_an_api_nobody_can_find(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the API's name leads nowhere, only what is public is asked."""
    names(monkeypatch, inside=["127.0.0.1"])
    async with client_at(API) as client:
        await refused(client, "http://inside.test:1/a.png")
        await refused(client, "http://127.0.0.1:1/a.png")
        with pytest.raises(
            DownloadError, match=r"no response from http://other\.test:80/ \(ClientConnectorDNSError\)"
        ):
            await client.download(away("http://other.test/a.png"))


async def test_a_second_look_up_slips_nothing_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address that is connected to is judged once more: a name may lead elsewhere a moment later."""

    async def all_of_them(guard: AddressGuard, found: Any) -> Any:
        return found

    async with RawServer([PICTURE]) as server:
        names(monkeypatch, api=[PUBLIC], inside=["127.0.0.1"])
        monkeypatch.setattr(AddressGuard, "filter_allowed", all_of_them)
        async with nothing_left(), client_at(API) as client:
            with pytest.raises(DownloadError, match=r"inside\.test"):
                await client.download(away(f"http://inside.test:{server.port}/a.png"))
        assert server.connections == 0


async def test_the_fit_ones_of_several_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name may lead to several addresses: those that are not allowed are left out."""
    names(monkeypatch, api=[PUBLIC])
    guard = AddressGuard(resolve_url(API, API), FakeTime().timing)
    found: Any = [{"host": host} for host in ("10.0.0.1", "8.8.8.8", "::1", "fe80::1%eth0", "2606:4700::1")]
    assert [one["host"] for one in await guard.filter_allowed(found)] == ["8.8.8.8", "2606:4700::1"]


async def test_the_apis_addresses_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where one is met that is not public, and again after a minute: a container's address changes."""
    now = 0.0
    asked = names(monkeypatch, api=["10.0.0.5"])
    guard = AddressGuard(resolve_url(API, API), Timing(monotonic=lambda: now))
    place: ImageURL = resolve_url("http://10.0.0.9/", API)
    await guard.check(resolve_url("http://8.8.8.8/", API), proxied=False)
    assert asked == []
    await asyncio.gather(*(guard.check(place, proxied=False) for _ in range(5)))
    assert asked == ["api.test"]
    now = 61.0
    await guard.check(place, proxied=False)
    assert asked == ["api.test", "api.test"]


# Redirects.


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (
            "http://169.254.169.254/latest/meta-data/",
            "http://169.254.169.254/latest/meta-data/ is not contacted",
        ),
        ("http://[::ffff:169.254.169.254]/", "is not contacted"),
        ("http://metadata.test/", "is not contacted"),
        ("file:///etc/passwd", "not followed: .*file:"),
        ("data:image/png;base64,AAAA", "not followed: .*data:"),
        ("http://user:word@127.0.0.1/a", "not followed: .*credentials"),
        ("http://2130706433/a", "not followed: .*no valid host"),
        ("http://127.0.0.1:0/a", "not followed: .*port 0"),
    ],
)
async def test_each_step_is_checked(to: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A redirect leads nowhere that the answer itself could not have led."""
    names(monkeypatch, metadata=["169.254.169.254"])
    async with RawServer([reply(b"", f"Location: {to}", status=302)]) as server, client_of(server) as client:
        await refused(client, "/a.png", why)
        assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(status: int) -> None:
    """Five of them, of any kind."""
    steps = [[reply(b"", f"Location: /{number}", status=status)] for number in range(5)]
    async with RawServer(*steps, [PICTURE]) as server, client_of(server) as client:
        assert (await client.download(away("/a.png"))).data == PNG
        assert [head.split()[1] for head in server.heads] == ["/a.png", "/0", "/1", "/2", "/3", "/4"]


async def test_the_key_does_not_come_back() -> None:
    """Where a redirect led elsewhere, the way back to the API is without the key: others chose it."""
    async with RawServer() as api, RawServer() as other:
        api.scripts = [[reply(b"", f"Location: http://127.0.0.1:{other.port}/b", status=302)], [PICTURE]]
        other.scripts = [[reply(b"", f"Location: http://127.0.0.1:{api.port}/c", status=302)]]
        async with client_of(api) as client:
            assert (await client.download(away("/a"))).data == PNG
        assert api.header("authorization", 0) == [f"Bearer {KEY}"]
        assert api.header("authorization", 1) == other.header("authorization", 0) == []


# What is sent.


async def test_nothing_of_the_users_goes_elsewhere() -> None:
    """No key, no header of the client's, no cookie, nothing of the session that was handed in."""
    async with (
        RawServer([PICTURE]) as server,
        aiohttp.ClientSession(headers={"X-Session": "secret"}, cookies={"a": "secret"}) as session,
        client_at("http://127.0.0.1:1/v1", session=session, headers={"X-Team": "secret"}) as client,
    ):
        await client.download(away(f"http://127.0.0.1:{server.port}/%7Ea.png?sig=a%2Bb%3D%2F&se=10%3a00+0"))
        head = server.heads[0]
        lines = {line.partition(":")[0].lower() for line in head.split("\r\n")[1:] if line}
        assert lines == {"host", "accept", "accept-encoding", "user-agent"}
        assert "secret" not in head
        assert head.startswith("GET /%7Ea.png?sig=a%2Bb%3D%2F&se=10%3a00+0 HTTP/1.1\r\n")


async def test_the_api_itself_gets_what_it_gets_with_each_request() -> None:
    """SGLang keeps its images behind its key, gateways theirs behind headers; what describes a body is left out."""
    given = {"X-Team": "ours", "Content-Type": "application/json", "Accept": "text/html"}
    async with RawServer([PICTURE]) as server, client_of(server, headers=given) as client:
        await client.download(away("/v1/images/img-7/content?variant=0"))
        assert server.header("authorization") == [f"Bearer {KEY}"]
        assert server.header("x-team") == ["ours"]
        assert (server.header("accept"), server.header("content-type")) == (["image/*"], [])


@pytest.mark.parametrize(
    "base", ["http://localhost:{}/v1", "http://127.0.0.1:1/v1", "https://127.0.0.1:{}/v1"]
)
async def test_another_origin_is_another(base: str) -> None:
    """A host by another name, another port, another scheme: no key."""
    async with RawServer([PICTURE]) as server, client_at(base.format(server.port)) as client:
        await client.download(away(f"http://127.0.0.1:{server.port}/a.png"))
        assert server.header("authorization") == []


async def test_a_key_that_cannot_be_had() -> None:
    """Whatever the function that gives the key raises, the image is not forgotten."""

    async def key() -> str:
        raise ZeroDivisionError("secret")

    async with RawServer([PICTURE]) as server, client_of(server, api_key=key) as client:
        with pytest.raises(
            DownloadError, match=r"the key for it could not be obtained \(ZeroDivisionError\)"
        ) as caught:
            await client.download(away("/a.png"))
        assert caught.value.response.image.url == "/a.png"
        assert server.connections == 0


async def test_no_cookies_are_kept() -> None:
    """A server of images learns nothing from one download to the next."""
    there = reply(b"", "Location: /b", "Set-Cookie: id=7; Path=/", status=302)
    async with RawServer([there], [PICTURE]) as server, client_of(server) as client:
        await client.download(away(f"http://localhost:{server.port}/a.png"))
        assert server.header("cookie", 1) == []


async def test_it_is_asked_for_plainly() -> None:
    """An image is not compressed again, and what is sent back compressed is not unpacked: that may be endless."""
    async with RawServer([PICTURE]) as server, client_of(server) as client:
        await client.download(away("/a.png"))
        assert server.header("accept-encoding") == ["identity"]


# Proxies.


@pytest.mark.parametrize("how", ["given", "environment"])
async def test_a_proxy(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Downloads go the way that requests go; names are the proxy's to look up, and the key is still not sent."""
    async with RawServer([PICTURE]) as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        names(monkeypatch)
        if how == "environment":
            monkeypatch.setenv("http_proxy", address)
        async with client_at(API, proxy=address if how == "given" else None) as client:
            assert (await client.download(away("http://pictures.test/a.png?sig=1"))).data == PNG
            assert proxy.heads[0].startswith("GET http://pictures.test/a.png?sig=1 HTTP/1.1\r\n")
            assert proxy.header("authorization") == []
            assert (await client.download(away("/b.png"))).data == PNG
            assert proxy.header("authorization", 1) == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "10.0.0.1", "localhost", "a.localhost.", "169.254.169.254", "[::1]"]
)
async def test_what_a_proxy_is_not_asked_for(host: str) -> None:
    """What a URL itself spells is judged, whoever connects."""
    async with RawServer([PICTURE]) as proxy:
        async with client_at(API, proxy=f"http://127.0.0.1:{proxy.port}") as client:
            await refused(client, f"http://{host}/a.png")
        assert proxy.connections == 0


async def test_a_local_api_behind_a_proxy() -> None:
    """Its images may be where it says that it is."""
    async with (
        RawServer([PICTURE]) as proxy,
        client_at("http://localhost:9/v1", proxy=f"http://127.0.0.1:{proxy.port}") as client,
    ):
        assert (await client.download(away("http://127.0.0.1:9/a.png"))).data == PNG


# Sessions.


async def test_connections_are_kept_and_closed() -> None:
    """Images of one server share a connection, which is closed with the client."""
    async with RawServer([PICTURE]) as server:
        async with nothing_left():
            client = client_of(server)
            for _ in range(3):
                await client.download(away("/a.png"))
            assert server.connections == 1
            await client.aclose()
        async with nothing_left():
            await client.download(away("/a.png"))  # a new one
            await client.aclose()


def test_one_client_for_several_loops() -> None:
    """A client at module level fetches in each `asyncio.run`, and leaves nothing open behind it."""

    async def fetch(client: ImagesClient | None) -> ImagesClient:
        async with RawServer(
            [PICTURE],
        ) as server:
            client = client or client_at("http://127.0.0.1:1/v1")
            assert (await client.download(away(f"http://127.0.0.1:{server.port}/a"))).data == PNG
        return client

    client = asyncio.run(fetch(None))
    asyncio.run(fetch(client))


async def test_closing_ends_a_download() -> None:
    """Whoever waits for one is not left waiting when the client is closed, and it is not begun anew."""
    head = reply(PNG[:20], length=len(PNG))
    async with RawServer([head, "stall"]) as server, nothing_left():
        client = client_of(server)
        task = asyncio.create_task(client.download(away("/a.png")))
        await until(lambda: bool(server.heads))
        await client.aclose()
        with pytest.raises(DownloadError, match="the client was closed"):
            await task
        assert server.connections <= 2  # aiohttp itself asks once more where the headers had not come


async def test_a_download_that_is_cancelled() -> None:
    """Its connection is closed at once."""
    async with RawServer([reply(PNG[:20], length=len(PNG)), "stall"]) as server, client_of(server) as client:
        task = asyncio.create_task(client.download(away("/a.png")))
        await until(lambda: bool(server.heads))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await server.left.wait()


def test_nothing_is_imported_before_it_is_needed() -> None:
    """Most servers send no URLs: a client, and a call, cost nothing for those that do."""
    code = (
        "import sys, openai_images; openai_images.ImagesClient(api_key='k').generate; "
        "print([n for n in sys.modules if n in ('openai_images.client.remote_images', 'openai_images.http.downloader', "
        "'openai_images.http.address_guard')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


async def test_a_name_is_looked_up_as_the_system_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """And once for each connection: nothing is kept that could be another host's by now."""
    async with RawServer([PICTURE]) as server:
        asked = names(monkeypatch, api=["127.0.0.1"], pictures=["127.0.0.1"])
        async with client_at(API) as client:
            for _ in range(2):
                await client.download(away(f"http://pictures.test:{server.port}/a.png"))
    assert asked.count("pictures.test") == 1


async def test_calls_are_as_they_were() -> None:
    """A client that has fetched something generates as before."""
    answer = reply(b'{"data": [{"b64_json": "R0lGODlhQQABAAAAADs="}]}')
    async with RawServer([PICTURE], [answer]) as server, client_of(server) as client:
        await client.download(away("/a.png"))
        assert (await generate(client)).image.nbytes == 14
