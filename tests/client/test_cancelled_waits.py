"""A call that is cancelled, or ends, while one of its parts waits for its next attempt: what was paid is not lost."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from openai_images import (
    APITimeoutError,
    Failed,
    ImagesClient,
    Limits,
    PartialResultError,
    RetryPolicy,
    Succeeded,
    Timeouts,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import FakeTime, client_of
from tests.helpers.leaks import until
from tests.helpers.waits import Waits

OVERLOADED = "overloaded_503_retry_after:30"
ATTEMPTS = RetryPolicy(retry_unknown=True)


async def cancelled(
    call: Awaitable[object], waits: Waits, server: LocalImagesServer, posts: int
) -> dict[str, object]:
    """What the CancelledError has of a call that is cancelled while it waits, after so many POSTs."""
    task = asyncio.ensure_future(call)
    async with asyncio.timeout(60):
        await waits.asleep.wait()
        await until(lambda: server.posts == posts)
        for _ in range(100):  # the other responses are read
            await asyncio.sleep(0.002)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    return vars(caught.value)


@pytest.mark.parametrize(
    "faults", [["close_after_body"], ["status:500"], ["close_after_body", "reset_after_body"]]
)
async def test_a_part_of_unknown_outcome(server: LocalImagesServer, faults: list[str]) -> None:
    """It may have been billed, whatever the others wait for."""
    waits = Waits()
    server.script(*faults, OVERLOADED)
    async with client_of(server, timing=waits.timing) as client:
        call = client.generate("p", model="gpt-image-2", n=10 * len(faults) + 3)
        found = await cancelled(call, waits, server, len(faults) + 1)
    assert found["maybe_billed"] is True


async def test_images_of_the_other_parts(server: LocalImagesServer) -> None:
    """They are on the exception."""
    waits = Waits()
    server.script("ok", "ok", OVERLOADED)
    async with client_of(server, timing=waits.timing) as client:
        found = await cancelled(client.generate("p", model="gpt-image-2", n=23), waits, server, 3)
    images = found["images"]
    assert isinstance(images, tuple)
    received = sum(request.json["n"] for request in server.requests if request.fault == "ok")
    assert len(images) == received > 10


async def test_many_calls_of_unknown_outcome(server: LocalImagesServer) -> None:
    """One whose first attempt was lost waits for its second."""
    waits = Waits()
    server.script("close_after_body")
    async with client_of(server, timing=waits.timing, retry=ATTEMPTS) as client:

        async def read() -> None:
            async with client.generate_many(["p"], model="gpt-image-2") as outcomes:
                async for _ in outcomes:
                    pass

        found = await cancelled(read(), waits, server, 1)
    assert found["maybe_billed"] is True


class IdentityError(Exception):
    """What the function of a key raises while its service is down."""


def failing_at(number: int, key: str) -> Callable[[], Awaitable[str]]:
    """A function for the key that fails when it is called for that time."""
    calls = 0

    async def get_key() -> str:
        nonlocal calls
        calls += 1
        if calls == number:
            raise IdentityError("down")
        return key

    return get_key


async def test_a_key_that_cannot_be_obtained_for_a_part(server: LocalImagesServer) -> None:
    """The images of the other part are on the error, which has the reason."""
    server.script("ok", "overloaded_503_retry_after:1")
    key = failing_at(3, server.api_key)
    async with ImagesClient(
        base_url=server.base_url, api_key=key, model="gpt-image-2", timing=FakeTime().timing
    ) as client:
        with pytest.raises(PartialResultError) as caught:
            await client.generate("p", n=20)
    assert len(caught.value.images) == 10
    assert "the function for the key or token raised IdentityError" in str(caught.value.errors[0])
    assert isinstance(caught.value.errors[0].__cause__, IdentityError)


async def test_a_key_that_cannot_be_obtained_for_one_of_many(server: LocalImagesServer) -> None:
    """The requests in flight are not cancelled."""
    key = failing_at(8, server.api_key)
    async with (
        ImagesClient(base_url=server.base_url, api_key=key, model="gpt-image-2") as client,
        client.generate_many([f"p {number}" for number in range(8)]) as many,
    ):
        outcomes = [outcome async for outcome in many]
    assert sum(isinstance(outcome, Succeeded) for outcome in outcomes) == server.posts == 7
    assert sum(isinstance(outcome, Failed) for outcome in outcomes) == 1


async def test_a_key_that_does_not_come(server: LocalImagesServer) -> None:
    """It takes as long as an attempt at most, and sends nothing."""

    async def never() -> str:
        await asyncio.Event().wait()
        return ""

    async with ImagesClient(
        base_url=server.base_url,
        api_key=never,
        model="gpt-image-2",
        timeouts=Timeouts(total=0.05),
        retry=RetryPolicy(max_retries=0),
    ) as client:
        with pytest.raises(
            APITimeoutError, match=r"the key or token did not return within 0\.05 s"
        ) as caught:
            await client.generate("p")
        with pytest.raises(APITimeoutError, match="the key or token did not return within"):
            await client.list_models()
    assert (caught.value.maybe_billed, server.posts) == (False, 0)


async def test_a_partial_result_whose_images_cannot_be_downloaded(
    server: LocalImagesServer, tmp_path: Path
) -> None:
    """It may have been billed, as its reason says."""
    server.script("url_answer", "moderation_400", *["download_404"] * 10)
    async with client_of(server, timing=FakeTime().timing) as client:
        with pytest.raises(PartialResultError) as caught:
            await client.generate("p", model="gpt-image-2", n=12, into=tmp_path / "boat")
    assert caught.value.maybe_billed
    assert any(error.maybe_billed for error in caught.value.errors)


@pytest.mark.parametrize("faults", [["url_answer"], ["url_answer", "moderation_400"]])
async def test_a_download_that_waits(server: LocalImagesServer, tmp_path: Path, faults: list[str]) -> None:
    """The paid images are on the exception: those that have arrived as files, the other by its URL."""
    waits = Waits()
    server.script(*faults, "download_status:503")
    async with client_of(server, timing=waits.timing, limits=Limits(concurrency=1)) as client:
        n = 10 * len(faults)
        call = client.generate("p", model="gpt-image-2", n=n, into=tmp_path / "boat")
        found = await cancelled(call, waits, server, len(faults))
    images = found["images"]
    assert isinstance(images, tuple)
    assert (len(images), found["maybe_billed"]) == (10, True)
    [away] = [image for image in images if image.path is None]
    assert str(away.url).startswith(server.base_url.removesuffix("/v1"))
    assert all(image.path.is_file() for image in images if image is not away)
