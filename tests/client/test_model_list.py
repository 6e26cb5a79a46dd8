"""`client.list_models()`: `GET /models` with the client's key, limits and errors."""

import json
from datetime import date
from typing import Any

import pytest

from openai_images import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    ConfigurationError,
    DecodeError,
    ImagesClient,
    ImagesError,
    InternalServerError,
    NotFoundError,
    RateLimitError,
    ResponseTooLargeError,
    RetryPolicy,
    Timeouts,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import KEY, FakeTime, client_of
from tests.helpers.raw_server import CLOSE, RESET, STALL, RawServer, free_port, reply

LIST = reply(json.dumps({"object": "list", "data": [{"id": "gpt-image-2", "object": "model"}]}).encode())


async def test_the_local_server_lists_its_models() -> None:
    """With the day of their end, which a model without one does not have."""
    async with (
        LocalImagesServer(now=lambda: FakeTime.WALL, legacy=True) as server,
        client_of(server) as client,
    ):
        models = {model.id: model for model in await client.list_models()}
    assert models["gpt-image-1.5"].shutdown_date == date(2026, 12, 1)
    assert models["gpt-image-2"].shutdown_date is None
    assert (models["gpt-image-2"].owned_by, models["gpt-image-2"].created) == ("system", 1_776_729_600)
    assert server.posts == 0


async def test_it_is_a_get_with_the_clients_headers() -> None:
    """The key, the account and the caller's own headers travel; there is no body."""
    async with RawServer([LIST]) as server:
        client = client_of(server, organization="org-1", headers={"X-Team": "otters"})
        async with client:
            assert [model.id for model in await client.list_models()] == ["gpt-image-2"]
    assert server.heads[0].startswith("GET /v1/models HTTP/1.1\r\n")
    assert server.header("Authorization") == [f"Bearer {KEY}"]
    assert (server.header("OpenAI-Organization"), server.header("X-Team")) == (["org-1"], ["otters"])
    assert server.bodies == [b""]


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        ([{"id": "a"}, {"name": "b"}, "c"], ["a", "b", "c"]),
        ({"models": [{"name": "a"}]}, ["a"]),
        (
            {"data": [{"id": ""}, {"id": 5}, None, {"id": "a", "shutdown_date": "soon", "created": "x"}]},
            ["a"],
        ),
        ({"data": []}, []),
    ],
)
async def test_the_lists_of_other_servers_are_read(document: Any, ids: list[str]) -> None:
    """What has no name is left out; an odd field is no reason to fail."""
    async with RawServer([reply(json.dumps(document).encode())]) as server, client_of(server) as client:
        models = await client.list_models()
    assert [model.id for model in models] == ids


async def test_unknown_fields_are_kept() -> None:
    """As everywhere, in `extra`."""
    item = {"id": "a", "shutdown_date": "2027-01-02T00:00:00Z", "context": 5, "created": "x"}
    async with RawServer([reply(json.dumps([item]).encode())]) as server, client_of(server) as client:
        (model,) = await client.list_models()
    assert (model.shutdown_date, model.extra) == (date(2027, 1, 2), {"context": 5, "created": "x"})


@pytest.mark.parametrize(
    "body", [b"<html>hello", b'{"object": "list"}', b"7", b"[" * 5000, b"[" + b"1," * 150_000]
)
async def test_something_else_than_a_list_is_an_error(body: bytes) -> None:
    """Which points to base_url, and is not billed."""
    async with RawServer([reply(body)]) as server, client_of(server) as client:
        with pytest.raises(DecodeError, match="check base_url") as caught:
            await client.list_models()
    assert not caught.value.maybe_billed


async def test_an_endless_answer_is_cut() -> None:
    """After four megabytes."""
    async with RawServer([reply(b"x" * 5_000_000)]) as server, client_of(server) as client:
        with pytest.raises(ResponseTooLargeError) as caught:
            await client.list_models()
    assert not caught.value.maybe_billed


@pytest.mark.parametrize(
    ("first", "error"),
    [
        (reply(b"{}", status=500), InternalServerError),
        (reply(b"{}", status=408), APIStatusError),
        (reply(b"{}", "Retry-After: 3", status=429), RateLimitError),
        (reply(b"{", length=50) + b"", APIConnectionError),
    ],
)
async def test_what_may_pass_is_asked_again(first: bytes, error: type[ImagesError]) -> None:
    """A GET is free, so also a 500 and a broken answer are; without retries they raise, and are not billed."""
    async with RawServer([first, CLOSE], [LIST]) as server, client_of(server) as client:
        assert len(await client.list_models()) == 1
    assert server.posts == 2
    retry = RetryPolicy(max_retries=0, max_rate_limit_wait=0)
    async with RawServer([first, CLOSE]) as server, client_of(server, retry=retry) as client:
        with pytest.raises(error) as caught:
            await client.list_models()
    assert (caught.value.attempts, caught.value.maybe_billed, server.posts) == (1, False, 1)
    assert "may have been billed" not in str(caught.value)


async def test_a_reset_is_asked_again() -> None:
    """Although the request was sent."""
    async with RawServer([RESET], [RESET], [LIST]) as server, client_of(server) as client:
        assert len(await client.list_models()) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(f'{{"error": {{"message": "{KEY} is wrong"}}}}'.encode(), status=401), AuthenticationError),
        (reply(b"{}", status=404), NotFoundError),
        (reply(b"", "Location: https://elsewhere.example/", status=302), APIStatusError),
    ],
)
async def test_refusals_have_the_usual_classes(answer: bytes, error: type[APIStatusError]) -> None:
    """They are not asked again, hide the key, and follow no redirect."""
    async with RawServer([answer]) as server, client_of(server) as client:
        with pytest.raises(error) as caught:
            await client.list_models()
    assert (server.posts, caught.value.maybe_billed) == (1, False)
    assert KEY not in str(caught.value)


async def test_no_server_is_a_connection_error() -> None:
    """After the usual retries."""
    client = ImagesClient(
        base_url=f"http://127.0.0.1:{free_port()}/v1", api_key=KEY, timing=FakeTime().timing
    )
    async with client:
        with pytest.raises(APIConnectionError, match="check base_url") as caught:
            await client.list_models()
    assert caught.value.attempts == 3


async def test_silence_has_an_end() -> None:
    """`Timeouts.total`, and nothing is said of a bill."""
    retry, timeouts = RetryPolicy(max_retries=0), Timeouts(total=0.05)
    async with RawServer([STALL]) as server, client_of(server, retry=retry, timeouts=timeouts) as client:
        with pytest.raises(APITimeoutError, match="nothing is billed") as caught:
            await client.list_models()
    assert (caught.value.timer, caught.value.maybe_billed) == ("total", False)


async def test_azure_lists_no_deployments() -> None:
    """So it is not contacted: its models are not the names that a request takes."""
    async with ImagesClient.azure("https://otters.openai.azure.com", api_key="a-key") as client:
        with pytest.raises(ConfigurationError, match="az cognitiveservices account deployment list"):
            await client.list_models()


@pytest.mark.parametrize("timers", [{"first_byte": 0.05}, {"idle": 0.05}])
async def test_the_wait_has_an_end_without_a_total(timers: dict[str, float]) -> None:
    """Another timer takes its place."""
    async with RawServer([STALL]) as server:
        timeouts = Timeouts(total=None, **timers)
        async with client_of(server, timeouts=timeouts, retry=RetryPolicy(max_retries=0)) as client:
            with pytest.raises(APITimeoutError, match=r"within 0\.05 s"):
                await client.list_models()
