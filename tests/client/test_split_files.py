"""`into=` with a call that is several requests: names as if it were one, and no image takes another's place."""

import asyncio
import contextlib
from pathlib import Path

import pytest
from aiohttp import web

from openai_images import (
    CompletedImage,
    ImagesClient,
    Limits,
    PartialImage,
    PartialResultError,
    StreamInterruptedError,
)
from tests.helpers.leaks import nothing_left, only, parts, until
from tests.helpers.split_servers import (
    Asked,
    Gate,
    b64,
    begin,
    client_of,
    last_event,
    painting,
    part_event,
    picture,
    refusal,
    streamed,
    whole,
)

PROMPT = "an otter on a raft"
IN_ORDER = Limits(concurrency=1)


async def by_number(_: web.Request, asked: Asked) -> web.Response:
    """Images marked by the number of the request."""
    return whole(asked.number, asked.get("n", 1))


def numbered(count: int, stem: str = "otter", more: str = ".png") -> list[str]:
    """The names of so many images, sorted as a folder's are."""
    return sorted(f"{stem}-{number}{more}" for number in range(count))


async def test_names_of_23(tmp_path: Path) -> None:
    """-0 to -22, the last three from the third request."""
    async with painting(by_number) as painter, client_of(painter, limits=IN_ORDER) as client:
        result = await client.generate(PROMPT, n=23, into=tmp_path / "out" / "otter")
    assert [image.path for image in result.images] == [
        tmp_path / "out" / f"otter-{number}.png" for number in range(23)
    ]
    assert parts(tmp_path / "out") == numbered(23)
    assert [image.data for image in result.images[19:]] == [
        picture(1, 9),
        *(picture(2, mark) for mark in range(3)),
    ]


async def test_a_part_of_one_picture_is_numbered(tmp_path: Path) -> None:
    """The eleventh of eleven is -10, and a suffix that was given is kept."""
    async with painting(by_number) as painter, client_of(painter) as client:
        await client.generate(PROMPT, n=11, into=tmp_path / "o.png")
    assert parts(tmp_path) == numbered(11, "o")


async def test_names_of_streams(tmp_path: Path) -> None:
    """The partial images of each image have its number."""
    async with (
        painting(streamed) as painter,
        client_of(painter, limits=IN_ORDER) as client,
        client.stream(PROMPT, n=3, partial_images=2, into=tmp_path / "otter") as stream,
    ):
        async for event in stream:
            assert isinstance(event, PartialImage | CompletedImage)
            middle = f".partial-{event.partial_image_index}" if isinstance(event, PartialImage) else ""
            assert event.image.path == tmp_path / f"otter-{event.image_index}{middle}.png"
            assert event.image.path.read_bytes() == event.image.data
    assert [image.data for image in stream.result.images] == [picture(mark) for mark in range(3)]
    assert parts(tmp_path) == sorted(
        [*numbered(3), *numbered(3, more=".partial-0.png"), *numbered(3, more=".partial-1.png")]
    )


async def test_partials_may_stay_in_memory(tmp_path: Path) -> None:
    """`keep_partials=False` holds for each of the streams."""
    async with painting(streamed) as painter, client_of(painter) as client:
        stream = client.stream(PROMPT, n=3, partial_images=2, into=tmp_path / "o", keep_partials=False)
        assert len([event async for event in stream]) == 9
    assert parts(tmp_path) == numbered(3, "o")


@pytest.mark.parametrize("overwrite", [False, True])
async def test_what_is_there_already(tmp_path: Path, *, overwrite: bool) -> None:
    """It stays and the next free name is taken, or it is replaced."""
    (tmp_path / "o-10.png").write_bytes(b"mine")
    async with painting(by_number) as painter, client_of(painter) as client:
        result = await client.generate(PROMPT, n=12, into=tmp_path / "o", overwrite=overwrite)
    assert result.images[10].path == tmp_path / ("o-10.png" if overwrite else "o-10-2.png")
    assert ((tmp_path / "o-10.png").read_bytes() == b"mine") is not overwrite


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("split", [False, True])
async def test_a_server_that_gives_more_than_was_asked_for(
    tmp_path: Path, *, overwrite: bool, split: bool
) -> None:
    """No image takes the place of another one that was paid for, whatever the server counts."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked.number % 2:
            return whole(asked.number, 2)
        response = await begin(request)
        await response.write(
            last_event(asked.number, image_index=0) + last_event(asked.number + 50, image_index=0)
        )
        return response

    async with painting(answer) as painter, client_of(painter, limits=IN_ORDER, split=split) as client:
        stream = client.stream(PROMPT, n=2, into=tmp_path / "o", overwrite=overwrite)
        events = [event async for event in stream]
    found = sorted(path.read_bytes() for path in tmp_path.iterdir())
    expected = [picture(0), picture(50)] + ([picture(1, 0), picture(1, 1)] if split else [])
    assert found == sorted(expected)
    assert {event.image.path for event in events if isinstance(event, CompletedImage)} == set(
        tmp_path.iterdir()
    )


@pytest.mark.parametrize("way", ["generate", "stream", "finish"])
async def test_an_unwritable_folder_is_found_before_anything_is_sent(tmp_path: Path, way: str) -> None:
    """OSError as of one request, and no POST."""
    (tmp_path / "file").touch()
    into = tmp_path / "file" / "o"
    async with painting(by_number) as painter, client_of(painter) as client:
        with pytest.raises(OSError, match="file"):  # noqa: PT012  the block is what is tested
            if way == "generate":
                await client.generate(PROMPT, n=23, into=into)
            elif way == "stream":
                async with client.stream(PROMPT, n=4, into=into):
                    pass
            else:
                await client.stream(PROMPT, n=4, into=into).finish()
    assert painter.asked == []


async def test_pictures_of_a_cut_answer_have_their_names(tmp_path: Path) -> None:
    """Two images of the second request were whole: they are -10 and -11, and nothing half-written stays."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked["n"] == 10:
            return whole(0, 10)
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        items = "".join(f'{{"b64_json": "{b64(picture(9, number))}"}},' for number in range(2))
        await response.write(f'{{"data": [{items} {{"b64_json": "{b64(bytes(300_000))}'.encode())
        assert request.transport is not None
        request.transport.close()
        return response

    async with painting(answer) as painter, client_of(painter) as client:
        with pytest.raises(PartialResultError) as caught:
            await client.generate(PROMPT, n=15, into=tmp_path / "o")
    (cut,) = caught.value.errors
    assert isinstance(cut, StreamInterruptedError)
    assert [image.path for image in cut.images] == [tmp_path / "o-10.png", tmp_path / "o-11.png"]
    await only(tmp_path, numbered(12, "o"))


async def test_a_failure_leaves_what_siblings_are_writing(tmp_path: Path) -> None:
    """One is refused while the other is in the middle of its image."""
    gate = Gate(1)
    big = picture() + bytes(600_000)

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        if asked["n"] == 3:
            await until(lambda: bool(parts(tmp_path)))
            gate.came.set()
            return refusal(400)
        text = f'{{"data": [{{"b64_json": "{b64(big)}"}}]}}'.encode()
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        await response.write(text[:500_000])
        await gate.go_on.wait()
        await response.write(text[500_000:])
        return response

    async with painting(answer) as painter, client_of(painter) as client:
        task = asyncio.create_task(client.generate(PROMPT, n=13, into=tmp_path / "o"))
        await gate.came.wait()
        await until(lambda: painter.busy == 1)
        gate.go_on.set()
        with pytest.raises(PartialResultError) as caught:
            await task
    assert caught.value.result.image.path == tmp_path / "o-0.png"
    assert (tmp_path / "o-0.png").read_bytes() == big
    assert parts(tmp_path) == ["o-0.png"]


@pytest.mark.parametrize("way", ["generate", "stream"])
async def test_cancelled_in_the_middle(tmp_path: Path, way: str) -> None:
    """What is whole stays, what is half-written vanishes."""

    async def answer(request: web.Request, asked: Asked) -> web.StreamResponse:
        response = await begin(request)
        if way == "stream":
            await response.write(part_event(asked.number, 0))
        head, field, _ = last_event(asked.number).partition(b'"b64_json": "')
        await response.write(head + field + b64(picture() + bytes(400_000)).encode())
        await asyncio.Event().wait()
        raise AssertionError

    async def call(client: ImagesClient) -> None:
        if way == "generate":
            await client.generate(PROMPT, n=23, into=tmp_path / "o")
        else:
            async with client.stream(PROMPT, n=3, partial_images=1, into=tmp_path / "o") as stream:
                async for _ in stream:
                    pass

    async with painting(answer) as painter, nothing_left(), client_of(painter) as client:
        task = asyncio.create_task(call(client))
        names = numbered(3, "o", ".partial-0.png") if way == "stream" else []
        await until(lambda: len(parts(tmp_path)) == 3 + len(names))
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await until(lambda: painter.busy == 0)
        await only(tmp_path, names)
