"""Wherever a call is cancelled or left, its connection closes at once and nothing stays behind."""

import asyncio
import contextlib
import gc
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

from openai_images import CompletedImage, ImagesClient, Limits, PartialImage, StreamInterruptedError
from openai_images._util import atomic_file as parts_module
from openai_images.client import files
from openai_images.models.options import Timing
from openai_images.server import LocalImagesServer
from tests.helpers.leaks import nothing_left, only, parts, until
from tests.helpers.tiny_images import png

PICTURE = png(bytes(1_000_000))  # its half is enough to be written to a file
AT_ONCE = 5  # seconds in which the server sees the connection close, on a busy machine; else it never does

Call = Callable[[ImagesClient, str | None], Awaitable[object]]


async def generate(client: ImagesClient, into: str | None) -> object:
    """Await an image."""
    return await client.generate("an otter", into=into)


async def consume(client: ImagesClient, into: str | None) -> object:
    """Iterate a stream as it should be done."""
    async with client.stream("an otter", into=into, partial_images=2) as stream:
        async for _ in stream:
            pass
    return stream.result


async def consume_plainly(client: ImagesClient, into: str | None) -> object:
    """Iterate a stream without `async with`."""
    return [event async for event in client.stream("an otter", into=into, partial_images=2)]


CALLS = pytest.mark.parametrize("call", [generate, consume, consume_plainly])


@pytest.fixture
async def server() -> AsyncIterator[LocalImagesServer]:
    """A server that serves one fixed image, so that nothing is painted."""
    async with LocalImagesServer(pictures=PICTURE) as server:
        yield server


@pytest.fixture
async def client(server: LocalImagesServer) -> AsyncIterator[ImagesClient]:
    """A client with a single slot, so that one that is not given back blocks the next call."""
    async with ImagesClient(
        base_url=server.base_url, api_key=server.api_key, limits=Limits(concurrency=1)
    ) as client:
        yield client


async def cancel(task: asyncio.Task[Any]) -> None:
    """Cancel a task and see it end that way."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def still_works(client: ImagesClient) -> None:
    """The slot is free again."""
    async with asyncio.timeout(60):
        result = await client.generate("another", model="gpt-image-2")
    assert result.images


@contextlib.contextmanager
def listening(backlog: int) -> Iterator[socket.socket]:
    """A socket that listens and never answers."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(backlog)
        yield sock


@CALLS
async def test_cancel_while_connecting(call: Call, tmp_path: Path) -> None:
    """Nobody accepts the connection: the socket goes, nothing was written."""
    with listening(0) as full, contextlib.ExitStack() as fillers:
        address = full.getsockname()
        for _ in range(3):
            filler = fillers.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(address)
        base_url = "http://{}:{}".format(*address)
        async with nothing_left(), ImagesClient(base_url=base_url, api_key="k") as client:
            task = asyncio.create_task(call(client, str(tmp_path / "o")))
            await until(lambda: bool(client._sessions._owned))
            for _ in range(50):
                await asyncio.sleep(0)
            assert not task.done()
            await cancel(task)
        await only(tmp_path, [])


@CALLS
async def test_cancel_in_tls_handshake(call: Call, tmp_path: Path) -> None:
    """The peer accepts and says nothing: it sees the connection close at once."""
    with listening(5) as mute:
        mute.setblocking(False)
        loop = asyncio.get_running_loop()
        base_url = "https://{}:{}".format(*mute.getsockname())
        async with nothing_left(), ImagesClient(base_url=base_url, api_key="k") as client:
            task = asyncio.create_task(call(client, str(tmp_path / "o")))
            peer, _ = await loop.sock_accept(mute)
            with peer:
                hello = await loop.sock_recv(peer, 65536)
                assert hello.startswith(b"\x16\x03")
                await cancel(task)
                async with asyncio.timeout(AT_ONCE):
                    assert await loop.sock_recv(peer, 1) == b""
        await only(tmp_path, [])


@CALLS
async def test_cancel_while_waiting_for_the_limiter(
    call: Call, server: LocalImagesServer, client: ImagesClient, tmp_path: Path
) -> None:
    """The one who waits goes, the one who holds the slot is not disturbed."""
    async with nothing_left():
        server.script("stall")
        holder = asyncio.create_task(generate(client, None))
        await until(lambda: server.posts == 1)
        waiter = asyncio.create_task(call(client, str(tmp_path / "o")))
        limiter = client._context.limiter
        await until(lambda: len(limiter.queue().waiters) == 1)
        await cancel(waiter)
        server.release()
        await holder
        await still_works(client)
        assert server.posts == 2
        await client.aclose()
        await only(tmp_path, [])


@CALLS
@pytest.mark.parametrize("fault", ["rate_limited:60", "should_retry_true:500"])
async def test_cancel_while_waiting_to_send_again(
    call: Call, fault: str, server: LocalImagesServer, tmp_path: Path
) -> None:
    """The wait for a limit or between two attempts ends, and nothing is sent after it."""
    asleep = asyncio.Event()

    async def sleep(_: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    server.script(fault)
    async with nothing_left():
        async with ImagesClient(
            base_url=server.base_url,
            api_key=server.api_key,
            timing=Timing(sleep=sleep),
            limits=Limits(concurrency=1),
        ) as client:
            task = asyncio.create_task(call(client, str(tmp_path / "o")))
            await asleep.wait()
            await cancel(task)
            assert client._context.limiter.queue().free > 0
        assert server.posts == 1
        await only(tmp_path, [])


@CALLS
@pytest.mark.parametrize(
    "fault", ["stall", "stall_after_headers", "stall_mid_event", "stall_between_events", "comments_forever"]
)
async def test_cancel_in_every_stage_of_the_answer(
    call: Call, fault: str, server: LocalImagesServer, client: ImagesClient, tmp_path: Path
) -> None:
    """Before the first byte, behind the headers, in mid-picture, between events: the server sees it at once."""
    if call is generate and fault in ("comments_forever", "stall_between_events"):
        fault = "stall_mid_event"
    server.script(fault)
    async with nothing_left():
        task = asyncio.create_task(call(client, str(tmp_path / "o")))
        await until(lambda: len(server.requests) == 1)
        if fault == "stall_mid_event":
            await until(lambda: any(name.endswith(".part") for name in parts(tmp_path)))
        if fault == "stall_between_events":
            await until(lambda: parts(tmp_path) == ["o.partial-0.png"])
        for _ in range(20):
            await asyncio.sleep(0)
        assert not task.done()
        await cancel(task)
        await server.wait_disconnected(timeout=AT_ONCE)
        whole = ["o.partial-0.png"] if fault == "stall_between_events" else []
        await until(lambda: parts(tmp_path) == whole)
        await still_works(client)
        await client.aclose()


@pytest.mark.parametrize("how", ["break", "aclose", "raise", "timeout"])
@pytest.mark.parametrize("into", [True, False])
async def test_leaving_a_stream_closes_it(
    how: str, into: bool, server: LocalImagesServer, client: ImagesClient, tmp_path: Path
) -> None:
    """`break`, `aclose()`, an exception in the body and `asyncio.timeout` all close at once; a whole partial stays."""
    server.script("stall_between_events")
    async with nothing_left():
        with contextlib.suppress(LookupError, TimeoutError):
            async with (
                asyncio.timeout(None) as limit,
                client.stream("an otter", partial_images=2, into=tmp_path / "o" if into else None) as stream,
            ):
                async for event in stream:
                    assert isinstance(event, PartialImage)
                    if how == "break":
                        break
                    if how == "aclose":
                        await stream.aclose()
                        break
                    if how == "raise":
                        raise LookupError
                    if how == "timeout":
                        limit.reschedule(asyncio.get_running_loop().time() + 0.1)
        await server.wait_disconnected(timeout=AT_ONCE)
        await only(tmp_path, (["o.partial-0.png"] if into else []))
        await still_works(client)
        await client.aclose()


async def test_a_timeout_around_generate_closes_it(server: LocalImagesServer, client: ImagesClient) -> None:
    """`asyncio.timeout` raises TimeoutError and the server sees the connection close."""
    server.script("stall")
    async with nothing_left():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await client.generate("an otter")
        await server.wait_disconnected(timeout=AT_ONCE)
        await still_works(client)
        await client.aclose()


async def test_siblings_in_a_task_group(server: LocalImagesServer, tmp_path: Path) -> None:
    """When one task of a group fails, its siblings' calls close at once and leave no file."""
    server.always("stall_mid_event")
    async with nothing_left(), ImagesClient(base_url=server.base_url, api_key=server.api_key) as client:

        async def fail() -> None:
            await until(lambda: len(server.requests) == len(parts(tmp_path)) == 4)
            raise LookupError

        with pytest.raises(ExceptionGroup):  # noqa: PT012  the block is what is tested
            async with asyncio.TaskGroup() as group:
                for number in range(4):
                    call = consume if number % 2 else generate
                    group.create_task(call(client, str(tmp_path / str(number))))
                group.create_task(fail())
        await server.wait_disconnected(4, timeout=AT_ONCE)
        await only(tmp_path, [])


async def test_an_abandoned_stream_is_aborted(
    server: LocalImagesServer, client: ImagesClient, tmp_path: Path
) -> None:
    """A plain `async for` that is left by `break` warns, closes the connection, frees the slot, drops its file."""
    server.script("stall_between_events")
    async with nothing_left():
        with pytest.warns(ResourceWarning, match="unclosed <ImageStream open, 1 partial"):  # noqa: PT031  likewise
            async for _ in client.stream("an otter", partial_images=2, into=tmp_path / "o"):
                break
            gc.collect()
        await server.wait_disconnected(timeout=AT_ONCE)
        await only(tmp_path, ["o.partial-0.png"])
        await still_works(client)
        await client.aclose()


async def test_an_abandoned_stream_is_aborted_even_if_warnings_are_errors(
    server: LocalImagesServer, client: ImagesClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning that cannot be raised from a finalizer does not keep the connection open."""
    unraisable: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda caught: unraisable.append(caught.exc_type))
    server.script("stall_between_events")
    async for _ in client.stream("an otter", partial_images=2):
        break
    gc.collect()
    await server.wait_disconnected(timeout=AT_ONCE)
    assert unraisable == [ResourceWarning]
    await still_works(client)


async def test_a_stream_collected_in_another_thread(server: LocalImagesServer, client: ImagesClient) -> None:
    """The finalizer may run in any thread: the connection still closes at once, on its own loop."""
    asyncio.get_running_loop().set_debug(enabled=True)  # then asyncio refuses calls from other threads
    server.script("stall_between_events")
    async with nothing_left():
        held = [client.stream("an otter", partial_images=2)]
        await anext(held[0])
        waiter = asyncio.create_task(generate(client, None))
        await asyncio.sleep(0)

        def drop() -> None:
            held.clear()
            gc.collect()

        with pytest.warns(ResourceWarning, match="unclosed <ImageStream"):
            await asyncio.to_thread(drop)
        await server.wait_disconnected(timeout=AT_ONCE)
        await waiter
        await client.aclose()


async def test_a_stream_is_iterated_once(server: LocalImagesServer, client: ImagesClient) -> None:
    """A second iteration raises, while the first runs and after its end."""
    async with client.stream("an otter", partial_images=1) as stream:
        async for _ in stream:
            with pytest.raises(RuntimeError, match="iterated once"):
                aiter(stream)
    with pytest.raises(RuntimeError, match="iterated once"):
        async for _ in stream:
            pass
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    async with client.stream("an otter", partial_images=1) as stream:
        first = await anext(stream)
        assert [type(first), *[type(event) async for event in stream]] == [PartialImage, CompletedImage]
    with pytest.raises(RuntimeError, match="over"):
        async with stream:
            pass
    assert server.posts == 2


@pytest.mark.parametrize("before", [True, False])
async def test_use_after_close_raises(before: bool, server: LocalImagesServer, client: ImagesClient) -> None:
    """A stream that was closed before its end never looks like one that came to it."""
    server.script("stall_between_events")
    stream = client.stream("an otter", partial_images=2)
    if not before:
        await anext(stream)
    await stream.aclose()
    await stream.aclose()
    with pytest.raises(RuntimeError, match="closed before its end"):
        await anext(stream)
    with pytest.raises(RuntimeError, match="over"):
        async with stream:
            pass
    assert server.posts == (0 if before else 1)


async def test_a_cancelled_step_cannot_be_taken_again(
    server: LocalImagesServer, client: ImagesClient
) -> None:
    """`wait_for(anext(stream))` that runs out closes the stream; going on raises instead of looking like its end."""
    server.script("stall_between_events")
    async with client.stream("an otter", partial_images=2) as stream:
        await anext(stream)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(stream), 0.05)
        await server.wait_disconnected(timeout=AT_ONCE)
        with pytest.raises(RuntimeError, match="closed before its end"):
            await anext(stream)


async def test_two_tasks_at_once(server: LocalImagesServer, client: ImagesClient) -> None:
    """The second task is refused, the first one gets its image."""
    server.script("stall_between_events")
    async with client.stream("an otter", partial_images=1) as stream:
        await anext(stream)
        first = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(stream)
        server.release()
        assert isinstance(await first, CompletedImage)


@pytest.mark.parametrize("fault", ["stall", "stall_between_events", "stall_mid_event"])
async def test_aclose_while_another_task_iterates(
    fault: str, server: LocalImagesServer, client: ImagesClient, tmp_path: Path
) -> None:
    """The connection closes whatever the other task waits for, and that task is told."""
    server.script(fault)
    async with nothing_left():
        stream = client.stream("an otter", partial_images=1, into=tmp_path / "o")

        async def iterate() -> None:
            async for _ in stream:
                pass

        task = asyncio.create_task(iterate())
        await until(lambda: server.posts == 1)
        if fault != "stall":
            await until(lambda: stream._call.is_open and bool(parts(tmp_path)))
        await stream.aclose()
        await server.wait_disconnected(timeout=AT_ONCE)
        with pytest.raises(RuntimeError, match="closed before its end"):
            await task
        await until(lambda: not [name for name in parts(tmp_path) if name.endswith(".part")])
        await still_works(client)
        await client.aclose()


async def test_aclose_of_the_client_ends_its_streams(server: LocalImagesServer, client: ImagesClient) -> None:
    """Closing the client interrupts what is in flight with an error, not with a clean end."""
    server.script("stall_between_events")
    async with nothing_left():
        async with client.stream("an otter", partial_images=2) as stream:
            await anext(stream)
            step = asyncio.create_task(anext(stream))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            await client.aclose()
            await server.wait_disconnected(timeout=AT_ONCE)
            with pytest.raises(StreamInterruptedError) as caught:
                await asyncio.wait_for(step, 60)
        assert len(caught.value.partials) == 1


@CALLS
@pytest.mark.parametrize("stage", ["prepare", "write", "publish"])
async def test_cancel_while_a_thread_writes(
    call: Call, stage: str, client: ImagesClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call ends although the disk hangs; when the thread is done, there is no half-written file."""
    disk = HangingDisk(monkeypatch, stage)
    async with nothing_left():
        task = asyncio.create_task(call(client, str(tmp_path / "o")))
        await until(disk.hangs.is_set)
        started = time.monotonic()
        await cancel(task)
        assert time.monotonic() - started < AT_ONCE
        disk.go_on.set()
        await until(lambda: not [name for name in parts(tmp_path) if name.endswith(".part")])
        await still_works(client)
        await client.aclose()
    assert {path.stat().st_size for path in tmp_path.iterdir()} <= {len(PICTURE)}


@CALLS
async def test_cancel_while_no_thread_is_free(
    call: Call,
    server: LocalImagesServer,
    client: ImagesClient,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An image that waits for a thread to be named is dropped with its file, and no thread brings it back."""
    loop, go_on = asyncio.get_running_loop(), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        loop.set_default_executor(pool)
        server.script("stall_mid_event")
        async with nothing_left():
            task = asyncio.create_task(call(client, str(tmp_path / "o")))
            await until(lambda: bool(server.requests and parts(tmp_path)))
            blocker = pool.submit(go_on.wait, 5)
            await until(blocker.running)
            monkeypatch.setattr(files, "_FLUSH", len(PICTURE))
            server.release()
            await until(lambda: pool._work_queue.qsize() == 1)
            await cancel(task)
            await only(tmp_path, [])
            go_on.set()
            await client.aclose()
    await only(tmp_path, [])


class HangingDisk:
    """A disk that hangs in one of its doings until it may `go_on`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
        """Hang in preparing, in writing or in giving the name."""
        self.hangs, self.go_on = threading.Event(), threading.Event()
        if stage == "write":
            monkeypatch.setattr(files, "create_part", self._create_part)
        else:
            name = "create_part" if stage == "prepare" else "publish"
            monkeypatch.setattr(files, name, self._hanging(getattr(files, name)))

    def _create_part(self, path: Path) -> Any:
        file = parts_module.create_part(path)
        slow = MagicMock(wraps=file)
        slow.write = self._hanging(file.write)
        return slow

    def _hanging(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*args: Any, **kwargs: Any) -> Any:
            self.hangs.set()
            self.go_on.wait(5)
            return real(*args, **kwargs)

        return slow
