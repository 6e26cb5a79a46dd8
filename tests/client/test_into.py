"""`into=`: whole images under predictable names, nothing half-written, the loop and the memory spared."""

import asyncio
import errno
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from unittest.mock import DEFAULT, MagicMock

import pytest

from openai_images import (
    CompletedImage,
    ImagesClient,
    PartialImage,
    RequestInvalidError,
    RetryPolicy,
    StreamInterruptedError,
    UnknownEvent,
)
from openai_images._util import atomic_file as parts_module
from openai_images.client import files
from openai_images.errors import DecodeError
from openai_images.models.options import Timing
from openai_images.server import LocalImagesServer
from openai_images.wire.error_mapping import ResponseContext
from openai_images.wire.response import ResponseDecoder
from tests.helpers.leaks import parts
from tests.helpers.server_thread import serving
from tests.helpers.tiny_images import gif, png

PNG = png(bytes(700_000))
JPEG = b"\xff\xd8\xff\xda" + bytes(700_000) + b"\xff\xd9"
WEBP = b"RIFF\x00\x00\x00\x00WEBP" + bytes(700_000)


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server of fixed images."""
    async with LocalImagesServer(pictures={"png": PNG, "jpeg": JPEG, "webp": WEBP}) as server:
        yield server


@pytest.fixture
async def client(server: LocalImagesServer) -> AsyncIterator[ImagesClient]:
    """Its client."""
    async with ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:
        yield client


@pytest.mark.parametrize(
    ("into", "output_format", "name"),
    [
        ("otter", "png", "otter.png"),
        ("otter.png", "png", "otter.png"),
        ("otter.PNG", "png", "otter.PNG"),
        ("otter", "jpeg", "otter.jpg"),
        ("otter.jpg", "jpeg", "otter.jpg"),
        ("otter.jpeg", "jpeg", "otter.jpeg"),
        ("otter.jpe", "jpeg", "otter.jpe"),
        ("otter.jpg", "png", "otter.jpg.png"),
        ("otter.png", "webp", "otter.png.webp"),
        ("v1.5", "png", "v1.5.png"),
        ("v1.5.png", "png", "v1.5.png"),
        (".hidden", "png", ".hidden.png"),
        ("ötter 🦦", "png", "ötter 🦦.png"),
        ("new/er/folder/otter", "webp", "new/er/folder/otter.webp"),
        ("a%s{b}", "png", "a%s{b}.png"),
    ],
)
async def test_names(client: ImagesClient, tmp_path: Path, into: str, output_format: str, name: str) -> None:
    """The suffix is the one of the bytes, unless it is already there in one of its spellings."""
    result = await client.generate("an otter", into=tmp_path / into, output_format=output_format)
    assert parts(tmp_path) == [name]
    assert result.image.path == tmp_path / name
    assert result.image.data == result.image.path.read_bytes() == await result.image.read()
    assert result.image.nbytes == len(result.image.data)
    assert f"at {str(tmp_path / name)!r}" in repr(result.image)


async def test_a_relative_name(client: ImagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare name is one in the working directory."""
    monkeypatch.chdir(tmp_path)
    result = await client.generate("an otter", into="otter")
    assert result.image.path == Path("otter.png")
    assert parts(tmp_path) == ["otter.png"]


@pytest.mark.parametrize("into", ["", ".", "/", "..", "out/..", "a\0b", "out/", "out//"])
async def test_what_is_no_name_is_refused_at_once(
    server: LocalImagesServer, client: ImagesClient, into: str
) -> None:
    """A stem that cannot become a file is found before anything is paid for."""
    with pytest.raises(RequestInvalidError, match="is not a file name"):
        await client.generate("an otter", into=into)
    with pytest.raises(RequestInvalidError, match="is not a file name"):
        client.stream("an otter", into=into)
    assert server.posts == 0


async def test_several_pictures_are_numbered(client: ImagesClient, tmp_path: Path) -> None:
    """`n=3` gives -0, -1, -2; the same again steps aside."""
    result = await client.generate("an otter", into=tmp_path / "o.png", n=3)
    assert [image.path for image in result.images] == [tmp_path / f"o-{number}.png" for number in range(3)]
    again = await client.generate("an otter", into=tmp_path / "o.png", n=3)
    assert [image.path for image in again.images] == [tmp_path / f"o-{number}-2.png" for number in range(3)]
    assert all(image.data == PNG for image in (*result.images, *again.images))


async def test_partials_are_numbered(client: ImagesClient, tmp_path: Path) -> None:
    """A stream writes `.partial-0` and so on beside the finished image, each whole when its event comes."""
    async with client.stream(
        "an otter", into=tmp_path / "v1.5.jpeg", output_format="jpeg", partial_images=2
    ) as stream:
        async for event in stream:
            assert isinstance(event, PartialImage | CompletedImage)
            assert event.image.data == JPEG
    assert parts(tmp_path) == ["v1.5.jpeg", "v1.5.partial-0.jpeg", "v1.5.partial-1.jpeg"]
    assert stream.result.image.path == tmp_path / "v1.5.jpeg"


@pytest.mark.parametrize("overwrite", [True, False])
async def test_nothing_is_overwritten_unless_asked(
    client: ImagesClient, tmp_path: Path, overwrite: bool
) -> None:
    """What is there stays and the next free number is taken, or it is replaced."""
    (tmp_path / "otter.png").write_bytes(b"mine")
    (tmp_path / "otter-2.png").write_bytes(b"mine, too")
    result = await client.generate("an otter", into=tmp_path / "otter", overwrite=overwrite)
    assert result.image.path == tmp_path / ("otter.png" if overwrite else "otter-3.png")
    assert result.image.data == PNG
    assert ((tmp_path / "otter.png").read_bytes() == b"mine") is not overwrite
    assert (tmp_path / "otter-2.png").read_bytes() == b"mine, too"


async def test_many_at_once_into_one_name(client: ImagesClient, tmp_path: Path) -> None:
    """Calls that race for a name each get one of their own."""
    calls = [client.generate("an otter", into=tmp_path / "otter") for _ in range(12)]
    results = await asyncio.gather(*calls)
    paths = {result.image.path for result in results}
    assert paths == {tmp_path / ("otter.png" if n == 1 else f"otter-{n}.png") for n in range(1, 13)}
    assert all(result.image.data == PNG for result in results)
    assert len(parts(tmp_path)) == 12


async def test_an_error_names_the_file_that_was_requested(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path
) -> None:
    """Not the part file, whose name the caller has never seen."""
    into = tmp_path / ("x" * 300)
    with pytest.raises(OSError, match="File name too long") as caught:
        await client.generate("an otter", into=into)
    assert (caught.value.filename, server.posts) == (str(into), 0)
    name = tmp_path / f"{'x' * 250}.png"
    with pytest.raises(OSError, match="File name too long") as caught:
        (await client.generate("an otter")).image.save(name)
    assert caught.value.filename == str(name)


@pytest.mark.parametrize("way", ["generate", "stream", "iterate"])
async def test_an_unwritable_folder_is_found_before_anything_is_sent(
    server: LocalImagesServer, client: ImagesClient, tmp_path: Path, way: str
) -> None:
    """A folder that cannot be made or written to raises OSError, and nothing was sent."""
    (tmp_path / "file").touch()
    into = tmp_path / "file" / "below" / "otter"
    with pytest.raises(OSError, match="file"):  # noqa: PT012  the block is what is tested
        if way == "generate":
            await client.generate("an otter", into=into)
        elif way == "stream":
            async with client.stream("an otter", into=into):
                pass
        else:
            await anext(client.stream("an otter", into=into))
    assert server.posts == 0


class FullDisk:
    """A disk that takes so many bytes more, then no more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
        """Stand behind `create_part`."""
        self.room = room
        monkeypatch.setattr(files, "create_part", self.create_part)

    def create_part(self, path: Path) -> Any:
        """A file on this disk."""
        file = parts_module.create_part(path)
        limited = MagicMock(wraps=file)

        def write(data: memoryview) -> int:
            if not self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            taken = file.write(data[: self.room])
            self.room -= taken
            return taken

        limited.write = write
        return limited


@pytest.mark.parametrize("room", [0, 1, 300_000, 700_007])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_disk_that_is_full_does_not_lose_the_picture(
    client: ImagesClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    room: int,
    streamed: bool,
) -> None:
    """The paid image comes in memory with a warning, and nothing half-written stays."""
    FullDisk(monkeypatch, room)
    if streamed:
        async with client.stream("an otter", into=tmp_path / "o") as stream:
            events = [event async for event in stream]
        assert len(events) == 1
        result = stream.result
    else:
        result = await client.generate("an otter", into=tmp_path / "o")
    assert (result.image.path, result.image.data) == (None, PNG)
    assert result.image.nbytes == len(PNG)
    assert await result.image.read() == PNG
    assert parts(tmp_path) == []
    (record,) = caplog.records
    assert (record.levelname, "kept in memory" in record.getMessage()) == ("WARNING", True)


@pytest.mark.parametrize("stage", ["name", "close"])
async def test_a_disk_that_fails_at_the_end_does_not_lose_the_picture(
    server: LocalImagesServer,
    client: ImagesClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
) -> None:
    """Where closing or naming the file fails, the image is read back into memory."""
    failure = OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    def create_part(path: Path) -> Any:
        file = parts_module.create_part(path)
        if not server.posts:  # the attempt to write there
            return file
        return MagicMock(wraps=file, close=MagicMock(wraps=file.close, side_effect=[failure, DEFAULT]))

    if stage == "name":
        monkeypatch.setattr(files, "publish", MagicMock(side_effect=failure))
    else:
        monkeypatch.setattr(files, "create_part", create_part)
    result = await client.generate("an otter", into=tmp_path / "o")
    assert (result.image.path, result.image.data) == (None, PNG)
    assert parts(tmp_path) == []


async def test_a_file_system_without_hard_links(
    client: ImagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are taken all the same, one after the other, and a name that could not be used is given back."""
    monkeypatch.setattr(
        os, "link", MagicMock(side_effect=PermissionError(errno.EPERM, os.strerror(errno.EPERM)))
    )
    calls = [client.generate("an otter", into=tmp_path / "o") for _ in range(3)]
    results = await asyncio.gather(*calls)
    assert all(result.image.data == PNG for result in results)
    assert parts(tmp_path) == ["o-2.png", "o-3.png", "o.png"]
    monkeypatch.setattr(Path, "replace", MagicMock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO))))
    result = await client.generate("an otter", into=tmp_path / "other")
    assert (result.image.path, result.image.data) == (None, PNG)
    assert parts(tmp_path) == ["o-2.png", "o-3.png", "o.png"]


async def test_a_disk_that_cannot_be_read_back_raises(
    client: ImagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image of which the disk kept the first half for itself is never delivered as if it were whole."""
    FullDisk(monkeypatch, 300_000)
    monkeypatch.setattr(Path, "read_bytes", MagicMock(side_effect=OSError(errno.EIO, os.strerror(errno.EIO))))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        await client.generate("an otter", into=tmp_path / "o")
    assert parts(tmp_path) == []


@pytest.mark.parametrize("fault", ["cut_chunked_body", "reset_mid_stream", "cut_mid_event"])
async def test_whole_pictures_of_a_cut_answer_survive(
    server: LocalImagesServer, client: ImagesClient, tmp_path: Path, fault: str
) -> None:
    """An answer of three that breaks in its second image leaves the first, named and on the error."""
    server.script(fault)
    with pytest.raises(StreamInterruptedError) as caught:
        await client.generate("an otter", into=tmp_path / "o", n=3)
    assert parts(tmp_path) == ["o-0.png"]
    assert [image.path for image in caught.value.images] == [tmp_path / "o-0.png"]
    assert caught.value.images[0].data == PNG


async def test_an_interrupted_stream_leaves_its_partials(
    server: LocalImagesServer, client: ImagesClient, tmp_path: Path
) -> None:
    """What is finished stays, the image that was in flight vanishes."""
    server.script("reset_mid_stream")
    with pytest.raises(StreamInterruptedError) as caught:  # noqa: PT012  the block is what is tested
        async with client.stream("an otter", into=tmp_path / "o", partial_images=2) as stream:
            async for _ in stream:
                pass
    assert parts(tmp_path) == ["o.partial-0.png"]
    assert [event.image.path for event in caught.value.partials] == [tmp_path / "o.partial-0.png"]


async def test_sent_again_into_the_same_name(server: LocalImagesServer, tmp_path: Path) -> None:
    """With `retry_unknown` the half-written image of the first attempt gives way to the whole one of the second."""
    server.script("cut_mid_event", "reset_after_body", "ok")
    retry = RetryPolicy(retry_unknown=True)
    timing = Timing(sleep=lambda _: asyncio.sleep(0))
    async with ImagesClient(
        base_url=server.base_url, api_key=server.api_key, retry=retry, timing=timing
    ) as client:
        result = await client.generate("an otter", into=tmp_path / "o")
        assert (result.attempts, result.image.data) == (3, PNG)
        server.script("cut_mid_event", "ok")
        async with client.stream("an otter", into=tmp_path / "o") as stream:
            assert [type(event) async for event in stream] == [CompletedImage]
    assert stream.result.attempts == 2
    assert parts(tmp_path) == ["o-2.png", "o.png"]


async def test_a_refused_call_leaves_no_file(
    server: LocalImagesServer, client: ImagesClient, tmp_path: Path
) -> None:
    """Errors of every sort leave the folder as it was."""
    server.script("status:400", "invalid_base64", "html_200", "empty_200", "close_after_body")
    for _ in range(5):
        with pytest.raises(Exception, match=r"\w"):
            await client.generate("an otter", into=tmp_path / "o")
    assert parts(tmp_path) == []


async def test_the_loop_goes_on_while_the_disk_is_slow(
    client: ImagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of preparing, writing and naming waits in a thread; the event loop ticks meanwhile."""
    ticked = threading.Event()
    waits: list[bool] = []

    def slowly(real: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any, **kwargs: Any) -> Any:
            ticked.clear()
            waits.append(ticked.wait(5))  # set by the loop only
            return real(*args, **kwargs)

        return slow

    def create_part(path: Path) -> Any:
        file = parts_module.create_part(path)
        return MagicMock(wraps=file, write=slowly(file.write))

    monkeypatch.setattr(files, "create_part", slowly(create_part))
    monkeypatch.setattr(files, "publish", slowly(files.publish))
    task = asyncio.create_task(client.generate("an otter", into=tmp_path / "o"))
    while not task.done():
        ticked.set()
        await asyncio.sleep(0)
    assert (await task).image.data == PNG
    assert len(waits) >= 4
    assert all(waits)


async def test_pictures_of_unknown_events_get_names(
    client: ImagesClient, server: LocalImagesServer, tmp_path: Path
) -> None:
    """An image in an event that is not known is a file, too, wherever in the event it stands."""
    destination = files.OutputFiles(files.Output(tmp_path / "o"), several=False)
    raw: dict[str, Any] = {"b64_json": None, "more": [{"b64_json": None}]}
    for holder in (raw, raw["more"][0]):
        sink = destination.new_sink()
        sink.write(PNG)
        holder["b64_json"] = sink.finish()
    event = await destination.store_event(UnknownEvent("image.preview", raw))
    assert isinstance(event, UnknownEvent)
    assert parts(tmp_path) == ["o.unknown-0.png", "o.unknown-1.png"]
    assert event.raw["b64_json"].data == event.raw["more"][0]["b64_json"].data == PNG


MEMORY = """
import asyncio, sys, tracemalloc
from openai_images import ImagesClient

async def main():
    async with ImagesClient(base_url=sys.argv[1], api_key=sys.argv[2]) as client:
        await client.generate("warm up", into=sys.argv[3])
        for streamed in (False, True):
            tracemalloc.start()
            if streamed:
                async with client.stream("an otter", into=sys.argv[3]) as stream:
                    async for event in stream:
                        pass
                image = stream.result.image
            else:
                image = (await client.generate("an otter", into=sys.argv[3])).image
            print(image.nbytes, tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

asyncio.run(main())
"""


def test_memory_does_not_grow_with_the_picture(tmp_path: Path) -> None:
    """Of an image of 40 MB no more than a piece is ever in memory."""
    # The first large image adapts the allocator with a block of 33 MB that is never touched.
    with serving(faults=["huge_picture:1", "huge_picture:40", "huge_picture:40"]) as server:
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, server.base_url, server.api_key, str(tmp_path / "o")],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
    for line in done.stdout.splitlines():
        nbytes, peak = map(int, line.split())
        assert nbytes == 40_000_000
        assert peak < 3_000_000
    assert len(done.stdout.splitlines()) == 2


def test_a_broken_second_picture_does_not_cost_the_first() -> None:
    """The image before base64 that cannot be decoded is delivered, and the reason for the other is there."""
    reader = ResponseDecoder(ResponseContext(200, {"content-type": "application/json"}))
    for chunk in (b'{"created":1,"data":[{"b64_json":"R0lGODlhQQABAAAAADs="},', b'{"b64_json":"!!!!!!!!"}]}'):
        assert list(reader.feed(chunk)) == []
    [event] = reader.finish()
    assert isinstance(event, CompletedImage)
    assert event.image.data == gif("A")
    assert [type(error) for error in reader.errors()] == [DecodeError]


async def test_partials_may_stay_in_memory(client: ImagesClient, tmp_path: Path) -> None:
    """With `keep_partials=False` only the finished image is a file, and the partial ones are whole in memory."""
    async with client.stream("a", partial_images=2, into=tmp_path / "o", keep_partials=False) as stream:
        events = [event async for event in stream]
    partials = [event.image for event in events if isinstance(event, PartialImage)]
    assert [image.path for image in partials] == [None, None]
    assert all(image.data.startswith(b"\x89PNG") and len(image.data) == image.nbytes for image in partials)
    assert [path.name for path in tmp_path.iterdir()] == ["o.png"]


def test_images_that_wait_for_the_end_hold_no_bytes(tmp_path: Path) -> None:
    """The images of one answer get their names at its end: until then each is a file and a few facts."""
    sinks = [files.FileSink(tmp_path / f"{number}.part") for number in range(10)]
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for sink in sinks:
            sink.write(png(bytes(200_000)))
            sink.finish()
            sink.flush()
        assert tracemalloc.get_traced_memory()[0] - before < 100_000
    finally:
        tracemalloc.stop()
        for sink in sinks:
            sink.discard()
