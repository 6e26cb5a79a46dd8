"""`stream.images()`: the events that have an image, by the rules of the stream itself."""

import gc

import pytest

from openai_images import CompletedImage, ImagesError, PartialImage
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, client_of
from tests.helpers.leaks import nothing_left

AT_ONCE = 20.0


async def test_each_event_has_an_image(server: LocalImagesServer) -> None:
    """An unknown event is passed over; partial and complete images come in order, and the result is there."""
    server.script("unknown_event")
    async with client_of(server) as client, client.stream("an otter", partial_images=2) as stream:
        events = [event async for event in stream.images()]
    assert [type(event) for event in events] == [PartialImage, PartialImage, CompletedImage]
    assert stream.result.image == events[-1].image
    assert bytes(events[-1].image) == PNG


async def test_it_closes_at_once(server: LocalImagesServer) -> None:
    """`break` inside `async with` closes the connection."""
    server.script("stall_between_events")
    async with client_of(server) as client, nothing_left():
        async with client.stream("an otter", partial_images=2) as stream:
            async for event in stream.images():
                assert isinstance(event, PartialImage)
                break
        await server.wait_disconnected(timeout=AT_ONCE)
        with pytest.raises(RuntimeError, match="closed before its end"):
            await anext(stream.images())
        await client.aclose()


async def test_it_is_the_one_iteration(server: LocalImagesServer) -> None:
    """The stream and its images are iterated once together, whichever was first, and ask for nothing before."""
    async with client_of(server) as client:
        stream = client.stream("an otter")
        images = stream.images()
        assert server.requests == []
        assert aiter(images) is images
        assert isinstance(await anext(images), CompletedImage)
        assert await anext(images, None) is None
        for again in (stream, stream.images(), images):
            with pytest.raises(RuntimeError, match="iterated once"):
                aiter(again)
        other = client.stream("an otter")
        assert [type(event) async for event in other] == [CompletedImage]
        with pytest.raises(RuntimeError, match="iterated once"):
            aiter(other.images())


async def test_an_abandoned_one_is_aborted(server: LocalImagesServer) -> None:
    """It warns as the stream does, and the connection is closed."""
    server.script("stall_between_events")
    async with client_of(server) as client, nothing_left():
        with pytest.warns(ResourceWarning, match="unclosed <ImageStream open, 1 partial"):  # noqa: PT031  the loop drops it
            async for _ in client.stream("an otter", partial_images=2).images():
                break
            gc.collect()
        await server.wait_disconnected(timeout=AT_ONCE)
        await client.aclose()


async def test_an_error_is_raised(server: LocalImagesServer) -> None:
    """A stream that is cut raises after its partial images."""
    server.script("cut_mid_event")
    async with client_of(server) as client:
        with pytest.raises(ImagesError):
            async for _ in client.stream("an otter", partial_images=2).images():
                pass
