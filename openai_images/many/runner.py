"""The tasks of many calls: one that reads the requests and starts them, and one for each call in flight.

Invariants: the scheduler decides, this acts. The reading task owns the others and ends after all of them; the first
error of the whole is kept, and raised after the outcomes of what was in flight.
Must not: know who iterates, so that an iterator that is dropped can be noticed.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterable, Iterable
from decimal import Decimal
from typing import Any

from openai_images.errors import ImagesError
from openai_images.many.failure_streaks import Doubt, ends_all
from openai_images.many.items import RequestItem, RequestReader
from openai_images.many.options import RunOptions, Send
from openai_images.many.scheduler import Scheduler
from openai_images.models.outcomes import CallObserver, Failed, Outcome, Progress, Succeeded
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult


class _StoppedBeforeSendError(Exception):
    """Ends a call that waited to send its request when the run was stopped."""


class Runner:
    """`start` it, `take` outcomes, `wait` for the next; `stop` or `cancel` it."""

    def __init__(
        self, given: Iterable[object] | AsyncIterable[object], work: Send, options: RunOptions
    ) -> None:
        """Nothing is read, and no task is made. Raises TypeError where `given` holds no requests."""
        self.scheduler = Scheduler(options.concurrency, ordered=options.ordered, total=options.total)
        self.task: asyncio.Task[None] | None = None
        self._source = RequestReader(given, options.defaults)
        self._work = work
        self._options = options
        self._progress = options.progress
        self.doubt = Doubt(options.max_identical_failures, self.scheduler)
        self._failure: BaseException | None = None
        self._exit: BaseException | None = None
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._room: asyncio.Future[None] | None = None
        self._news: asyncio.Future[None] | None = None
        self.is_cancelled = False
        self._is_done = False

    @property
    def is_over(self) -> bool:
        """Whether no task and no outcome is left."""
        return self._is_done and not self.scheduler.has_ready

    def progress(self) -> Progress:
        """How far it is."""
        return self.scheduler.progress(self._now(), self._options.wait_reason())

    def start(self) -> None:
        """Make the task that reads and starts; once."""
        self.scheduler.begin(self._now())
        self.task = asyncio.get_running_loop().create_task(self._main(), name="openai_images: many calls")
        self.task.add_done_callback(self._ended)

    def take(self) -> Outcome | None:
        """The next outcome, if one is ready; the one before it counts no longer."""
        outcome = self.scheduler.take()
        _wake(self._room)
        return outcome

    async def wait(self) -> None:
        """Until there is something to take, or nothing will come."""
        while not self.scheduler.has_ready and not self.is_over:
            self._news = asyncio.get_running_loop().create_future()
            await self._news

    def pop_error(self) -> BaseException | None:
        """What went wrong for the whole, once."""
        failure, self._failure = self._failure, None
        return failure

    def stop(self) -> None:
        """Start nothing new and send nothing new: what is on the wire goes on, what waits is dropped."""
        for ticket in self.scheduler.stop():
            self._tasks[ticket].cancel()
        self._source.interrupt()
        _wake(self._room)

    def end(self, error: Exception) -> None:
        """Stop, because of this, which is raised at the end."""
        self._fail(error)
        self.stop()

    def cancel(self) -> None:
        """End everything now."""
        self.is_cancelled = True
        if self.task is not None:
            self.task.cancel()

    async def close_requests(self) -> None:
        """Close where the requests come from; harmless when called twice."""
        try:
            await self._source.aclose()
        except Exception as error:  # noqa: BLE001  the user's code: told at the end
            self._fail(error)

    def changed(self) -> None:
        """Tell the `progress` callback. What it raises stops the run, and is raised at its end."""
        if self._progress is None:
            return
        try:
            self._progress(self.progress())
        except Exception as error:  # noqa: BLE001  the user's code: told at the end
            self._progress = None
            self._fail(error)
            self.stop()

    # Tasks: one for `_main`, one for each `_one`.

    async def _main(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while await self._has_room():
                    started = await self._start_next()
                    if started is not None:
                        group.create_task(self._one(*started))
                await self.close_requests()
        except (KeyboardInterrupt, SystemExit) as error:
            if error is not self._exit:  # or else the call's own task has raised it out of the loop already
                raise
        finally:
            await self.close_requests()

    async def _has_room(self) -> bool:
        """Wait until one more may start; False where none ever will."""
        while not self.scheduler.can_start or self.doubt.is_open:
            if self.scheduler.is_closed:
                return False
            self._room = asyncio.get_running_loop().create_future()
            await self._room
        return True

    async def _start_next(self) -> tuple[int, RequestItem] | None:
        """Read and start one; None where there is nothing to do for it."""
        try:
            item = await self._source.read(self.scheduler.started)
        except Exception as error:  # noqa: BLE001  whatever the source raises: told at the end
            self._fail(error)
            item = None
        if item is None or self.scheduler.is_closed:
            self.scheduler.close()
            return None
        ticket = self.scheduler.start()
        if isinstance(item, Failed):
            self._finish(ticket, item)
            return None
        self.changed()
        return ticket, item

    async def _one(self, ticket: int, item: RequestItem) -> None:
        """One call, whatever becomes of it."""
        try:
            result = await self._call(ticket, item)
        except (ImagesError, OSError) as error:
            # Whoever keeps ten thousand failures keeps no buffers with them.
            traceback.clear_frames(error.__traceback__)
            self.doubt.streak.failed(error)
            self._finish(ticket, Failed(item.index, item.key, item.request, error))
            if ends_all(error):
                self.end(error)
        except _StoppedBeforeSendError:
            self._abandon(ticket)
        except asyncio.CancelledError as error:
            expected = self.is_cancelled or not self.scheduler.can_send(ticket)
            self._abandon(ticket)
            if not expected:
                self._crash(RuntimeError("a call was cancelled from outside, so all of them were"), error)
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            self._abandon(ticket)
            self._exit = error
            self.cancel()
            raise
        except BaseException as error:  # noqa: BLE001  a mistake in the code, raised where the outcomes are iterated
            self._abandon(ticket)
            self._crash(error)
        else:
            self.doubt.streak.succeeded(result)
            cost = self._cost(item.request, result)
            self._finish(ticket, Succeeded(item.index, item.key, item.request, result), cost)

    async def _call(self, ticket: int, item: RequestItem) -> ImageResult:
        task = asyncio.current_task()
        if task is None or not self.scheduler.can_send(ticket):
            raise _StoppedBeforeSendError
        self._tasks[ticket] = task
        try:
            return await self._work(item, _RunObserver(self, ticket))
        finally:
            del self._tasks[ticket]

    def _cost(self, request: GenerateRequest, result: ImageResult) -> Decimal | None:
        if self._options.cost is None:
            return None
        try:
            return self._options.cost(request, result)
        except Exception as error:  # noqa: BLE001  the picture is paid for: told at the end
            self._fail(error)
            self.stop()
            return None

    # What ends a call, or all of them.

    def _finish(self, ticket: int, outcome: Outcome, cost: Decimal | None = None) -> None:
        self.scheduler.finish(ticket, outcome, self._now(), cost)
        self._ended_one()

    def _abandon(self, ticket: int) -> None:
        self.scheduler.drop(ticket)
        self._ended_one()

    def _ended_one(self) -> None:
        if (verdict := self.doubt.judge()) is not None:
            self.end(verdict)
        for waiter in (self._news, self._room):
            _wake(waiter)
        self.changed()

    def _fail(self, error: BaseException) -> None:
        """Keep the first thing that went wrong for the whole."""
        if self._failure is None:
            self._failure = error

    def _crash(self, error: BaseException, cause: BaseException | None = None) -> None:
        if cause is not None:
            error.__cause__ = cause
        self._fail(error)
        self.cancel()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)
        self.scheduler.end(self._now())
        self._is_done = True
        _wake(self._news)

    def _now(self) -> float:
        return self._options.timing.monotonic()


class _RunObserver(CallObserver):
    """Tells the run where one call stands, and keeps it from sending once the run is stopped."""

    def __init__(self, run: Runner, ticket: int) -> None:
        """Watch for this ticket."""
        self._run = run
        self._ticket = ticket

    def on_wait(self) -> None:
        """Raises where nothing new is to be sent."""
        self._run.scheduler.wait(self._ticket)
        self._go_on()

    async def before_send(self, attempt: int) -> None:  # noqa: ARG002  all attempts are alike here
        """Raises where nothing new is to be sent."""
        await self._run.doubt.passed(self._ticket)
        self._run.scheduler.resume(self._ticket)
        self._go_on()
        self._run.scheduler.send(self._ticket)

    async def on_not_executed(self, error: ImagesError) -> None:  # noqa: ARG002  whatever the reason
        """It may go out again, after a wait, or be given up."""
        self._run.scheduler.record_not_executed(self._ticket)
        self._run.changed()

    def _go_on(self) -> None:
        self._run.changed()
        if not self._run.scheduler.can_send(self._ticket):
            raise _StoppedBeforeSendError


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
