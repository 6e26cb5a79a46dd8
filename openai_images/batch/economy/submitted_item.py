"""Runs one item whose request was in a batch at the provider: a line of the output file is its response.

Invariants: rows, images and verdicts are those of any item (`item_runner.py`); an interruption or a write error writes
no row, as the output can be read again.
"""

from __future__ import annotations

from attrs import evolve

from openai_images.batch.folder.image_files import StoredImages
from openai_images.batch.journal.journal import decimal_text
from openai_images.batch.run.item_runner import ItemRunner, stops_batch
from openai_images.batch.run.recorder import ItemRecorder
from openai_images.batch.run.run_state import RunState, WorkItem
from openai_images.errors import ImagesError
from openai_images.models.outcomes import CallObserver
from openai_images.models.requests import EditRequest
from openai_images.models.results import ImageResult


class SubmittedItem(ItemRunner):
    """One item with its response, to `run` once."""

    def __init__(self, run: RunState, work: WorkItem, answer: ImageResult | ImagesError) -> None:
        super().__init__(run, work, CallObserver())
        self._answer = answer
        self._recorder.is_open = self._recorder.is_repeatable = self._may_have_run = True

    async def _generate(self) -> ImageResult:
        if isinstance(self._answer, ImagesError):
            raise self._answer
        request = self._item.request
        return evolve(self._answer, model=request.model, edited=isinstance(request, EditRequest))

    async def _record_failure(self, error: ImagesError) -> None:
        if stops_batch(error):  # other lines may have images, which are still collected
            self._may_have_run = False
            await self._abandon(error)
        else:
            await super()._record_failure(error)

    async def _abandon(self, error: ImagesError | None = None) -> None:
        if error is not None:
            await super()._abandon(error)


async def record_submitted(run: RunState, work: WorkItem, tag: str, line: int) -> None:
    """Write the `sent` row, which names the batch and the line in its input file.

    Raises OSError after it has stopped the run.
    """
    fields = {
        "stem": work.stem,
        "pictures": work.image_count,
        "attempt": 1,
        "batch": tag,
        "line": line,
        "model": work.item.request.model,
        "estimate": decimal_text(work.item.estimate),
    }
    await ItemRecorder(run, work).record("sent", fields, StoredImages(files=work.kept_files))
