"""The cheaper body gives the bytes that aiohttp's own gives, resumes what was paused, and is used where it is known."""

import asyncio
import base64
import gc
import itertools
import random
import zlib
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from openai_images import Timing
from openai_images.http import body_reader
from openai_images.http.body_reader import BodyReader, OpenBodies
from openai_images.http.small_pieces import Gathering, LightContent
from openai_images.wire.base64_decoder import MemorySink
from tests.helpers.clients import client_of, stream
from tests.helpers.leaks import until
from tests.helpers.raw_server import LAST_CHUNK, RawServer, chunk, chunked, reply
from tests.helpers.tiny_images import png
from tests.http.test_read_delay import HEAD, IMAGE, TAIL, TEXT

LIMIT = 1000


class Protocol:
    """Counts how often a body pauses and resumes its connection."""

    connected = True

    def __init__(self) -> None:
        """Nothing is paused."""
        self._reading_paused = False
        self.resumed = 0

    def pause_reading(self) -> None:
        """Stop the connection."""
        self._reading_paused = True

    def resume_reading(self, **_: Any) -> None:
        """Let it go on."""
        self.resumed += 1
        self._reading_paused = False


def body(cls: type[aiohttp.StreamReader] = aiohttp.StreamReader) -> tuple[Any, Protocol]:
    """A body and its connection."""
    protocol: Any = Protocol()
    return cls(protocol, LIMIT, loop=asyncio.get_running_loop()), protocol


def reader_of(content: Any) -> BodyReader:
    """What reads it."""
    response: Any = SimpleNamespace(content=content, headers={}, connection=None, close=lambda: None)
    return BodyReader(response, OpenBodies())


def feed(content: Any, *pieces: bytes) -> None:
    """Let these come, each as an HTTP chunk."""
    for piece in pieces:
        content.begin_http_chunk_receiving()
        content.feed_data(piece)
        content.end_http_chunk_receiving()


class Unlike(aiohttp.StreamReader):
    """A body of somebody else's."""


@pytest.mark.parametrize("seed", range(20))
async def test_the_same_bytes(seed: int) -> None:
    """However they come and however many are asked for at a time, before and behind the first read."""
    chance = random.Random(seed)
    light, plain = body()[0], body(Unlike)[0]
    pieces = [chance.randbytes(chance.choice((1, 3, 700, 3000))) for _ in range(60)]
    feed(light, *pieces[:5])
    feed(plain, *pieces[:5])
    readers = [reader_of(light), reader_of(plain)]
    read = [b"", b""]
    for piece in pieces[5:]:
        feed(light, piece)
        feed(plain, piece)
        if chance.random() < 0.3:
            nbytes = chance.choice((1, 500, 5000))
            read = [before + await reader.read(nbytes) for before, reader in zip(read, readers, strict=True)]
            assert read[0] == read[1]
    for content in (light, plain):
        content.feed_eof()
    for index, reader in enumerate(readers):
        while data := await reader.read():
            read[index] += data
    assert read[0] == read[1] == b"".join(pieces)
    assert type(plain) is Unlike
    assert type(light) is LightContent


@pytest.mark.parametrize("seed", range(20))
async def test_every_byte_is_taken_or_returned(seed: int) -> None:
    """Once and in order, whatever is refused, however the pieces come, and up to the end."""
    chance = random.Random(seed)
    content, _ = body()
    reader_of(content)
    gathering: Any = SimpleNamespace(is_slow=seed % 4 != 0, took=lambda _: None)
    pieces = [chance.randbytes(chance.choice((1, 700, 3000, 70_000))) for _ in range(60)]
    got: list[bytes] = []
    taken = []

    def take(piece: bytes) -> bool:
        if chance.random() < 0.3:
            return False
        taken.append(len(piece))
        got.append(piece)
        return True

    async def read() -> None:
        while chunk := await content.read_rest(5000, take, gathering):
            got.append(chunk)

    reading = asyncio.create_task(read())
    for piece in pieces:
        for _ in range(chance.choice((0, 0, 3, 100))):
            await asyncio.sleep(0)
        feed(content, piece)
    content.feed_eof()
    await reading
    assert b"".join(got) == b"".join(pieces)
    assert taken
    assert gathering.is_slow or min(taken) >= 64 * 1024


@pytest.mark.parametrize("how", ["cancelled", "broken", "closed"])
async def test_nothing_is_taken_after_the_wait(how: str) -> None:
    """The wait ends as that of aiohttp's own body does, and what comes later is kept for the next read."""
    content, protocol = body()
    reader_of(content)
    gathering, taken = Gathering(None), list[bytes]()
    gathering.is_slow = True

    def take(piece: bytes) -> bool:
        taken.append(piece)
        return True

    protocol.connected = how != "closed"
    reading = asyncio.create_task(content.read_rest(5000, take, gathering))
    await asyncio.sleep(0)
    feed(content, b"one")
    if how == "cancelled":
        reading.cancel()
    elif how == "broken":
        content.set_exception(aiohttp.ClientPayloadError("cut"))
    kinds = {
        "cancelled": asyncio.CancelledError,
        "broken": aiohttp.ClientPayloadError,
        "closed": RuntimeError,
    }
    with pytest.raises(kinds[how]):
        await reading
    gathering.stop()
    feed(content, b"two")
    assert taken == ([] if how == "closed" else [b"one"])
    assert content._read_nowait(5000) == (b"onetwo" if how == "closed" else b"two")


@pytest.mark.parametrize("when", ["before", "now"])
async def test_a_lost_connection_is_a_broken_one(when: str) -> None:
    """What came is read, and then it is a broken connection, which aiohttp alone does not say of each."""
    content, protocol = body()
    feed(content, b"one")
    closed = None if when == "before" else asyncio.get_running_loop().create_future()
    transport = None if when == "before" else Transport()
    connection = SimpleNamespace(protocol=SimpleNamespace(closed=closed), transport=transport)
    response: Any = SimpleNamespace(content=content, headers={}, connection=connection, close=lambda: None)
    reader = BodyReader(response, OpenBodies())
    if closed is not None:
        assert await reader.read() == b"one"
        closed.set_result(None)
    protocol.connected = False
    with pytest.raises(aiohttp.ClientPayloadError):
        await reader.read()
    assert reader.buffered() == (b"one" if when == "before" else b"")


async def test_a_kept_connection_that_breaks_is_not_reported(caplog: pytest.LogCaptureFixture) -> None:
    """No call waits for it; and however many bodies it had, it keeps one callback."""
    closed = asyncio.get_running_loop().create_future()
    connection = SimpleNamespace(protocol=SimpleNamespace(closed=closed), transport=Transport())
    for _ in range(3):
        response: Any = SimpleNamespace(
            content=body()[0], headers={}, connection=connection, close=lambda: None
        )
        BodyReader(response, OpenBodies()).close()
    assert len(closed._callbacks) == 1
    closed.set_exception(ConnectionError())
    await asyncio.sleep(0)
    del closed, connection, response
    gc.collect()
    assert caplog.records == []


async def test_it_resumes_only_what_was_paused() -> None:
    """What aiohttp does for each chunk is done once, and only where it is needed."""
    content, protocol = body()
    reader = reader_of(content)
    feed(content, *[b"x" * 10] * 30)
    assert await reader.read() == b"x" * 300
    assert protocol.resumed == 0
    content.feed_data(b"y" * 2 * 262_144)
    feed(content, b"y")
    assert protocol._reading_paused
    assert len(await reader.read()) == 262_144
    assert len(await reader.read()) + len(await reader.read()) == 262_145
    assert not protocol._reading_paused
    assert protocol.resumed >= 1


async def test_a_body_paused_for_its_many_chunks_goes_on() -> None:
    """A connection that has sent very many chunks is paused, few bytes though they hold."""
    content, protocol = body()
    feed(content, *[b"x"] * 500)
    protocol._reading_paused = True
    assert await reader_of(content).read() == b"x" * 500
    assert not protocol._reading_paused


async def test_another_aiohttp_is_read_plainly() -> None:
    """Where a private name is gone, the body stays as it was made."""
    content, protocol = body()
    del protocol._reading_paused
    reader_of(content)
    feed(content, b"one", b"two")
    assert type(content) is aiohttp.StreamReader


async def test_an_exception_keeps_what_came() -> None:
    """A broken connection raises, and the bytes before it are still there."""
    content, _ = body()
    reader = reader_of(content)
    feed(content, b"image")
    content.set_exception(aiohttp.ClientPayloadError("cut"))
    with pytest.raises(aiohttp.ClientPayloadError):
        await reader.read()
    assert reader.buffered() == b"image"
    assert reader.buffered() == b""


async def test_bodies_are_light_and_connections_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a real response the cheaper body is in use, and the connection serves the next call."""
    used: list[type] = []
    original = BodyReader.close

    def close(self: BodyReader) -> None:
        used.append(type(self._content))
        original(self)

    monkeypatch.setattr(BodyReader, "close", close)
    pieces = [TEXT[start : start + 100] for start in range(0, len(TEXT), 100)]
    script = [chunked(HEAD), *map(chunk, pieces), chunk(TAIL), LAST_CHUNK]
    async with RawServer(script) as server, client_of(server) as client:
        for _ in range(3):
            assert (await stream(client)).image.data == IMAGE
        assert server.connections == 1
    assert used == [LightContent] * 3


async def test_one_callback_does_not_inflate_a_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some kilobytes of gzip may be many megabytes of an image: between two parts of them, other tasks run."""
    turns, written = 0, dict[int, int]()

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    original = MemorySink.write

    def write(self: MemorySink, data: bytes) -> None:
        written[turns] = written.get(turns, 0) + len(data)
        original(self, data)

    monkeypatch.setattr(MemorySink, "write", write)
    image = png(bytes(8_000_000))
    text = HEAD + base64.b64encode(image) + TAIL
    packer = zlib.compressobj(wbits=31)
    start = packer.compress(text[:6000]) + packer.flush(zlib.Z_SYNC_FLUSH)
    rest = packer.compress(text[6000:]) + packer.flush()
    head = reply(start, "Content-Encoding: gzip", kind="text/event-stream", length=len(start) + len(rest))
    gate = asyncio.Event()
    timing = Timing(
        monotonic=itertools.count(0.0, 0.01).__next__
    )  # each read takes long, so tasks change after each
    async with RawServer([head, gate, rest]) as server, client_of(server, timing=timing) as client:
        task = asyncio.create_task(stream(client))
        await until(lambda: bool(written))
        counter = asyncio.create_task(count_turns())
        gate.set()
        assert (await task).image.data == image
        counter.cancel()
    assert max(written.values()) < 1024 * 1024


class Transport:
    """A connection of asyncio's; `is_tls` gives it a layer of TLS."""

    def __init__(self, *, is_tls: bool = False) -> None:
        """Nothing is set."""
        self.max_size = 0
        if is_tls:
            self._ssl_protocol = SimpleNamespace(max_size=0, _transport=Transport())


class Foreign:
    """A connection that takes no attributes."""

    __slots__ = ()


def opened(transport: Any, readers: OpenBodies) -> tuple[BodyReader, Any]:
    """A body on this connection, and what feeds it."""
    content, _ = body()
    response: Any = SimpleNamespace(
        content=content, headers={}, connection=SimpleNamespace(transport=transport), close=lambda: None
    )
    return BodyReader(response, readers), content


async def received(reader: BodyReader, content: Any, nbytes: int) -> None:
    """Wait for so many bytes."""
    asyncio.get_running_loop().call_soon(content.feed_data, bytes(nbytes))
    assert len(await reader.read()) == nbytes


async def test_less_is_received_at_a_time_of_many_or_slow_bodies() -> None:
    """A fast body of a few gets large pieces; where there are many, no one keeps the others waiting."""
    transport, readers = Transport(), OpenBodies()
    reader, content = opened(transport, readers)
    sizes = []
    for nbytes in (100_000, 100_000, 100, 100_000):
        await received(reader, content, nbytes)
        sizes.append(transport.max_size)
    others = [opened(Transport(), readers)[0] for _ in range(4)]
    await received(reader, content, 100_000)
    sizes.append(transport.max_size)
    others.pop().close()
    await received(reader, content, 100_000)
    sizes.append(transport.max_size)
    slow, fast = body_reader._RECEIVED_SLOWLY, body_reader._RECEIVED
    assert sizes == [slow, fast, fast, slow, slow, fast]


async def test_tls_allocates_a_record_at_a_time() -> None:
    """The layer of TLS reads records, what is below it the bytes of the network."""
    transport = Transport(is_tls=True)
    reader, content = opened(transport, OpenBodies())
    await received(reader, content, 1)
    assert transport._ssl_protocol.max_size == 16 * 1024
    assert transport._ssl_protocol._transport.max_size == body_reader._RECEIVED_SLOWLY
    assert transport.max_size == 0


class ForeignTLS(Foreign):
    """The TLS of another loop, which may lose what it holds if the connection ends while reading pauses."""

    __slots__ = ("paused",)

    def get_extra_info(self, name: str) -> object:
        """Nothing but a TLS connection."""
        return {"ssl_object": self}.get(name)

    def is_closing(self) -> bool:
        """It is open."""
        return False

    def is_reading(self) -> bool:
        """It reads."""
        return True

    def pause_reading(self) -> None:
        """Fail: what comes would be lost."""
        raise AssertionError


@pytest.mark.parametrize("is_foreign", [True, False])
@pytest.mark.parametrize("encoding", [{}, {"Content-Encoding": "gzip"}])
async def test_foreign_tls_does_not_pause(encoding: dict[str, str], *, is_foreign: bool) -> None:
    """Neither between small pieces nor for what is unread; but no body is unpacked without limit."""
    content, protocol = body()
    transport: Any = ForeignTLS() if is_foreign else Transport(is_tls=True)
    connection = SimpleNamespace(transport=transport)
    response: Any = SimpleNamespace(
        content=content, headers=encoding, connection=connection, close=lambda: None
    )
    reader = BodyReader(response, OpenBodies())
    for _ in range(2):
        asyncio.get_running_loop().call_soon(content.feed_data, b"piece")
        assert await reader.read(delay=60) == b"piece"
    reader.close()
    content.feed_data(bytes(600_000))
    assert protocol._reading_paused == (not is_foreign or bool(encoding))


async def test_a_foreign_connection_stays_as_it_is() -> None:
    """Other loops have other transports."""
    reader, content = opened(Foreign(), OpenBodies())
    await received(reader, content, 5)
    asyncio.get_running_loop().call_soon(content.feed_data, b"more")
    assert await reader.read(delay=60) == b"more"


async def test_memory_goes_back_when_it_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once there was no body for a while, if there was a large one, and not while one is open."""
    given_back = asyncio.Event()
    loop = asyncio.get_running_loop()
    monkeypatch.setattr(body_reader, "_QUIET", 0.0)
    monkeypatch.setattr(body_reader.heap, "give_back", lambda: loop.call_soon_threadsafe(given_back.set))
    bodies = OpenBodies()
    small, content = opened(Transport(), bodies)
    await received(small, content, 1000)
    small.close()
    assert bodies._timer is None
    large, content = opened(Transport(), bodies)
    await received(large, content, 200_000)
    await received(large, content, 200_000)
    large.close()
    another, _ = opened(Transport(), bodies)
    timer = bodies._timer
    assert timer is not None
    while timer.when() > loop.time():
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not given_back.is_set()
    another.close()
    await asyncio.wait_for(given_back.wait(), 60)
    timer = bodies._timer
    opened(Transport(), bodies)[0].close()
    assert bodies._timer is timer
