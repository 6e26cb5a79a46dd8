"""Runs one item elsewhere, in a process of a cluster, and makes of its rows what `ItemRunner` would have left here.

Invariants: the process that sends a request has recorded its outcome before this one learns of it; its rows are in the
journal here before the outcome is delivered. An item that was withdrawn, or whose cluster was lost, has no outcome: the
storage knows whether it was sent. An error that concerns all items stops the batch.
Must not: send a request, or decide what a row says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn, Protocol

from attrs import evolve

import openai_images.errors as errors_module
from openai_images.batch.item_store import OpenBatch
from openai_images.batch.journal_reader import JournalRow, StoredFile
from openai_images.batch.response_facts import parse_amount
from openai_images.batch.run_state import RunState, WorkItem
from openai_images.errors import ClusterError, DownloadError, ImagesError, PartialResultError, annotate
from openai_images.many.failure_streaks import FailureStreak
from openai_images.models.image import Image
from openai_images.models.outcomes import CallObserver
from openai_images.models.results import ImageResult
from openai_images.wire.codec import structure_result

_RESULT_FIELDS = ("created", "size", "quality", "background", "output_format", "usage", "svg_usage")
_ERROR_FIELDS = ("attempts", "request_id", "code", "stage", "url")


class RemoteBatch(OpenBatch, Protocol):
    """An opened batch whose items run elsewhere."""

    async def start(self) -> int:
        """Return how many items should be handed out at once. Raises `ClusterError`."""
        ...

    async def run(self, work: WorkItem) -> Sequence[JournalRow] | None:
        """The rows of an item, its last state last; None where it was withdrawn. Raises `ClusterError`."""
        ...

    def image(self, file: StoredFile) -> Image:
        """A stored image: with its path in a folder, with its URL elsewhere."""
        ...

    def stop(self) -> None:
        """Withdraw what is not in flight."""
        ...

    async def end(self) -> None:
        """Withdraw what is not in flight, and wait for nothing; idempotent."""
        ...

    def wait_reason(self) -> str | None:
        """Why the items wait, if they do."""
        ...


class RemoteItemRunner:
    """One item, to `run` once; the budget has its reservation."""

    def __init__(
        self, run: RunState, work: WorkItem, remote: RemoteBatch, streak: FailureStreak, observer: CallObserver
    ) -> None:
        self._run = run
        self._work = work
        self._remote = remote
        self._streak = streak
        self._observer = observer

    async def run(self) -> ImageResult:
        """The result of the item. Raises its error."""
        await self._observer.before_send(1)  # from here on a stop waits for its row
        is_settled = False
        try:
            rows = await self._remote.run(self._work)
            if rows:
                for row in rows:
                    await self._run.record(row, has_images=False)
                is_settled = True
                return self._conclude(rows[-1])
        except ClusterError as error:
            self._run.halt(error)
        except OSError as error:  # of the journal here; the row is in the storage
            self._run.halt(error)
        finally:
            if not is_settled:  # the storage knows whether it was sent; the next run counts it
                self._run.budget.settle(self._work.reservation, None, ran=False)
        return await self._exit_without_outcome()

    def _conclude(self, row: JournalRow) -> ImageResult:
        """The result that a row tells of. Raises the error it tells of."""
        images = tuple(self._remote.image(StoredFile.from_row(file)) for file in row.get("files", ()))
        cost = parse_amount(row.get("cost"))
        ran = row["state"] in ("done", "away", "unknown") or bool(row.get("billed"))
        self._run.budget.settle(self._work.reservation, cost, len(images), ran=ran)
        if row["state"] == "done":
            result = result_from_row(row, self._work, images)
            self._streak.record_success(result)
            return result
        raise error_from_row(row, self._work, images)

    async def _exit_without_outcome(self) -> NoReturn:
        await self._observer.on_not_executed(ImagesError("it was withdrawn"))
        self._observer.on_wait()  # raises, as the batch was stopped
        raise AssertionError


def result_from_row(row: JournalRow, work: WorkItem, images: Sequence[Image]) -> ImageResult:
    """The result whose `done` row this is; `images` are those of its files."""
    fields = {name: row[name] for name in _RESULT_FIELDS if name in row}
    return evolve(
        structure_result(fields, tuple(images)),
        request_id=row.get("request_id"),
        attempts=row.get("attempts") or 0,
        elapsed=row.get("seconds") or 0.0,
        model=work.item.request.model,
    )


def error_from_row(row: JournalRow, work: WorkItem, images: Sequence[Image] = ()) -> ImagesError:
    """The error that a row tells of, with the class that it had: its message, its facts, its images."""
    cls = getattr(errors_module, str(row.get("error")), ImagesError)
    if not (isinstance(cls, type) and issubclass(cls, ImagesError)):
        cls = ImagesError
    error = cls(str(row.get("message") or "its outcome is unknown"))
    facts: dict[str, Any] = {name: row[name] for name in _ERROR_FIELDS if row.get(name) is not None}
    facts["elapsed"] = row.get("seconds") or 0.0
    if row.get("status") is not None:
        facts["status_code"] = row["status"]
    if row.get("categories"):
        facts["categories"] = tuple(row["categories"])
    if row["state"] == "unknown":
        facts["maybe_billed"] = True
    if row["state"] == "refused":
        facts["safe_to_resend"] = True
    result = result_from_row(row, work, images) if images else None
    if isinstance(error, PartialResultError):
        facts |= {"result": result, "errors": (ImagesError(str(error)),)}
    elif isinstance(error, DownloadError):
        facts |= {"response": result, "urls": tuple(row.get("urls") or ())}
    else:
        facts["images"] = tuple(images)
    return annotate(error, facts)
