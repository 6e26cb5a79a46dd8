"""`Outcomes`: the outcomes of many calls as an async iterator that owns their tasks.

Invariants: nothing is read or sent before `__aenter__` or the first `__anext__`. It is iterated once, by one task at
a time. Each request that was sent gives an outcome; an error of the whole is raised after them. The end, leaving
`async with`, an error and a cancellation leave no task; one that was dropped without any of these is closed with a
ResourceWarning.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import warnings
from collections.abc import AsyncIterable, Iterable
from types import TracebackType
from typing import Self

from openai_images._util.aio import call_in_loop
from openai_images._util.attrs import safe_repr
from openai_images.many.options import RunOptions, Send
from openai_images.many.runner import Runner
from openai_images.models.outcomes import Outcome, Progress

_log = logging.getLogger("openai_images")

_CLOSED = (
    "these outcomes were closed before their end (aclose, async with, or a cancellation); ask for new ones"
)


@safe_repr
class Outcomes:
    """The outcomes of many calls: `Succeeded` or `Failed` for each that was sent.

    Iterate it once, best inside `async with`. To end early, `stop()` and go on iterating: what is paid for arrives.
    Leaving by `break` cancels what is under way, although it may have been paid for.
    """

    def __init__(
        self, given: Iterable[object] | AsyncIterable[object], work: Send, options: RunOptions
    ) -> None:
        """Made by `ImagesClient.generate_many`. Raises TypeError where `given` holds no requests."""
        self._run = Runner(given, work, options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._iterated = False
        self._entered = False
        self._stepping = False
        self._closed_early = False
        self._raised = False

    @property
    def progress(self) -> Progress:
        """How far it is now; its speed is that of the last five minutes."""
        return self._run.progress()

    async def __aenter__(self) -> Self:
        """Start reading and sending."""
        self._entered = True
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel what is left of it."""
        await self.aclose()

    def __aiter__(self) -> Self:
        """Start the one iteration."""
        if self._iterated:
            raise RuntimeError("outcomes can be iterated once; keep those you need")
        self._iterated = True
        return self

    async def __anext__(self) -> Outcome:
        """The next outcome.

        After the last one it raises what ended the whole: the source's own exception, `QuotaExhaustedError`, the last
        of too many identical failures, the OSError of a disk that takes nothing, what the `progress` callback raised;
        RuntimeError where it was closed before its end. A step that is cancelled inside `async with` loses nothing;
        elsewhere it ends the run.
        """
        if self._stepping:
            raise RuntimeError("another task is waiting for the next outcome; let one task iterate")
        self._start()
        self._stepping = True
        try:
            outcome = await self._next()
        except BaseException:
            if not self._entered:
                await self.aclose()
            raise
        finally:
            self._stepping = False
        if outcome is None:
            raise StopAsyncIteration
        return outcome

    def stop(self) -> None:
        """Start nothing new. What was sent finishes and is handed over, then the iteration ends.

        Requests that wait for a limit and were not sent are dropped without an outcome. Call it in the loop's thread.
        """
        self._run.stop()

    async def aclose(self) -> None:
        """Cancel everything and wait until no task is left; harmless when it is over, and when called twice."""
        run = self._run
        self._closed_early = self._closed_early or not run.is_over
        run.cancel()
        if run.task is None:
            return
        if not run.task.done():
            await asyncio.wait([run.task])
        run.scheduler.clear()
        await run.close_requests()  # the task may have been cancelled before its first step
        if (failure := run.pop_error()) is not None:
            _log.warning("outcomes were left before %s could be raised", type(failure).__name__)

    def __del__(self) -> None:
        """Outcomes that nobody closed: abort them and say so."""
        run: Runner | None = getattr(self, "_run", None)
        if run is not None and run.task is not None and not (run.task.done() or run.is_cancelled):
            what = f"unclosed {self!r}: iterate it to its end or use async with"
            with contextlib.suppress(RuntimeError):  # its loop may be gone
                call_in_loop(self._loop, run.cancel)
            warnings.warn(what, ResourceWarning, stacklevel=2, source=self)

    def __repr__(self) -> str:
        """Where it stands."""
        now = self.progress
        state = "not started" if self._loop is None else "ended" if self._run.is_over else "open"
        return f"<Outcomes {state}, {now.done} done, {now.failed} failed, {now.in_flight + now.waiting} under way>"

    def _start(self) -> None:
        if self._loop is None and not self._closed_early:
            self._loop = asyncio.get_running_loop()
            self._run.start()

    async def _next(self) -> Outcome | None:
        """The next outcome, None at the end."""
        while not self._closed_early:
            if (outcome := self._run.take()) is not None:
                return outcome
            if self._run.is_over:
                self._conclude()
                return None
            await self._run.wait()
        raise RuntimeError(_CLOSED)

    def _conclude(self) -> None:
        """Raise what went wrong for the whole, once."""
        failure = self._run.pop_error()
        if failure is not None:
            self._raised = True
            try:
                raise failure
            finally:
                del failure  # it holds this frame
        if not (self._raised or self._run.scheduler.is_closed):
            self._closed_early = True
            raise RuntimeError(_CLOSED)
