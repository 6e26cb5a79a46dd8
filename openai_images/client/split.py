"""`SplitCall`: one call as several concurrent requests with one sequence of events.

Invariants: each request has a task that queues one event and waits until it is consumed, so a slow consumer holds about
one image of each; a failed request does not affect the others, and its error is raised after their events; an
unexpected exception ends all; no task is left at the end or after `close`.
Must not: handle limits (each request waits for its own slot).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeAlias

from attrs import define, evolve

from openai_images.client.call import Call, SingleCall
from openai_images.client.files import OutputFiles
from openai_images.client.partial_results import SharedObserver, SubCallOutcome, combined_error, merge_results
from openai_images.client.prepared_request import PreparedRequest, global_index, split_counts
from openai_images.errors import ImagesError, PartialResultError
from openai_images.models.image import Image
from openai_images.models.outcomes import CallObserver
from openai_images.models.results import ImageEvent, ImageResult, UnknownEvent

_NewCall: TypeAlias = "Callable[[PreparedRequest, OutputFiles | None, CallObserver | None], SingleCall]"


@define(eq=False)
class SubCall:
    """One of the requests, for `count` images numbered from `first`."""

    call: SingleCall
    first: int
    count: int
    error: ImagesError | OSError | None = None

    def with_global_index(self, event: ImageEvent) -> ImageEvent:
        """Return the event with the index of its image among all images."""
        if isinstance(event, UnknownEvent):
            return event
        return evolve(event, image_index=global_index(event.image_index, self.first, self.count))

    def fail(self, error: ImagesError | OSError) -> None:
        """Close the call and keep its error."""
        self.call.close()
        self.error = error
        if isinstance(error, ImagesError):
            error.partials = tuple(map(self.with_global_index, error.partials))

    @property
    def outcome(self) -> SubCallOutcome:
        """The outcome, after the end."""
        error = self.error
        result = error.result if isinstance(error, PartialResultError) else self.call.result
        return SubCallOutcome(result=result, error=error, attempts=self.call.attempts.count)


def split_call(
    prepared: PreparedRequest, files: OutputFiles | None, observer: CallObserver | None, new_call: _NewCall
) -> SplitCall | None:
    """Return a call of several requests for some of the images each; None if it need not be split."""
    sub_calls: list[SubCall] = []
    shared = None if observer is None else SharedObserver(observer)
    first = 0
    for number, count in enumerate(split_counts(prepared.request, stream=prepared.stream)):
        sub_files = None if files is None else files.for_sub_call(first, count)
        sub_observer = None if shared is None else shared.for_sub_call(number)
        sub_request = prepared.with_request(evolve(prepared.request, n=count))
        sub_calls.append(SubCall(new_call(sub_request, sub_files, sub_observer), first, count))
        first += count
    return SplitCall(sub_calls, files, first) if sub_calls else None


class SplitCall(Call):
    """One call as several concurrent requests."""

    def __init__(self, sub_calls: Sequence[SubCall], files: OutputFiles | None, expected: int) -> None:
        """Run all sub-calls; `files` are prepared first."""
        super().__init__([sub_call.call.attempts for sub_call in sub_calls])
        self._sub_calls = sub_calls
        self._files = files
        self._expected = expected
        self._tasks: list[asyncio.Task[None]] = []
        self._events: deque[tuple[ImageEvent, asyncio.Future[None]]] = deque()
        self._changed = asyncio.Event()
        self._running = 0
        self._has_answer = False
        self._crash: BaseException | None = None
        self._result: ImageResult | None = None

    @property
    def result(self) -> ImageResult | None:
        """The merged result, or None until every sub-call has one."""
        if self._result is None:
            results = [sub_call.call.result for sub_call in self._sub_calls if sub_call.error is None]
            complete = [result for result in results if result is not None]
            if len(complete) == len(self._sub_calls):
                self._result = merge_results(complete)
        return self._result

    @property
    def received_images(self) -> tuple[Image, ...]:
        """The complete images of all parts so far."""
        return tuple(image for sub_call in self._sub_calls for image in sub_call.call.received_images)

    @property
    def is_open(self) -> bool:
        """Whether requests are in flight, or events are queued."""
        return bool(self._tasks) and not self.is_over

    async def open(self) -> None:
        """Send all requests; return at the first response. Raises the `combined_error` if there is none."""
        if not self._tasks:
            if self._files is not None:
                await self._files.prepare()
            self._running = len(self._sub_calls)
            self._tasks = [self._start(number, sub_call) for number, sub_call in enumerate(self._sub_calls)]
        while not self._has_answer and self._is_running:
            await self._wait_for_change()
        if not self._has_answer:
            raise self._crash or self._error()

    async def read(self) -> list[ImageEvent]:
        """Return the next event; an empty list at the end. Raises as `open` does."""
        if self.is_over:
            return []
        await self.open()
        while not self._events and self._is_running:
            await self._wait_for_change()
        if self._events and self._crash is None:
            event, delivered = self._events.popleft()
            if not delivered.done():
                delivered.set_result(None)
            return [event]
        self._finish()
        return []

    def close(self) -> None:
        """Stop all requests in any state. Idempotent."""
        self.is_over = True
        for sub_call in self._sub_calls:
            sub_call.call.close()
        with contextlib.suppress(RuntimeError):  # their event loop may be closed
            for task in self._tasks:
                task.cancel()
        self._events.clear()

    async def wait_closed(self) -> None:
        """Wait for the tasks to end."""
        loop = asyncio.get_running_loop()
        running = [task for task in self._tasks if not task.done() and task.get_loop() is loop]
        if running:
            await asyncio.wait(running)

    # The tasks, one for each sub-call.

    def _start(self, number: int, sub_call: SubCall) -> asyncio.Task[None]:
        name = f"openai_images: request {number + 1} of {len(self._sub_calls)}"
        task = asyncio.get_running_loop().create_task(self._run(sub_call), name=name)
        task.add_done_callback(_mark_retrieved)
        return task

    async def _run(self, sub_call: SubCall) -> None:
        call = sub_call.call
        try:
            await call.open()
            self._has_answer = True
            while not call.is_over:
                self._changed.set()
                was_complete = call.result is not None
                events = await call.read()
                # After the last image, read to the end without waiting, to free the slot and the connection.
                is_last = call.result is not None and not was_complete
                for event in events:
                    delivered = self._put(sub_call.with_global_index(event))
                    if not is_last:
                        await delivered
            call.raise_error()
        except (ImagesError, OSError) as error:
            sub_call.fail(error)
        except asyncio.CancelledError as error:
            call.close()
            if not self.is_over:
                self._abort_all(
                    RuntimeError(
                        "the task of a request was cancelled by other code, so its call was cancelled"
                    ),
                    error,
                )
            raise
        except BaseException as error:
            call.close()
            self._abort_all(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._running -= 1
            self._changed.set()

    def _put(self, event: ImageEvent) -> asyncio.Future[None]:
        """Queue the event; return a future that is done when the event is consumed."""
        delivered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events.append((event, delivered))
        self._changed.set()
        return delivered

    def _abort_all(self, error: BaseException, cause: BaseException | None = None) -> None:
        """Cancel all tasks after an unexpected exception, and keep the first one."""
        if self._crash is None:
            error.__cause__ = error.__cause__ or cause
            self._crash = error
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()

    # The end.

    @property
    def _is_running(self) -> bool:
        return self._running > 0 and self._crash is None

    async def _wait_for_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _finish(self) -> None:
        """Set the error when all sub-calls have ended; raise an unexpected exception."""
        if self._crash is not None:
            raise self._crash
        self.is_over = True
        if any(sub_call.error is not None for sub_call in self._sub_calls):
            self.error = self._error()

    def _error(self) -> ImagesError | OSError:
        return combined_error([sub_call.outcome for sub_call in self._sub_calls], self._expected)


def _mark_retrieved(task: asyncio.Task[None]) -> None:
    """Prevent asyncio from logging the exception, which `read` and `open` raise."""
    if not task.cancelled():
        task.exception()
