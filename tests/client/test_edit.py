"""Edits over real sockets: what travels, what is sent again, and what breaks on the way."""

import asyncio
import contextlib
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from selectors import EVENT_WRITE
from typing import Any

import pytest
from openai import AsyncOpenAI

from openai_images import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    EditRequest,
    Image,
    ImageReference,
    ImagesClient,
    OutcomeUnknownError,
    RequestInvalidError,
    Succeeded,
    Timeouts,
)
from openai_images.client import sources
from tests.helpers.clients import (
    B64,
    COMPLETED,
    JSON_ANSWER,
    KEY,
    PNG,
    PROMPT,
    TWO_PICTURES,
    FakeTime,
    client_of,
)
from tests.helpers.leaks import until
from tests.helpers.raw_server import CLOSE, RESET, STALL, RawServer, chunked, reply
from tests.wire.test_request_bodies import fields

BUSY = reply(b'{"error":{"message":"slow down","code":"rate_limit_exceeded"}}', "Retry-After: 1", status=429)
LARGE = b"\x89PNG\r\n\x1a\n" + os.urandom(8_000_000)  # more than the buffers of a loopback connection hold


def sent(server: RawServer, post: int = 0) -> list[tuple[Any, ...]]:
    """The fields of a form that came."""
    (kind,) = server.header("content-type", post)
    return fields(server.bodies[post], kind.partition("boundary=")[2])


async def test_an_edit() -> None:
    """One image is `image`; only what was set travels; the key and the path are right; the result is a result."""
    async with RawServer([reply(TWO_PICTURES)]) as server, client_of(server) as client:
        result = await client.edit(PROMPT, image=PNG, model="gpt-image-2", size="1024x1024", n=2)
        assert result.image.data == PNG
        assert result.attempts == 1
    assert server.heads[0].startswith("POST /v1/images/edits HTTP/1.1\r\n")
    assert server.header("authorization") == [f"Bearer {KEY}"]
    assert server.header("content-length") == [str(len(server.bodies[0]))]
    assert not server.header("transfer-encoding")
    assert [(name, value) for name, _, _, value in sent(server)] == [
        ("prompt", PROMPT.encode()),
        ("model", b"gpt-image-2"),
        ("n", b"2"),
        ("size", b"1024x1024"),
        ("image", PNG),
    ]


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """The base URL of a server that treats each connection so; none is left behind."""
    ended: list[asyncio.Event] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(end := asyncio.Event())
        try:
            await handler(reader, writer)
        finally:
            writer.transport.abort()
            end.set()

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        await asyncio.wait_for(asyncio.gather(*(end.wait() for end in ended)), 5)


async def official(server: RawServer, **params: Any) -> None:
    """The same request by the official package."""
    async with AsyncOpenAI(base_url=server.base_url, api_key=KEY, max_retries=0) as client:
        await client.images.edit(**params)


@pytest.mark.parametrize("several", [False, True])
async def test_as_the_official_package_has_it(several: bool) -> None:
    """The same fields with the same values, but for the images' names and types, which we know better."""
    image: Any = [PNG, PNG + b"2", PNG + b"3"] if several else PNG
    params: dict[str, Any] = {
        "prompt": PROMPT,
        "image": image,
        "mask": PNG,
        "model": "gpt-image-1.5",
        "n": 2,
        "quality": "high",
        "background": "opaque",
        "output_format": "jpeg",
        "output_compression": 80,
        "input_fidelity": "high",
        "size": "1024x1024",
        "user": "u",
    }
    async with RawServer([reply(TWO_PICTURES)]) as server, client_of(server, split=False) as client:
        await client.edit(**params)
        await official(server, **params)
    ours, theirs = ([(name, value) for name, _, _, value in sent(server, post)] for post in (0, 1))
    assert sorted(ours) == sorted(theirs)
    assert {kind for _, file, kind, _ in sent(server) if file} == {"image/png"}


async def test_it_is_sent_again_whole(tmp_path: Path) -> None:
    """After a refusal that costs nothing each image is read once more: files, and what could be read once."""
    path = tmp_path / "otter.png"
    path.write_bytes(PNG)

    async def upload() -> AsyncIterator[bytes]:
        yield PNG[:9]
        yield PNG[9:]

    async with RawServer([BUSY], [BUSY], [reply(JSON_ANSWER)]) as server, client_of(server) as client:
        result = await client.edit(PROMPT, image=[path, io.BytesIO(PNG), upload()], model="gpt-image-2")
        assert result.attempts == 3
    assert sent(server, 0) == sent(server, 1) == sent(server, 2)
    assert [value for name, _, _, value in sent(server) if name == "image[]"] == [PNG] * 3
    assert len({server.header("content-type", post)[0] for post in range(3)}) == 3


async def test_parts_share_what_was_handed_in() -> None:
    """`n=11` is two requests, and an upload that can be read once is in both."""

    async def upload() -> AsyncIterator[bytes]:
        yield PNG

    answer = reply(b'{"data":[%s]}' % b",".join([b'{"b64_json":"%s"}' % B64.encode()] * 10))
    async with RawServer([answer], [reply(JSON_ANSWER)]) as server, client_of(server) as client:
        result = await client.edit(PROMPT, image=upload(), model="gpt-image-2", n=11)
        assert len(result.images) >= 11
    asked = [{name: value for name, _, _, value in sent(server, post)} for post in range(2)]
    assert sorted(int(one["n"]) if "n" in one else 1 for one in asked) == [1, 10]
    assert [one["image"] for one in asked] == [PNG, PNG]


async def test_a_stream_of_an_edit() -> None:
    """Its events are those of a stream, `stream` and `partial_images` travel as text."""
    events = COMPLETED.replace(b"image_generation", b"image_edit")
    async with RawServer([chunked(events), b"0\r\n\r\n"]) as server, client_of(server) as client:
        async with client.stream_edit(PROMPT, image=PNG, model="gpt-image-2", partial_images=2) as stream:
            assert [type(event).__name__ async for event in stream] == ["CompletedImage"]
        assert stream.result.image.data == PNG
    assert server.header("accept") == ["text/event-stream, application/json"]
    assert [(name, value) for name, _, _, value in sent(server)][2:4] == [
        ("partial_images", b"2"),
        ("stream", b"true"),
    ]


async def test_references_travel_as_json() -> None:
    """A URL, a file's id, and a local image beside them as a `data:` URL."""
    import json

    images = ["https://x.example/a.png", ImageReference(file_id="file-1"), PNG]
    async with RawServer([reply(TWO_PICTURES)]) as server, client_of(server) as client:
        await client.edit(PROMPT, image=images, mask=PNG, model="gpt-image-2", n=2)
    assert server.header("content-type") == ["application/json"]
    data = {"image_url": f"data:image/png;base64,{B64}"}
    assert json.loads(server.bodies[0]) == {
        "prompt": PROMPT,
        "model": "gpt-image-2",
        "n": 2,
        "images": [{"image_url": "https://x.example/a.png"}, {"file_id": "file-1"}, data],
        "mask": data,
    }


async def test_a_large_picture_as_json(tmp_path: Path) -> None:
    """It is encoded while it is sent, chunk by chunk, to the same text."""
    import base64
    import json

    path = tmp_path / "large.png"
    path.write_bytes(LARGE)
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server) as client:
        await client.edit(PROMPT, image=path, model="gpt-image-2", as_json=True)
    (image,) = json.loads(server.bodies[0])["images"]
    assert base64.b64decode(image["image_url"].partition(",")[2], validate=True) == LARGE


async def test_many_edits(tmp_path: Path) -> None:
    """`generate_many` takes edits as values and as mappings, beside prompts."""
    requests: list[Any] = [
        EditRequest("one", image=PNG),
        {"prompt": "two", "image": PNG, "key": "k"},
        "three",
    ]
    async with (
        RawServer([reply(JSON_ANSWER)]) as server,
        client_of(server, model="gpt-image-2") as client,
        client.generate_many(requests, ordered=True, into=tmp_path, size="1024x1024") as outcomes,
    ):
        found = [outcome async for outcome in outcomes]
    assert [type(one) for one in found] == [Succeeded] * 3
    paths = [head.partition(" HTTP")[0] for head in server.heads]
    assert sorted(paths) == ["POST /v1/images/edits"] * 2 + ["POST /v1/images/generations"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.png", "00002.png", "k.png"]


async def test_an_early_refusal() -> None:
    """A server that refuses without reading the images is heard, and nothing may have been billed."""
    refusal = reply(b'{"error":{"message":"bad key","code":"invalid_api_key"}}', status=401)
    calls = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refusal)
        await writer.drain()
        with contextlib.suppress(ConnectionError):
            await reader.read(-1)

    async with served(refuse) as url, ImagesClient(api_key=KEY, base_url=url) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.edit(PROMPT, image=LARGE, model="gpt-image-2")
    assert calls == 1
    assert not caught.value.maybe_billed


@pytest.mark.parametrize("status", [408, 500, 502, 503])
async def test_a_failure_before_the_upload_is_over(status: int) -> None:
    """A server that fails without having all of the request cannot have run it: it is sent again."""
    calls = 0

    async def fail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.write(reply(b"overloaded", status=status))
        await writer.drain()
        await stop.wait()

    stop = asyncio.Event()
    async with (
        served(fail) as url,
        ImagesClient(api_key=KEY, base_url=url, timing=FakeTime().timing) as client,
    ):
        with pytest.raises(APIStatusError) as caught:
            await client.edit(PROMPT, image=LARGE, model="gpt-image-2")
        stop.set()
    assert calls == caught.value.attempts == 3
    assert not caught.value.maybe_billed
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert "billed" not in str(caught.value)


async def test_nothing_lingers_behind_an_early_answer() -> None:
    """A server that reads no more does not keep the connection open, whatever lies in our buffers."""
    stop = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        transport: Any = writer.transport
        transport.pause_reading()
        writer.write(reply(b"{}", status=401))
        await writer.drain()
        await stop.wait()

    async with served(refuse) as url:
        async with ImagesClient(api_key=KEY, base_url=url) as client:
            with pytest.raises(AuthenticationError):
                await client.edit(PROMPT, image=LARGE, model="gpt-image-2")
            await asyncio.sleep(0)
            loop: Any = asyncio.get_running_loop()
            waiting = [key for key in loop._selector.get_map().values() if key.events & EVENT_WRITE]
            assert waiting == []
        stop.set()


async def test_an_answer_that_does_not_begin() -> None:
    """All is sent, and `first_byte` runs out: nobody knows whether it ran."""
    async with RawServer([STALL]) as server, client_of(server, timeouts=Timeouts(first_byte=0.05)) as client:
        with pytest.raises(OutcomeUnknownError, match=r"the response did not begin within 0.05 s") as caught:
            await client.edit(PROMPT, image=PNG, model="gpt-image-2")
    assert caught.value.attempts == 1


async def test_a_connection_that_breaks_in_the_upload() -> None:
    """Nobody has the whole request, so it cannot have run: it is sent again, and the last error says so."""
    calls = 0

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        await reader.readexactly(300_000)

    async with (
        served(cut) as url,
        ImagesClient(api_key=KEY, base_url=url, timing=FakeTime().timing) as client,
    ):
        with pytest.raises(APIConnectionError, match="while the images were being sent") as caught:
            await client.edit(PROMPT, image=LARGE, model="gpt-image-2")
    assert calls == caught.value.attempts == 3
    assert not isinstance(caught.value, OutcomeUnknownError)
    assert not caught.value.maybe_billed


@pytest.mark.parametrize("end", [CLOSE, RESET])
async def test_a_connection_that_breaks_behind_it(end: Any) -> None:
    """The whole request is there: nobody knows whether it ran, and it is not sent again."""
    async with RawServer([end]) as server, client_of(server) as client:
        with pytest.raises(OutcomeUnknownError) as caught:
            await client.edit(PROMPT, image=PNG, model="gpt-image-2")
    assert server.posts == caught.value.attempts == 1


async def test_an_upload_that_takes_too_long() -> None:
    """The server reads no further: the timer says that the request cannot have run."""
    stop = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()

    async with served(stall) as url:
        short = Timeouts(total=0.05)
        async with ImagesClient(
            api_key=KEY, base_url=url, timeouts=short, timing=FakeTime().timing
        ) as client:
            with pytest.raises(
                APITimeoutError, match=r"not sent within 0.05 s \(Timeouts\(total=…\)\)"
            ) as caught:
                await client.edit(PROMPT, image=LARGE, model="gpt-image-2")
        stop.set()
    assert caught.value.attempts == 3
    assert not caught.value.maybe_billed


def shorten(path: Path) -> None:
    """Another file of the same name."""
    path.write_bytes(PNG[:-1])


@pytest.mark.parametrize("change", [shorten, Path.unlink], ids=["shorter", "gone"])
async def test_a_file_that_changes_between_attempts(change: Callable[[Path], Any], tmp_path: Path) -> None:
    """What was checked is not what would be sent: that is told, and nothing can have run."""
    path = tmp_path / "otter.png"
    path.write_bytes(PNG)
    clock = FakeTime()

    async def sleep(seconds: float) -> None:
        change(path)
        await clock.sleep(seconds)

    timing = type(clock.timing)(
        monotonic=clock.monotonic, wall=lambda: FakeTime.WALL, sleep=sleep, random=lambda: 0.0
    )
    async with RawServer([BUSY], [STALL]) as server, client_of(server, timing=timing) as client:
        with pytest.raises(
            RequestInvalidError, match=r"the request (cannot have run|was not executed)"
        ) as caught:
            await client.edit(PROMPT, image=path, model="gpt-image-2")
    assert caught.value.attempts == 2
    assert not caught.value.maybe_billed


async def test_nothing_is_sent_for_bad_pictures(tmp_path: Path) -> None:
    """Not one byte, no folder and no slot, before all images are there."""
    out = tmp_path / "out" / "otter"
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server) as client:
        with pytest.raises(RequestInvalidError, match="No such file") as caught:
            await client.edit(PROMPT, image=tmp_path / "absent.png", into=out)
        with pytest.raises(RequestInvalidError, match="image: it is empty"):
            await client.edit(PROMPT, image=b"")
        with pytest.raises(RequestInvalidError, match="extra_body: it holds 'mask'"):
            await client.edit(PROMPT, image=PNG, mask=PNG, markup=PNG, extra_body={"mask": "x"})
    assert caught.value.attempts == 0
    assert server.connections == 0


async def test_an_image_of_an_earlier_result(tmp_path: Path) -> None:
    """A result's image is edited as it is, from memory and from its file."""
    async with RawServer([reply(JSON_ANSWER)]) as server, client_of(server) as client:
        first = await client.generate(PROMPT, into=tmp_path / "first")
        await client.edit(PROMPT, image=[first.image, Image.from_bytes(PNG)])
    assert [value for name, _, _, value in sent(server, 1) if name == "image[]"] == [PNG, PNG]


async def test_a_signed_url_is_not_repeated() -> None:
    """A server that echoes what it was sent does not bring it into an error's text."""
    url = "https://x.example/a.png?signature=sentinel-0123456789"
    echo = reply(b'{"error":{"message":"cannot fetch %s"}}' % url.encode(), status=400)
    async with RawServer([echo]) as server, client_of(server) as client:
        with pytest.raises(BadRequestError, match="cannot fetch") as caught:
            await client.edit(PROMPT, image=url)
    assert "sentinel" not in str(caught.value) + repr(caught.value) + repr(caught.value.__dict__)


@pytest.mark.parametrize("source", ["bytes", "path", "file"])
async def test_cancelled_in_the_upload(source: str, tmp_path: Path) -> None:
    """The connection closes at once, the file is let go, and no task is left."""
    path = tmp_path / "large.png"
    path.write_bytes(LARGE)
    begun = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(300_000)
        begun.set()
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await reader.readexactly(len(LARGE))
        left.set()

    left = asyncio.Event()
    with path.open("rb") as file:
        given: Any = {"bytes": LARGE, "path": path, "file": file}[source]
        async with served(take) as url, ImagesClient(api_key=KEY, base_url=url) as client:
            task = asyncio.create_task(client.edit(PROMPT, image=given, model="gpt-image-2"))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(left.wait(), 60)
        # A thread that was reading ends its chunk first.
        await until(lambda: sources._files_lock.acquire(blocking=False))
        stood = file.tell()
        sources._files_lock.release()
    assert stood == 0
    await until(lambda: path not in [link.resolve() for link in Path("/proc/self/fd").iterdir()])
