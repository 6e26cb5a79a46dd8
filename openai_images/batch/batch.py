"""`Batch`: a folder, its items, and an async iterator over the outcomes of the items that are sent.

Invariants: entering locks the folder and makes the plan, and sends nothing; an outcome is yielded after its images and
its row are on disk; an error that stops the whole batch is raised after the last outcome, and another run can continue;
leaving cancels in-flight requests, which the journal records as unknown; an item starts only with a reservation in the
budget.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from attrs import evolve

from openai_images._util.aio import call_abandonable, run_to_completion
from openai_images._util.attrs import safe_repr
from openai_images._util.filesystem import Disk
from openai_images.batch.batch_runner import BatchRunner
from openai_images.batch.items.models import BatchItem, BatchOptions, BatchPlan, BatchSummary
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.batch.recovery import open_batch
from openai_images.batch.run.caller import Caller
from openai_images.batch.run.remote_runner import RemoteBatch, RemoteOpener
from openai_images.batch.run.run_state import OpenBatch, Opener, RunState
from openai_images.client.client import ImagesClient
from openai_images.models.notebook import table_of_fields
from openai_images.models.outcomes import Outcome, Progress, Succeeded


@safe_repr
class Batch:
    """Runs each item once, in the folder `out`: enter it with `async with`, read its `plan`, iterate it.

    It yields the outcome of each item that is sent in this run after it is on disk; all images of a result have a path.
    `stop()` ends it early: no new requests are sent, in-flight requests finish and are yielded. Leaving the block
    cancels in-flight requests, although they may have been billed. `progress` is called with the counts of this run.

    With `shard=Shard(3, 16)` it is one of 16 processes that run a batch together, each a part of the items; `out` is
    then a folder that all of them can access, or a URL such as `s3://bucket/run`, whose images have a `url` instead of
    a path. With an `engine`, such as `DaskEngine(client)`, the items run in the processes of a cluster, which must all
    have access to `out`. `stop()` then withdraws the items that no process has started; leaving the block does not
    cancel requests in flight in the cluster.

    `client` sends the requests, with its limits and retries; `items` have unique keys; `options` set costs and what is
    sent again.
    """

    def __init__(  # noqa: PLR0913  the last is for tests
        self,
        client: ImagesClient,
        items: Sequence[BatchItem],
        out: str | os.PathLike[str],
        *,
        options: BatchOptions = BatchOptions(),  # noqa: B008  frozen
        progress: Callable[[Progress], object] | None = None,
        shard: Opener | None = None,
        engine: RemoteOpener | None = None,
        disk: Disk | None = None,
    ) -> None:
        self._caller = Caller(client)
        self._items = tuple(items)
        if shard is not None and engine is not None:
            raise TypeError("shard and engine cannot be combined: an engine distributes the items itself")
        if options.economy and (shard is not None or engine is not None):
            raise TypeError("economy works on one machine only: leave shard and engine out")
        self._out, self._opener, self._engine = os.fspath(out), shard, engine
        self._options = evolve(options, prices=options.prices.at_half()) if options.economy else options
        self._progress = progress
        self._disk = disk or Disk()
        self._runner: BatchRunner | None = None
        self._is_iterated = self._is_closed = False

    @property
    def plan(self) -> BatchPlan:
        """What was found in the folder, and what this run sends. Raises RuntimeError before the batch is entered."""
        return self._entered_runner.plan

    @property
    def summary(self) -> BatchSummary:
        """The current status. Raises RuntimeError before the batch is entered."""
        return self._entered_runner.summary()

    @property
    def unknown(self) -> tuple[str, ...]:
        """The keys whose outcome is unknown, in the order of the items. Raises RuntimeError as `plan` does."""
        return self._entered_runner.unknown()

    @property
    def wait_reason(self) -> str | None:
        """Why nothing is sent now, and until when; None if nothing waits, or only for a few seconds.

        `Progress.wait_reason` is that of the last change. Raises RuntimeError as `plan` does.
        """
        return self._entered_runner.wait_reason()

    @property
    def unread(self) -> tuple[Succeeded, ...]:
        """The items that this run has finished without yielding their outcomes; their results have only the images.

        Read it after leaving the block early. Raises RuntimeError as `plan` does.
        """
        return self._entered_runner.unread()

    async def __aenter__(self) -> Self:
        """Lock the folder and make the plan; nothing is sent.

        Raises `BatchFolderError` if another process uses the folder, if it is not a batch folder, or if the request of
        an item that may have been billed has changed; `BatchInputError` for items that cannot be sent;
        `ConfigurationError` for a budget that cannot be enforced; OSError if the folder cannot be written;
        `ClusterError` if the engine's cluster is unreachable.
        """
        if self._runner is not None or self._is_closed:
            raise RuntimeError("a batch is entered once; make a new one to run it again")
        if self._engine is not None:
            await self._engine.start()
        try:
            start_time = self._caller.timing.monotonic()
            opened, remote = await call_abandonable(self._open, lambda pair: pair[0].close())
            run = RunState(self._caller, opened, self._options, self._disk)
            self._runner = BatchRunner(run, remote, self._progress, start_time)
        except BaseException:
            if self._engine is not None:
                await run_to_completion(self._engine.aclose())
            raise
        return self

    async def __aexit__(
        self, cls: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        if self._is_iterated:
            raise RuntimeError("a batch can be iterated once; make a new one to run it again")
        self._is_iterated = True
        return self

    async def __anext__(self) -> Outcome:
        """Return the next outcome.

        After the last one, this raises the error that stopped the whole batch: `QuotaExhaustedError`,
        `AuthenticationError`, `BatchFolderError` if the folder could not be written, `APIConnectionError` if the server
        stayed unreachable, or the last of too many identical failures. Another run can continue.
        """
        return await self._entered_runner.next()

    def stop(self) -> None:
        """Send no new requests; in-flight requests finish and are yielded, then the iteration ends."""
        self._entered_runner.stop()

    async def aclose(self) -> None:
        """Cancel in-flight requests, write records and contact sheet, and unlock the folder. Idempotent."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._runner is not None:
            await run_to_completion(self._runner.aclose())

    def __repr__(self) -> str:
        state = "not entered" if self._runner is None else "closed" if self._is_closed else "open"
        return f"<Batch of {len(self._items):,} items in {self._out!r}, {state}>"

    def _repr_html_(self) -> str:
        return table_of_fields(repr(self)[1:-1], None if self._runner is None else self.summary)

    @property
    def _entered_runner(self) -> BatchRunner:
        if self._runner is None:
            raise RuntimeError("enter the batch first: async with Batch(...) as batch")
        return self._runner

    def _open(self) -> tuple[OpenBatch, RemoteBatch | None]:
        caller, options = self._caller, self._options
        items = resolve_items(self._items, caller.model, options)
        if self._engine is not None:
            remote = self._engine.open(self._out, items, options, caller)
            return remote, remote
        if self._opener is not None:
            return self._opener.open(self._out, items, options, caller), None
        root = Path(os.path.abspath(self._out))  # noqa: PTH100  Path.resolve would follow a link the user made
        return open_batch(self._disk, root, items, options, caller), None
