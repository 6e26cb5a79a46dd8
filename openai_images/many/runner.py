"""The tasks of many calls: a main task, which reads requests and starts calls, and one task for each call.

Invariants: the scheduler decides, the runner acts; the main task owns the others and ends after them; the first error
of the whole run is kept, and raised after the outcomes of requests in flight.
Must not: refer to its iterator (an iterator that is dropped without being closed must be detected).
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterable, Iterable
from contextlib import AbstractContextManager
from decimal import Decimal
from typing import Any

from attrs import evolve

from openai_images._util.stop_signal import StopSignal
from openai_images.errors import ImagesError, PartialResultError, StoppedBeforeSendError
from openai_images.many.failure_streaks import Doubt, ends_all
from openai_images.many.items import RequestItem, RequestReader, RunOptions, Send
from openai_images.many.scheduler import Scheduler
from openai_images.models.outcomes import CallObserver, Failed, Outcome, Progress, Succeeded
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult


class Runner:
    """A run of many calls: `start` it, `take` outcomes, `wait` for the next one; `stop` or `cancel` it."""

    def __init__(
        self, requests: Iterable[object] | AsyncIterable[object], send: Send, options: RunOptions
    ) -> None:
        """Raise TypeError if `requests` is no iterable of requests."""
        self.scheduler = Scheduler(options.concurrency, ordered=options.ordered, total=options.total)
        self.task: asyncio.Task[None] | None = None
        self._requests = RequestReader(requests, options.defaults)
        self._send = send
        self._options = options
        self._progress = options.progress
        self.doubt = Doubt(options.max_identical_failures, self.scheduler, self.end)
        self.stop_signal = StopSignal(StoppedBeforeSendError)
        self._failure: BaseException | None = None
        self._exit: BaseException | None = None
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._capacity_freed = asyncio.Event()
        self._outcome_ready = asyncio.Event()
        self.is_cancelled = False
        self._is_done = False

    @property
    def is_over(self) -> bool:
        """Whether no task and no outcome is left."""
        return self._is_done and not self.scheduler.has_ready

    def progress(self) -> Progress:
        """Return the current progress."""
        return self.scheduler.progress(self._now(), self.doubt.wait_reason or self._options.wait_reason())

    def start(self) -> None:
        """Start the main task. Call it once."""
        self.scheduler.begin(self._now())
        observer, loop = self._options.observer, asyncio.get_running_loop()
        context = None if observer is None else observer.start()
        self.task = loop.create_task(self._main(), name="openai_images: many calls", context=context)
        self.task.add_done_callback(self._ended)

    def take(self) -> Outcome | None:
        """Return the next outcome, or None; the previous one no longer counts as held."""
        outcome = self.scheduler.take()
        self._capacity_freed.set()
        return outcome

    async def wait(self) -> None:
        """Wait until an outcome is ready, or the run is over."""
        while not self.scheduler.has_ready and not self.is_over:
            self._outcome_ready.clear()
            await self._outcome_ready.wait()

    def pop_error(self) -> BaseException | None:
        """Return the error of the whole run, once."""
        failure, self._failure = self._failure, None
        return failure

    def stop(self) -> None:
        """Start and send nothing new: requests in flight continue, waiting requests end."""
        for ticket in self.scheduler.stop():
            self._tasks[ticket].cancel()
        self.stop_signal.set()
        self._requests.interrupt()
        self._capacity_freed.set()

    def end(self, error: Exception) -> None:
        """Stop because of this error, which is raised at the end."""
        self._fail(error)
        self.stop()

    def cancel(self) -> None:
        """Cancel all tasks immediately."""
        self.is_cancelled = True
        if self.task is not None:
            self.task.cancel()

    async def close_requests(self) -> None:
        """Close the caller's iterable. Idempotent."""
        try:
            await self._requests.aclose()
        except Exception as error:  # noqa: BLE001  the caller's code; raised at the end
            self._fail(error)

    def changed(self) -> None:
        """Call the `progress` callback; its exception stops the run, and is raised at the end."""
        if self._progress is None:
            return
        try:
            self._progress(self.progress())
        except Exception as error:  # noqa: BLE001  the caller's code; raised at the end
            self._progress = None
            self._fail(error)
            self.stop()

    # Tasks: one for `_main`, one for each `_run_call`.

    async def _main(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while await self._wait_for_capacity():
                    started = await self._start_next()
                    if started is not None:
                        group.create_task(self._run_call(*started))
                await self.close_requests()
        except (KeyboardInterrupt, SystemExit) as error:
            if error is not self._exit:  # otherwise the call's task has already raised it in the event loop
                raise
        finally:
            await self.close_requests()

    async def _wait_for_capacity(self) -> bool:
        """Wait until another call may start; False if the run starts no more calls."""
        while not self.scheduler.can_start or self.doubt.is_open:
            if self.scheduler.is_closed:
                return False
            self._capacity_freed.clear()
            await self._capacity_freed.wait()
        return True

    async def _start_next(self) -> tuple[int, RequestItem] | None:
        """Read and start the next request; return None if it needs no task."""
        try:
            item = await self._requests.read(self.scheduler.started)
        except Exception as error:  # noqa: BLE001  the caller's code; raised at the end
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

    async def _run_call(self, ticket: int, item: RequestItem) -> None:
        try:
            result = await self._call(ticket, item)
        except StoppedBeforeSendError:
            self._drop(ticket)
        except (ImagesError, OSError) as error:
            # Free the buffers in the stack frames: a caller may keep ten thousand failures.
            traceback.clear_frames(error.__traceback__)
            if not isinstance(error, ImagesError):
                error.__dict__["maybe_billed"] = self.scheduler.may_be_billed(ticket)
            self.doubt.streak.record_failure(error)
            paid = error.result if isinstance(error, PartialResultError) else None
            cost = None if paid is None else self._cost(item.request, paid)
            self._finish(ticket, Failed(item.index, item.key, item.request, error), cost)
            if ends_all(error):
                self.end(error)
        except asyncio.CancelledError as error:
            expected = self.is_cancelled or (
                self.stop_signal.is_set and not self.scheduler.may_be_billed(ticket)
            )
            self._drop(ticket)
            if not expected:
                self._crash(
                    RuntimeError(
                        "the task of a call was cancelled by other code, so the whole run was cancelled"
                    ),
                    error,
                )
            raise
        except (KeyboardInterrupt, SystemExit) as error:
            self._drop(ticket)
            self._exit = error
            self.cancel()
            raise
        except BaseException as error:  # noqa: BLE001  an unexpected error; raised where the outcomes are iterated
            self._drop(ticket)
            self._crash(error)
        else:
            self.doubt.streak.record_success(result)
            cost = self._cost(item.request, result)
            self._finish(ticket, Succeeded(item.index, item.key, item.request, result), cost)

    async def _call(self, ticket: int, item: RequestItem) -> ImageResult:
        self.stop_signal.check()
        self._tasks[ticket] = asyncio.current_task()  # type: ignore[assignment]  # this is a task
        try:
            return await self._send(item, _RunObserver(self, ticket))
        finally:
            del self._tasks[ticket]

    def _cost(self, request: GenerateRequest, result: ImageResult) -> Decimal | None:
        if self._options.cost is None:
            return None
        try:
            return self._options.cost(request, result)
        except Exception as error:  # noqa: BLE001  the image is paid for; raised at the end
            self._fail(error)
            self.stop()
            return None

    # The end of a call, or of all of them.

    def _finish(self, ticket: int, outcome: Outcome, cost: Decimal | None = None) -> None:
        if not self._options.show_prompts:
            outcome = evolve(outcome, show_prompt=False)
        self.scheduler.finish(ticket, outcome, self._now(), cost)
        self._after_end()

    def _drop(self, ticket: int) -> None:
        self.scheduler.drop(ticket)
        self._after_end()

    def _after_end(self) -> None:
        self.doubt.judge()
        self._outcome_ready.set()
        self._capacity_freed.set()
        self.changed()

    def _fail(self, error: BaseException) -> None:
        """Keep the first error of the whole run."""
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
        self._outcome_ready.set()
        if self._options.observer is not None:
            cancelled = asyncio.CancelledError() if task.cancelled() else None
            self._options.observer.end(self.progress(), self._failure or cancelled)

    def _now(self) -> float:
        return self._options.timing.monotonic()


class _RunObserver(CallObserver):
    """Reports the state of one call to the run, and ends the call before it is sent if the run is stopped."""

    def __init__(self, run: Runner, ticket: int) -> None:
        self._run = run
        self._ticket = ticket

    def on_wait(self) -> None:
        self._run.scheduler.wait(self._ticket)
        self._run.doubt.judge()
        self._report_and_check()

    def waiting(self) -> AbstractContextManager[object]:
        return self._run.stop_signal.waiting()

    async def before_send(self, attempt: int) -> None:  # noqa: ARG002  all attempts are treated alike
        """Wait while a verdict is not final. Raises `StoppedBeforeSendError`."""
        await self._run.doubt.wait_settled(self._ticket)
        self._run.scheduler.resume(self._ticket)
        self._report_and_check()
        self._run.scheduler.send(self._ticket)

    async def on_not_executed(self, error: ImagesError) -> None:  # noqa: ARG002  all errors are treated alike
        self._run.scheduler.record_not_executed(self._ticket)
        self._run.doubt.judge()
        self._run.changed()

    def _report_and_check(self) -> None:
        self._run.changed()
        self._run.stop_signal.check()
