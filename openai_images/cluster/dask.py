"""`DaskEngine`: runs the items of a batch in the workers of a Dask cluster.

Invariants: if the scheduler ends, every chunk ends within seconds with `ClusterError` (`as_completed` of distributed
would wait forever); workers return only small rows; if nothing can start, it warns and waits for at most `max_wait`
seconds; the Dask client is called in its own event loop, so a synchronous client works, too.
Must not: import distributed, an extra, before it is used; submit functions of `__main__` (Dask pickles them by value:
no semaphore is shared).
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Collection, Coroutine, Sequence
from concurrent.futures import CancelledError
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from openai_images.cluster.dask_workers import (
    ANSWER_SECONDS,
    WorkerWatch,
    dask_address,
    warn_of_few_slots,
)
from openai_images.cluster.driver import ClusterEngine
from openai_images.cluster.engine import SENT_IS_RECORDED
from openai_images.cluster.job import ItemSpec, Job, Row
from openai_images.cluster.worker import run_items
from openai_images.errors import ClusterError, ConfigurationError, ImagesError
from openai_images.models.options import Timing

if TYPE_CHECKING:
    import distributed

_log = logging.getLogger("openai_images")
_T = TypeVar("_T")

_STATUS_INTERVAL = 0.25

_MIN_WINDOW, _MAX_WINDOW = 512, 4096
_SPARE = 1.25
"""The factor of items to slots, so that no slot waits for the driver."""


class DaskEngine(ClusterEngine):
    """Runs a batch's items in the workers of a Dask cluster; `client` is a `distributed.Client` of it.

    Items are sent in chunks of `chunk`; a chunk ends with its slowest request, so keep it small. At most `in_flight`
    requests are in flight in each worker process. Start workers with `--nthreads 32` or more: a worker runs one chunk
    per thread (requests themselves use no threads). If there is no worker, or other tasks take all slots, the batch
    waits for at most `max_wait` seconds, by the clock of `timing`. The client may be synchronous or asynchronous, and
    stays open.
    """

    def __init__(
        self,
        client: distributed.Client,
        *,
        chunk: int = 8,
        in_flight: int = 64,
        max_wait: float = 600.0,
        timing: Timing = Timing(),  # noqa: B008  frozen
    ) -> None:
        if chunk < 1 or in_flight < 1:
            raise ValueError("chunk and in_flight must be 1 or more")
        self.chunk = chunk
        self.in_flight = in_flight
        self._timing = timing
        self._client: Any = client  # distributed is only partly typed
        self._workers = WorkerWatch(client, timing, max_wait)
        self._loss: asyncio.Future[ClusterError] | None = None  # of the client's loop
        self._watching: asyncio.Task[None] | None = None
        self.window = _MIN_WINDOW

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        address: str,
        *,
        timeout: float = 10.0,  # noqa: ASYNC109  Dask's
        **options: Any,
    ) -> AsyncGenerator[Self]:
        """Return an engine with its own client, for an `async with` block; `options` are those of the constructor.

        `address` is one such as "tcp://host:8786". Raises `ClusterError` if no scheduler responds there in `timeout`
        seconds, and `ConfigurationError` if distributed is not installed.
        """
        try:
            from distributed import Client  # noqa: PLC0415  an extra
        except ImportError:
            raise ConfigurationError("Dask needs distributed: pip install 'openai-images[dask]'") from None
        open_client: Any = Client  # its signature has no types
        client = open_client(address, asynchronous=True, timeout=timeout)
        try:
            try:
                await client
            except (OSError, ValueError, TimeoutError) as error:
                message = (
                    f"the Dask scheduler at {address[:200]} does not respond ({error}); nothing was sent"
                )
                raise ClusterError(f"{message}. Check the address, and that it is running") from None
            yield cls(client, **options)
        finally:
            await client.close()

    def __repr__(self) -> str:
        return f"<DaskEngine {self._address} chunk={self.chunk} in_flight={self.in_flight}>"

    async def start(self) -> None:
        """Find the workers and start to watch the scheduler. Raises `ClusterError` and RuntimeError."""
        await self._in_client_loop(self._start())

    async def run(self, job: Job, items: Sequence[ItemSpec]) -> Sequence[Row]:
        """Run the `items` of a `job` in one worker; return their rows. Raises `ClusterError`."""
        return await self._in_client_loop(self._run(job, list(items)))

    async def stop(self, job: Job) -> Collection[str] | None:
        """Tell all workers to start no more items of this `job`. Raises `ClusterError`.

        Return the ids of the items that a worker has started and not ended; None if a worker does not respond.
        """
        return await self._in_client_loop(self._stop(job))

    async def aclose(self) -> None:
        """Stop watching the scheduler. Idempotent."""
        if self._watching is not None:
            await self._in_client_loop(self._end_watch())

    def wait_reason(self) -> str | None:
        """Return why nothing starts, or why the requests of workers wait, and until when; None if they do not."""
        return self._workers.wait_reason()

    @property
    def processes(self) -> int:
        """The number of workers."""
        return self._workers.processes

    @property
    def _address(self) -> str:
        return dask_address(self._client)

    async def _in_client_loop(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine in the event loop of the Dask client, which may be in another thread."""
        loop: asyncio.AbstractEventLoop = self._client.loop.asyncio_loop
        if loop is asyncio.get_running_loop():
            return await coroutine
        if loop.is_closed() or not loop.is_running():
            coroutine.close()
            raise ClusterError("the Dask client is closed: open another one, and run the same batch again")
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))

    async def _start(self) -> None:
        if self._watching is not None:
            raise RuntimeError("an engine runs one batch at a time; make another engine with the same client")
        if self._client.status != "running":
            raise self._lost(f"the client is {self._client.status}")
        self._loss = asyncio.get_running_loop().create_future()
        slots = await self._guard(self._workers.slots())
        self._watching = asyncio.get_running_loop().create_task(self._watch())
        from openai_images.cluster.dask_plugin import WorkerCleanup  # noqa: PLC0415  distributed is an extra

        await self._guard(self._client.register_plugin(WorkerCleanup()))
        warn_of_few_slots(slots, self.chunk, self.in_flight)
        wanted = math.ceil(_SPARE * self.chunk * sum(slots.values()))
        self.window = min(_MAX_WINDOW, max(_MIN_WINDOW, wanted))

    async def _run(self, job: Job, items: list[ItemSpec]) -> Sequence[Row]:
        future: Any = None
        self._workers.started(job.run)
        try:
            future = self._client.submit(run_items, job, items, pure=False)
            rows: Sequence[Row] = await self._guard(_result(future))
        except ImagesError:  # such as that of a worker without a key
            raise
        except Exception as error:
            if self._client.status != "running":
                raise self._lost(f"the client is {self._client.status}") from error
            message = (
                f"a task failed in the Dask cluster ({type(error).__name__}: {error}). {SENT_IS_RECORDED}"
            )
            raise ClusterError(message) from error
        finally:
            self._workers.ended()
            if future is not None:
                future.release()
        return rows

    async def _stop(self, job: Job) -> Collection[str] | None:
        return await self._guard(self._workers.stop(job.run))

    async def _guard(self, awaitable: Coroutine[Any, Any, _T]) -> _T:
        """Await a coroutine until the scheduler is lost. Raises `ClusterError`."""
        loss = self._loss
        assert loss is not None  # noqa: S101  `start` comes first
        if loss.done() or self._client.status != "running":
            awaitable.close()
            raise loss.result() if loss.done() else self._lost(f"the client is {self._client.status}")
        task = asyncio.ensure_future(awaitable)
        try:
            waits: set[asyncio.Future[Any]] = {task, loss}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise loss.result()
            return task.result()
        except (CancelledError, OSError) as error:
            raise self._lost(str(error)) from error
        finally:
            task.cancel()

    async def _watch(self) -> None:
        """Detect that the scheduler has ended, is suspended, or has no workers."""
        loss = self._loss
        assert loss is not None  # noqa: S101  `start` made it
        while self._watching and not loss.done():  # Dask may swallow a cancellation
            if self._client.status != "running":
                loss.set_result(self._lost(f"the client is {self._client.status}"))
                return
            try:
                await self._workers.look()
            except ClusterError as error:
                loss.set_result(error)
            except Exception as error:  # noqa: BLE001  raised by all chunks
                silent = f"no response in {ANSWER_SECONDS:.0f} s"
                why = silent if isinstance(error, TimeoutError) else type(error).__name__
                loss.set_result(self._lost(str(error) or why))
            await self._timing.sleep(_STATUS_INTERVAL)

    async def _end_watch(self) -> None:
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait([watching])

    def _lost(self, why: str) -> ClusterError:
        return ClusterError(f"the Dask scheduler at {self._address} is lost ({why}). {SENT_IS_RECORDED}")


async def _result(future: Any) -> Any:
    return await future
