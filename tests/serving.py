"""A local images server in a thread of its own, for tests whose code under test owns the main thread."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, Final

NOW: Final = 1_795_867_200.0
"""Noon of 2026-11-28: for a server that is to have the models that end after it, whatever the day."""


@contextmanager
def serving(**options: Any) -> Iterator[Any]:
    """A LocalImagesServer(**options) that answers until the block ends."""
    from openai_images.server import LocalImagesServer

    up: Future[tuple[LocalImagesServer, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        try:
            async with LocalImagesServer(**options) as server:
                done = asyncio.Event()
                up.set_result((server, asyncio.get_running_loop(), done))
                await done.wait()
        except BaseException as error:
            if up.done():
                raise
            up.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="local images server")
    thread.start()
    try:
        server, loop, done = up.result(timeout=30)
        try:
            yield server
        finally:
            loop.call_soon_threadsafe(done.set)
    finally:
        thread.join(timeout=30)
