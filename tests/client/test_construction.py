"""Building a client: what is refused at once, without repeating a secret, and that nothing else happens."""

import asyncio
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from openai_images import (
    APIConnectionError,
    BadRequestError,
    ConfigurationError,
    ImagesClient,
    Limits,
    RequestInvalidError,
    RetryPolicy,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, JSON_ANSWER, KEY, PROMPT, Call, client_of, generate
from tests.helpers.raw_server import RawServer, free_port, reply


@pytest.mark.parametrize("key", [None, "", "  ", "\r\n"])
def test_no_key(key: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key there is no call, and the text says what to do."""
    monkeypatch.setenv("OPENAI_API_KEY", " \n")
    with pytest.raises(ConfigurationError, match=r"no API key: pass api_key=… or set OPENAI_API_KEY"):  # noqa: PT012
        client = ImagesClient(api_key=key)
        assert key is None, "what is given is refused at once"
        client.stream(PROMPT)


BAD_KEYS = [
    "sk-sentinel\nX-Evil: 1",
    "sk-sentinel sk-other",
    "sk-sentinel\x00",
    "sk-sentinel\u2013dash",
    "sk-sentinel\x7f",
]


@pytest.mark.parametrize("key", BAD_KEYS)
def test_key_no_header_can_hold(key: str) -> None:
    """A key with a line break, a space or a dash from a word processor is refused without being shown."""
    with pytest.raises(ConfigurationError) as caught:
        ImagesClient(api_key=key)
    assert "sentinel" not in "".join(traceback.format_exception(caught.value))


@BOTH
@pytest.mark.parametrize("key", [*BAD_KEYS, "", " \n"])
async def test_key_from_a_function(call: Call, key: str, server: LocalImagesServer) -> None:
    """What a function gives is checked the same way, before anything is sent."""

    async def ask() -> str:
        return key

    async with client_of(server, api_key=ask) as client:
        with pytest.raises(ConfigurationError) as caught:
            await call(client)
    assert "sentinel" not in "".join(traceback.format_exception(caught.value))
    assert (server.posts, caught.value.attempts) == (0, 0)


async def test_a_function_that_fails(server: LocalImagesServer) -> None:
    """An exception of the key's function is the cause of an error, and the slot it held is free again."""
    keys = iter([KeyError("no vault"), server.api_key])

    async def ask() -> str:
        key = next(keys)
        if isinstance(key, str):
            return key
        raise key

    async with client_of(server, api_key=ask, limits=Limits(concurrency=1)) as client:
        with pytest.raises(
            ConfigurationError, match="key or token raised KeyError; nothing was sent"
        ) as caught:
            await generate(client)
        assert isinstance(caught.value.__cause__, KeyError)
        assert (await generate(client)).attempts == 1


async def test_key_with_a_line_end(server: LocalImagesServer) -> None:
    """The line end of a file around the key is taken away."""
    async with client_of(server, api_key=f"\ufeff{server.api_key}\r\n".removeprefix("\ufeff")) as client:
        assert (await generate(client)).attempts == 1


@pytest.mark.parametrize("header", ["Authorization", "authorization", "api-key", "API-KEY"])
@pytest.mark.parametrize("key", [None, " "])
async def test_key_among_the_headers(header: str, key: str | None) -> None:
    """Headers may authorize in the key's place."""
    async with RawServer([reply(JSON_ANSWER)]) as server:
        async with client_of(server, api_key=key, headers={header: "Token abc"}) as client:
            await generate(client)
        assert server.header(header) == ["Token abc"]


@pytest.mark.parametrize(
    "base_url",
    [
        " ", "images.example/v1", "localhost:8080", "ftp://images.example/v1", "http://", "http:///v1", "https://:443/v1",
        "http://images.example/v1?api-version=1", "http://images.example/v1#x", "http://images.example:port/v1",
        "http://images.example:99999/v1", "http://images.example:0/v1", "http://exa mple/v1", "http://[::1/v1",
        "http://images\n.example/v1", "file:///etc/passwd", "http://user:sentinel@images.example/v1",
        "http://sentinel@images.example", "ftp://user:sentinel@images.example/?key=sentinel",
    ],
)  # fmt: skip
@pytest.mark.parametrize("by", ["argument", "environment"])
def test_bad_base_url(base_url: str, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address nothing can be sent to is refused as soon as it is read, without its credentials."""
    with pytest.raises(ConfigurationError, match="should look like https://api") as caught:  # noqa: PT012
        if by == "argument":
            ImagesClient(api_key=KEY, base_url=base_url)
        client = ImagesClient(api_key=KEY)
        monkeypatch.setenv("OPENAI_BASE_URL", base_url)
        client.stream(PROMPT)
    assert "sentinel" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("localhost:8000", "http://localhost:8000/v1"),
        ("localhost", "http://localhost/v1"),
        ("10.0.0.7:30000/v1/", "http://10.0.0.7:30000/v1"),
        ("127.0.0.1", "http://127.0.0.1/v1"),
        ("images.example.com", "https://images.example.com/v1"),
        ("//images.example.com/api", "https://images.example.com/api"),
        ("name:secret@example.com", None),
        ("example.com?key=secret", None),
        ("ftp://example.com", None),
        ("http://", None),
        ("https:", None),
    ],
)
def test_an_address_without_a_scheme(url: str, meant: str | None) -> None:
    """The error has the whole one that was probably meant; nothing of one that may hold a secret."""
    with pytest.raises(ConfigurationError) as caught:
        ImagesClient(api_key="k", base_url=url)
    said = str(caught.value)
    assert "secret" not in said
    assert said.partition("; did you mean ")[2] == (f"{meant}?" if meant else "")


def test_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client is built without a loop and without a socket, and shows no secret."""
    monkeypatch.setattr("aiohttp.ClientSession.__init__", None)
    client = ImagesClient(api_key=KEY, base_url="http://images.example/v1/", headers={"X-Secret": "sentinel"})
    assert repr(client) == "<ImagesClient http://images.example/v1>"
    assert client.base_url == "http://images.example/v1"
    assert client.stream("an otter")


def test_bad_options() -> None:
    """Limits and policies that make no sense are refused where they are made."""
    for build in (
        lambda: RetryPolicy(max_retries=-1),
        lambda: RetryPolicy(max_rate_limit_wait=-1),
        lambda: Limits(concurrency=0),
        lambda: Limits(max_picture_bytes=0),
    ):
        with pytest.raises(ConfigurationError, match="must be"):
            build()


@BOTH
@pytest.mark.parametrize("headers", [{"X-Bad": "a\r\nX-Evil: sentinel"}, {"X-Bad\n": "sentinel"}])
async def test_header_that_cannot_be_sent(call: Call, headers: dict[str, str]) -> None:
    """A header with a line break is the caller's mistake: nothing is sent, and its value stays out of sight."""
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server) as client:
        with pytest.raises(ConfigurationError, match="header") as caught:
            await call(client.with_options(headers=headers))
        assert server.posts == 0
    assert "sentinel" not in "".join(traceback.format_exception(caught.value))


async def test_mistakes_of_the_caller(server: LocalImagesServer) -> None:
    """A prompt that is no text, and a parameter nobody knows, are refused before anything is sent."""
    async with client_of(server) as client:
        wrong: Any = 5
        with pytest.raises(RequestInvalidError):
            await client.generate(wrong)
        with pytest.raises(TypeError, match="extra_body"):
            client.stream("an otter", seed=1)  # type: ignore[call-arg]
    assert server.posts == 0


def test_two_loops() -> None:
    """One client at module level serves one `asyncio.run` after the other."""
    port = free_port()
    client = ImagesClient(api_key=KEY, base_url=f"http://127.0.0.1:{port}/v1")

    async def one() -> int:
        async with RawServer([reply(JSON_ANSWER)], port=port):
            results = await asyncio.gather(*(generate(client) for _ in range(3)))
            return sum(result.attempts for result in results)

    assert [asyncio.run(one()) for _ in range(2)] == [3, 3]


@pytest.mark.parametrize(
    "options",
    [{"max_retries": "2"}, {"max_retries": 1.5}, {"max_retries": None}, {"max_rate_limit_wait": None}],
)
def test_bad_retry_policies(options: dict[str, Any]) -> None:
    """What is no count and no number of seconds is refused when the policy is made."""
    with pytest.raises(ConfigurationError, match=next(iter(options))):
        RetryPolicy(**options)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *((name, value) for name in ("base_url", "organization", "project") for value in (5, Path("v1"))),
        *(("limits", value) for value in (5, "10", {"concurrency": 3})),
        *(("ssl", value) for value in ("no", 1, Path("ca.pem"))),
        *(("headers", {name: "sentinel"}) for name in ("X\n", "X-\u00e4", "", "X Y", "X:")),
        *(("headers", {"X-Bad": value}) for value in ("sentinel\r\nX-Evil: 1", "sentinel\0")),
    ],
)
def test_settings_of_no_sense(setting: str, value: Any) -> None:
    """A value that no call could use is refused where it is set, by the setting's name and without its text."""
    with pytest.raises(ConfigurationError, match=setting.removesuffix("s")) as caught:
        ImagesClient(**{"api_key": KEY, setting: value})
    assert "sentinel" not in "".join(traceback.format_exception(caught.value))


def test_settings_of_libraries() -> None:
    """A fingerprint of aiohttp is one of its settings for TLS; a header may have any text in one line."""
    pinned: Any = aiohttp.Fingerprint(b"0" * 32)
    assert ImagesClient(api_key=KEY, ssl=pinned)
    assert ImagesClient(api_key=KEY, headers={"X-Team": "Grüße\taus 東京", "X-Empty": ""})


@pytest.mark.parametrize("path", ["/images/generations", "/images/edits/"])
def test_the_address_of_an_endpoint(path: str) -> None:
    """It is no base URL: every request would be sent to a path behind it. The error has the base."""
    with pytest.raises(ConfigurationError, match=r"did you mean https://images\.example/v1\?"):
        ImagesClient(api_key=KEY, base_url=f"https://images.example/v1{path}")


def test_a_key_of_no_sense() -> None:
    """A key is text, or a function that returns it."""
    with pytest.raises(ConfigurationError, match="not int"):
        ImagesClient(api_key=5)  # type: ignore[arg-type]


async def test_a_key_function_that_is_not_async(server: LocalImagesServer) -> None:
    """It is asked all the same; one that gives nothing is told so."""
    plain: Any = lambda: server.api_key  # noqa: E731  as users write it
    async with ImagesClient(base_url=server.base_url, api_key=plain) as client:
        await client.generate("an otter")
    nothing: Any = lambda: None  # noqa: E731  likewise
    async with ImagesClient(base_url=server.base_url, api_key=nothing) as client:
        with pytest.raises(ConfigurationError, match="returned NoneType"):
            await client.generate("an otter")


async def test_what_headers_and_extra_body_hold_is_not_repeated() -> None:
    """A server that echoes a header of the user's, or the prompt laid over the body, gives nothing away."""
    body = b'{"error":{"message":"no HEADERSECRET and no SECRETPROMPT"}}'
    async with (
        RawServer([reply(body, status=400)]) as raw,
        ImagesClient(base_url=raw.base_url, api_key=KEY, headers={"X-Api-Key": "HEADERSECRET"}) as client,
    ):
        with pytest.raises(BadRequestError) as caught:
            await client.generate("an otter", extra_body={"prompt": "SECRETPROMPT"})
    assert "SECRET" not in f"{caught.value} {caught.value.body}"


async def test_no_frame_behind_an_error_holds_the_key() -> None:
    """Error reporters show the local variables of chained exceptions, aiohttp's frames included."""
    async with ImagesClient(
        base_url="http://127.0.0.1:9/v1", api_key=KEY, retry=RetryPolicy(max_retries=0)
    ) as client:
        with pytest.raises(APIConnectionError) as caught:
            await client.generate("an otter")
    cause = caught.value.__cause__
    assert cause is not None
    assert cause.__traceback__ is None


FEW_IMPORTS = """
import re, sys
import aiohttp, attrs, cattrs, pybase64
compile, patterns = re.compile, []
re.compile = lambda *args: patterns.append(args[0]) or compile(*args)
from openai_images import ImagesClient
ImagesClient(api_key="x")
parts = {"batch", "cli", "cluster", "many", "server", "studio", "telemetry", "web"}
late = {"decimal", "fractions", "html", "secrets", *(f"openai_images.{part}" for part in parts)}
print(sorted(late & set(sys.modules)), len(patterns) <= 10 or patterns)
"""


def test_a_client_is_built_from_few_modules() -> None:
    """What only a failure or another part needs is not imported, and the patterns of errors are not compiled."""
    done = subprocess.run([sys.executable, "-c", FEW_IMPORTS], capture_output=True, text=True, check=True)
    assert done.stdout == "[] True\n"
