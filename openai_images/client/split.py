"""`SplitCall`: one call as several concurrent requests, and one sequence of events.

Invariants: each request is read by a task that hands one event over and waits until it is taken, so that about one
image of each waits for a slow consumer. A request that fails leaves the others alone; its error is raised after their
events. A bug ends all of them. The end and `close` leave no task.
Must not: know limits; each request waits for its own slot.
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
from openai_images.client.prepared import PreparedRequest, global_index, split_counts
from openai_images.errors import ImagesError, PartialResultError
from openai_images.models.outcomes import CallObserver
from openai_images.models.results import Event, ImageResult, UnknownEvent

_NewCall: TypeAlias = "Callable[[PreparedRequest, OutputFiles | None, CallObserver | None], SingleCall]"


@define(eq=False)
class SubCall:
    """One of the requests: its pictures are `count`, counted from `first`."""

    call: SingleCall
    first: int
    count: int
    error: ImagesError | OSError | None = None

    def with_global_index(self, event: Event) -> Event:
        """The event with its picture's place among all."""
        if isinstance(event, UnknownEvent):
            return event
        return evolve(event, image_index=global_index(event.image_index, self.first, self.count))

    def fail(self, error: ImagesError | OSError) -> None:
        """It ended so."""
        self.call.close()
        self.error = error
        if isinstance(error, ImagesError):
            error.partials = tuple(map(self.with_global_index, error.partials))

    @property
    def outcome(self) -> SubCallOutcome:
        """How it ended."""
        error = self.error
        result = error.result if isinstance(error, PartialResultError) else self.call.result
        return SubCallOutcome(result=result, error=error, attempts=self.call.attempts.count)


def split_call(
    prepared: PreparedRequest, files: OutputFiles | None, observer: CallObserver | None, new_call: _NewCall
) -> SplitCall | None:
    """The call whose requests have a part of the images each; None where it need not be split."""
    sub_calls: list[SubCall] = []
    shared = None if observer is None else SharedObserver(observer)
    first = 0
    for number, count in enumerate(split_counts(prepared.request, stream=prepared.stream)):
        own = None if files is None else files.for_sub_call(first, count)
        watch = None if shared is None else shared.for_sub_call(number)
        part = prepared.with_request(evolve(prepared.request, n=count))
        sub_calls.append(SubCall(new_call(part, own, watch), first, count))
        first += count
    return SplitCall(sub_calls, files, first) if sub_calls else None


class SplitCall(Call):
    """The requests of one call."""

    def __init__(self, sub_calls: Sequence[SubCall], files: OutputFiles | None, wanted: int) -> None:
        """Run all sub-calls; `files` are prepared first."""
        super().__init__()
        self._sub_calls = sub_calls
        self._files = files
        self._wanted = wanted
        self._tasks: list[asyncio.Task[None]] = []
        self._events: deque[tuple[Event, asyncio.Future[None]]] = deque()
        self._wakeup: asyncio.Future[None] | None = None
        self._running = 0
        self._has_answer = False
        self._crash: BaseException | None = None
        self._result: ImageResult | None = None

    @property
    def result(self) -> ImageResult | None:
        """What `generate` gives, once every part has its own."""
        if self._result is None:
            results = [sub_call.call.result for sub_call in self._sub_calls if sub_call.error is None]
            whole = [result for result in results if result is not None]
            if len(whole) == len(self._sub_calls):
                self._result = merge_results(whole)
        return self._result

    @property
    def request_id(self) -> str | None:
        """The server's name for the first request that it has answered."""
        return next(filter(None, (sub_call.call.request_id for sub_call in self._sub_calls)), None)

    @property
    def is_open(self) -> bool:
        """Whether requests are under way, or events wait."""
        return bool(self._tasks) and not self.is_over

    @property
    def counts(self) -> tuple[int, int]:
        """How many partial and how many completed pictures there are."""
        partial, completed = zip(*(sub_call.call.counts for sub_call in self._sub_calls), strict=True)
        return sum(partial), sum(completed)

    async def open(self) -> None:
        """Send all; return when one is answered. Where all fail before that, raises what `combined_error` says."""
        if not self._tasks:
            if self._files is not None:
                await self._files.prepare()
            self._running = len(self._sub_calls)
            self._tasks = [self._start(number, sub_call) for number, sub_call in enumerate(self._sub_calls)]
        while not self._has_answer and self._is_running:
            await self._wait_for_change()
        if not self._has_answer:
            raise self._crash or self._error()

    async def read(self) -> list[Event]:
        """The next event; none when all sub-calls are over. Raises as `open` does."""
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
        """Stop all, wherever they are. Idempotent."""
        self.is_over = True
        for sub_call in self._sub_calls:
            sub_call.call.close()
        with contextlib.suppress(RuntimeError):  # their loop may be gone
            for task in self._tasks:
                task.cancel()
        self._events.clear()

    async def wait_closed(self) -> None:
        """Wait for the tasks to end."""
        loop = asyncio.get_running_loop()
        left = [task for task in self._tasks if not task.done() and task.get_loop() is loop]
        if left:
            await asyncio.wait(left)

    # The tasks, one for each part.

    def _start(self, number: int, sub_call: SubCall) -> asyncio.Task[None]:
        name = f"openai_images: request {number + 1} of {len(self._sub_calls)}"
        task = asyncio.get_running_loop().create_task(self._run(sub_call), name=name)
        task.add_done_callback(_mark_retrieved)
        return task

    async def _run(self, sub_call: SubCall) -> None:
        """One sub-call, whatever becomes of it."""
        call = sub_call.call
        try:
            await call.open()
            self._has_answer = True
            while not call.is_over:
                _wake(self._wakeup)
                was_complete = call.result is not None
                events = await call.read()
                # After the last image it reads on to the end: the slot and the connection are for others then.
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
                self._abort_all(RuntimeError("a request was cancelled from outside, so its call was"), error)
            raise
        except BaseException as error:
            call.close()
            self._abort_all(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._running -= 1
            _wake(self._wakeup)

    def _put(self, event: Event) -> asyncio.Future[None]:
        """Have the event ready; what comes back tells when it is taken."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._events.append((event, taken))
        _wake(self._wakeup)
        return taken

    def _abort_all(self, error: BaseException, cause: BaseException | None = None) -> None:
        """A mistake in the code ends all: keep the first."""
        if self._crash is None:
            error.__cause__ = error.__cause__ or cause
            self._crash = error
            for task in self._tasks:
                if task is not asyncio.current_task():
                    task.cancel()

    # The end.

    @property
    def _is_running(self) -> bool:
        """Whether something will still come."""
        return self._running > 0 and self._crash is None

    async def _wait_for_change(self) -> None:
        """Until something has happened."""
        self._wakeup = asyncio.get_running_loop().create_future()
        await self._wakeup

    def _finish(self) -> None:
        """All parts have ended: what they come to."""
        if self._crash is not None:
            raise self._crash
        self.is_over = True
        if any(sub_call.error is not None for sub_call in self._sub_calls):
            self.error = self._error()

    def _error(self) -> ImagesError | OSError:
        return combined_error([sub_call.outcome for sub_call in self._sub_calls], self._wanted)


def _mark_retrieved(task: asyncio.Task[None]) -> None:
    """Its exception is told where the events are taken."""
    if not task.cancelled():
        task.exception()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
