"""A local server in a thread with a loop of its own, and calls into that loop from other threads.

Invariants: a server in a thread ends with its block, and every wait has an end; what is called in a server's loop is
called at once where that is the running loop, or where there is none any more.
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
    """The server that `make` makes, entered in a thread of its own for the block."""
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
    if thread.is_alive():  # pragma: no cover  # a callback of the user that never returns
        raise RuntimeError(f"the local images server has not stopped within {_SECONDS:g} s")


def _run(make: Callable[[], AbstractAsyncContextManager[Any]], up: "Future[Any]") -> None:
    async def serve() -> None:
        done = asyncio.Event()
        async with make() as server:
            up.set_result((server, asyncio.get_running_loop(), done))
            await done.wait()

    try:
        # Not the loop factory that a test may have set for its own loops, and no trace in the thread's policy.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(serve())
    except BaseException as error:
        if up.done():
            raise
        up.set_exception(error)


async def await_in(loop: asyncio.AbstractEventLoop | None, coroutine: Coroutine[Any, Any, T]) -> T:
    """Awaits in the loop of a server."""
    if (other := _other(loop)) is None:
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, other))


def call_in(loop: asyncio.AbstractEventLoop | None, function: Callable[[], T]) -> T:
    """Calls in the loop of a server, and waits for it."""
    if (other := _other(loop)) is None:
        return function()

    async def call() -> T:
        return function()

    return asyncio.run_coroutine_threadsafe(call(), other).result(_SECONDS)


def _other(loop: asyncio.AbstractEventLoop | None) -> asyncio.AbstractEventLoop | None:
    """The loop if it is one of another thread; None if it is the running one, or runs no more."""
    try:
        return None if loop is None or loop.is_closed() or loop is asyncio.get_running_loop() else loop
    except RuntimeError:
        return loop
