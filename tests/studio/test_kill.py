"""The studio is killed: what was sent is listed at the next start, and each image that was shown is there."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from openai_images import CompletedImage, ImagesClient
from openai_images.server import LocalImagesServer
from openai_images.studio import History, history
from openai_images.studio.recorded_stream import RecordedStream
from tests.helpers.leaks import until
from tests.helpers.tiny_images import png

PNG = png(b"the image")
ID = "20261129-080000-00000001"


@asynccontextmanager
async def studio(
    folder: Path, upstream: LocalImagesServer
) -> AsyncGenerator[tuple[aiohttp.ClientSession, int]]:
    """Start the command; yield a browser of its page, and the process's id. It is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "openai_images", "studio", "--no-open", "--out", str(folder)),
        env={**os.environ, "OPENAI_BASE_URL": upstream.base_url, "OPENAI_API_KEY": upstream.api_key},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        address = (await process.stdout.readline()).decode().strip()
        origin = address.partition("/?")[0]
        async with aiohttp.ClientSession(
            origin, cookie_jar=aiohttp.CookieJar(unsafe=True), headers={"Origin": origin}
        ) as browser:
            async with browser.get(address) as response:
                assert response.status == 200
            yield browser, process.pid
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("faults", "count", "seen", "images"),
    [
        (("stall",), 1, b"heartbeat", 0),
        (("stall_between_events",), 1, b"event: image_generation.partial_image", 0),
        (("ok", "stall_between_events"), 2, b"event: image_generation.completed", 1),
        (("ok",), 1, b"event: image_generation.completed", 1),
    ],
)
async def test_kill_9(tmp_path: Path, faults: tuple[str, ...], count: int, seen: bytes, images: int) -> None:
    """The real command, killed when its page has seen so much; the next one lists the generation and its images."""
    order = {"prompt": "otters", "params": {"model": "gpt-image-2", "n": count, "partial_images": 1}}
    async with LocalImagesServer(pictures=PNG) as upstream:
        upstream.script(*faults)
        async with studio(tmp_path / "studio", upstream) as (browser, pid):
            form = aiohttp.FormData({"id": ID, "order": json.dumps(order)}, default_to_multipart=True)
            async with browser.post("/api/generate", data=form) as response:
                await until(lambda: upstream.posts == count)
                body = b""
                while seen not in body:
                    body += await response.content.readany()
                os.kill(pid, signal.SIGKILL)
        upstream.release()
        async with studio(tmp_path / "studio", upstream) as (browser, _):
            async with browser.get("/api/history") as response:
                (record,) = (await response.json())["records"]
            assert (record["id"], record["prompt"]) == (ID, "otters")
            assert len(record["images"]) == images
            if faults != ("ok",):  # it may have ended before the signal came
                assert (record["status"], record["maybe_billed"]) == ("unknown", True)
            for image in record["images"]:
                async with browser.get(f"/files/{image['file']}") as response:
                    assert await response.read() == PNG
        assert upstream.posts == count


class KilledError(BaseException):
    """Nothing runs any more."""


class Plug:
    """The operations of the disk: after so many, the process is gone; a write in the middle is half done."""

    def __init__(self, patch: pytest.MonkeyPatch, most: int) -> None:
        self.most = most
        self.count = 0
        plugged = {name: self._plug(getattr(os, name)) for name in ("fsync", "unlink")}
        system = type("os", (), {"__getattr__": lambda _, name: getattr(os, name)})()
        vars(system).update(plugged, write=self._write)
        patch.setattr(history, "os", system)
        for name in ("replace", "unlink"):
            patch.setattr(Path, name, self._plug(getattr(Path, name)))

    def _plug(self, operation: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            self._tick()
            return operation(*args, **kwargs)

        return run

    def _write(self, descriptor: int, data: bytes) -> int:
        if self.count == self.most:
            os.write(descriptor, data[: len(data) // 2])
        self._tick()
        return os.write(descriptor, data)

    def _tick(self) -> None:
        if self.count >= self.most:
            raise KilledError
        self.count += 1


async def generate(folder: Path, client: ImagesClient) -> list[bytes]:
    """Generate as the studio does, until the end or until it is killed; return the images that were shown."""
    shown: list[bytes] = []
    kept = History(folder)
    stream = client.stream("otters", model="gpt-image-2", n=2)
    try:
        await kept.begin({"id": ID, "at": 1.0, "prompt": "otters", "params": {"n": 2}})
        async for event in RecordedStream(stream, client, kept, ID):
            if isinstance(event, CompletedImage):
                shown.append(event.image.data)  # noqa: PERF401  also what was shown before the end
    except KilledError:
        await stream.aclose()
    finally:
        kept.close()
    return shown


async def test_killed_at_any_operation_of_the_disk(tmp_path: Path) -> None:
    """One after the other, until it ends without being killed."""
    operations = 0
    while True:
        folder = tmp_path / str(operations)
        async with (
            LocalImagesServer(pictures=PNG) as upstream,
            ImagesClient(base_url=upstream.base_url, api_key=upstream.api_key) as client,
        ):
            with pytest.MonkeyPatch.context() as patch:
                plug = Plug(patch, operations)
                shown = await generate(folder, client)
            again = History(folder)
            records = again.page(None, 9)
            again.close()
            if upstream.posts:
                (record,) = records
                assert record["status"] == "done" or record["maybe_billed"]
            stored = [image for record in records for image in record["images"]]
            assert len(stored) >= len(shown)
            complete = [image for image in stored if ".damaged" not in image["file"]]
            assert [(folder / image["file"]).read_bytes() for image in complete] == [PNG] * len(complete)
            assert len(complete) >= len(shown)
        if plug.count < operations:
            break
        operations += 1
    assert len(shown) == 2
    assert operations > 12


async def test_an_image_without_its_name_is_kept(tmp_path: Path) -> None:
    """The process was killed while it wrote: what is there is shown, as perhaps damaged; nothing is overwritten."""
    kept = History(tmp_path)
    await kept.begin({"id": ID, "at": 1.0, "prompt": "an otter", "params": {}})
    kept.close()
    (tmp_path / f".{ID}-1.png.part").write_bytes(PNG[:-8])
    (tmp_path / f".{ID}-2.png.part").touch()
    again = History(tmp_path)
    (record,) = again.page(None, 9)
    again.close()
    assert [image["file"] for image in record["images"]] == [f"{ID}-1.damaged.png"]
    assert (tmp_path / f"{ID}-1.damaged.png").read_bytes() == PNG[:-8]
