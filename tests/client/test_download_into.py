"""URL answers and `into=`: streams, many calls, what a call of several images gives, and what is cancelled."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from openai_images import (
    CompletedImage,
    DownloadError,
    Failed,
    ImagesClient,
    ImageStream,
    Limits,
    PartialImage,
    PartialResultError,
    StreamInterruptedError,
    Succeeded,
)
from openai_images.server import LocalImagesServer
from tests.helpers.clients import B64, BOTH, PNG, PROMPT, Call, FakeTime, client_of, event, partial
from tests.helpers.leaks import nothing_left, only, parts, until
from tests.helpers.raw_server import CLOSE, LAST_CHUNK, RawServer, chunked, reply

MODEL = "gpt-image-2"
PICTURE = reply(PNG, kind="image/png")


@pytest.fixture
async def linking() -> AsyncIterator[LocalImagesServer]:
    """A server that answers with URLs."""
    async with LocalImagesServer(pictures=PNG, picture_links="absolute", now=lambda: FakeTime.WALL) as server:
        yield server


async def read_into(events: list[object], stream: ImageStream) -> None:
    """Read to the end, keeping what came before it raises."""
    async for one in stream:
        events.append(one)  # noqa: PERF401  a comprehension would lose them


async def test_a_stream(linking: LocalImagesServer, tmp_path: Path) -> None:
    """The completed image of a stream with `into=` is a file when it is yielded."""
    seen: list[object] = []
    async with nothing_left(), client_of(linking) as client:
        async with client.stream(PROMPT, model=MODEL, partial_images=2, into=tmp_path / "otter") as stream:
            async for one in stream:
                assert isinstance(one, PartialImage | CompletedImage)
                assert one.image.data == PNG
                seen.append((type(one), one.image.path))
        assert seen[-1] == (CompletedImage, tmp_path / "otter.png")
        assert stream.result.image.path == tmp_path / "otter.png"
        assert (linking.posts, len(linking.downloads)) == (1, 1)


async def test_a_stream_without_into(linking: LocalImagesServer) -> None:
    """Nothing is fetched that nobody asked for."""
    async with client_of(linking) as client:
        async with client.stream(PROMPT, model=MODEL) as stream:
            events = [one async for one in stream]
        assert isinstance(events[-1], CompletedImage)
        assert events[-1].image.url == stream.result.image.url is not None
        assert linking.downloads == []
        assert (await client.download(stream.result)).image.data == PNG


async def test_a_stream_whose_picture_does_not_come(linking: LocalImagesServer, tmp_path: Path) -> None:
    """The event comes all the same, as the server gave it; then the error; the result stays, with the URL."""
    linking.always("download_404")
    events: list[object] = []
    async with client_of(linking) as client:
        async with client.stream(PROMPT, model=MODEL, into=tmp_path / "otter", partial_images=1) as stream:
            with pytest.raises(DownloadError) as caught:
                await read_into(events, stream)
        last = events[-1]
        assert isinstance(last, CompletedImage)
        assert last.image == stream.result.image == caught.value.response.image
        assert last.image.url == caught.value.url
        linking.always(None)
        assert (await client.download(stream.result, into=tmp_path / "later")).image.data == PNG
        assert linking.posts == 1


async def test_a_relays_stream(tmp_path: Path) -> None:
    """A URL in the completed event, `[DONE]` behind it; the connection is not needed any more when it is fetched."""
    async with RawServer() as server:
        done = event("completed", url=f"http://127.0.0.1:{server.port}/a.png", b64_json=None)
        server.scripts = [
            [chunked(b": keepalive\n\n", partial(), done, b"data: [DONE]\n\n"), LAST_CHUNK],
            [PICTURE],
        ]
        async with (
            client_of(server) as client,
            client.stream(PROMPT, model=MODEL, into=tmp_path / "otter") as stream,
        ):
            events = [one async for one in stream]
        assert [type(one) for one in events] == [PartialImage, CompletedImage]
        assert stream.result.image.path == tmp_path / "otter.png"
    assert parts(tmp_path) == ["otter.partial-0.png", "otter.png"]


async def test_several_pictures_of_one_stream(tmp_path: Path) -> None:
    """Some as bytes, some behind URLs: each has its own number, whatever comes first."""
    async with RawServer() as server:
        url = f"http://127.0.0.1:{server.port}/a.png"
        body = [
            event("completed", url=url, image_index=2),
            event("completed", b64_json=B64, image_index=0),
            event("completed", url=url, image_index=1),
        ]
        server.scripts = [[chunked(*body), LAST_CHUNK], [PICTURE]]
        async with (
            client_of(server, split=False) as client,
            client.stream(PROMPT, model=MODEL, n=3, into=tmp_path / "otter") as stream,
        ):
            events = [one async for one in stream]
        files = {one.image_index: one.image.path for one in events if isinstance(one, CompletedImage)}
        assert files == {number: tmp_path / f"otter-{number}.png" for number in range(3)}
        assert [image.path for image in stream.result.images] == [files[number] for number in range(3)]


async def test_a_stream_that_breaks(tmp_path: Path) -> None:
    """What was behind a URL when the rest failed is in the error, as the server gave it; nothing is fetched."""
    async with RawServer() as server:
        done = event("completed", url=f"http://127.0.0.1:{server.port}/a.png")
        server.scripts = [[chunked(done)[:-20], CLOSE]]
        async with client_of(server) as client:
            with pytest.raises(StreamInterruptedError):
                await client.generate(PROMPT, model=MODEL, into=tmp_path / "otter")
        assert server.posts == 1
    assert parts(tmp_path) == []


async def test_a_large_n(linking: LocalImagesServer, tmp_path: Path) -> None:
    """One call that is shared out over several requests fetches all its images."""
    async with client_of(linking) as client:
        result = await client.generate(PROMPT, model=MODEL, n=13, into=tmp_path / "otter")
        assert [image.path for image in result.images] == [
            tmp_path / f"otter-{number}.png" for number in range(13)
        ]
        assert (linking.posts, len(linking.downloads)) == (2, 13)


async def test_a_large_n_that_fails_twice(linking: LocalImagesServer, tmp_path: Path) -> None:
    """A request of two is refused, and one image of the other does not come: both are told, all else is here."""
    linking.script("status:400", "ok", "download_404")
    async with client_of(linking) as client:
        with pytest.raises(PartialResultError) as caught:
            await client.generate(PROMPT, model=MODEL, n=13, into=tmp_path / "otter")
        error = caught.value
        kinds = {type(one).__name__ for one in error.errors}
        assert kinds == {"BadRequestError", "DownloadError"}
        here = [image for image in error.result.images if image.path is not None]
        assert len(here) == len(error.result.images) - 1 == len(parts(tmp_path))
        failed = next(one for one in error.errors if isinstance(one, DownloadError))
        assert failed.response == error.result
        assert len(linking.downloads) == len(error.result.images)


async def test_many(linking: LocalImagesServer, tmp_path: Path) -> None:
    """`generate_many` with `into=` fetches them, and a `Failed` says where an image is that did not come."""
    linking.script("download_404")
    async with client_of(linking) as client:
        async with client.generate_many(["one", "two", "three"], model=MODEL, into=tmp_path) as outcomes:
            ended = [outcome async for outcome in outcomes]
        good = [one.result.image.path for one in ended if isinstance(one, Succeeded)]
        bad = [one.error for one in ended if isinstance(one, Failed)]
        assert len(good) == 2
        assert all(path is not None and path.read_bytes() == PNG for path in good)
        (error,) = bad
        assert isinstance(error, DownloadError)
        assert (await client.download(error.response)).image.data == PNG
        assert linking.posts == 3


async def test_the_slot_is_free_while_it_is_fetched(linking: LocalImagesServer, tmp_path: Path) -> None:
    """A slow download does not hold back the next request."""
    linking.script("download_stall")
    async with client_of(linking, limits=Limits(concurrency=1)) as client:
        slow = asyncio.create_task(client.generate(PROMPT, model=MODEL, into=tmp_path / "slow"))
        await until(lambda: len(linking.downloads) == 1)
        await client.generate(PROMPT, model=MODEL, into=tmp_path / "fast")
        assert not slow.done()
        linking.release()
        assert (await slow).image.path == tmp_path / "slow.png"


async def test_no_more_than_a_few_at_once(linking: LocalImagesServer) -> None:
    """Four images of a result are fetched at once, the others after them."""
    linking.script(*["download_stall"] * 4)
    async with client_of(linking) as client:
        result = await client.generate(PROMPT, model=MODEL, n=10)
        task = asyncio.create_task(client.download(result))
        await until(lambda: len(linking.downloads) == 4)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(linking.downloads) == 4
        linking.release()
        assert all(image.data == PNG for image in (await task).images)
    assert len(linking.downloads) == 10


@BOTH
async def test_cancelled_while_it_is_fetched(call: Call, linking: LocalImagesServer, tmp_path: Path) -> None:
    """No connection and no half-written file is left."""
    linking.always("download_stall_mid_body")

    async def run(client: ImagesClient) -> None:
        if call.__name__ == "generate":
            await client.generate(PROMPT, model=MODEL, into=tmp_path / "otter")
        else:
            async with client.stream(PROMPT, model=MODEL, into=tmp_path / "otter") as stream:
                async for _ in stream:
                    pass

    async with nothing_left(), client_of(linking) as client:
        task = asyncio.create_task(run(client))
        await until(lambda: len(linking.downloads) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await linking.wait_disconnected()
        await only(tmp_path, [])
    assert linking.posts == 1


async def test_a_stream_closed_while_it_is_fetched(linking: LocalImagesServer, tmp_path: Path) -> None:
    """Whoever waits for the event is told, and where the image is stays known."""
    linking.always("download_stall")
    async with nothing_left(), client_of(linking) as client:
        stream = client.stream(PROMPT, model=MODEL, into=tmp_path / "otter")
        waiting = asyncio.ensure_future(anext(stream))
        await until(lambda: len(linking.downloads) == 1)
        await stream.aclose()
        with pytest.raises(RuntimeError, match="was closed before its end"):
            await waiting
        assert stream.result.image.url is not None
        linking.always(None)
        assert (await client.download(stream.result)).image.data == PNG
    assert linking.posts == 1


async def test_names_are_as_always(linking: LocalImagesServer, tmp_path: Path) -> None:
    """Nothing is overwritten unless that is asked for, and the suffix is the real format's."""
    (tmp_path / "otter.png").write_bytes(b"mine")
    async with client_of(linking) as client:
        result = await client.generate(PROMPT, model=MODEL, into=tmp_path / "otter.png")
        assert result.image.path == tmp_path / "otter-2.png"
        result = await client.generate(PROMPT, model=MODEL, into=tmp_path / "otter", overwrite=True)
        assert result.image.path == tmp_path / "otter.png"
        url = result.image.url
        assert url is not None
        again = await client.download(
            (await client.generate(PROMPT, model=MODEL)).image, into=tmp_path / "deep" / "otter.jpg"
        )
        assert again.path == tmp_path / "deep" / "otter.jpg.png"


async def test_a_place_that_cannot_be_written(linking: LocalImagesServer, tmp_path: Path) -> None:
    """It is found out before anything is fetched, or paid for."""
    (tmp_path / "file").write_bytes(b"")
    async with client_of(linking) as client:
        with pytest.raises(OSError, match="file"):
            await client.generate(PROMPT, model=MODEL, into=tmp_path / "file" / "otter")
        assert linking.posts == 0
        result = await client.generate(PROMPT, model=MODEL)
        with pytest.raises(OSError, match="file"):
            await client.download(result, into=tmp_path / "file" / "otter")
        assert linking.downloads == []


async def test_the_retired_models(tmp_path: Path) -> None:
    """`response_format`, `style` and `user` travel; a URL and the revised prompt come back, and stay together."""
    async with (
        LocalImagesServer(pictures=PNG, legacy=True, now=lambda: FakeTime.WALL) as server,
        client_of(server) as client,
    ):
        sent = {"model": "dall-e-3", "size": "1024x1024", "quality": "hd", "style": "vivid", "user": "u-1"}
        result = await client.generate(
            PROMPT,
            model="dall-e-3",
            size="1024x1024",
            quality="hd",
            style="vivid",
            user="u-1",
            response_format="url",
            into=tmp_path / "otter",
        )
        assert server.requests[0].json == {"prompt": PROMPT, **sent, "response_format": "url"}
        assert result.image.path == tmp_path / "otter.png"
        assert result.image.url is not None
        assert result.image.revised_prompt
        assert result.usage is None
        plain = await client.generate(PROMPT, model="dall-e-2", n=2, response_format="b64_json")
        assert [image.data for image in plain.images] == [PNG, PNG]
        assert len(server.downloads) == 1
        assert server.posts == 2
