"""`Outcomes`: the outcomes of many calls as an async iterator, which owns their tasks.

Invariants: nothing is read or sent before `__aenter__` or the first `__anext__`; it is iterated once, by one task at a
time; each request that was sent has an outcome, and an error of the whole run is raised after them; no task is left at
the end, after an error, a cancellation, or leaving `async with`; if dropped without these, it is closed with a
ResourceWarning.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import AsyncIterable, Callable, Iterable
from types import TracebackType
from typing import Self

from openai_images._util.aio import call_in_loop, mark_cancelled
from openai_images._util.attrs import safe_repr
from openai_images.many.items import RunOptions, Send
from openai_images.many.runner import Runner
from openai_images.models.image import is_remote
from openai_images.models.outcomes import Outcome, Progress, Succeeded

_log = logging.getLogger("openai_images")

_CLOSED = (
    "these outcomes were closed before their end (aclose, async with, or a cancellation); start a new run"
)


@safe_repr
class Outcomes:
    """The outcomes of many calls: a `Succeeded` or `Failed` for each request that was sent.

    Iterate it once, inside `async with`. To end early without losing paid images, call `stop()` and continue to
    iterate. `break` cancels requests in flight, which may have been billed, and drops results that were not read.
    """

    def __init__(
        self,
        requests: Iterable[object] | AsyncIterable[object],
        send: Send,
        options: RunOptions,
        new_runner: Callable[..., Runner] = Runner,
    ) -> None:
        """Run `requests` by a `new_runner`. Raises TypeError if `requests` is no iterable of requests."""
        self._run = new_runner(requests, send, options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._iterated = False
        self._entered = False
        self._stepping = False
        self._closed_early = False
        self._raised = False

    @property
    def progress(self) -> Progress:
        """The current counts, costs and rate; the rate is that of the last five minutes."""
        return self._run.progress()

    async def __aenter__(self) -> Self:
        self._entered = True
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._annotate(error)
        await self.aclose()

    def __aiter__(self) -> Self:
        if self._iterated:
            raise RuntimeError("outcomes can be iterated once; keep those you need")
        self._iterated = True
        return self

    async def __anext__(self) -> Outcome:
        """Return the next outcome.

        After the last outcome, this raises the error that ended the run: an exception of the caller's iterable or of
        `progress`, `QuotaExhaustedError`, the last of too many identical failures, or the OSError of a failing disk. It
        raises RuntimeError if the iterator was closed before its end. Cancelling this call loses nothing inside `async
        with`; outside it ends the run.
        """
        if self._stepping:
            raise RuntimeError("another task is waiting for the next outcome; let one task iterate")
        self._start()
        self._stepping = True
        try:
            outcome = await self._next()
        except BaseException as error:
            if not self._entered:
                self._annotate(error)
                await self.aclose()
            raise
        finally:
            self._stepping = False
        if outcome is None:
            raise StopAsyncIteration
        return outcome

    def stop(self) -> None:
        """Send no new requests; the outcomes of those in flight are still yielded, then the iteration ends.

        Requests that wait for a limit and were not sent have no outcome. Call it in the event loop's thread.
        """
        self._run.stop()

    async def aclose(self) -> None:
        """Cancel all requests and wait for the tasks to end. Idempotent."""
        run = self._run
        self._closed_early = self._closed_early or not run.is_over
        run.cancel()
        if run.task is None:
            return
        if not run.task.done():
            await asyncio.wait([run.task])
        if lost := sum(map(_is_only_here, run.scheduler.unread)):
            _log.warning(
                "outcomes were closed with %d unread results, which are lost although they are paid for", lost
            )
        run.scheduler.clear()
        await run.close_requests()  # the task may have been cancelled before its first step
        if (failure := run.pop_error()) is not None:
            _log.warning("outcomes were closed before %s could be raised", type(failure).__name__)

    def __del__(self) -> None:
        run: Runner | None = getattr(self, "_run", None)
        if run is not None and run.task is not None and not (run.task.done() or run.is_cancelled):
            message = f"unclosed {self!r}: iterate it to its end or use async with"
            with contextlib.suppress(RuntimeError):  # its event loop may be closed
                call_in_loop(self._loop, run.cancel)
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        now = self.progress
        under_way = now.in_flight + now.waiting
        return f"<Outcomes {self._state}, {now.done} done, {now.failed} failed, {under_way} in flight>"

    def _repr_html_(self) -> str:
        from openai_images.models.notebook import table_of_fields  # noqa: PLC0415  only notebooks need it

        return table_of_fields(f"Outcomes, {self._state}", self.progress)

    @property
    def _state(self) -> str:
        return "not started" if self._loop is None else "ended" if self._run.is_over else "open"

    def _annotate(self, error: BaseException | None) -> None:
        """Add to a CancelledError that ends the run whether requests in flight may have been billed."""
        if isinstance(error, asyncio.CancelledError) and not self._closed_early:
            count = self._run.scheduler.may_be_billed_count
            note = f"requests in flight when the run was cancelled: {count}; they may have been billed"
            mark_cancelled(error, note if count else None)

    def _start(self) -> None:
        if self._loop is None and not self._closed_early:
            self._loop = asyncio.get_running_loop()
            self._run.start()

    async def _next(self) -> Outcome | None:
        while not self._closed_early:
            if (outcome := self._run.take()) is not None:
                return outcome
            if self._run.is_over:
                self._conclude()
                return None
            await self._run.wait()
        raise RuntimeError(_CLOSED)

    def _conclude(self) -> None:
        """Raise the error of the whole run, once."""
        failure = self._run.pop_error()
        if failure is not None:
            self._raised = True
            try:
                raise failure
            finally:
                del failure  # its traceback holds this frame: a reference cycle
        if not (self._raised or self._run.scheduler.is_closed):
            self._closed_early = True
            raise RuntimeError(_CLOSED)


def _is_only_here(outcome: Outcome) -> bool:
    """Whether an image of this outcome is neither in a file nor in another storage."""
    images = outcome.result.images if isinstance(outcome, Succeeded) else ()
    return any(image.path is None and (image.url is None or is_remote(image)) for image in images)
