"""Proxies: which one a request goes through, and what is refused before anything is sent."""

import os
from typing import Any

import pytest
from yarl import URL

from openai_images import ConfigurationError, ImagesClient
from openai_images.http.sessions import environment_proxy, parse_proxy
from tests.helpers.clients import BOTH, JSON_ANSWER, KEY, Call, client_of, generate
from tests.helpers.raw_server import RawServer, reply

PROXIED = "http://images.example/v1"


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start without any, whatever the machine has."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name == "REQUEST_METHOD":
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        (None, None),
        ("", None),
        ("http://proxy:8080", "http://proxy:8080"),
        ("https://proxy", "https://proxy"),
        ("proxy:8080", "http://proxy:8080"),
        ("//proxy:8080", "http://proxy:8080"),
        (" 127.0.0.1:8080\n", "http://127.0.0.1:8080"),
        ("user:pa%23ss@proxy:8080", "http://user:pa%23ss@proxy:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        (URL("http://proxy:8080"), "http://proxy:8080"),
    ],
)
def test_usable(given: object, url: str | None) -> None:
    """A missing scheme is http."""
    assert parse_proxy(given) == url


UNFIT = [
    "ftp://u:sentinel@proxy",
    "http://",
    "http://:8080",
    "http://u:sentinel@proxy:port",
    "u:sentinel",
    "http://u:sen#tinel@proxy:8080",
    "http://u:sen/tinel@proxy:8080",
    "http://u:sentinel@pro xy:8080",
    "http://u:sentinel@proxy:0",
    "http://u:sentinel@[::1",
    "http://u:sentinel@proxy:99999",
]


@pytest.mark.parametrize("proxy", UNFIT)
def test_unfit(proxy: str) -> None:
    """What cannot be used is said when the client is built, without the address, which has a password in it."""
    with pytest.raises(ConfigurationError, match=r"^proxy= names no valid proxy") as caught:
        ImagesClient(api_key=KEY, proxy=proxy)
    assert not any(secret in str(caught.value) for secret in ("sentinel", "sen#", "tinel"))
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("proxy", [b"http://proxy", 8080, {"https": "http://proxy"}])
def test_no_text(proxy: Any) -> None:
    """Neither is what is no text."""
    with pytest.raises(ConfigurationError, match=f"not {type(proxy).__name__}"):
        ImagesClient(api_key=KEY, proxy=proxy)


@pytest.mark.parametrize("scheme", ["socks", "socks4", "socks4a", "socks5", "socks5h", "SOCKS5"])
def test_socks(scheme: str) -> None:
    """SOCKS is named, and what to do."""
    with pytest.raises(ConfigurationError, match=r"proxy= names a SOCKS proxy.*session=") as caught:
        ImagesClient(api_key=KEY, proxy=f"{scheme}://u:sentinel@127.0.0.1:1080")
    assert "sentinel" not in str(caught.value)


@BOTH
@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("kind", ["SOCKS proxy", "no valid proxy"])
async def test_unfit_environment(call: Call, name: str, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxies are judged alike, before anything is sent."""
    scheme = "socks5" if kind == "SOCKS proxy" else "ftp"
    async with RawServer([reply(JSON_ANSWER)]) as proxy:
        monkeypatch.setenv(name, f"{scheme}://u:sentinel@127.0.0.1:{proxy.port}")
        async with client_of(proxy, base_url=PROXIED) as client:
            with pytest.raises(ConfigurationError, match=f"{name.upper()} names a?.*{kind}") as caught:
                await call(client)
        assert (proxy.connections, "sentinel" in str(caught.value)) == (0, False)


@pytest.mark.parametrize("name", ["ALL_PROXY", "all_proxy"])
async def test_all_proxy(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """ALL_PROXY is for every scheme that has no proxy of its own."""
    async with RawServer([reply(JSON_ANSWER)]) as proxy:
        monkeypatch.setenv(name, f"127.0.0.1:{proxy.port}")
        async with client_of(proxy, base_url=PROXIED) as client:
            await generate(client)
        assert proxy.heads[0].startswith(f"POST {PROXIED}/")


def test_the_scheme_counts_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTPS_PROXY comes before ALL_PROXY, and an empty one is none."""
    monkeypatch.setenv("ALL_PROXY", "socks5://all:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://https:2")
    assert environment_proxy("https://images.example/v1") == "http://https:2"
    monkeypatch.setenv("ALL_PROXY", "http://all:1")
    monkeypatch.setenv("HTTPS_PROXY", "")
    assert environment_proxy("https://images.example/v1") == "http://all:1"
    assert environment_proxy("http://images.example/v1") == "http://all:1"


EXCEPTED = [
    ("*", "https://images.example/v1"),
    ("images.example", "https://images.example/v1"),
    ("a.example, images.example", "https://images.example/v1"),
    ("a.example images.example", "https://images.example/v1"),
    ("IMAGES.example", "https://Images.Example/v1"),
    ("images.example", "https://images.example./v1"),
    ("example", "https://images.example/v1"),
    (".example", "https://images.example/v1"),
    (".images.example", "https://images.example/v1"),
    ("*.example", "https://images.example/v1"),
    ("*example", "https://images.example/v1"),
    ("images.*", "https://images.example/v1"),
    ("https://images.example", "https://images.example/v1"),
    ("images.example:443", "https://images.example/v1"),
    ("images.example:8443", "https://images.example:8443/v1"),
    (".example:443", "https://images.example/v1"),
    ("127.0.0.1", "http://127.0.0.1:8000/v1"),
    ("127.0.0.1:8000", "http://127.0.0.1:8000/v1"),
    ("127.0.0.0/8", "http://127.1.2.3:8000/v1"),
    ("10.1.2.3/8", "http://10.9.9.9/v1"),
    ("192.168.1.*", "http://192.168.1.7/v1"),
    ("::1", "http://[::1]:8000/v1"),
    ("[::1]", "http://[::1]:8000/v1"),
    ("[::1]:8000", "http://[::1]:8000/v1"),
    ("0:0:0:0:0:0:0:1", "http://[::1]/v1"),
    ("fd00::/8", "http://[fd12::1]/v1"),
]


@pytest.mark.parametrize(("entries", "url"), EXCEPTED)
def test_excepted(entries: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY in its usual forms."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy:8080")
    monkeypatch.setenv("NO_PROXY", entries)
    assert environment_proxy(url) is None


@pytest.mark.parametrize(
    ("entries", "url"),
    [
        ("", "https://images.example/v1"),
        (",, ,", "https://images.example/v1"),
        ("mages.example", "https://images.example/v1"),
        ("images.example:80", "https://images.example/v1"),
        ("images.example:443", "https://images.example:8443/v1"),
        ("127.0.0.1:80", "http://127.0.0.1:8000/v1"),
        ("127.0.0.0/8", "http://128.0.0.1/v1"),
        ("10.0.0.0/99", "http://10.0.0.1/v1"),
        ("fd00::/8", "http://10.0.0.1/v1"),
        ("7.0.0.1", "http://127.0.0.1/v1"),
        ("a/b", "https://images.example/v1"),
    ],
)
def test_not_excepted(entries: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not named goes through the proxy."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy:8080")
    monkeypatch.setenv("NO_PROXY", entries)
    assert environment_proxy(url) == "http://proxy:8080"
