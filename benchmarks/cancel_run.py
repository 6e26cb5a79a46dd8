"""A scenario that is cancelled after so many steps of its event loop, and what is left of it.

Rules: a step is one callback that the client's loop has run; the server has a loop and a thread of its own, whose steps
do not count. Each run has a new loop and a new client. What is left is looked for from outside: tasks, descriptors,
files, warnings, and slots of the limiter, by calls that the server holds until all of them are there. Each fault is a
sentence. It refuses to look into the client.
"""

import asyncio
import gc
import os
import stat
import sys
import threading
import warnings
from asyncio.events import Handle
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import Factory, define, field, frozen

from openai_images import ImagesClient, Limits
from openai_images.server import LocalImagesServer

MODEL: Final = "gpt-image-2"
SLOTS: Final = 2
PATIENCE: Final = 5.0  # seconds for what ends by itself to have ended
_LOOK: Final = 0.001
_PROBE: Final = "a heron that looks whether all slots are free"


@frozen
class Server:
    """A local images server that answers in a thread of its own, with the one image it serves."""

    local: LocalImagesServer
    image: bytes = field(repr=False)
    loop: asyncio.AbstractEventLoop = field(repr=False)

    def hold(self) -> None:
        """Answer nothing from now on."""
        self.local.always("stall")

    def release(self) -> None:
        """Answer again, what was held too."""
        self.local.always(None)
        self.loop.call_soon_threadsafe(self.local.release)

    def asked(self, prompt: str) -> int:
        """How often this prompt has arrived."""
        return sum(f'"{prompt}"'.encode() in request.body for request in self.local.requests)


@frozen
class Stage:
    """What a scenario has: a client, the server, and an empty folder."""

    client: ImagesClient
    server: Server
    folder: Path


@frozen
class Scenario:
    """Something that a client does, and what must be true afterwards of its folder: `judge` gives the faults.

    `links`: the server answers with URLs.
    """

    name: str
    act: Callable[[Stage], Awaitable[object]]
    judge: Callable[[Stage], Awaitable[list[str]]]
    links: bool = False


@define
class Run:
    """What a run showed: the steps that it took, whether it was cancelled before its end, and what is wrong."""

    steps: int = 0
    was_cancelled: bool = False
    faults: list[str] = Factory(list[str])


@contextmanager
def serving(image: bytes, *, links: bool = False) -> Generator[Server]:
    """A server that answers until the block ends."""
    up: Future[tuple[Server, asyncio.Event]] = Future()

    async def serve() -> None:
        local = LocalImagesServer(pictures=image, picture_links="absolute" if links else None)
        async with local:
            done = asyncio.Event()
            up.set_result((Server(local, image, asyncio.get_running_loop()), done))
            await done.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="server")
    thread.start()
    server, done = up.result(PATIENCE)
    try:
        yield server
    finally:
        server.loop.call_soon_threadsafe(done.set)
        thread.join()


@frozen
class Moment:
    """After how many steps to cancel (None: never), and after how many more once more (0: not at all)."""

    after: int | None
    again: int = 0

    def __contains__(self, steps: int) -> bool:
        """Whether it has come."""
        return self.after is not None and steps in (self.after, self.after + self.again)


def cancelled(when: Moment, scenario: Scenario, server: Server, folder: Path) -> Run:
    """Run a scenario in a new event loop, cancel it at a moment, and look at what is left."""
    folder.mkdir()
    run = Run()
    gc.freeze()  # what is there already need not be looked at by each collection
    try:
        with _warnings(run):
            asyncio.run(_examine(when, scenario, server, folder, run))
            gc.collect()
    finally:
        gc.unfreeze()
    return run


async def _examine(when: Moment, scenario: Scenario, server: Server, folder: Path, run: Run) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _, context: run.faults.append(f"said to the loop: {context['message']}")
    )
    tasks, descriptors = asyncio.all_tasks(), _descriptors()
    client = ImagesClient(
        base_url=server.local.base_url,
        api_key=server.local.api_key,
        limits=Limits(concurrency=SLOTS),
        trust_env=False,
    )
    stage = Stage(client, server, folder)
    await _act(when, scenario, stage, run)
    await _settled(run, "tasks", lambda: asyncio.all_tasks() - tasks)
    await _probe(stage, run)
    await client.aclose()
    await _settled(run, "descriptors", lambda: _descriptors() - descriptors)
    try:
        run.faults += await scenario.judge(stage)
    except Exception as error:  # noqa: BLE001  this is what is looked for
        run.faults.append(f"afterwards: {type(error).__name__}: {str(error)[:200]}")
    await client.aclose()
    await _settled(run, "tasks in the end", lambda: asyncio.all_tasks() - tasks)
    await _settled(run, "descriptors in the end", lambda: _descriptors() - descriptors)
    gc.collect()


async def _act(when: Moment, scenario: Scenario, stage: Stage, run: Run) -> None:
    """The scenario, to its end or until it has been cancelled."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(scenario.act(stage))

    def cancel() -> None:
        run.was_cancelled |= task.cancel()

    with _counted(loop, run, when, cancel):
        if 0 in when:
            cancel()
        await asyncio.wait({task}, timeout=PATIENCE * 4)
    if not task.done():
        run.faults.append("it did not end")
        task.cancel()
        await asyncio.wait({task}, timeout=PATIENCE)
    elif task.cancelled():
        return
    elif (error := task.exception()) is not None:
        run.faults.append(f"ended with {type(error).__name__}: {str(error)[:200]}")
    elif run.was_cancelled:
        run.faults.append("the cancellation was swallowed")


@contextmanager
def _counted(
    loop: asyncio.AbstractEventLoop, run: Run, when: Moment, act: Callable[[], object]
) -> Generator[None]:
    """Counts the callbacks that this loop runs, and calls `act` at the moment."""
    original: Any = Handle._run  # noqa: SLF001  each callback of a loop passes here

    def counting(handle: Any) -> None:
        original(handle)
        if handle._loop is loop:  # noqa: SLF001
            run.steps += 1
            if run.steps in when:
                act()

    changed: Any = Handle
    changed._run = counting  # noqa: SLF001
    try:
        yield
    finally:
        changed._run = original  # noqa: SLF001


async def _probe(stage: Stage, run: Run) -> None:
    """As many calls at once as there are slots: the server answers none until it has all of them."""
    server, before = stage.server, stage.server.asked(_PROBE)
    server.hold()
    calls = [asyncio.ensure_future(stage.client.generate(_PROBE, model=MODEL)) for _ in range(SLOTS)]
    await _settled(run, "slots", lambda: set(range(before + SLOTS)) - set(range(server.asked(_PROBE))))
    server.release()
    done, late = await asyncio.wait(calls, timeout=PATIENCE)
    for call in late:
        call.cancel()
    run.faults += [f"the next call ended with {call.exception()!r}" for call in done if call.exception()]
    run.faults += ["the next call did not end"] * len(late)


async def _settled(run: Run, what: str, left: Callable[[], set[Any]]) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + PATIENCE
    while left():
        if loop.time() > end:
            run.faults.append(f"{what} left: {sorted(map(str, left()))}"[:500])
            return
        await asyncio.sleep(_LOOK)


def _descriptors() -> set[tuple[int, int]]:
    """Number and inode of each socket and file that this process has open."""
    found: set[tuple[int, int]] = set()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  names that are numbers
        try:
            status = os.fstat(int(name))
        except OSError:  # the listing's own
            continue
        if stat.S_ISSOCK(status.st_mode) or stat.S_ISREG(status.st_mode):
            found.add((int(name), status.st_ino))
    return found


@contextmanager
def _warnings(run: Run) -> Generator[None]:
    """Whatever is warned of, or raised where nobody can catch it, is a fault."""
    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook = lambda caught: run.faults.append(f"unraisable: {caught.exc_value!r}")
    threading.excepthook = lambda caught: run.faults.append(f"in a thread: {caught.exc_value!r}")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
        run.faults += [f"{one.category.__name__}: {one.message}" for one in caught]
    finally:
        sys.unraisablehook, threading.excepthook = hooks
