"""The local server keeps files: what is uploaded is listed, read back and deleted, as by the API."""

import asyncio
import gc
import io
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from openai_images.server import LocalImagesServer
from openai_images.server.batches import file_calls as upload
from tests.helpers.server_thread import NOW, Clock

LINE = b'{"custom_id": "a"}\n'


@pytest.fixture
def clock() -> Clock:
    """The server's wall clock."""
    return Clock()


@pytest.fixture
async def server(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> AsyncIterator[LocalImagesServer]:
    """A server whose files are below `tmp_path`; none is left."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with LocalImagesServer(pictures="small", now=clock) as server:
        yield server
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
async def official(server: LocalImagesServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client, without retries."""
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key=server.api_key, max_retries=0) as client:
        yield client


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A session that does not repeat by itself what is idempotent."""
    async with aiohttp.ClientSession() as session:
        session._retry_connection = False  # there is no other switch
        yield session


def form(**fields: Any) -> aiohttp.FormData:
    """The form of an upload: a file and other fields, None for none."""
    data = aiohttp.FormData(default_to_multipart=True)
    for name, value in ({"purpose": "batch", "file": LINE} | fields).items():
        if name == "file" and value is not None:
            data.add_field(name, io.BytesIO(value), filename="in.jsonl", content_type="application/jsonl")
        elif value is not None:
            data.add_field(name, value)
    return data


@pytest.fixture
def call(server: LocalImagesServer, http: aiohttp.ClientSession) -> Any:
    """Calls a path with the key, and gives the status and the body, JSON where it is."""

    async def send(method: str, path: str, **options: Any) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {server.api_key}"} | options.pop("headers", {})
        async with http.request(method, f"{server.base_url}{path}", headers=headers, **options) as response:
            is_json = response.content_type == "application/json"
            return response.status, await (response.json() if is_json else response.read())

    return send


async def test_the_life_of_a_file(call: Any) -> None:
    """Uploaded, retrieved, listed, read, deleted; then it is not there."""
    status, file = await call("POST", "/files", data=form())
    assert status == 200
    assert file == {
        "object": "file",
        "id": file["id"],
        "purpose": "batch",
        "filename": "in.jsonl",
        "bytes": len(LINE),
        "created_at": int(NOW),
        "expires_at": int(NOW) + 2_592_000,
        "status": "processed",
        "status_details": None,
    }
    path = f"/files/{file['id']}"
    assert await call("GET", path) == (200, file)
    assert await call("GET", f"{path}/content") == (200, LINE)
    assert (await call("GET", "/files"))[1]["data"] == [file]
    assert await call("DELETE", path) == (200, {"id": file["id"], "object": "file", "deleted": True})
    status, gone = await call("GET", path)
    assert (status, gone["error"]["message"]) == (404, f"No such File object: {file['id']}")
    assert (await call("GET", f"{path}/content"))[0] == (await call("DELETE", path))[0] == 404


async def test_the_official_client(official: openai.AsyncOpenAI) -> None:
    """Its calls give what its types promise; files are listed page by page, in both orders."""
    made = [
        await official.files.create(
            file=(f"{n}.jsonl", LINE * n),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        for n in (1, 2, 3)
    ]
    assert [file.expires_at for file in made] == [int(NOW) + 3600] * 3
    other = await official.files.create(file=("a.png", b"x"), purpose="vision")
    assert other.expires_at is None
    listed = [file.id async for file in official.files.list(limit=2)]
    assert listed == [other.id, *(file.id for file in reversed(made))]
    batch = [file.id async for file in official.files.list(limit=1, purpose="batch", order="asc")]
    assert batch == [file.id for file in made]
    assert (await official.files.content(made[1].id)).content == LINE * 2
    assert (await official.files.retrieve(made[1].id)).filename == "2.jsonl"
    assert (await official.files.delete(made[1].id)).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        await official.files.retrieve(made[1].id)


async def test_files_expire(call: Any, clock: Clock) -> None:
    """When its time is over a file is gone."""
    options = {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
    _, file = await call("POST", "/files", data=form(**options))
    clock.now += 3599
    assert (await call("GET", f"/files/{file['id']}"))[0] == 200
    clock.now += 1
    assert (await call("GET", f"/files/{file['id']}"))[0] == 404
    assert (await call("GET", "/files"))[1]["data"] == []


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"purpose": None}, 400, "purpose"),
        ({"purpose": "nonsense"}, 400, "purpose"),
        ({"file": None}, 400, "file"),
        ({"other": "x"}, 400, "other"),
        ({"expires_after[seconds]": "3600"}, 400, "expires_after.anchor"),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "3599"},
            400,
            "expires_after.seconds",
        ),
        (
            {"expires_after[anchor]": "created_at", "expires_after[seconds]": "soon"},
            400,
            "expires_after.seconds",
        ),
        ({"expires_after": "x"}, 400, "expires_after"),
        ({"purpose": "b" * 2000}, 413, None),
    ],
)
async def test_what_is_no_upload(call: Any, fields: dict[str, Any], status: int, param: str | None) -> None:
    """It is refused, with the parameter, and nothing is kept."""
    refused = await call("POST", "/files", data=form(**fields))
    assert (refused[0], refused[1]["error"]["param"]) == (status, param)
    assert (await call("GET", "/files"))[1]["data"] == []


@pytest.mark.parametrize("query", ["limit=0", "limit=10001", "limit=x", "after=file-none"])
async def test_pages_that_do_not_exist(call: Any, query: str) -> None:
    """A page that cannot be is a 400."""
    assert (await call("GET", f"/files?{query}"))[0] == 400


async def test_the_key_is_checked(server: LocalImagesServer, http: aiohttp.ClientSession) -> None:
    """Nothing is had without it, and no fault is used up."""
    server.script("file_list:500")
    async with http.get(f"{server.base_url}/files") as response:
        assert response.status == 401
    assert server.faults == ("file_list:500",)


async def test_a_broken_form(call: Any, server: LocalImagesServer) -> None:
    """A form that ends early, and one that stops, leave nothing."""
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    begun = b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nabc'
    status, body = await call("POST", "/files", data=begun, headers=headers)
    assert (status, body["error"]["message"][:25]) == (400, "Could not parse your mult")
    assert (await call("POST", "/files", data=b"{}", headers={"Content-Type": "application/json"}))[0] == 400
    server.reset(body_timeout=0.05)

    async def stops() -> AsyncIterator[bytes]:
        yield begun
        await asyncio.sleep(0.3)

    assert (await call("POST", "/files", data=stops(), headers=headers))[0] == 400
    assert (await call("GET", "/files"))[1]["data"] == []


async def test_an_upload_is_bounded(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body over the limit, an input file over that of batches, and a full store are 413s."""
    monkeypatch.setattr(upload, "MAX_INPUT_BYTES", 10)
    assert (await call("POST", "/files", data=form()))[0] == 413
    assert (await call("POST", "/files", data=form(purpose="vision")))[0] == 200
    monkeypatch.setattr(upload, "_MAX_FORM_BYTES", 10)
    assert (await call("POST", "/files", data=form(purpose="vision")))[0] == 413
    monkeypatch.setattr("openai_images.server.requests.files.MAX_FILES", 1)
    assert (await call("POST", "/files", data=form(purpose="vision")))[0] == 413


async def test_memory_is_constant(call: Any, server: LocalImagesServer, http: aiohttp.ClientSession) -> None:
    """An upload and a download of 64 MB hold a few of them at a time."""
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Authorization": f"Bearer {server.api_key}"}

    async def body() -> AsyncIterator[bytes]:
        yield b'--x\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
        for _ in range(64):
            yield b"x" * 1_000_000
        yield b"\r\n--x--\r\n"

    gc.collect()
    tracemalloc.start()
    try:
        _, file = await call("POST", "/files", data=body(), headers=headers)
        size = 0
        async with http.get(f"{server.base_url}/files/{file['id']}/content", headers=headers) as response:
            async for piece in response.content.iter_any():
                size += len(piece)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (file["bytes"], size) == (64_000_000, 64_000_000)
    assert peak < 16_000_000


def steps(file_id: str) -> Iterator[tuple[str, str, str]]:
    """The steps with their method and path, but for uploads."""
    yield "file_retrieve", "GET", f"/files/{file_id}"
    yield "file_list", "GET", "/files"
    yield "file_content", "GET", f"/files/{file_id}/content"
    yield "file_delete", "DELETE", f"/files/{file_id}"


async def test_every_step_fails_on_command(call: Any, server: LocalImagesServer) -> None:
    """A status, a lost answer, a reset; `ok` lets one pass; other steps' faults wait; the header counts as well."""
    _, file = await call("POST", "/files", data=form())
    for step, method, path in steps(file["id"]):
        server.script(f"{step}:429", f"{step}:reset", f"{step}:ok", "file_upload:503")
        assert (await call(method, path))[0] == 429
        with pytest.raises(aiohttp.ClientError):
            await call(method, path)
        assert (await call(method, path))[0] == 200
        assert server.faults == ("file_upload:503",)
        server.faults = ()
        if step != "file_delete":
            assert (await call(method, path, headers={"X-Local-Fault": step}))[0] == 500
    assert (await call("GET", "/files", headers={"X-Local-Fault": "file_delete"}))[0] == 400
    assert server.refused == 4


async def test_faults_after_the_deed(call: Any, server: LocalImagesServer) -> None:
    """What was answered with an error, or not at all, may have been done."""
    server.script("file_upload:500", "file_upload:500_after", "file_upload:lost", "file_upload:cut")
    statuses = [(await call("POST", "/files", data=form()))[0] for _ in range(2)]
    assert statuses == [500, 500]
    for _ in range(2):
        with pytest.raises(aiohttp.ClientError):
            await call("POST", "/files", data=form(file=b"x" * 3_000_000))
    files = (await call("GET", "/files"))[1]["data"]
    assert [file["bytes"] for file in files] == [3_000_000, len(LINE)]
    server.script("file_delete:lost")
    with pytest.raises(aiohttp.ClientError):
        await call("DELETE", f"/files/{files[0]['id']}")
    assert len((await call("GET", "/files"))[1]["data"]) == 1


async def test_content_is_cut(call: Any, server: LocalImagesServer) -> None:
    """Half of it comes, and then the connection ends."""
    _, file = await call("POST", "/files", data=form(file=b"x" * 3_000_000))
    server.script("file_content:cut")
    with pytest.raises(aiohttp.ClientPayloadError):
        await call("GET", f"/files/{file['id']}/content")
    assert len((await call("GET", f"/files/{file['id']}/content"))[1]) == 3_000_000


async def test_content_stalls_in_its_middle(
    server: LocalImagesServer, call: Any, http: aiohttp.ClientSession
) -> None:
    """The second half comes with `release`."""
    _, file = await call("POST", "/files", data=form(file=b"x" * 3_000_000))
    server.script("file_content:stall_mid")
    headers = {"Authorization": f"Bearer {server.api_key}"}
    async with http.get(f"{server.base_url}/files/{file['id']}/content", headers=headers) as response:
        assert len(await response.content.readexactly(1_500_000)) == 1_500_000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(response.content.readany(), 0.05)
        server.release()
        assert len(await response.read()) == 1_500_000


async def test_a_stall_lasts_until_release(call: Any, server: LocalImagesServer) -> None:
    """Nothing comes before."""
    server.script("file_list:stall")
    waiting = asyncio.ensure_future(call("GET", "/files"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    server.release()
    assert (await waiting)[0] == 200


@pytest.mark.parametrize(
    "name", ["file_list:200", "file_list:500_after", "file_list:cut", "file_list:", "batch_list:x"]
)
def test_what_is_no_fault(server: LocalImagesServer, name: str) -> None:
    """It is refused, and says what may be said."""
    with pytest.raises(ValueError, match="with a status from 400 to 599"):
        server.script(name)


async def test_it_forgets(call: Any, server: LocalImagesServer, tmp_path: Path) -> None:
    """`reset` removes all files, from the disk as well."""
    await call("POST", "/files", data=form())
    assert len(list(tmp_path.glob("*/*"))) == 1
    server.reset()
    assert (await call("GET", "/files"))[1]["data"] == []
    assert list(tmp_path.glob("*")) == []
