"""The journal: what survives a process that dies, and a disk that is full."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from openai_images import ConfigurationError, Image
from openai_images.server import LocalImagesServer
from openai_images.studio import History
from tests.helpers.tiny_images import png

ID = "20261129-080000-0000000{}"
PNG = png(b"the image")
SENT = {"id": ID.format(1), "at": 1.0, "prompt": "an otter", "params": {}, "sources": [], "mask": None}


async def test_a_generation_is_read_back(tmp_path: Path) -> None:
    """With its images in order, its end, and the newest first."""
    history = History(tmp_path)
    for number in (1, 2, 3):
        await history.begin({**SENT, "id": ID.format(number)})
    await history.add_image(ID.format(2), 1, Image.from_bytes(PNG))
    await history.add_image(ID.format(2), 0, Image.from_bytes(PNG))
    for number in (1, 2, 3):
        await history.end(ID.format(number), status="done", cost="0.05")
    before = history.page(None, 10)
    history.close()
    again = History(tmp_path)
    assert again.page(None, 10) == before
    assert [record["id"][-1] for record in before] == ["3", "2", "1"]
    assert [image["file"] for image in before[1]["images"]] == [
        f"{ID.format(2)}-1.png",
        f"{ID.format(2)}-2.png",
    ]
    assert (tmp_path / f"{ID.format(2)}-1.png").read_bytes() == PNG
    assert [record["id"][-1] for record in again.page(ID.format(3), 1)] == ["2"]
    assert not list(tmp_path.glob("*.part"))
    again.close()


async def test_what_has_no_end_is_unknown(tmp_path: Path) -> None:
    """An image whose row is missing is found all the same, and a torn row spoils no other."""
    history = History(tmp_path)
    await history.begin(SENT)
    history.close()
    (tmp_path / f"{ID.format(1)}-2.png").write_bytes(PNG)
    with (tmp_path / "history.jsonl").open("ab") as file:
        file.write(b'\n{"row":"image","id":"2026')
    history = History(tmp_path)
    await history.begin({**SENT, "id": ID.format(2)})
    await history.end(ID.format(2), status="done")
    history.close()
    newest, oldest = (again := History(tmp_path)).page(None, 10)
    again.close()
    assert (newest["status"], oldest["status"], oldest["maybe_billed"]) == ("done", "unknown", True)
    assert [(image["index"], image["file"]) for image in oldest["images"]] == [(1, f"{ID.format(1)}-2.png")]


def test_one_process_has_the_folder(tmp_path: Path) -> None:
    """A second one is told so."""
    history = History(tmp_path)
    with pytest.raises(ConfigurationError, match="another studio has the folder"):
        History(tmp_path)
    history.close()
    History(tmp_path).close()


_GENERATE = """
import asyncio, sys
from openai_images import ImagesClient
from openai_images.studio import History
from openai_images.studio.recorded_stream import RecordedStream

async def main(folder, url, key):
    history = History(folder)
    async with ImagesClient(base_url=url, api_key=key) as client:
        await history.begin({"id": "20261129-080000-00000001", "at": 1.0, "prompt": "otters", "params": {"n": 2}})
        stream = client.stream("otters", model="gpt-image-2", n=2, partial_images=1)
        async for event in RecordedStream(stream, client, history, "20261129-080000-00000001"):
            if type(event).__name__ == "CompletedImage":
                print("stored", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_kill_in_the_middle(tmp_path: Path) -> None:
    """Of two images one had arrived when the process was killed: it is there, and the generation is unknown."""
    async with LocalImagesServer(pictures=PNG) as server:
        server.script("ok", "stall_between_events")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", _GENERATE, str(tmp_path), server.base_url, server.api_key),
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"stored\n"
        os.kill(process.pid, signal.SIGKILL)
        await process.wait()
        server.release()
    history = History(tmp_path)
    (record,) = history.page(None, 10)
    history.close()
    assert (record["status"], record["maybe_billed"], len(record["images"])) == ("unknown", True, 1)
    assert (tmp_path / record["images"][0]["file"]).read_bytes() == PNG
