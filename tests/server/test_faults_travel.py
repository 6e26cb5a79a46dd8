"""Faults of how an answer travels, seen on bare sockets."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from openai_images.server import LocalImagesServer

STREAM = {"stream": True, "partial_images": 2}
LAST_CHUNK = b"0\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\n"


def unchunked(raw: bytes) -> tuple[list[bytes], bool]:
    """The chunks of a body, and whether the last chunk was there."""
    chunks: list[bytes] = []
    while raw:
        size, _, rest = raw.partition(b"\r\n")
        if int(size, 16) == 0:
            return chunks, True
        chunks.append(rest[: int(size, 16)])
        raw = rest[int(size, 16) + 2 :]
    return chunks, False


@pytest.fixture
def fetch(server: LocalImagesServer, connect: Any) -> Any:
    """Sends a request under a fault and reads all that comes until the connection ends."""

    async def run(fault: str, **body: Any) -> tuple[bytes, bytes]:
        server.script(fault)
        connection = await connect()
        connection.post(server.api_key, close=True, **body)
        head, _, rest = (await connection.reader.read()).partition(b"\r\n\r\n")
        return head, rest

    return run


@pytest.mark.parametrize("body", [{}, STREAM])
@pytest.mark.parametrize(
    ("fault", "size"), [("one_byte_chunks", 1), ("tiny_chunks", 64), ("tiny_chunks:7", 7)]
)
async def test_small_chunks(
    ask: Any, server: LocalImagesServer, connect: Any, *, body: dict[str, Any], fault: str, size: int
) -> None:
    """The whole body comes in chunks of that size and ends well."""
    server.script(fault)
    connection = await connect()
    connection.post(server.api_key, **body)
    assert b"Transfer-Encoding: chunked" in await connection.head()
    chunks, ended = unchunked(await connection.reader.readuntil(b"\r\n" + LAST_CHUNK))
    assert ended
    assert max(len(chunk) for chunk in chunks) == size
    assert sum(len(chunk) < size for chunk in chunks) <= 3
    joined = b"".join(chunks)
    assert joined.endswith(b"}\n\n") if body else json.loads(joined)["data"]


async def test_one_byte_chunks_of_a_large_picture_take_no_minutes(ask: Any) -> None:
    """Beyond the first bytes of a frame many one-byte chunks share a segment."""
    async with LocalImagesServer(pictures=bytes(20_000), faults=["one_byte_chunks"]) as server:
        assert len((await ask(of=server)).json["data"][0]["b64_json"]) == 26_668


async def test_slow_first_byte(ask: Any, picture: bytes) -> None:
    """The answer waits for as long as asked, by the server's own sleep."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async with LocalImagesServer(pictures=picture, faults=["slow_first_byte:2.5"], sleep=sleep) as server:
        assert (await ask(of=server)).status == 200
    assert slept == [2.5]


@pytest.mark.parametrize("body", [{}, STREAM])
@pytest.mark.parametrize(
    ("fault", "before"),
    [
        ("stall", None),
        ("stall_after_headers", b"\r\n\r\n"),
        ("stall_mid_event", b'"b64_json":"'),
        ("stall_between_events", b"\r\n\r\n"),
    ],
)
async def test_stalls_last_until_release(
    server: LocalImagesServer, connect: Any, body: dict[str, Any], fault: str, before: bytes | None
) -> None:
    """A stalled answer stands still at its place, then goes on to a whole one."""
    server.script(fault)
    connection = await connect()
    connection.post(server.api_key, **body)
    seen = b""
    if fault == "stall_between_events" and body:
        before = b'"partial_image_index":0'
    if before is not None:
        seen = await connection.reader.readuntil(before)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.reader.readuntil(LAST_CHUNK if fault != "stall" else b"}"), 0.05)
    server.release()
    seen += await connection.reader.readuntil(b'"total_tokens"')
    assert seen.startswith(HEAD)
    assert server.disconnects == 0


async def test_comments_forever(server: LocalImagesServer, connect: Any) -> None:
    """Comments come and no event, until release."""
    server.script("comments_forever")
    connection = await connect()
    connection.post(server.api_key, **STREAM)
    await connection.head()
    for _ in range(3):
        assert await connection.reader.readuntil(b"keepalive\n\n\r\n") == b"d\r\n: keepalive\n\n\r\n"
    server.release()
    rest = await connection.reader.readuntil(LAST_CHUNK)
    assert b"image_generation.completed" in rest


async def test_comments_fill_the_wait_for_a_picture(ask: Any, picture: bytes) -> None:
    """With `keepalive_comments` a stream that waits sends comments, and the images all the same."""

    async def sleep(seconds: float) -> None:
        for _ in range(10 if seconds == 9 else 1):
            await asyncio.sleep(0)

    async with LocalImagesServer(
        pictures=picture, pace=9, keepalive_comments=1, sleep=sleep, clock=lambda: 0.0
    ) as server:
        reply = await ask(of=server, **STREAM)
    assert reply.body.startswith(b": keepalive\n\n: keepalive\n\n")
    assert len(reply.events) == 3


@pytest.mark.parametrize("body", [{}, STREAM])
async def test_cut_mid_event(fetch: Any, body: dict[str, Any]) -> None:
    """The body ends well in the middle of the last event."""
    _, raw = await fetch("cut_mid_event", **body)
    chunks, ended = unchunked(raw)
    assert ended
    assert b"".join(chunks).count(b'"b64_json":"') == (3 if body else 1)
    assert not b"".join(chunks).endswith(b"}\n\n")


@pytest.mark.parametrize(
    ("fault", "partials", "completed"),
    [
        ("eof_without_completed", 2, 0),
        ("eof_after_partials", 1, 0),
        ("eof_after_partials:0", 0, 0),
        ("eof_after_partials:2", 2, 0),
        ("fewer_partials", 0, 1),
        ("fewer_partials:1", 1, 1),
    ],
)
async def test_missing_events(fetch: Any, fault: str, partials: int, completed: int) -> None:
    """The stream ends well with fewer events than were asked for."""
    head, raw = await fetch(fault, **STREAM)
    assert head.startswith(HEAD.strip())
    chunks, ended = unchunked(raw)
    body = b"".join(chunks)
    assert ended
    assert body.count(b"event: image_generation.partial_image") == partials
    assert body.count(b"event: image_generation.completed") == completed


async def test_completed_without_blank_line(fetch: Any) -> None:
    """The JSON of the last event is whole and nothing follows it."""
    _, raw = await fetch("completed_without_blank_line", **STREAM)
    chunks, ended = unchunked(raw)
    assert ended
    assert json.loads(b"".join(chunks).rpartition(b"data: ")[2])["usage"]
    assert b"".join(chunks).endswith(b"}")


@pytest.mark.parametrize("body", [{}, STREAM])
async def test_close_after_body(fetch: Any, body: dict[str, Any]) -> None:
    """The connection closes well and without a byte."""
    assert await fetch("close_after_body", **body) == (b"", b"")


@pytest.mark.parametrize("body", [{}, STREAM])
async def test_reset_after_body(server: LocalImagesServer, connect: Any, body: dict[str, Any]) -> None:
    """The connection is reset once the request was read."""
    server.script("reset_after_body")
    connection = await connect()
    connection.post(server.api_key, **body)
    with pytest.raises(ConnectionResetError):
        await connection.reader.read()
    assert server.requests[0].json["prompt"] == "a lighthouse"
    assert (server.posts, server.disconnects) == (1, 0)


@pytest.mark.parametrize("body", [{}, STREAM])
async def test_reset_mid_stream(server: LocalImagesServer, connect: Any, body: dict[str, Any]) -> None:
    """What came before the reset arrives; then the connection is reset."""
    server.script("reset_mid_stream")
    connection = await connect()
    connection.post(server.api_key, **body)
    await connection.head()
    for _ in range(2 if body else 1):
        await connection.reader.readuntil(b'"b64_json"')
    with pytest.raises(ConnectionResetError):
        await connection.reader.read()
    assert server.disconnects == 0


@pytest.mark.parametrize("body", [{}, STREAM])
async def test_cut_chunked_body(fetch: Any, body: dict[str, Any]) -> None:
    """The connection closes in the middle of an event, without the last chunk."""
    head, raw = await fetch("cut_chunked_body", **body)
    assert b"Transfer-Encoding: chunked" in head
    chunks, ended = unchunked(raw)
    assert not ended
    assert b'"b64_json":"' in b"".join(chunks)


@pytest.mark.parametrize("body", [{}, STREAM])
async def test_short_content_length(fetch: Any, body: dict[str, Any]) -> None:
    """The body is a thousand bytes shorter than declared."""
    head, raw = await fetch("short_content_length", **body)
    declared = next(line for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: "))
    assert int(declared.split()[1]) == len(raw) + 1000


@pytest.mark.parametrize("body", [{}, STREAM])
async def test_malformed_chunk(server: LocalImagesServer, connect: Any, body: dict[str, Any]) -> None:
    """A chunk size that is no number comes in a read of its own; the connection stays open until release."""
    server.script("malformed_chunk")
    connection = await connect()
    connection.post(server.api_key, **body)
    before = await connection.head()
    if body:
        before += await connection.reader.readuntil(b"}\n\n\r\n")
    assert b"not-a-size" not in before
    assert await connection.reader.read(65_536) == b"not-a-size\r\nlost\r\n"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connection.reader.read(1), 0.05)
    server.release()
    assert await connection.reader.read() == b""


async def test_gzip(fetch: Any) -> None:
    """A JSON answer is compressed and says so."""
    head, raw = await fetch("gzip")
    assert b"content-encoding: gzip" in head.lower()
    assert json.loads(gzip.decompress(raw))["data"]
