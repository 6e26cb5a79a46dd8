"""Runs a local server in a thread with its own loop, and calls functions in that loop from other threads.

Invariants: a server in a thread ends with its block, and every wait is limited; a function for a server's loop is
called directly if that loop is the running one, or has ended.
Must not: know what a server does.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Final, TypeVar

T = TypeVar("T")
S = TypeVar("S", bound=AbstractAsyncContextManager[Any])

_SECONDS: Final = 30.0


@contextmanager
def in_thread(make: Callable[[], S]) -> Generator[S]:
    """Run the server that `make` creates in its own thread during the block."""
    up: Future[tuple[S, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=_run, args=(make, up), name="local-images-server", daemon=True)
    thread.start()
    try:
        server, loop, done = up.result(_SECONDS)
        try:
            yield server
        finally:
            loop.call_soon_threadsafe(done.set)
    finally:
        thread.join(_SECONDS)
    if thread.is_alive():  # pragma: no cover  # a user's callback that never returns
        raise RuntimeError(f"the local images server has not stopped within {_SECONDS:g} s")


def _run(make: Callable[[], AbstractAsyncContextManager[Any]], up: "Future[Any]") -> None:
    async def serve() -> None:
        done = asyncio.Event()
        async with make() as server:
            up.set_result((server, asyncio.get_running_loop(), done))
            await done.wait()

    try:
        # Not the loop factory that a test may have set for its own loops, and the thread's policy stays unchanged.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(serve())
    except BaseException as error:
        if up.done():
            raise
        up.set_exception(error)


async def await_in(loop: asyncio.AbstractEventLoop | None, coroutine: Coroutine[Any, Any, T]) -> T:
    """Await a coroutine in the loop of a server."""
    if (other := _other(loop)) is None:
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, other))


def call_in(loop: asyncio.AbstractEventLoop | None, function: Callable[[], T]) -> T:
    """Call a function in the loop of a server, and wait for its result."""
    if (other := _other(loop)) is None:
        return function()

    async def call() -> T:
        return function()

    return asyncio.run_coroutine_threadsafe(call(), other).result(_SECONDS)


def _other(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop | None:
    """Return the loop if it runs in another thread; None if it is the running one, or has ended."""
    try:
        return None if loop is None or loop.is_closed() or loop is asyncio.get_running_loop() else loop
    except RuntimeError:
        return loop
