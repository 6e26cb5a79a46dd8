"""A client travels by its settings; what cannot travel is said, with what to do."""

import copy
import pickle
import ssl
import sys
from typing import Any

import aiohttp
import pytest

from openai_images import ImagesClient, Limits, RetryPolicy, Timeouts
from openai_images.server import LocalImagesServer
from tests.helpers.clients import BOTH, KEY, PROMPT, Call, client_of, generate

AZURE = "https://name.openai.azure.com"


async def a_key() -> str:
    """A key from a function that a worker can import."""
    return KEY


class Sub(ImagesClient):
    """Somebody's own client."""


def again(client: ImagesClient) -> ImagesClient:
    """Through a pickle, in every protocol that can take it."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        other = pickle.loads(pickle.dumps(client, protocol))
        assert type(other) is type(client)
    same: ImagesClient = other
    return same


COPIES = [again, copy.copy, copy.deepcopy]


@BOTH
@pytest.mark.parametrize("copied", COPIES)
async def test_a_used_client(call: Call, copied: Any, server: LocalImagesServer) -> None:
    """Its copy works by the same key, with connections of its own; those of the original stay in use."""
    base_url, key = server.base_url, server.api_key
    async with ImagesClient(base_url=base_url, api_key=key, limits=Limits(concurrency=3)) as client:
        await call(client)
        async with client.stream(PROMPT, model="gpt-image-2") as events:
            await anext(events)
            other = copied(client)
        async with other:
            await call(other)
        await call(client)
    assert other._sessions is not client._sessions
    assert (other._limits, other.base_url) == (client._limits, client.base_url)


@pytest.mark.parametrize("copied", COPIES)
def test_all_settings(copied: Any) -> None:
    """Whatever was set, an attribute of a subclass included."""
    client = Sub(
        api_key=a_key,
        base_url="http://127.0.0.1:1/v1",
        headers={"X-A": "1"},
        model="m",
        timeouts=Timeouts(total=1),
        retry=RetryPolicy(max_retries=7),
        proxy="proxy:1",
        trust_env=False,
        ssl=False,
        validate="off",
        split=False,
    )
    client.team = "a"  # type: ignore[attr-defined]
    other = copied(client)
    assert vars(other).keys() == vars(client).keys()
    kept = ("_model", "_settings", "_limits", "team")
    assert [getattr(other, name) for name in kept] == [getattr(client, name) for name in kept]
    assert other._endpoint.current() == client._endpoint.current()


def test_azure() -> None:
    """Azure's as well."""
    client = ImagesClient.azure(AZURE, deployment="d", api_key="k", api_version="2025-04-01-preview")
    other = again(client)
    assert other._endpoint.current().url("/images/generations", None) == client._endpoint.current().url(
        "/images/generations", None
    )


async def test_a_session_does_not_travel(server: LocalImagesServer) -> None:
    """A session belongs to its process; a copy in the same one uses it."""
    async with aiohttp.ClientSession() as session:
        client = client_of(server, session=session)
        with pytest.raises(TypeError, match=r"session= cannot be pickled: build the client"):
            pickle.dumps(client)
        await generate(copy.copy(client))
        await generate(copy.deepcopy(client))


def test_neither_does_a_context() -> None:
    """Nor does a context of `ssl`."""
    client = ImagesClient(api_key=KEY, ssl=ssl.create_default_context())
    with pytest.raises(TypeError, match="ssl= context cannot be pickled"):
        pickle.dumps(client)
    assert copy.copy(client)._settings == client._settings


@pytest.fixture
def _no_other_pickles(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.rpartition(".")[2] in ("cloudpickle", "dill")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("_no_other_pickles")
def test_functions_that_do_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key from a lambda cannot be pickled by `pickle`; whoever has loaded what can is let have it."""

    async def key() -> str:
        return KEY

    clients = [
        ImagesClient(api_key=key),
        ImagesClient.azure(AZURE, deployment="d", token_provider=lambda: "token"),
    ]
    for client in clients:
        with pytest.raises(TypeError, match=r"key comes from a function that cannot be pickled") as caught:
            pickle.dumps(client)
        assert KEY not in str(caught.value)
        copy.deepcopy(client)
    monkeypatch.setitem(sys.modules, "cloudpickle", sys)
    assert client.__getstate__()["_endpoint"] is client._endpoint
