"""Several requests for one call, all at once, as one stream of events.

Rules: each request is read by a task of its own, which hands one event over and waits until it is taken, so no more
than about one picture of each waits for a slow consumer. A request that fails leaves its siblings alone, and what went
wrong is told behind them; a mistake in the code ends them all. The end, `abort` and `stop` leave no task. It refuses to
know limits: each request waits for its own slot, and holds it no longer than its own answer lasts.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

from attrs import define, evolve

from openai_images.client.call import Engine, Reading
from openai_images.client.shares import place_of, shares_of
from openai_images.client.split_summary import Ended, SharedWatch, failure_of, merged
from openai_images.errors import ImagesError, PartialResultError
from openai_images.models.results import Event, UnknownEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from openai_images.client.files import OutputFiles
    from openai_images.models.outcomes import Watcher
    from openai_images.models.requests import GenerateRequest
    from openai_images.models.results import ImageResult

_Open: TypeAlias = "Callable[[GenerateRequest, OutputFiles | None, Watcher | None], Reading]"


@define(eq=False)
class Part:
    """One of the requests: its pictures are `count`, counted from `first`."""

    reading: Reading
    first: int
    count: int
    error: ImagesError | OSError | None = None

    def placed(self, event: Event) -> Event:
        """The event with its picture's place among all."""
        if isinstance(event, UnknownEvent):
            return event
        return evolve(event, image_index=place_of(event.image_index, self.first, self.count))

    def fail(self, error: ImagesError | OSError) -> None:
        """It ended so."""
        self.reading.abort()
        self.error = error
        if isinstance(error, ImagesError):
            error.partials = tuple(map(self.placed, error.partials))

    @property
    def ended(self) -> Ended:
        """How it ended."""
        error = self.error
        result = error.result if isinstance(error, PartialResultError) else self.reading.result
        return Ended(result=result, error=error, attempts=self.reading.call.attempts)


def share_out(
    request: GenerateRequest,
    files: OutputFiles | None,
    watcher: Watcher | None,
    open_part: _Open,
    *,
    stream: bool,
) -> Several | None:
    """The requests that this one is shared out over, each made by `open_part`; None where it goes as it is."""
    parts: list[Part] = []
    shared = None if watcher is None else SharedWatch(watcher)
    first = 0
    for number, count in enumerate(shares_of(request, stream=stream)):
        own = None if files is None else files.part(first, count)
        watch = None if shared is None else shared.of(number)
        parts.append(Part(open_part(evolve(request, n=count), own, watch), first, count))
        first += count
    return Several(parts, files, first) if parts else None


class Several(Engine):
    """The requests of one call."""

    def __init__(self, parts: Sequence[Part], files: OutputFiles | None, wanted: int) -> None:
        """Run all parts; `files` are prepared first."""
        super().__init__()
        self._parts = parts
        self._files = files
        self._wanted = wanted
        self._tasks: list[asyncio.Task[None]] = []
        self._ready: deque[tuple[Event, asyncio.Future[None]]] = deque()
        self._news: asyncio.Future[None] | None = None
        self._running = 0
        self._has_answer = False
        self._crash: BaseException | None = None
        self._result: ImageResult | None = None

    @property
    def result(self) -> ImageResult | None:
        """What `generate` gives, once every part has its own."""
        if self._result is None:
            results = [part.reading.result for part in self._parts if part.error is None]
            whole = [result for result in results if result is not None]
            if len(whole) == len(self._parts):
                self._result = merged(whole)
        return self._result

    @property
    def request_id(self) -> str | None:
        """The server's name for the first request that it has answered."""
        return next(filter(None, (part.reading.request_id for part in self._parts)), None)

    @property
    def is_open(self) -> bool:
        """Whether requests are under way, or events wait."""
        return bool(self._tasks) and not self.is_over

    @property
    def seen(self) -> tuple[int, int]:
        """How many partial and how many completed pictures there are."""
        partial, completed = zip(*(part.reading.seen for part in self._parts), strict=True)
        return sum(partial), sum(completed)

    async def open(self) -> None:
        """Send all; return when one is answered. Where all fail before that, raises what `failure_of` says."""
        if not self._tasks:
            if self._files is not None:
                await self._files.prepare()
            self._running = len(self._parts)
            self._tasks = [self._start(number, part) for number, part in enumerate(self._parts)]
        while not self._has_answer and self._is_running:
            await self._wait()
        if not self._has_answer:
            raise self._crash or self._why_not()

    async def advance(self) -> None:
        """Take one event over, or come to the end."""
        await self.open()
        while not self._ready and self._is_running:
            await self._wait()
        if self._ready and self._crash is None:
            event, taken = self._ready.popleft()
            self.queue.append(event)
            if not taken.done():
                taken.set_result(None)
        else:
            self._conclude()

    def abort(self) -> None:
        """Stop all at once, wherever they are."""
        self.is_over = True
        for part in self._parts:
            part.reading.abort()
        with contextlib.suppress(RuntimeError):  # their loop may be gone
            for task in self._tasks:
                task.cancel()
        self._ready.clear()
        self.queue.clear()

    async def settle(self) -> None:
        """Wait until no task is left."""
        loop = asyncio.get_running_loop()
        left = [task for task in self._tasks if not task.done() and task.get_loop() is loop]
        if left:
            await asyncio.wait(left)

    # The tasks, one for each part.

    def _start(self, number: int, part: Part) -> asyncio.Task[None]:
        name = f"openai_images: request {number + 1} of {len(self._parts)}"
        task = asyncio.get_running_loop().create_task(self._read(part), name=name)
        task.add_done_callback(_look_at)
        return task

    async def _read(self, part: Part) -> None:
        """One part, whatever becomes of it."""
        reading = part.reading
        try:
            await reading.open()
            self._has_answer = True
            while not reading.is_over:
                _wake(self._news)
                was_whole = reading.result is not None
                await reading.advance()
                # With the last picture it reads on to the end at once: the slot and the connection are for others then.
                is_last = reading.result is not None and not was_whole
                while reading.queue:
                    taken = self._hand_over(part.placed(reading.queue.popleft()))
                    if not is_last:
                        await taken
            reading.raise_failure()
        except (ImagesError, OSError) as error:
            part.fail(error)
        except asyncio.CancelledError as error:
            reading.abort()
            if not self.is_over:
                self._give_up(RuntimeError("a request was cancelled from outside, so its call was"), error)
            raise
        except BaseException as error:
            reading.abort()
            self._give_up(error)
            if not isinstance(error, Exception):
                raise
        finally:
            self._running -= 1
            _wake(self._news)

    def _hand_over(self, event: Event) -> asyncio.Future[None]:
        """Have the event ready; what comes back tells when it is taken."""
        taken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ready.append((event, taken))
        _wake(self._news)
        return taken

    def _give_up(self, error: BaseException, cause: BaseException | None = None) -> None:
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

    async def _wait(self) -> None:
        """Until something has happened."""
        self._news = asyncio.get_running_loop().create_future()
        await self._news

    def _conclude(self) -> None:
        """All parts have ended: what they come to."""
        if self._crash is not None:
            raise self._crash
        self.is_over = True
        if any(part.error is not None for part in self._parts):
            self.failure = self._why_not()

    def _why_not(self) -> ImagesError | OSError:
        return failure_of([part.ended for part in self._parts], self._wanted)


def _look_at(task: asyncio.Task[None]) -> None:
    """Its exception is told where the events are taken."""
    if not task.cancelled():
        task.exception()


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
