"""Runs one item in a process of a cluster, and converts its rows to the same outcome as `ItemRunner`.

Invariants: the sending process records the outcome before this process receives it, and the rows are added here before
the outcome is delivered; a withdrawn item, or one whose cluster was lost, has no outcome (the storage tells whether it
was sent); an error that concerns all items stops the batch.
Must not: send a request, or decide what a row contains.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NoReturn, Protocol

from attrs import evolve

import openai_images.errors as errors_module
from openai_images.batch.items.models import BatchOptions
from openai_images.batch.items.resolved_item import ResolvedItem
from openai_images.batch.journal.journal_reader import JournalRow, StoredFile
from openai_images.batch.journal.response_facts import parse_amount
from openai_images.batch.run.caller import Caller
from openai_images.batch.run.run_state import OpenBatch, RunState, WorkItem
from openai_images.errors import (
    ClusterError,
    ConfigurationError,
    DownloadError,
    ImagesError,
    OutcomeUnknownError,
    PartialResultError,
    annotate,
)
from openai_images.many.failure_streaks import FailureStreak
from openai_images.many.runner import Runner
from openai_images.models.image import Image
from openai_images.models.outcomes import CallObserver, Progress
from openai_images.models.results import ImageResult
from openai_images.wire.codec import structure_result

_RESULT_FIELDS: Final = ("created", "size", "quality", "background", "output_format", "usage", "svg_usage")
_ERROR_FIELDS: Final = ("attempts", "request_id", "code", "stage", "url")

_NO_RECORD = (
    "a worker claimed it and recorded no outcome: the worker has died, or still runs it; it may have been billed, "
    "and only retry_unknown sends it again"
)


class RemoteBatch(OpenBatch, Protocol):
    """An open batch whose items run in a cluster."""

    @property
    def window(self) -> int:
        """The number of items to send to the cluster concurrently."""
        ...

    async def run(self, work: WorkItem) -> Mapping[str, Any] | None:
        """Run an item; return its `state` and `rows`, or None if it was withdrawn. Raises `ClusterError`.

        With `stops`, its error concerns all items.
        """
        ...

    def image(self, file: StoredFile) -> Image:
        """Return a stored image with its path, or, in an object store, with its URL."""
        ...

    def shown(self, progress: Progress) -> Progress:
        """Return the progress with the items in flight and waiting in the cluster, and why they wait."""
        ...

    async def watch(self, changed: Callable[[], object]) -> NoReturn:
        """Call `changed` whenever the reason for which items wait in the cluster has changed, until cancelled."""
        ...

    def stop(self) -> None:
        """Withdraw the items that are not in flight."""
        ...

    async def end(self) -> None:
        """Withdraw the items that are not in flight, without waiting for the others. Idempotent."""
        ...


class RemoteRun(Runner):
    """A run in a cluster, which also withdraws its items there when it stops."""

    def __init__(self, *args: Any, remote: RemoteBatch) -> None:
        """Run as `Runner` does."""
        super().__init__(*args)
        self._remote = remote

    def progress(self) -> Progress:
        """Return the current progress, as the cluster shows it."""
        return self._remote.shown(super().progress())

    async def _main(self) -> None:
        watching = asyncio.create_task(self._remote.watch(self.changed))
        try:
            await super()._main()
        finally:
            watching.cancel()

    def stop(self) -> None:
        """Start and send nothing new; items in flight continue."""
        super().stop()
        self._remote.stop()


class RemoteOpener(Protocol):
    """Opens a batch whose items run in a cluster: an engine is one.

    `start` it first; then either end the batch that it opens, or close it.
    """

    async def start(self) -> None:
        """Find the processes and start to watch the cluster. Raises `ClusterError`."""
        ...

    async def aclose(self) -> None:
        """Stop watching the cluster. Idempotent."""
        ...

    def open(
        self, out: str, items: Sequence[ResolvedItem], options: BatchOptions, caller: Caller
    ) -> RemoteBatch:
        """Open the batch of these items. Blocks. Raises as `Opener.open` does."""
        ...


class RemoteItemRunner:
    """One item, to `run` once, with a reservation in the budget."""

    def __init__(
        self,
        run: RunState,
        work: WorkItem,
        remote: RemoteBatch,
        streak: FailureStreak,
        observer: CallObserver,
    ) -> None:
        """`streak` counts failures of all items; when it ends the batch, items that have not started are withdrawn."""
        self._run = run
        self._work = work
        self._remote = remote
        self._streak = streak
        self._observer = observer
        self._is_settled = False

    async def run(self) -> ImageResult:
        """Run the item; return its result or raise its error."""
        await self._observer.before_send(1)  # from now on, a stop waits for its row
        try:
            row = await self._run_remote()
            if row is not None and row["state"] != "pending":
                return self._conclude(row)
        finally:  # if it is not settled yet, the storage tells whether it was sent
            self._settle(None, ran=False)
        withdrawn = ImagesError("it was withdrawn before it was sent")
        error = withdrawn if row is None else error_from_row(_last(row), self._work)
        if row is not None:
            self._halt(row)
        await self._observer.on_not_executed(withdrawn)
        self._observer.on_wait()  # raises, if the batch was stopped
        raise error

    async def _run_remote(self) -> Mapping[str, Any] | None:
        try:
            row = await self._remote.run(self._work)
            for each in () if row is None else row["rows"]:
                await self._run.record(each)
        except (ClusterError, ConfigurationError, OSError) as error:
            self._run.halt(error)
            return None
        return row

    def _conclude(self, row: Mapping[str, Any]) -> ImageResult:
        """Return the result in the rows, or raise the error in them."""
        last = _last(row)
        images = [self._remote.image(StoredFile.from_row(file)) for file in last.get("files", ())]
        ran = row["state"] != "failed" or bool(last.get("billed"))
        self._halt(row)
        self._settle(parse_amount(last.get("cost")), len(images), ran=ran)
        if row["state"] == "done":
            result = result_from_row(last, self._work, images)
            self._streak.record_success(result)
            return result
        error = error_from_row(last, self._work, images)
        self._streak.record_failure(error)
        if self._streak.verdict is not None:
            self._remote.stop()
        raise error

    def _halt(self, row: Mapping[str, Any]) -> None:
        """Stop the batch if the row's error concerns all items."""
        if row.get("stops") and row.get("error"):
            places = self._run.stop_reason.saved_elsewhere
            places += [place for place in row.get("saved", ()) if place not in places]
            self._run.halt(error_from_row(_last(row), self._work))

    def _settle(self, cost: Decimal | None, images: int = 0, *, ran: bool) -> None:
        if not self._is_settled:
            self._is_settled = True
            self._run.budget.settle(self._work.reservation, cost, images, ran=ran)


def _last(row: Mapping[str, Any]) -> JournalRow:
    """Return the last row of an item, with the state and error of the item."""
    rows: Sequence[JournalRow] = row["rows"]
    return {
        **(rows[-1] if rows else {}),
        **{name: row[name] for name in ("state", "error", "message") if name in row},
    }


def result_from_row(row: JournalRow, work: WorkItem, images: Sequence[Image]) -> ImageResult:
    """Return the result of a `done` row; `images` are those of its files."""
    fields: dict[str, Any] = {name: row[name] for name in _RESULT_FIELDS if name in row}
    return evolve(
        structure_result(fields, tuple(images)),
        request_id=row.get("request_id"),
        attempts=row.get("attempts") or 0,
        elapsed=row.get("seconds") or 0.0,
        model=work.item.request.model,
    )


def error_from_row(row: JournalRow, work: WorkItem, images: Sequence[Image] = ()) -> ImagesError | OSError:
    """Return the error of a row: its class, message, attributes and images."""
    name, message = str(row.get("error")), str(row.get("message") or _NO_RECORD)
    if row["state"] == "unknown" and "error" not in row:
        return OutcomeUnknownError(message)
    cls = getattr(errors_module, name, None)
    if not (isinstance(cls, type) and issubclass(cls, ImagesError)):
        other = getattr(builtins, name, None)
        is_os_error = isinstance(other, type) and issubclass(other, OSError)
        return OSError(message) if is_os_error else ImagesError(message)
    error = cls(message)
    facts: dict[str, Any] = {field: row[field] for field in _ERROR_FIELDS if row.get(field) is not None}
    facts |= {"elapsed": row.get("seconds") or 0.0, "images": tuple(images)}
    if row.get("status") is not None:
        facts["status_code"] = row["status"]
    if row.get("categories"):
        facts["categories"] = tuple(row["categories"])
    facts |= {"maybe_billed": True} if row["state"] == "unknown" else {}
    facts |= {"safe_to_resend": True} if row["state"] == "refused" else {}
    result = result_from_row(row, work, images)
    if isinstance(error, PartialResultError):
        result = evolve(result, missing=row.get("missing") or 0)
        facts |= {"result": result, "errors": (ImagesError(message),)}
    elif isinstance(error, DownloadError):
        urls = tuple(row.get("urls") or ())
        missing = tuple(Image(url=url) for url in urls)
        facts |= {"url": row.get("url") or next(iter(urls), None), "urls": urls}
        facts |= {"response": evolve(result, images=(*images, *missing))}
    return annotate(error, facts)
