"""What is sent: the headers, each once, the body as it was asked for, and to which address."""

import json
from typing import Any

import pytest

from openai_images import GenerateRequest, ImagesClient
from openai_images.server import LocalImagesServer
from tests.helpers.aioresponses_compat import CallbackResult, MockResponses
from tests.helpers.clients import BOTH, JSON_ANSWER, KEY, PROMPT, Call, client_of, generate, stream
from tests.helpers.raw_server import RawServer, reply

URL = "http://images.example/v1/images/generations"


class Sent:
    """The requests that would have gone out."""

    def __init__(self, mock: MockResponses, url: str = URL) -> None:
        """Answer each with an image."""
        self.headers: list[dict[str, str]] = []
        self.bodies: list[Any] = []
        self.options: list[dict[str, Any]] = []
        mock.post(url, repeat=True, callback=lambda url, **options: self.note(options))

    def note(self, options: dict[str, Any]) -> CallbackResult:
        """Keep what was sent."""
        self.headers.append(dict(options["headers"]))
        self.bodies.append(json.loads(options["data"]))
        self.options.append(options)
        return CallbackResult(body=JSON_ANSWER)


@BOTH
async def test_headers(call: Call) -> None:
    """The key, the kind of answer that is understood, and who asks."""
    with MockResponses() as mock:
        sent = Sent(mock)
        async with ImagesClient(api_key=KEY, base_url="http://images.example/v1") as client:
            await call(client)
    assert sent.headers[0].pop("User-Agent").startswith("openai-images/")
    assert sent.headers[0] == {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "application/json",
        "Accept": "text/event-stream, application/json" if call is stream else "application/json",
        "Accept-Encoding": "identity",
    }
    assert sent.options[0]["allow_redirects"] is False


@pytest.mark.parametrize("by", ["argument", "environment"])
async def test_organization_and_project(by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both come from the arguments or the environment, and are sent under OpenAI's names."""
    names = {"organization": "org-1", "project": "proj-1"}
    if by == "environment":
        monkeypatch.setenv("OPENAI_ORG_ID", "org-1\n")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
        names = {}
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server, **names) as client:
        await generate(client)
        assert (server.header("openai-organization"), server.header("openai-project")) == (
            ["org-1"],
            ["proj-1"],
        )


async def test_arguments_win_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the program is meant."""
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_BASE_URL"):
        monkeypatch.setenv(name, "wrong")
    async with RawServer([reply(JSON_ANSWER)]) as server:
        async with client_of(server, organization="org-1", project="proj-1") as client:
            await generate(client)
        assert server.header("authorization") == [f"Bearer {KEY}"]
        assert (server.header("openai-organization"), server.header("openai-project")) == (
            ["org-1"],
            ["proj-1"],
        )


async def test_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_API_KEY is the key where none is given."""
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\r\n")
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server, api_key=None) as client:
        await generate(client)
        assert server.header("authorization") == [f"Bearer {KEY}"]


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "User-Agent",
        "Accept",
        "Content-Type",
        "Accept-Encoding",
        "OpenAI-Organization",
        "OpenAI-Project",
    ],
)
@pytest.mark.parametrize("spelled", [str, str.lower, str.upper])
async def test_the_users_headers_win(name: str, spelled: Any) -> None:
    """A header of the user replaces ours however it is spelled, and none is sent twice."""
    options = {
        "organization": "org-1",
        "project": "proj-1",
        "headers": {spelled(name): "mine", "X-More": "1"},
    }
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server, **options) as client:
        await generate(client)
        assert (server.header(name), server.header("x-more")) == (["mine"], ["1"])
        sent = [line.partition(":")[0].lower() for line in server.heads[0].split("\r\n")[1:] if line]
        assert len(sent) == len(set(sent))


async def test_a_key_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """With `api-key` among the headers the environment's key, which is for another server, stays here."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-openai")
    async with RawServer([reply(JSON_ANSWER)]) as server:
        async with client_of(server, api_key=None, headers={"api-key": KEY}) as client:
            await generate(client)
        assert (server.header("api-key"), server.header("authorization")) == ([KEY], [])


@pytest.mark.parametrize(
    ("base_url", "environment", "expected"),
    [
        ("http://images.example/v1", None, URL),
        ("http://images.example/v1/", None, URL),
        ("  http://images.example/v1//\n", "http://wrong.example", URL),
        (None, "http://images.example/v1", URL),
        (None, "http://images.example/v1/", URL),
        ("", "http://images.example/v1/", URL),
        (None, "", "https://api.openai.com/v1/images/generations"),
        (None, None, "https://api.openai.com/v1/images/generations"),
        ("http://images.example:8080", None, "http://images.example:8080/images/generations"),
        ("HTTP://[::1]:8080/a/b", None, "http://[::1]:8080/a/b/images/generations"),
    ],
)
async def test_address(
    base_url: str | None, environment: str | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address comes from the argument, the environment, or is OpenAI's; a last slash does not matter."""
    if environment is not None:
        monkeypatch.setenv("OPENAI_BASE_URL", environment)
    with MockResponses() as mock:
        sent = Sent(mock, expected)
        async with ImagesClient(api_key=KEY, base_url=base_url) as client:
            await generate(client)
    assert len(sent.bodies) == 1


BODIES = [
    ({}, {"prompt": PROMPT}),
    ({"model": "gpt-image-2", "size": None}, {"prompt": PROMPT, "model": "gpt-image-2"}),
    (
        {"n": 1, "size": "1024x1024", "quality": "low", "output_format": "webp", "output_compression": 0},
        {
            "prompt": PROMPT,
            "n": 1,
            "size": "1024x1024",
            "quality": "low",
            "output_format": "webp",
            "output_compression": 0,
        },
    ),
    ({"extra_body": {"seed": 7, "prompt": "other"}}, {"prompt": "other", "seed": 7}),
    ({"n": 1, "extra_body": {"n": None}}, {"prompt": PROMPT, "n": None}),
]


@pytest.mark.parametrize(("params", "body"), BODIES)
async def test_body(params: Any, body: dict[str, Any]) -> None:
    """What is set is sent, what is not set is not, and `extra_body` is laid over it."""
    with MockResponses() as mock:
        sent = Sent(mock)
        async with ImagesClient(api_key=KEY, base_url="http://images.example/v1") as client:
            await client.generate(PROMPT, **params)
    assert sent.bodies == [body]


async def test_body_of_a_stream() -> None:
    """A stream says so, and its number of partial images only where it was set."""
    with MockResponses() as mock:
        sent = Sent(mock)
        async with ImagesClient(api_key=KEY, base_url="http://images.example/v1") as client:
            for params in ({}, {"partial_images": 0}):
                async with client.stream(PROMPT, **params) as events:
                    assert [event async for event in events]
    assert sent.bodies == [
        {"prompt": PROMPT, "stream": True},
        {"prompt": PROMPT, "stream": True, "partial_images": 0},
    ]


@pytest.mark.parametrize(
    ("prompt", "params", "model"),
    [
        (PROMPT, {}, "default"),
        (PROMPT, {"model": "own"}, "own"),
        (GenerateRequest(PROMPT), {}, "default"),
        (GenerateRequest(PROMPT, model="own"), {}, "own"),
        (GenerateRequest(PROMPT, model="other"), {"model": "own"}, "own"),
    ],
)
async def test_model_of_the_client(prompt: Any, params: Any, model: str) -> None:
    """The client's model is for calls that name none."""
    with MockResponses() as mock:
        sent = Sent(mock)
        async with ImagesClient(api_key=KEY, base_url="http://images.example/v1", model="default") as client:
            await client.generate(prompt, **params)
    assert sent.bodies == [{"prompt": PROMPT, "model": model}]


@BOTH
async def test_key_asked_before_each_attempt(call: Call, server: LocalImagesServer) -> None:
    """A key that is a function is asked again for each attempt, and its white space is taken away."""
    asked: list[int] = []

    async def key() -> str:
        asked.append(1)
        return f" {server.api_key}\n"

    server.script("should_retry_true:500", "status:429")
    async with client_of(server, api_key=key) as client:
        assert asked == []
        assert (await call(client)).attempts == 3
    assert len(asked) == 3
    assert {request.headers["authorization"] for request in server.requests} == {f"Bearer {server.api_key}"}
