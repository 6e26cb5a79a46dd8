"""Writes the journal rows of batches at the provider.

Invariants: a batch has a row `creating` before it is created, `created` when its id is known, and `ended` at the end.
"""

from __future__ import annotations

from attrs import frozen

from openai_images.batch.journal.ledger import SubmittedBatch
from openai_images.batch.run.run_state import RunState


@frozen
class ProviderRows:
    """Writes these rows; each method raises OSError after it has stopped the run."""

    _run: RunState

    async def creating(self, tag: str, input_file_id: str, since: float, items: int) -> SubmittedBatch:
        """Write that a batch will be created from this file; return it from the ledger."""
        fields = {"since": int(since), "input_file_id": input_file_id, "items": items}
        await self._record(tag, "creating", **fields)
        return self._run.ledger.batches[tag]

    async def created(self, batch: SubmittedBatch, batch_id: str) -> None:
        """Write that the batch exists, with its id."""
        await self._record(batch.tag, "created", since=int(batch.since), id=batch_id)

    async def ended(self, tag: str, status: str) -> None:
        """Write that each of its items has an outcome."""
        await self._record(tag, "ended", status=status)

    async def _record(self, tag: str, step: str, **fields: object) -> None:
        row = {"state": "provider_batch", "key": None, "tag": tag, "step": step, **fields}
        try:
            await self._run.record(row, has_images=False)
        except OSError as error:
            self._run.halt(error)
            raise
