"""Mistakes that mypy and pyright must report; this file is checked and never run.

Each mistake has a comment that expects the error on its line. mypy compares its code, and both checkers report a
comment on a line without an error, so a mistake that passes fails the check.
"""

# pyright: reportUnnecessaryTypeIgnoreComment=true

import openai_images
from openai_images import ImageClient, ImagesClient, ImageStream  # type: ignore[attr-defined]
from openai_images.server import LocalImageServer  # type: ignore[attr-defined]

__all__ = ["ImageClient", "LocalImageServer"]

error = openai_images.RateLimitErorr  # type: ignore[attr-defined]


async def events_without_an_image(stream: ImageStream) -> None:
    """Not every event of a stream has an image; every one of `images()` does."""
    async for event in stream:
        _ = event.image.data  # type: ignore[union-attr]
    async for event in stream.images():
        _ = event.raw  # type: ignore[union-attr]


async def wrong_keywords(client: ImagesClient) -> None:
    """A misspelt keyword, and a value of the wrong type."""
    await client.generate("an otter", qualty="low")  # type: ignore[call-arg]
    await client.generate("an otter", n="2")  # type: ignore[arg-type]
