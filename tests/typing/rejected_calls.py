# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Calls that mypy and pyright must reject in strict mode: an ignored error that is none is an error of both."""

from openai_images import ImagesClient, RetryPolicy


async def unknown_keywords(client: ImagesClient) -> None:
    """A misspelt keyword, or one of another verb or package, is seen before the program runs."""
    await client.generate("an otter", sizes="1024x1024")  # type: ignore[call-arg]
    await client.generate("an otter", stream=True)  # type: ignore[call-arg]
    await client.generate("an otter", extra_headers={"X-Team": "otters"})  # type: ignore[call-arg]
    await client.generate("an otter", image="otter.png")  # type: ignore[call-arg]
    client.stream("an otter", time_out=5)  # type: ignore[call-arg]
    client.generate_many(["an otter"], sizes="auto")  # type: ignore[call-arg]
    client.with_options(api_key="sk-other")  # type: ignore[call-arg]
    ImagesClient(organisation="org")  # type: ignore[call-arg]
    ImagesClient.azure(default_headers={})  # type: ignore[call-arg]


async def wrong_types(client: ImagesClient) -> None:
    """Each keyword keeps its type."""
    await client.generate("an otter", n="2")  # type: ignore[arg-type]
    await client.generate("an otter", timeout="2")  # type: ignore[arg-type]
    await client.generate("an otter", retry=3)  # type: ignore[arg-type]
    await client.edit("an otter", image=5)  # type: ignore[arg-type]
    client.with_options(max_retries=RetryPolicy())  # type: ignore[arg-type]
    ImagesClient(validate="sometimes")  # type: ignore[arg-type]


def unknown_attributes(client: ImagesClient) -> object:
    """What the client does not have is unknown to checkers, although it gives a hint at run time."""
    return client.images  # type: ignore[attr-defined]
