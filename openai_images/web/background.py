"""Calls of web handlers that may outlive the browser's connection: `run_call`, and calls in the background.

Invariants: a call that is to be finished is kept alive, and `wait_for_background` waits for it. `on_result` gets a
result once, and is not cancelled by a disconnect; its exceptions are logged.
Must not: import a web framework.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final, Literal, TypeAlias, TypeVar
from weakref import WeakSet

from openai_images import ConfigurationError, ImageResult, PartialResultError

__all__ = [
    "OnDisconnect",
    "OnResult",
    "check_on_disconnect",
    "deliver",
    "keep_open",
    "keep_running",
    "run_call",
    "run_until",
    "wait_finished",
    "wait_for_background",
]

_log = logging.getLogger("openai_images")

_T = TypeVar("_T")

OnDisconnect: TypeAlias = Literal["cancel", "finish"]
"""The action when the browser disconnects: "cancel" closes the call, "finish" reads it to its end in the background."""
OnResult: TypeAlias = Callable[[ImageResult], object]
"""A function or async function that is called with each `ImageResult`."""

_background: Final[set[asyncio.Task[Any]]] = set()
"""Calls that are finished or closed after their browser has disconnected; asyncio itself keeps no task alive."""

_open: Final[WeakSet[asyncio.Future[None]]] = WeakSet()
"""Calls that are to be finished and whose browser is still connected; the relay holds the reference."""


async def run_call(
    call: Coroutine[Any, Any, ImageResult],
    *,
    on_disconnect: OnDisconnect = "cancel",
    on_result: OnResult | None = None,
) -> ImageResult:
    """Await a `call`, such as `client.generate(…)`, in a handler that is cancelled when its browser disconnects.

    A cancellation closes the call (`on_disconnect="cancel"`), or lets it finish in the background ("finish").
    `on_result` as in `relay`. Raises the errors of the call.
    """
    check_on_disconnect(on_disconnect)
    task = keep_running(_run(call, on_result))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if on_disconnect == "cancel":
            task.cancel()
        raise


async def run_until(
    disconnect: Coroutine[Any, Any, object],
    call: Coroutine[Any, Any, ImageResult],
    *,
    on_disconnect: OnDisconnect,
    on_result: OnResult | None,
) -> ImageResult | None:
    """Await a call, or return None as soon as `disconnect` ends; for handlers that a disconnect does not cancel."""
    task = asyncio.create_task(run_call(call, on_disconnect=on_disconnect, on_result=on_result))
    gone = asyncio.create_task(disconnect)
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        gone.cancel()
        task.cancel()


async def wait_for_background(timeout: float | None = None) -> int:  # noqa: ASYNC109  as `asyncio.wait` has it
    """Wait for the calls of this event loop that are to be finished; call it before the server exits.

    These are calls whose browser has disconnected, and relays with "finish" that are still read. Returns the number of
    calls that are not finished after `timeout` seconds (None: no limit). Logs the wait, and calls that are left.
    """
    if unfinished := _unfinished():
        limit = "without a limit" if timeout is None else f"for at most {timeout:g} s"
        _log.warning("waiting %s for calls in the background (%d): they are paid for", limit, len(unfinished))
    if left := await wait_finished(timeout):
        _log.warning(
            "calls in the background are not finished (%d): if the process ends now, their images are lost, and may "
            "be billed",
            left,
        )
    return left


async def wait_finished(timeout: float | None = None) -> int:  # noqa: ASYNC109  as above
    """Like `wait_for_background`, without the logs."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout):
            while futures := _unfinished():
                await asyncio.wait(futures)
    return len(_unfinished())


def _unfinished() -> set[asyncio.Future[Any]]:
    loop = asyncio.get_running_loop()
    return {future for future in (*_background, *_open) if future.get_loop() is loop}


async def _run(call: Awaitable[ImageResult], on_result: OnResult | None) -> ImageResult:
    try:
        result = await call
    except PartialResultError as error:
        if error.result is not None:
            await _deliver_all(on_result, error.result)
        raise
    await _deliver_all(on_result, result)
    return result


async def _deliver_all(on_result: OnResult | None, result: ImageResult) -> None:
    """Call `on_result` to its end, also if the browser disconnects meanwhile."""
    if on_result is not None:
        await asyncio.shield(keep_running(deliver(on_result, result)))


async def deliver(on_result: OnResult | None, result: ImageResult) -> None:
    """Call `on_result` with a result; its exceptions are logged, because no caller could handle them."""
    try:
        value = None if on_result is None else on_result(result)
        if inspect.isawaitable(value):
            await value
    except Exception:  # noqa: BLE001  the app's own exception; it is logged
        _log.exception("on_result raised for a relayed call")


def keep_running(coroutine: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
    """Run a coroutine in a task that is kept alive until its end."""
    task = asyncio.create_task(coroutine)
    _background.add(task)
    task.add_done_callback(_drop)
    return task


def keep_open() -> asyncio.Future[None]:
    """Return a future for which `wait_for_background` waits, as long as the caller holds it."""
    future = asyncio.get_running_loop().create_future()
    _open.add(future)
    future.add_done_callback(_open.discard)
    return future


def _drop(task: asyncio.Task[Any]) -> None:
    _background.discard(task)
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.debug("a call of a web handler ended with %s", type(error).__name__)


def check_on_disconnect(on_disconnect: str) -> None:
    """Raise `ConfigurationError` for an invalid value."""
    if on_disconnect not in ("cancel", "finish"):
        raise ConfigurationError(f'on_disconnect must be "cancel" or "finish", and is {on_disconnect!r}')
