"""Requests that are none: each is answered or closed in bounded time, never with 500, and nothing stands still."""

import asyncio
import gzip
import json
import random
import time
import zlib
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from openai_images.server import LocalImagesServer, server as app
from openai_images.server.requests.multipart import MAX_HEADERS, MAX_PARTS
from tests.helpers.edit_images import encoded, house

FORM = "multipart/form-data; boundary=b"
HEAD = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\n'
STALL = 0.25
"""Seconds of processor time within which the loop must have its turn; what other processes take does not count."""
TRIES = 3
"""A stall stalls each time; what happens once is the garbage collector or the machine."""
QUIET = 0.2


def request(key: str, body: bytes, *, path: str = "edits", kind: str = FORM, more: str = "") -> bytes:
    """A POST with this body."""
    head = f"POST /v1/images/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{more}"
    return f"{head}Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def answered(connect: Any, server: LocalImagesServer, data: bytes) -> tuple[bytes, float]:
    """The status line that these bytes got (b"" where the connection closed), and the longest stall meanwhile."""
    stalls: list[float] = []
    line = b""
    while len(stalls) < TRIES and (not stalls or min(stalls) >= STALL):
        connection = await connect(server)
        connection.writer.write(data)
        reading = asyncio.ensure_future(connection.reader.readline())
        worst, before = 0.0, time.process_time()
        async with asyncio.timeout(60):
            while not reading.done():
                await asyncio.sleep(0.001)
                now = time.process_time()
                worst, before = max(worst, now - before), now
        stalls.append(worst)
        try:
            line = await reading
        except ConnectionResetError:
            line = b""
    return line, min(stalls)


def many_parts(count: int, head: bytes = b"") -> bytes:
    """A form of so many parts."""
    return b"".join(b"--b\r\n" + head + b"\r\n\r\nx\r\n" for _ in range(count)) + b"--b--\r\n"


HUGE: dict[str, Callable[[], tuple[bytes, str]]] = {
    "parameters of a header": lambda: (
        many_parts(100, b"Content-Disposition: form-data; " + b"a=b;" * 3900 + b' name="x"'),
        FORM,
    ),
    "quotes of a header": lambda: (
        many_parts(100, b"Content-Disposition: form-data; " + b';a="\\' * 3000 + b' name="x"'),
        FORM,
    ),
    "parts": lambda: (many_parts(100_000), FORM),
    "parts without a name": lambda: (many_parts(MAX_PARTS), FORM),
    "headers": lambda: (many_parts(500, b"a:b\r\n" * 3000 + b"a:b"), FORM),
    "lines": lambda: (HEAD + b"\r\n" * 400_000 + b"--b--", FORM),
    "almost boundaries": lambda: (HEAD + b"\r\n--" * 200_000 + b"\r\n--b--", FORM),
    "spaces behind a boundary": lambda: (b"--b" + b" " * 2_000_000, FORM),
    "brackets": lambda: (b"[" * 2_000_000, "application/json"),
    "lists": lambda: (b"[" + b"[]," * 2_000_000 + b"1]", "application/json"),
    "keys": lambda: (json.dumps(dict.fromkeys(map(str, range(300_000)), 1)).encode(), "application/json"),
    "equal keys": lambda: (b"{" + b'"a":1,' * 500_000 + b'"a":1}', "application/json"),
    "a number": lambda: (b'{"n":' + b"9" * 3_000_000 + b"}", "application/json"),
    "a fraction": lambda: (b'{"n":0.' + b"9" * 3_000_000 + b"}", "application/json"),
    "escapes": lambda: (b'{"prompt":"' + b"\\n" * 5_000_000 + b'"}', "application/json"),
    "quotation marks": lambda: (b'{"prompt":"' + b'\\"' * 1_000_000 + b'"}', "application/json"),
    "backslashes": lambda: (b'{"prompt":"' + b"\\" * 5_000_000 + b'"}', "application/json"),
    "a long string": lambda: (b'{"prompt":"' + b"x" * 20_000_000 + b'"}', "application/json"),
    "a string without an end": lambda: (b'{"prompt":"' + b"x" * 20_000_000, "application/json"),
    "a long name": lambda: (b'{"' + b"x" * 20_000_000 + b'":1}', "application/json"),
    "a long data URL": lambda: (
        json.dumps({"images": [{"image_url": "data:image/png;base64," + "A" * 20_000_000}]}).encode(),
        "application/json",
    ),
    "a long media type": lambda: (
        json.dumps({"images": [{"image_url": "data:image/" + "a" * 20_000_000}]}).encode(),
        "application/json",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("with_key", [True, False])
@pytest.mark.parametrize("name", HUGE)
async def test_a_huge_body_stalls_nothing(
    connect: Any, server: LocalImagesServer, name: str, *, with_key: bool
) -> None:
    """It is refused, with the key and without, while the event loop has its turns."""
    body, kind = HUGE[name]()
    line, worst = await answered(
        connect, server, request(server.api_key if with_key else "no", body, kind=kind)
    )
    assert line.split()[1:2] == [b"400" if with_key else b"401"] or (line == b"" and not with_key)
    assert worst < STALL


@pytest.mark.parametrize("kind", ["application/json", FORM])
@pytest.mark.parametrize("with_key", [True, False])
async def test_a_bomb_is_no_larger_than_a_body(
    connect: Any, picture: bytes, kind: str, *, with_key: bool
) -> None:
    """What decompresses to a gigabyte is refused at the limit, or unread."""
    bomb = gzip.compress(bytes(300_000_000), 1)
    limits = {"max_upload_bytes": 20_000_000, "max_body_bytes": 20_000_000}
    async with LocalImagesServer(pictures=picture, **limits) as server:
        key = server.api_key if with_key else "no"
        data = request(key, bomb, kind=kind, more="Content-Encoding: gzip\r\n")
        line, worst = await answered(connect, server, data)
    assert line.split()[1:2] == [b"413" if with_key else b"401"] or (line == b"" and not with_key)
    assert worst < STALL


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_a_compressed_body_is_read(
    connect: Any, server: LocalImagesServer, pack: Callable[[bytes], bytes]
) -> None:
    """As gzip and as deflate; another encoding is a 415, half of one a 400."""
    name = "gzip" if pack is gzip.compress else "deflate"
    body = pack(json.dumps({"prompt": "a fox " * 1000}).encode())

    async def status(body: bytes, encoding: str) -> bytes:
        data = request(
            server.api_key, body, path="generations", kind="application/json",
            more=f"Content-Encoding: {encoding}\r\n",
        )  # fmt: skip
        return (await answered(connect, server, data))[0].split()[1]

    assert [await status(body, name), await status(body, "br"), await status(body[:-9], name)] == [
        b"200", b"415", b"400",
    ]  # fmt: skip
    assert server.requests[0].json == {"prompt": "a fox " * 1000}


@pytest.mark.parametrize(
    ("kind", "start"),
    [("application/json", b"2\r\n{}\r\n"), (FORM, b"5\r\n--b\r\n\r\n")],
)
@pytest.mark.parametrize("end", [b"zz\r\n", b"5\r\nab", b""])
async def test_a_body_that_breaks_off_is_a_400(
    connect: Any, picture: bytes, kind: str, start: bytes, end: bytes
) -> None:
    """A malformed chunk in a later segment, half a chunk, and silence, within the bound on silence."""
    path = "generations" if kind == "application/json" else "edits"
    async with LocalImagesServer(pictures=picture, body_timeout=QUIET) as server:
        connection = await connect(server)
        connection.writer.write(
            f"POST /v1/images/{path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {server.api_key}\r\n"
            f"Content-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
            + start
        )
        while not server.posts:
            await asyncio.sleep(0)
        connection.writer.write(end)
        async with asyncio.timeout(4):
            head = await connection.head()
            body = await connection.reader.readuntil(b"}}")
    assert b" 400 " in head
    assert b"stopped: nothing arrived for 0.2 s" in body


@pytest.mark.skipif(aiohttp.__version__ < "3.14", reason="older aiohttp waits for a first head without end")
async def test_a_head_that_stops_is_closed(
    connect: Any, picture: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a head nor none holds a connection for ever."""
    monkeypatch.setattr(app, "HEAD_TIMEOUT", QUIET)
    async with LocalImagesServer(pictures=picture) as server:
        for start in (b"", b"POST /v1/images/generations HT", b"GET /v1/models HTTP/1.1\r\nHost: loc"):
            connection = await connect(server)
            connection.writer.write(start)
            async with asyncio.timeout(4):
                assert await connection.reader.read() == b""


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (many_parts(MAX_PARTS + 1), b"it has more than 1000 parts"),
        (many_parts(1, b"a:b\r\n" * MAX_HEADERS + b"a:b"), b"a part has more than 32 headers"),
        (b"--b" + b" " * 90, b"a boundary is followed by text in its line"),
    ],
)
async def test_the_bounds_of_a_form_are_told(
    connect: Any, server: LocalImagesServer, body: bytes, said: bytes
) -> None:
    """Each with its number."""
    connection = await connect()
    connection.writer.write(request(server.api_key, body))
    head = await connection.head()
    assert (b" 400 " in head, said in await connection.reader.read(300)) == (True, True)


def damaged(data: bytes, chance: random.Random) -> bytes:  # noqa: PLR0911  # one for each way
    """The request, hurt in one of the ways of a bad line, a bad sender or a bad will."""
    head, _, body = data.partition(b"\r\n\r\n")
    at = chance.randrange(len(data))
    match chance.randrange(9):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + chance.randbytes(chance.randint(1, 9)) + data[at + 1 :]
        case 2:
            return data[:at] + data[at : at + 50] * chance.randint(2, 9) + data[at + 50 :]
        case 3:
            length = str(chance.choice([0, 1, -1, len(body) - 1, len(body) + 9, 2**70])).encode()
            return b"\r\n".join(
                b"Content-Length: " + length if line.startswith(b"Content-Length") else line
                for line in head.split(b"\r\n")
            ) + b"\r\n\r\n" + body  # fmt: skip
        case 4:
            sizes = [b"zz", b"-1", b"0x5", b"%x" % len(body), b"f" * 20, b"5;x=y", b""]
            chunked = head.replace(b"Content-Length", b"Transfer-Encoding: chunked\r\nX-Length")
            return chunked + b"\r\n\r\n" + chance.choice(sizes) + b"\r\n" + body + b"\r\n0\r\n\r\n"
        case 5:
            old, new = chance.choice(
                [(b"1.1", b"1.0"), (b"1.1", b"2.0"), (b"POST", b"CONNECT"), (b"/v1", b"*")]
            )
            return data.replace(old, new, 1)
        case 6:
            more = [b"Host: localhost", b"Upgrade: websocket\r\nConnection: upgrade", b"Expect: 100-continue",
                    b"Expect: x", b"Content-Encoding: gzip", b"X-Local-Fault: nonsense", b"Content-Type: \xff",
                    b"A:" * 5000, b"Transfer-Encoding: gzip, chunked"]  # fmt: skip
            return head + b"\r\n" + chance.choice(more) + b"\r\n\r\n" + body
        case 7:
            return head + b"\r\n\r\n" + b"[" * chance.randint(1, 5000) + body
        case _:
            cut = chance.randrange(len(body))
            return head + b"\r\n\r\n" + body[cut:] + body[:cut]


def good_requests(key: str) -> list[bytes]:
    """Requests of every kind, all of them right."""
    image = encoded(house((32, 32)))
    part = b'--b\r\nContent-Disposition: form-data; name="image[]"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    form = HEAD + b"night\r\n" + part + image + b"\r\n--b--\r\n"
    odd = b'{"prompt":"a","prompt":"\\ud83d\\ude00","n":1,"stream":true,"user":null}'
    return [
        request(key, form),
        request(key, odd, path="generations", kind="application/json"),
        request(key, b'{"prompt":"a","images":[{"file_id":"f"}],"mask":null}', kind="application/json"),
    ]


@pytest.mark.parametrize("seed", range(4))
async def test_no_damaged_request_is_a_500(connect: Any, picture: bytes, seed: int) -> None:
    """A hundred at a time: each is answered or closed within seconds, and the next right one is answered."""
    chance = random.Random(seed)
    async with LocalImagesServer(pictures=picture, body_timeout=QUIET) as server:
        right = good_requests(server.api_key)

        async def send(data: bytes) -> bytes:
            connection = await connect(server)
            connection.writer.write(data)
            try:
                async with asyncio.timeout(15):
                    # What is no whole request is waited for until its sender says that it is over.
                    if b"\r\n\r\n" not in data:
                        connection.writer.write_eof()
                    return await connection.reader.readline()
            except ConnectionError:
                return b""

        sent = [damaged(chance.choice(right), chance) for _ in range(100)]
        lines = await asyncio.gather(*map(send, sent))
        assert [(line, data) for line, data in zip(lines, sent, strict=True) if b" 5" in line[:13]] == []
        assert [(await send(data)).split()[1] for data in right] == [b"200"] * len(right)
