"""Runs a server in a thread with an event loop of its own, and reaches a server's loop from others.

Rules: the thread ends with the block, whatever happens in it; an error of the start is raised where the block begins;
every wait has an end. It refuses to know what it runs.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar


class Entered(Protocol):
    """An async context manager that gives itself."""

    async def __aenter__(self) -> Self:
        """Starts it."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> object:
        """Stops it."""
        ...


T = TypeVar("T")
E = TypeVar("E", bound=Entered)

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 30.0


@contextmanager
def in_thread(make: Callable[[], E]) -> Generator[E]:
    """What `make` makes, entered in another thread for the time of the block."""
    up: Future[tuple[E, asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    thread = threading.Thread(target=_run, args=(make, up), name="local-images-server", daemon=True)
    thread.start()
    try:
        made, loop, done = up.result(_START_SECONDS)
        try:
            yield made
        finally:
            loop.call_soon_threadsafe(done.set)
    finally:
        thread.join(_STOP_SECONDS)
    if thread.is_alive():  # pragma: no cover  # a callback of the user that never returns
        raise RuntimeError(f"the local images server has not stopped within {_STOP_SECONDS:g} s")


def _run(make: Callable[[], Entered], up: "Future[Any]") -> None:
    async def serve() -> None:
        done = asyncio.Event()
        async with make() as made:
            up.set_result((made, asyncio.get_running_loop(), done))
            await done.wait()

    try:
        # Not the loop factory that a test may have set for its own loops, and no trace in the thread's policy.
        with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
            runner.run(serve())
    except BaseException as error:
        if up.done():
            raise
        up.set_exception(error)


def call_in(loop: asyncio.AbstractEventLoop | None, do: Callable[[], object]) -> None:
    """Calls it in a loop: now where this is its thread or there is none, else as soon as the loop comes to it."""
    if loop is None or loop is _running():
        do()
    elif not loop.is_closed():
        loop.call_soon_threadsafe(do)


async def await_in(loop: asyncio.AbstractEventLoop | None, coroutine: Coroutine[Any, Any, T]) -> T:
    """Awaits it in a loop, from whichever loop this is."""
    if loop is None or loop is _running() or loop.is_closed():
        return await coroutine
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
