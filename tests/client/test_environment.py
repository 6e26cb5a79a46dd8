"""What a client takes from the environment: read for each call, so that a client can be built before it is set."""

import copy
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openai_images import (
    Batch,
    BatchItem,
    ConfigurationError,
    GenerateRequest,
    ImagesClient,
    RateLimitError,
    RequestInvalidError,
    RetryPolicy,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, KEY, PNG, PROMPT, Call, FakeTime, generate

OPENAI = "https://api.openai.com/v1"
AZURE = "https://name.openai.azure.com"


@pytest.fixture(scope="module")
def other() -> Iterator[LocalImagesServer]:
    """A second server."""
    with LocalImagesServer.in_thread(pictures=PNG) as server:
        yield server


@pytest.fixture
def point(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Point the environment at a server."""

    def to(server: LocalImagesServer) -> None:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", server.api_key)

    return to


@BOTH
async def test_a_client_is_built_before_the_environment_is_set(
    call: Call, server: LocalImagesServer, other: LocalImagesServer, point: Any
) -> None:
    """A client at module level raises with its first call only, and follows the environment from call to call."""
    before = other.posts
    async with ImagesClient() as client:
        with pytest.raises(ConfigurationError, match="set OPENAI_API_KEY"):
            await call(client)
        point(server)
        await call(client)
        point(other)
        await call(client)
    assert (server.posts, other.posts - before) == (1, 1)


async def test_what_was_given_stays(server: LocalImagesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments are never replaced by the environment; what is left out of them is read."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong")
    monkeypatch.setenv("OPENAI_BASE_URL", OPENAI)
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key, project="p") as client:
        for organization in ("one", "two"):
            monkeypatch.setenv("OPENAI_ORG_ID", organization)
            monkeypatch.setenv("OPENAI_PROJECT_ID", "other")
            await generate(client)
    sent = [
        (request.headers["OpenAI-Organization"], request.headers["OpenAI-Project"])
        for request in server.requests
    ]
    assert sent == [("one", "p"), ("two", "p")]


def test_the_address_is_that_of_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """`base_url` and the repr need no key; a repr never raises."""
    client = ImagesClient()
    assert (client.base_url, repr(client)) == (OPENAI, f"<ImagesClient {OPENAI}>")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1/")
    assert client.base_url == "http://127.0.0.1:9/v1"
    monkeypatch.setenv("OPENAI_BASE_URL", "nowhere")
    assert repr(client) == "<ImagesClient, not complete>"
    with pytest.raises(ConfigurationError, match="'nowhere' cannot be used"):
        _ = client.base_url


def test_whose_rules_hold_is_judged_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is certain at OpenAI's hosts only is refused while the client points there."""
    client = ImagesClient(api_key=KEY)
    for base_url, is_refused in ((None, True), ("http://127.0.0.1:9/v1", False), (OPENAI, True)):
        monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
        if base_url is not None:
            monkeypatch.setenv("OPENAI_BASE_URL", base_url)
        if is_refused:
            with pytest.raises(RequestInvalidError, match="size"):
                client.stream(PROMPT, model="gpt-image-2", size="1000x1001")
        else:
            client.stream(PROMPT, model="gpt-image-2", size="1000x1001")


async def test_limits_are_those_of_a_server(
    server: LocalImagesServer, other: LocalImagesServer, point: Any
) -> None:
    """The pause that one server asked for does not hold back requests to the next one."""
    server.always("rate_limited")
    time = FakeTime()
    policy = RetryPolicy(max_retries=0, max_rate_limit_wait=0)
    async with ImagesClient(retry=policy, timing=time.timing) as client:
        point(server)
        with pytest.raises(RateLimitError):
            await generate(client)
        point(other)
        assert (await generate(client)).attempts == 1
    assert time.slept == []


def test_azure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure's variables are read for each call, too: the deployment of the endpoint is the model."""
    client = ImagesClient.azure(api_key="k")
    with pytest.raises(ConfigurationError, match="set AZURE_OPENAI_ENDPOINT"):
        client.stream(PROMPT)
    monkeypatch.setenv("OPENAI_API_VERSION", "2025-04-01-preview")
    for name in ("one", "two"):
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{AZURE}/openai/deployments/{name}")
        assert client.base_url == f"{AZURE}/openai/deployments/{name}"
        assert client._calls.model == name


async def test_a_copy_follows_and_a_pickle_stays(
    server: LocalImagesServer, other: LocalImagesServer, point: Any
) -> None:
    """A copy reads the environment as its original does; a pickled client keeps the endpoint that it had."""
    client = ImagesClient()
    unready = pickle.loads(pickle.dumps(client))
    point(server)
    copied, pickled = copy.deepcopy(client), pickle.loads(pickle.dumps(client))
    point(other)
    assert [each.base_url for each in (copied, unready, pickled)] == [
        other.base_url,
        other.base_url,
        server.base_url,
    ]
    async with pickled:
        await generate(pickle.loads(pickle.dumps(pickled)))
    assert server.posts == 1


async def test_many_requests_and_batches_need_it_at_their_start(tmp_path: Path) -> None:
    """Without a key a run ends before the first request, and a batch makes no folder."""
    client = ImagesClient()
    with pytest.raises(ConfigurationError, match="no API key"):
        client.generate_many([PROMPT] * 9)
    with pytest.raises(ConfigurationError, match="no API key"):
        async with Batch(client, [BatchItem("a", GenerateRequest(PROMPT))], tmp_path / "out"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_while_nothing_changes_nothing_is_made_again(server: LocalImagesServer, point: Any) -> None:
    """A call costs the look at a few variables, no more."""
    client = ImagesClient()
    point(server)
    endpoint = client._endpoint.current()
    assert client._endpoint.current() is endpoint
    assert client._calls._server() is client._calls._server()
