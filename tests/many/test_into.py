"""`generate_many(into=...)`: a folder of files named by number or key."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from openai_images import Failed, Outcomes, Succeeded
from openai_images.server import LocalImagesServer
from tests.helpers.clients import PNG, FakeTime, client_of
from tests.helpers.fake_send import told
from tests.helpers.leaks import nothing_left, parts, until
from tests.helpers.tiny_images import png


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that paints nothing."""
    async with LocalImagesServer(pictures=PNG, now=lambda: FakeTime.WALL) as server:
        yield server


async def collect(outcomes: Outcomes) -> list[Any]:
    """All outcomes."""
    async with outcomes:
        return [outcome async for outcome in outcomes]


async def test_numbered_files(server: LocalImagesServer, tmp_path: Path) -> None:
    """The folder is made; each file has the number of its request, and each result says where it is."""
    folder = tmp_path / "deep" / "out"
    async with nothing_left(), client_of(server) as client:
        found = await collect(client.generate_many(["a"] * 12, into=folder, concurrency=4))
    assert parts(folder) == [f"{number:05d}.png" for number in range(12)]
    for outcome in found:
        assert outcome.result.image.path == folder / f"{outcome.index:05d}.png"
        assert outcome.result.image.path.read_bytes() == PNG


async def test_files_named_by_keys(server: LocalImagesServer, tmp_path: Path) -> None:
    """Keys name the files, made safe: nothing leaves the folder; the outcome has the key as it was given."""
    keys = ["otter", "a/b", "../../up", "v1.2", "cat.png", "x\ny", "CON"]
    rows = [{"prompt": "p", "key": key} for key in keys]
    async with client_of(server) as client:
        found = await collect(client.generate_many(rows, into=str(tmp_path / "out"), ordered=True))
    assert [outcome.key for outcome in found] == keys
    assert [outcome.result.image.path.name for outcome in found] == [
        "otter.png",
        "a-b.png",
        "up.png",
        "v1.2.png",
        "cat.png",
        "x-y.png",
        "_CON.png",
    ]
    assert parts(tmp_path) == sorted(f"out/{outcome.result.image.path.name}" for outcome in found)


async def test_keys_that_clash(server: LocalImagesServer, tmp_path: Path) -> None:
    """The later one fails and is not sent, even where files may be overwritten."""
    rows = [{"prompt": "p", "key": key} for key in ("Otter", "otter", "otter.png", "raft")]
    async with client_of(server) as client:
        many = client.generate_many(rows, into=tmp_path, overwrite=True, ordered=True)
        found = await collect(many)
    assert [told(outcome)[1] for outcome in found] == [
        "ok",
        "RequestInvalidError",
        "RequestInvalidError",
        "ok",
    ]
    assert server.posts == 2
    assert parts(tmp_path) == ["Otter.png", "raft.png"]


async def test_several_pictures_each(server: LocalImagesServer, tmp_path: Path) -> None:
    """With n=2 the files are -0 and -1."""
    async with client_of(server) as client:
        found = await collect(
            client.generate_many(["a", {"prompt": "b", "key": "k", "n": 1}], into=tmp_path, n=2)
        )
    assert parts(tmp_path) == ["00000-0.png", "00000-1.png", "k.png"]
    assert sorted(len(outcome.result.images) for outcome in found) == [1, 2]


@pytest.mark.parametrize("overwrite", [True, False])
async def test_what_is_there_already(overwrite: bool, server: LocalImagesServer, tmp_path: Path) -> None:
    """It is overwritten only where that was asked for."""
    (tmp_path / "00000.png").write_bytes(b"mine")
    async with client_of(server) as client:
        (outcome,) = await collect(client.generate_many(["a"], into=tmp_path, overwrite=overwrite))
    if overwrite:
        assert parts(tmp_path) == ["00000.png"]
    else:
        assert parts(tmp_path) == ["00000-2.png", "00000.png"]
        assert (tmp_path / "00000.png").read_bytes() == b"mine"
    assert outcome.result.image.data == PNG


async def test_a_folder_that_cannot_be(server: LocalImagesServer, tmp_path: Path) -> None:
    """Where nothing can be written, nothing is paid for: each request fails with the system's words."""
    (tmp_path / "file").write_bytes(b"")
    async with client_of(server) as client:
        found = await collect(client.generate_many(["a", "b"], into=tmp_path / "file"))
    assert all(isinstance(outcome, Failed) and isinstance(outcome.error, OSError) for outcome in found)
    assert (len(found), server.posts) == (2, 0)


async def test_pictures_are_not_in_memory(tmp_path: Path) -> None:
    """A result with a path holds no bytes: a thousand of them may be kept."""
    big = png(bytes(500_000), (1024, 1024))
    async with LocalImagesServer(pictures=big) as server, client_of(server) as client:
        found = await collect(client.generate_many(["a"] * 5, into=tmp_path))
    for outcome in found:
        assert isinstance(outcome, Succeeded)
        assert outcome.result.image._data is None
        assert outcome.result.image.nbytes == len(big)


async def test_what_is_finished_stays_and_what_is_half_written_goes(tmp_path: Path) -> None:
    """Left by `break`: the images that were whole are there, and nothing else."""
    big = PNG + bytes(1_000_000)
    async with LocalImagesServer(pictures=big) as server, client_of(server) as client:
        server.script("ok", "stall_mid_event", "stall_mid_event")
        async with client.generate_many(["a", "b", "c"], into=tmp_path, concurrency=3) as outcomes:
            first = await anext(outcomes)
        await until(lambda: parts(tmp_path) == [f"{first.index:05d}.png"])
