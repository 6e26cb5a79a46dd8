"""`RayBatch` and `ray_stage`: run the items of a batch in the actors of Ray Data, by `Dataset.map_batches`.

Invariants: actors return only small rows, as a full output queue would block an actor's event loop; a failed item is a
row, as an exception would fail the whole job; blocks are small and an actor runs many concurrently, as a block ends
with its slowest request; each actor has one client and one semaphore.
Must not: import Ray, an extra, before it is used; rely on Ray for what was paid (claims tell that).
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import AsyncIterator, Sequence
from importlib import import_module
from typing import Any

from attrs import field, frozen

from openai_images.batch.items.models import BatchItem, BatchOptions, BatchPlan
from openai_images.batch.items.resolved_item import resolve_items
from openai_images.batch.journal.journal_reader import JournalRow
from openai_images.batch.run.caller import Caller
from openai_images.batch.run.run_state import planned_work
from openai_images.client.client import ImagesClient
from openai_images.cluster.claim_store import Claimant
from openai_images.cluster.compaction import SharedStatus, read_batch_status
from openai_images.cluster.job import ItemSpec, Job, Row
from openai_images.cluster.shared_batch import SharedInput, open_shared
from openai_images.cluster.storage import open_storage
from openai_images.cluster.worker import run_items
from openai_images.errors import ConfigurationError

_ROWS_PER_BLOCK = 8
_OVERLAP = 32
"""Concurrent blocks of an actor: with 8 items each, four times the 64 requests in flight."""

_TEXTS = ("key", "id", "state", "error", "message", "cost", "rows")


@frozen(kw_only=True)
class RayBatch:
    """A planned batch: `dataset()` runs it, `finish()` writes its contact sheet.

    `open` creates it, with a `job`, its `specs` and the number of `workers`. `plan` has what was found and what will be
    sent. Rows of the dataset have `key`, `id`, `state` ("done", "failed", "unknown", "away": not downloaded, or
    "pending": not sent), `images` (paths or URLs), `cost` (US dollars), `error` (the name of an exception class),
    `message`, `rows` (journal rows as JSON), and `stops`: whether the error concerns all items.
    """

    job: Job
    plan: BatchPlan
    workers: int
    _specs: Sequence[ItemSpec] = field(repr=False, alias="specs")

    @classmethod
    def open(  # noqa: PLR0913  all but three have defaults
        cls,
        client: ImagesClient,
        items: Sequence[BatchItem],
        out: str,
        *,
        workers: int = 2,
        in_flight: int = 64,
        options: BatchOptions = BatchOptions(),  # noqa: B008  frozen
    ) -> RayBatch:
        """Plan a batch of `items` for `workers` actors with up to `in_flight` requests in each. Blocks; sends nothing.

        `client` has the settings of the workers' clients; `options` and `out` are those of `Batch`. Limits are divided
        among the workers unless they are shared. Raises the errors of entering a `Batch`, and `ConfigurationError` for
        a budget, because Ray Data has no driver that could enforce it.
        """
        if options.budget is not None:
            raise ConfigurationError(
                "Ray Data has no driver that could enforce a budget: leave it out, or use Dask"
            )
        caller, storage = Caller(client), open_storage(out)
        job = Job.from_client(client, storage.place, options, in_flight=in_flight, processes=workers)
        resolved = resolve_items(items, caller.model, options)
        run = SharedInput(all_items=resolved, items=resolved, about={"engine": "ray"})
        opened = open_shared(storage, run, options, caller, Claimant(job.run))
        by_key = {item.key: item for item in resolved}
        to_send = frozenset(opened.plan.to_send)
        keys = dict.fromkeys((*opened.plan.to_fetch, *opened.plan.to_send))
        specs = [
            opened.spec(planned_work(opened, by_key[key], options, can_send=key in to_send)) for key in keys
        ]
        return cls(job=job, plan=opened.plan, workers=workers, specs=specs)

    def dataset(self) -> Any:
        """Return a lazy `ray.data.Dataset` that sends the items, with one row for each.

        Raises `ConfigurationError` if Ray Data is not installed.
        """
        rows = [{"spec": pickle.dumps(spec)} for spec in self._specs]
        blocks = max(1, math.ceil(len(rows) / _ROWS_PER_BLOCK))
        return ray_stage(_ray_data().from_items(rows, override_num_blocks=blocks), self.job, self.workers)

    def finish(self) -> SharedStatus:
        """Return the batch's status, after writing its journal and contact sheet again. Blocks. Raises OSError."""
        return read_batch_status(self.job.out, self.job.options)


def ray_stage(dataset: Any, job: Job, workers: int) -> Any:
    """Return a dataset that runs the items in the column `spec` of `dataset`, in `workers` actors."""
    return dataset.map_batches(
        RayStage,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="pyarrow",
        num_cpus=0.25,
        compute=_ray_data().ActorPoolStrategy(
            size=workers,
            max_tasks_in_flight_per_actor=_OVERLAP + 1,
            max_concurrent_calls_per_actor=_OVERLAP,
        ),
    )


class RayStage:
    """Runs blocks of items in an actor."""

    def __init__(self, job: Job) -> None:
        self._job = job

    async def __call__(self, block: Any) -> AsyncIterator[Any]:
        """Run a block; yield a table with one row for each item."""
        specs: list[ItemSpec] = [pickle.loads(data) for data in block["spec"].to_pylist()]  # noqa: S301  of `dataset`
        rows = await run_items(self._job, specs)
        yield _table([self._flat(row) for row in rows])

    def _flat(self, row: Row) -> dict[str, Any]:
        last: JournalRow = row["rows"][-1] if row["rows"] else {}
        return {
            **{name: row.get(name) for name in ("key", "id", "state", "error", "message")},
            "cost": last.get("cost"),
            "rows": json.dumps(row["rows"]),
            "images": [f"{self._job.out}/{file['name']}" for file in last.get("files", ())],
            "stops": bool(row.get("stops")),
        }


def _ray_data() -> Any:
    """Import `ray.data`. Raises `ConfigurationError`."""
    try:
        return import_module("ray.data")  # too large for type checkers
    except ImportError:
        raise ConfigurationError("RayBatch needs Ray Data: pip install 'openai-images[ray]'") from None


def _table(rows: Sequence[Row]) -> Any:
    arrow: Any = import_module("pyarrow")  # installed with Ray Data
    columns = [
        *((name, arrow.string()) for name in _TEXTS),
        ("images", arrow.list_(arrow.string())),
        ("stops", arrow.bool_()),
    ]
    return arrow.Table.from_pylist(rows, schema=arrow.schema(columns))
