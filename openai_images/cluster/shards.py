"""`Shard`: one of several processes that each run a part of a batch.

Invariants: the shard of an item does not depend on the order of the input; shards communicate only by claims in the
storage.
"""

from __future__ import annotations

from collections.abc import Sequence

from attrs import field, frozen

from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.run.caller import Caller
from openai_images.cluster.claim_store import Claimant
from openai_images.cluster.job import new_run_id
from openai_images.cluster.names import item_id, item_ids
from openai_images.cluster.open_storage import open_storage
from openai_images.cluster.opening import SharedBatch, SharedInput, open_shared
from openai_images.errors import ConfigurationError


@frozen
class Shard:
    """Number `index`, from 1, of `count` processes that run one batch: `Batch(…, shard=Shard(3, 16))`.

    All processes need the same items and the same `out`. Each has its own options: divide a budget and configured
    limits by `count`. With `plan_only`, only findings are written. Raises `ConfigurationError`.
    """

    index: int = 1
    count: int = 1
    plan_only: bool = field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise ConfigurationError(
                f"there is no shard {self.index} of {self.count}: shards are numbered from 1"
            )

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard of a `text` such as "3/16". Raises `ConfigurationError`."""
        index, slash, count = text.partition("/")
        if not (slash and index.strip().isdecimal() and count.strip().isdecimal()):
            raise ConfigurationError(
                f"{text[:40]!r} is not a shard such as 3/16: its number, from 1, and the number of shards"
            )
        return cls(int(index), int(count))

    def open(
        self, out: str, items: Sequence[ResolvedItem], options: BatchOptions, caller: Caller
    ) -> SharedBatch:
        """Plan this part of the `items` in `out`. Blocks. Raises the errors of entering a `Batch`.

        `options` are those of the batch; `caller` is its client.
        """
        run = SharedInput(
            all_items=items,
            items=self.select(items, dedupe=options.dedupe),
            about={"shard": f"{self.index}/{self.count}"},
            plan_only=self.plan_only,
        )
        return open_shared(open_storage(out), run, options, caller, Claimant(new_run_id()))

    def select(self, items: Sequence[ResolvedItem], *, dedupe: bool) -> list[ResolvedItem]:
        """Return the `items` of this shard; with `dedupe`, items that share an image are in one shard."""
        ids = item_ids(items)
        return [
            item
            for item in items
            if int(item_id(item.digest, 0) if dedupe else ids[item.key], 16) % self.count == self.index - 1
        ]
