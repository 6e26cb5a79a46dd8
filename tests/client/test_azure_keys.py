"""Azure: which key or token goes where, in which header, and that none goes anywhere else or is ever shown."""

import asyncio
import logging
import ssl
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from openai_images import AuthenticationError, ConfigurationError, ImagesClient
from tests.helpers.clients import BOTH, COMPLETED, PROMPT, Call, FakeTime, generate
from tests.helpers.tcp_recorder import Answer, Recorded, Recorder

HOST = "https://x.openai.azure.com"
KEY = "0123456789abcdef0123456789abcdef"
TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJzZW50aW5lbCJ9.c2lnbmVk"
FOREIGN = "sk-proj-sentinel"


async def sent_by(**settings: Any) -> dict[str, str]:
    """The headers that authorize a request of a client with these settings."""
    async with Recorder() as server, ImagesClient.azure(server.url, **settings) as client:
        await generate(client)
    return server.only.authorizing


async def give_token() -> str:
    """A token, as azure-identity's async credentials give it."""
    await asyncio.sleep(0)
    return TOKEN


async def give_key() -> str:
    """A key out of a vault."""
    return f"{KEY}\n"


KINDS = [
    ({"api_key": KEY}, {"api-key": KEY}),
    ({"api_key": f" {KEY}\r\n"}, {"api-key": KEY}),
    ({"api_key": give_key}, {"api-key": KEY}),
    ({"token_provider": give_token}, {"authorization": f"Bearer {TOKEN}"}),
    ({"token_provider": lambda: "opaque"}, {"authorization": "Bearer opaque"}),
    ({"headers": {"api-key": KEY}}, {"api-key": KEY}),
    ({"headers": {"Authorization": f"Bearer {TOKEN}"}}, {"authorization": f"Bearer {TOKEN}"}),
    ({"headers": {"Ocp-Apim-Subscription-Key": KEY}}, {"ocp-apim-subscription-key": KEY}),
    ({"headers": {"API-Key": "mine"}, "api_key": KEY}, {"api-key": "mine"}),
    # A front may want a token of its own beside the resource's key.
    (
        {"headers": {"Authorization": "Bearer front"}, "api_key": KEY},
        {"authorization": "Bearer front", "api-key": KEY},
    ),
]


@pytest.mark.parametrize(("settings", "expected"), KINDS)
async def test_what_authorizes(settings: dict[str, Any], expected: dict[str, str]) -> None:
    """A key travels as `api-key`, a token as Bearer, the user's own headers as they are."""
    assert await sent_by(**settings) == expected


@pytest.mark.parametrize(
    ("env", "settings", "expected"),
    [
        ({"AZURE_OPENAI_API_KEY": f"{KEY}\n"}, {}, {"api-key": KEY}),
        ({"AZURE_OPENAI_AD_TOKEN": f"{TOKEN}\n"}, {}, {"authorization": f"Bearer {TOKEN}"}),
        (
            {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_AD_TOKEN": TOKEN},
            {},
            {"authorization": f"Bearer {TOKEN}"},
        ),
        ({"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_AD_TOKEN": " "}, {}, {"api-key": KEY}),
        ({"AZURE_OPENAI_AD_TOKEN": TOKEN}, {"api_key": KEY}, {"api-key": KEY}),
        ({"AZURE_OPENAI_API_KEY": KEY}, {"token_provider": give_token}, {"authorization": f"Bearer {TOKEN}"}),
        ({"AZURE_OPENAI_AD_TOKEN": TOKEN}, {"headers": {"api-key": KEY}}, {"api-key": KEY}),
        ({"AZURE_OPENAI_API_KEY": KEY}, {"headers": {"api-key": "mine"}}, {"api-key": "mine"}),
        ({"AZURE_OPENAI_API_KEY": KEY, "OPENAI_API_KEY": FOREIGN}, {}, {"api-key": KEY}),
    ],
)
async def test_keys_of_the_environment(
    env: dict[str, str], settings: dict[str, Any], expected: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stand in where nothing was given, the token first, as in the official client."""
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert await sent_by(**settings) == expected


async def test_what_belongs_to_openai_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither OpenAI's key nor the names of an account there go to Azure."""
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, FOREIGN)
    with pytest.raises(ConfigurationError, match="no Azure credential: pass api_key=… or token_provider=…"):
        ImagesClient.azure(HOST).stream(PROMPT)
    async with Recorder() as server, ImagesClient.azure(server.url, api_key=KEY) as client:
        await generate(client)
    assert FOREIGN not in str(server.only.headers)


async def test_what_belongs_to_azure_stays_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client of OpenAI, or of any other server, looks at no variable of Azure's."""
    for name in ("AZURE_OPENAI_API_KEY", "AZURE_OPENAI_AD_TOKEN"):
        monkeypatch.setenv(name, "sentinel-of-azure")
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", HOST)
    with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY"):
        ImagesClient().stream(PROMPT)
    async with (
        Recorder() as server,
        ImagesClient(base_url=f"{server.url}/v1", api_key="sk-mine") as client,
    ):
        await generate(client)
    assert server.only.authorizing == {"authorization": "Bearer sk-mine"}
    assert "sentinel" not in str(server.only.headers)


class Here(AbstractResolver):
    """Every name is this machine's."""

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """The loopback address."""
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=port, family=family or 2, proto=0, flags=0)
        ]

    async def close(self) -> None:
        """Nothing is open."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Whoever signs Azure's certificate in these tests."""
    return trustme.CA()


@asynccontextmanager
async def own_host(
    authority: trustme.CA, *answers: Answer
) -> AsyncIterator[tuple[str, dict[str, Any], list[Recorded]]]:
    """A host of Azure's own, as far as a client sees: its address, the settings that lead there, its requests."""
    served, trusted = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("x.openai.azure.com").configure_cert(served)
    authority.configure_trust(trusted)
    async with (
        Recorder(*answers, tls=served) as server,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=Here())) as session,
    ):
        settings = {"session": session, "ssl": trusted, "timing": FakeTime().timing}
        yield f"{HOST}:{server.port}", settings, server.requests
    await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"api_key": KEY}, {"api-key": KEY}),
        ({"api_key": give_key}, {"api-key": KEY}),
        # What Azure's guide shows for the official client.
        ({"api_key": give_token}, {"authorization": f"Bearer {TOKEN}"}),
        ({"api_key": TOKEN}, {"authorization": f"Bearer {TOKEN}"}),
        ({"headers": {"api-key": "mine"}}, {"api-key": "mine"}),
        ({"headers": {"api-key": "mine"}, "api_key": KEY}, {"api-key": "mine"}),
        ({}, {"api-key": "of-the-environment"}),
    ],
)
async def test_a_base_url_of_azure(
    settings: dict[str, Any],
    expected: dict[str, str],
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On Azure's own hosts a key travels as `api-key` and what looks like a token as Bearer; no account's name goes."""
    monkeypatch.setenv("OPENAI_API_KEY", "of-the-environment")
    monkeypatch.setenv("OPENAI_ORG_ID", "sentinel")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "sentinel")
    async with own_host(authority) as (url, means, requests):
        async with ImagesClient(base_url=f"{url}/openai/v1/", **means, **settings) as client:
            await generate(client)
        [request] = requests
    assert request.authorizing == expected
    assert request.target == "/openai/v1/images/generations"
    assert "sentinel" not in str(request.headers)


@pytest.mark.parametrize("given", ["api_key", "environment"])
def test_a_key_of_openais_for_azure(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused when it is read, without being shown."""
    if given == "environment":
        monkeypatch.setenv("OPENAI_API_KEY", FOREIGN)
    key = FOREIGN if given == "api_key" else None
    with pytest.raises(ConfigurationError, match="begins with sk-, as OpenAI's own do") as caught:  # noqa: PT012
        client = ImagesClient(base_url=f"{HOST}/openai/v1", api_key=key)
        assert key is None, "what is given is refused at once"
        client.stream(PROMPT)
    assert "sentinel" not in "".join(traceback.format_exception(caught.value))


async def test_a_key_of_openais_from_a_function(authority: trustme.CA) -> None:
    """It is refused when it is given, and nothing is sent."""

    async def give() -> str:
        return FOREIGN

    async with own_host(authority) as (url, means, requests):
        async with ImagesClient(base_url=f"{url}/openai/v1", api_key=give, **means) as client:
            with pytest.raises(ConfigurationError, match="begins with sk-"):
                await generate(client)
        async with ImagesClient.azure(url, api_key=give, **means) as client:
            with pytest.raises(ConfigurationError, match="begins with sk-"):
                await generate(client)
        assert requests == []


async def test_a_front_may_want_such_a_key() -> None:
    """Proxies of other makers hand out keys that look so."""
    assert await sent_by(api_key="sk-virtual") == {"api-key": "sk-virtual"}


def test_no_key_for_a_base_url_of_azure() -> None:
    """The text says both ways."""
    with pytest.raises(
        ConfigurationError, match=r"OPENAI_API_KEY to the Azure resource's key; AZURE_OPENAI_\*"
    ):
        ImagesClient(base_url=f"{HOST}/openai/v1").stream(PROMPT)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, r"or set AZURE_OPENAI_API_KEY \(or AZURE_OPENAI_AD_TOKEN\)"),
        ({"api_key": " "}, "no Azure credential"),
        ({"api_key": "sentinel\nX-Evil: 1"}, "has characters that no key has"),
        ({"api_key": KEY, "token_provider": give_token}, "exclude each other"),
        ({"token_provider": TOKEN}, "must be a function that returns the token, not str"),
        ({"token_provider": object()}, "get_bearer_token_provider"),
        ({"api_key": 5}, "not int"),
    ],
)
def test_credentials_that_are_none(settings: dict[str, Any], says: str) -> None:
    """What cannot authorize is refused before anything is sent, and not shown."""
    with pytest.raises(ConfigurationError, match=says) as caught:  # noqa: PT012
        client = ImagesClient.azure(HOST, **settings)
        assert not settings, "what is given is refused at once"
        client.stream(PROMPT)
    text = "".join(traceback.format_exception(caught.value))
    assert not any(secret in text for secret in ("sentinel", KEY, TOKEN))


def test_a_token_of_the_environment_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """One with the name of its scheme before it is refused, not shown."""
    monkeypatch.setenv("AZURE_OPENAI_AD_TOKEN", f"Bearer {TOKEN}")
    with pytest.raises(ConfigurationError, match="has characters that no key has") as caught:
        ImagesClient.azure(HOST).stream(PROMPT)
    assert TOKEN not in str(caught.value)


@BOTH
async def test_a_provider_is_asked_before_each_attempt(call: Call) -> None:
    """A token may end between two attempts: the provider, which caches, decides."""
    asked: list[str] = []

    async def give() -> str:
        asked.append(f"{TOKEN}{len(asked)}")
        return asked[-1]

    limited = Answer(b"{}", 429, {"retry-after-ms": "10"})
    last = Answer() if call.__name__ == "generate" else Answer(COMPLETED, kind="text/event-stream")
    async with Recorder(limited, last) as server:
        time = FakeTime()
        async with ImagesClient.azure(server.url, token_provider=give, timing=time.timing) as client:
            assert asked == []
            assert (await call(client)).attempts == 2
    assert [request.headers["authorization"] for request in server.requests] == [
        f"Bearer {token}" for token in asked
    ]


async def test_a_provider_that_gives_nothing() -> None:
    """An error says so before anything is sent; the provider's exception is its cause."""
    nothing: Any = lambda: None  # noqa: E731  as users write it

    async def fail() -> str:
        raise KeyError("no credential")

    async with Recorder() as server:
        async with ImagesClient.azure(server.url, token_provider=nothing) as client:
            with pytest.raises(ConfigurationError, match="returned NoneType"):
                await generate(client)
        async with ImagesClient.azure(server.url, token_provider=fail) as client:
            with pytest.raises(ConfigurationError, match="raised KeyError") as caught:
                await generate(client)
            assert isinstance(caught.value.__cause__, KeyError)
    assert server.requests == []


@pytest.mark.parametrize("settings", [{"api_key": KEY}, {"token_provider": give_token}])
async def test_nothing_shows_it(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """Neither the client nor its access, its log, or an error of a server that echoes what it was sent."""
    echo = Answer(f'{{"error":{{"code":"401","message":"no {KEY} and no {TOKEN}"}}}}'.encode(), 401)
    with caplog.at_level(logging.DEBUG, "openai_images"):
        async with Recorder(echo) as server, ImagesClient.azure(server.url, **settings) as client:
            with pytest.raises(AuthenticationError) as caught:
                await generate(client)
    secret = KEY if "api_key" in settings else TOKEN
    error = caught.value
    shown = [
        str(error),
        repr(error),
        str(error.body),
        repr(client),
        repr(client._endpoint.current()),
        caplog.text,
    ]
    assert not any(secret in text for text in (*shown, *traceback.format_exception(error)))
