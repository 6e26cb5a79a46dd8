"""Edits are shared out as generations are: each request takes the images with it, whatever they are read from."""

import hashlib
import io
from collections.abc import AsyncIterator, Callable

import pytest

from openai_images import CompletedImage
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, client_of

PROMPT = "an otter on a raft"


async def in_pieces() -> AsyncIterator[bytes]:
    """An image that can be read once."""
    yield PNG[:20]
    yield PNG[20:]


@pytest.mark.parametrize("image", [lambda: PNG, lambda: io.BytesIO(PNG), in_pieces])
async def test_an_edit_of_23(server: LocalImagesServer, image: Callable[[], object]) -> None:
    """Three requests, each with the whole image."""
    async with client_of(server) as client:
        result = await client.edit(PROMPT, image=image(), n=23)  # type: ignore[arg-type]
    assert (len(result.images), len(result.parts), result.edited) == (23, 3, True)
    assert server.posts == 3
    sent = [part.sha256 for request in server.requests for part in request.parts if part.name == "image"]
    assert sent == [hashlib.sha256(PNG).hexdigest()] * 3


async def test_a_streamed_edit_of_3(server: LocalImagesServer) -> None:
    """Three streams, told apart by `image_index`."""
    async with (
        client_of(server) as client,
        client.stream_edit(PROMPT, image=PNG, n=3, partial_images=1) as stream,
    ):
        events = [event async for event in stream]
    assert sorted(event.image_index for event in events if isinstance(event, CompletedImage)) == [0, 1, 2]
    assert (len(events), len(stream.result.images), server.posts) == (6, 3, 3)
