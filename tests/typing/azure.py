"""Azure as people write it, which mypy and pyright must accept in strict mode; it is checked and never run."""

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, assert_type

from openai_images import ImageResult, ImagesClient, Limits, RetryPolicy, Timeouts


class Mine(ImagesClient):
    """A client of somebody's own."""


async def by_the_environment() -> ImageResult:
    """All of it is named there."""
    async with ImagesClient.azure() as client:
        assert_type(client, ImagesClient)
        return await client.generate("an otter", model="my-deployment")


def by_settings(
    identity: Callable[[], Coroutine[Any, Any, str]],
    sync: Callable[[], str],
    key: Callable[[], Awaitable[str]],
) -> list[ImagesClient]:
    """A provider as azure-identity makes it, async or not; a key, or where it comes from; other settings."""
    mine = Mine.azure("https://x.openai.azure.com", token_provider=identity)
    assert_type(mine, Mine)
    return [
        mine,
        ImagesClient.azure("https://x.openai.azure.com", token_provider=sync),
        ImagesClient.azure(api_key=key),
        ImagesClient.azure(
            "https://x.openai.azure.com",
            deployment="my-deployment",
            api_version="2025-04-01-preview",
            api_key="…",
            model="gpt-image-2",
            timeouts=Timeouts(total=900),
            retry=RetryPolicy(max_retries=0),
            limits=Limits(images_per_minute=10),
            headers={"X-Team": "a"},
            validate="strict",
        ),
    ]


def what_checkers_find() -> None:
    """A setting that does not exist, and values of the wrong kind."""
    ImagesClient.azure(organization="org")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    ImagesClient.azure(timeouts=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    ImagesClient.azure(token_provider="eyJ")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
