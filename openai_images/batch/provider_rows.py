"""The rows of a journal about batches at the provider.

Invariants: a batch has a row `creating` before it is created, `created` once its id is known, and `ended` at last.
"""

from __future__ import annotations

from attrs import frozen

from openai_images.batch.ledger import SubmittedBatch
from openai_images.batch.run_state import RunState


@frozen
class ProviderRows:
    """Writes them; each raises OSError, and has halted the batch then."""

    _run: RunState

    async def creating(self, tag: str, input_file_id: str, since: float, items: int) -> SubmittedBatch:
        """It is created next from this file; returns it as the ledger has it."""
        fields = {"since": int(since), "input_file_id": input_file_id, "items": items}
        await self._record(tag, "creating", **fields)
        return self._run.ledger.batches[tag]

    async def created(self, batch: SubmittedBatch, batch_id: str) -> None:
        """It exists, and this is its id."""
        await self._record(batch.tag, "created", since=int(batch.since), id=batch_id)

    async def ended(self, tag: str, status: str) -> None:
        """Each of its items has an end."""
        await self._record(tag, "ended", status=status)

    async def _record(self, tag: str, step: str, **fields: object) -> None:
        row = {"state": "provider_batch", "key": None, "tag": tag, "step": step, **fields}
        try:
            await self._run.record(row, has_images=False)
        except OSError as error:
            self._run.halt(error)
            raise
