"""Small reads in the middle of an image are gathered: fewer wake-ups, the same bytes, and nothing else is delayed."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
import trustme

from openai_images import (
    APITimeoutError,
    CompletedImage,
    ConfigurationError,
    StreamInterruptedError,
    Timeouts,
)
from openai_images.http import small_pieces as gathering
from openai_images.http.body_reader import BodyReader, OpenBodies
from openai_images.http.small_pieces import Gathering
from tests.helpers.clients import PNG, PROMPT, client_of, event
from tests.helpers.leaks import nothing_left, until
from tests.helpers.raw_server import CLOSE, LAST_CHUNK, RESET, STALL, RawServer, chunk, chunked
from tests.helpers.tiny_images import png

IMAGE = png(bytes(40_000))
TEXT = base64.b64encode(IMAGE)
HEAD, TAIL = event("image_generation.completed", b64_json="@").split(b"@")
FIRST, REST = TEXT[:6000], [TEXT[start : start + 6000] for start in range(6000, len(TEXT), 6000)]
LONG = 60.0  # seconds: a test that waits for it fails


@pytest.fixture(params=["low mark", "pause"])
def pauses(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What held reading back, one for each time, by either way."""
    seen: list[Any] = []
    if request.param == "pause":
        monkeypatch.setattr(gathering, "_COUNTS_BYTES", False)
    elif not gathering._COUNTS_BYTES:
        pytest.skip("this kernel cannot count bytes")
    for cls in (gathering._LowMark, gathering._Pause):

        def until(self: Any, nbytes: int, delay: float, original: Callable[..., None] = cls.until) -> None:
            original(self, nbytes, delay)
            if self._timer is not None:
                seen.append(self)

        monkeypatch.setattr(cls, "until", until)
    return seen


def is_reading(hold: Any) -> bool:
    """Whether each byte is read as it comes."""
    if isinstance(hold, gathering._Pause):
        return bool(hold._transport.is_reading())
    mark: int = hold._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)
    return (mark, hold._mark) == (1, 1)


async def image_of(client: Any) -> bytes:
    """The bytes of a streamed image."""
    async with client.stream(PROMPT) as events:
        (image,) = [found.image async for found in events if isinstance(found, CompletedImage)]
    return image.data


def slow(*gates: asyncio.Event, kind: str = "text/event-stream") -> Iterator[Any]:
    """An image in pieces, each behind a gate."""
    yield chunked(HEAD + FIRST, kind=kind)
    for gate, piece in zip(gates, REST, strict=True):
        yield gate
        yield chunk(piece)
    yield chunk(TAIL)
    yield LAST_CHUNK


@pytest.mark.parametrize("tls", [False, True])
async def test_the_same_image_with_fewer_reads(
    pauses: list[Any], monkeypatch: pytest.MonkeyPatch, *, tls: bool
) -> None:
    """What comes while reading pauses is read at once, and the connection serves the next call."""
    authority = trustme.CA()
    server_tls, client_tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1").configure_cert(server_tls)
    authority.configure_trust(client_tls)
    reads: list[int] = []
    original = Gathering._begin

    def begin(self: Gathering, nbytes: int) -> None:
        reads.append(nbytes)
        original(self, nbytes)

    monkeypatch.setattr(Gathering, "_begin", begin)
    gates = [asyncio.Event() for _ in REST]
    async with (
        RawServer(list(slow(*gates)), tls=server_tls if tls else None) as server,
        client_of(server, timeouts=Timeouts(read_delay=0.2), ssl=client_tls if tls else None) as client,
    ):
        task = asyncio.create_task(image_of(client))
        await until(lambda: bool(pauses))
        for gate in gates:
            gate.set()
        assert await task == IMAGE
        assert len(reads) < len(REST)
        assert all(map(is_reading, pauses))
        assert await image_of(client) == IMAGE
        assert server.connections == 1


@pytest.mark.parametrize(
    ("script", "timeouts"),
    [
        ([chunked(HEAD + TEXT), chunk(TAIL), LAST_CHUNK], Timeouts(read_delay=0)),
        ([chunked(HEAD + TEXT + b'"'), chunk(TAIL[1:]), LAST_CHUNK], Timeouts(read_delay=LONG)),
        ([chunked(HEAD + TEXT + TAIL[:-1]), chunk(TAIL[-1:]), LAST_CHUNK], Timeouts(read_delay=LONG)),
        ([chunked(), chunk(HEAD + TEXT + TAIL), LAST_CHUNK], Timeouts(read_delay=LONG)),
        ([chunked(HEAD[:20]), chunk(HEAD[20:] + TEXT + TAIL), LAST_CHUNK], Timeouts(read_delay=LONG)),
    ],
)
async def test_only_the_middle_of_an_image_is_delayed(
    script: list[bytes], timeouts: Timeouts, pauses: list[Any]
) -> None:
    """Not what is around it, and nothing where the delay is 0."""
    gated = [part for piece in script for part in (piece, asyncio.Event())][:-1]
    async with RawServer(gated) as server, client_of(server, timeouts=timeouts) as client:
        task = asyncio.create_task(image_of(client))
        await until(lambda: server.posts == 1)
        for gate in gated[1::2]:
            for _ in range(200):
                await asyncio.sleep(0)
            gate.set()
        assert await task == IMAGE
    assert pauses == []


async def test_full_reads_are_followed_at_once(pauses: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where as much comes as a socket may hold, the sender must not wait for us."""
    for cls in (gathering._LowMark, gathering._Pause):
        monkeypatch.setattr(cls, "slow", 1000)
    gates = [asyncio.Event() for _ in REST]
    async with RawServer(list(slow(*gates))) as server, client_of(server) as client:
        task = asyncio.create_task(image_of(client))
        for gate in gates:
            for _ in range(200):
                await asyncio.sleep(0)
            gate.set()
        assert await task == IMAGE
    assert pauses == []


async def test_a_small_buffer_does_not_make_the_sender_wait() -> None:
    """A read of a large part of it is followed at once, where reading would pause."""
    near, far = socket.socketpair()
    with near, far:
        near.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        size = near.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        paused: list[str] = []
        transport = SimpleNamespace(
            get_extra_info=lambda name: near if name == "socket" else None,
            is_reading=lambda: True,
            is_closing=lambda: False,
            pause_reading=lambda: paused.append("pause"),
            resume_reading=lambda: paused.append("resume"),
        )
        gathers = Gathering(transport)
        gathers.begin(size // 3, LONG)
        assert paused == []
        gathers.begin(size // 5, LONG)
        gathers.stop()
        assert paused == ["pause", "resume"]


@pytest.mark.parametrize("timer", ["idle", "total"])
async def test_a_delay_lets_no_timer_run_out(timer: str) -> None:
    """It is half of what is left at most."""
    gates = [asyncio.Event() for _ in REST]
    for gate in gates:
        gate.set()
    timeouts = Timeouts(**{timer: 5.0}, read_delay=LONG)
    async with RawServer([*slow(*gates)]) as server, client_of(server, timeouts=timeouts) as client:
        async with asyncio.timeout(60):
            assert await image_of(client) == IMAGE


@pytest.mark.parametrize("end", [STALL, CLOSE, RESET])
async def test_the_end_of_the_connection_is_seen(pauses: list[Any], end: Any) -> None:
    """A pause hides neither silence nor the end for longer than it lasts."""
    timeouts, gate = Timeouts(idle=0.3, read_delay=0.05), asyncio.Event()
    script = [chunked(HEAD + FIRST), gate, end]
    async with RawServer(script) as server, client_of(server, timeouts=timeouts) as client:
        task = asyncio.create_task(image_of(client))
        await until(lambda: bool(pauses))
        gate.set()
        with pytest.raises(APITimeoutError if end == STALL else StreamInterruptedError):
            await task


async def test_what_came_before_a_reset_is_read(pauses: list[Any]) -> None:
    """The image that came complete while reading paused is not lost with its connection."""
    gate = asyncio.Event()
    script = [chunked(HEAD + FIRST), gate, chunk(b"".join(REST) + TAIL), RESET]
    async with (
        RawServer(script) as server,
        client_of(server, timeouts=Timeouts(read_delay=0.2)) as client,
    ):
        task = asyncio.create_task(image_of(client))
        await until(lambda: bool(pauses))
        gate.set()
        assert await task == IMAGE


async def test_cancelled_in_a_pause(pauses: list[Any]) -> None:
    """The connection closes at once, and nothing resumes it later."""
    async with (
        nothing_left(),
        RawServer([chunked(HEAD + FIRST), STALL]) as server,
        client_of(server, timeouts=Timeouts(read_delay=LONG)) as client,
    ):
        task = asyncio.create_task(image_of(client))
        await until(lambda: bool(pauses))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(60):
            await server.left.wait()
        assert pauses[0]._timer is None


@pytest.mark.parametrize("how", ["closing", "without flow control", "paused by another", "released"])
async def test_a_transport_is_touched_with_care(how: str) -> None:
    """Neither a closed one is resumed, nor one paused that cannot be, or that is not ours."""
    touched: list[str] = []
    closing = False

    def pause() -> None:
        if how == "without flow control":
            raise NotImplementedError
        touched.append("pause")

    transport = SimpleNamespace(
        is_reading=lambda: how != "paused by another",
        is_closing=lambda: closing,
        pause_reading=pause,
        resume_reading=lambda: touched.append("resume"),
    )
    content = aiohttp.StreamReader(
        SimpleNamespace(  # type: ignore[arg-type]
            connected=True, _reading_paused=False, pause_reading=None, resume_reading=lambda **_: None
        ),
        2**16,
        loop=asyncio.get_running_loop(),
    )
    connection = None if how == "released" else SimpleNamespace(transport=transport)
    response: Any = SimpleNamespace(content=content, headers={}, connection=connection, close=lambda: None)
    reader = BodyReader(response, OpenBodies())
    content.feed_data(b"first")
    assert await reader.read() == b"first"
    waiting = asyncio.create_task(reader.read(delay=0.001))
    for _ in range(3):
        await asyncio.sleep(0)
    closing = how == "closing"
    hold: Any = None if reader._gathering is None else reader._gathering._hold
    if hold is not None and (timer := hold._timer) is not None:
        await until(lambda: timer.when() < waiting.get_loop().time())
        await asyncio.sleep(0)
    content.feed_data(b"second")
    assert await waiting == b"second"
    assert touched == (["pause"] if how == "closing" else [])


@pytest.mark.parametrize("value", [-1, float("nan"), None])
def test_nonsense_is_refused(value: Any) -> None:
    """Seconds, or 0 for none."""
    with pytest.raises(ConfigurationError, match="read_delay"):
        Timeouts(read_delay=value)


async def test_a_picture_of_bare_bytes(pauses: list[Any]) -> None:
    """A body that is the image itself is gathered too."""
    gate = asyncio.Event()
    script = [chunked(PNG[:30], kind="image/png"), gate, chunk(PNG[30:]), LAST_CHUNK]
    async with RawServer(script) as server, client_of(server, timeouts=Timeouts(read_delay=0.05)) as client:
        task = asyncio.create_task(client.generate(PROMPT))
        await until(lambda: bool(pauses))
        gate.set()
        assert (await task).image.data == PNG


async def test_nothing_is_woken_until_enough_has_come(pauses: list[Any]) -> None:
    """While the bytes of an image are few, the kernel keeps them, or reading is paused; after it, nothing does."""
    gate = asyncio.Event()
    script = [chunked(HEAD + FIRST), chunk(REST[0]), gate, chunk(b"".join(REST[1:]) + TAIL), LAST_CHUNK]
    async with RawServer(script) as server, client_of(server, timeouts=Timeouts(read_delay=0.2)) as client:
        task = asyncio.create_task(image_of(client))
        await until(lambda: bool(pauses))
        assert not is_reading(pauses[0])
        gate.set()
        assert await task == IMAGE
        assert is_reading(pauses[0])


class Hold:
    """Notes for how many bytes it was to wait."""

    slow = 100_000

    def __init__(self) -> None:
        """Nothing yet."""
        self.marks: list[int] = []

    def until(self, nbytes: int, delay: float) -> None:
        """Wait for these."""
        assert delay == 0.005
        self.marks.append(nbytes)

    def stop(self) -> None:
        """Wait no more."""
        self.marks.append(1)


async def test_it_waits_for_what_the_delay_should_bring() -> None:
    """For fewer bytes than that, by the pace of the last ones; for none after large reads or outside of an image."""
    now = 0.0
    gathers, hold = Gathering(None), Hold()
    gathers._hold, gathers._loop = hold, SimpleNamespace(time=lambda: now)  # type: ignore[assignment]
    gathers.begin(6_000, 0.005)
    for _ in range(20):  # 10 MB/s
        now += 0.004
        gathers.took(16_000)
        gathers.took(24_000)
    assert hold.marks[0] == 64 * 1024
    assert 38_000 < hold.marks[-1] <= 40_000
    assert gathers.is_slow
    now += 0.004
    gathers.took(60_000)
    gathers.took(60_000)
    now += 0.004
    gathers.took(60_000)
    assert hold.marks[-1] == 1
    assert not gathers.is_slow
    gathers.begin(0, 0.005)
    gathers.begin(6_000, 0.0)
    assert hold.marks[-2:] == [1, 1]


async def test_taken_bytes_restart_the_idle_timer(pauses: list[Any]) -> None:
    """An image that takes longer than `idle` allows for one piece comes whole, while nothing else is read."""
    gates = [asyncio.Event() for _ in REST]
    timeouts = Timeouts(idle=0.5, read_delay=0.001)
    async with RawServer(list(slow(*gates))) as server, client_of(server, timeouts=timeouts) as client:
        task = asyncio.create_task(image_of(client))
        await until(lambda: bool(pauses))
        loop = asyncio.get_running_loop()
        for gate in gates:
            due = loop.time() + 0.1
            await until(lambda due=due: loop.time() > due)  # type: ignore[misc]
            gate.set()
        assert await task == IMAGE
