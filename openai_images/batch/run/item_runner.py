"""Runs one item: circuit breaker, journal, request, images, verdict.

Invariants: the `sent` row is on disk before the first byte is sent; at every end, also a cancellation, the last row is
on disk before the caller gets the outcome: `done` after its images, `refused` if not executed, `failed`, or `unknown`
if it may have been billed; URLs of remote images are on disk before the download; an error that concerns all items
stops the batch, and another run sends the item.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress

from attrs import evolve

from openai_images._util.aio import run_to_completion
from openai_images.batch.folder.image_files import StoredImages
from openai_images.batch.journal.journal import body_field, decimal_text, error_fields, result_fields
from openai_images.batch.journal.ledger import ItemRecord
from openai_images.batch.run.recorder import (
    ItemRecorder,
    fetch_partial_result,
    fetch_remote,
    images_from_files,
    resume_fetch,
)
from openai_images.batch.run.run_state import RunState, WorkItem
from openai_images.batch.run.verdicts import classify_failure, remote_urls, stops_batch
from openai_images.client.attempts import STOPPED
from openai_images.errors import (
    APIConnectionError,
    ConfigurationError,
    DownloadError,
    ImagesError,
    OutcomeUnknownError,
    RateLimitError,
    RequestInvalidError,
    StoppedBeforeSendError,
)
from openai_images.models.cost import cost_of
from openai_images.models.image import Image, is_remote
from openai_images.models.outcomes import CallObserver
from openai_images.models.results import ImageResult, with_images

_MAX_DELAYS = 8
"""How often one item may get a retryable error, after the client's retries each time: the item may be the cause."""

_RUN_ENDED = "the run ended before its response"
_LOCAL_ERRORS = (ConfigurationError, RequestInvalidError, StoppedBeforeSendError)
_NO_BUDGET = "its last attempt may have been billed, and the budget does not allow another one"


class ItemRunner(CallObserver):
    """One item, to `run` once, with a reservation in the budget; `observer` is notified, too."""

    def __init__(self, run: RunState, work: WorkItem, observer: CallObserver) -> None:
        self._run = run
        self._recorder = ItemRecorder(run, work)
        self._work = work
        self._item = work.item
        self._observer = observer
        self._may_have_run = False
        self._is_unknown = False  # an earlier attempt may have been executed
        self._delays = 0

    async def run(self) -> ImageResult:
        """Run the item; return its result, or raise its error, after its row is on disk."""
        if self._work.remote is not None:
            try:
                return await self._resume_fetch(self._work.remote)
            except DownloadError:
                if not self._work.can_send:
                    raise
            record = self._run.ledger.get(self._item.key)
            self._work = self._recorder.work = self._work.without_download(record, self._run.options)
            self._item = self._work.item
        try:
            result = await self._generate()
        except ImagesError as error:
            error.maybe_billed = error.maybe_billed or self._is_unknown
            try:
                await fetch_partial_result(error, self._run.caller)
            finally:
                await run_to_completion(self._record_failure(error))
            raise
        except OSError:  # of the journal, before anything was sent
            await run_to_completion(self._abandon())
            self._drop_if_not_billed()
            raise
        except BaseException as error:
            await run_to_completion(self._abandon(images=getattr(error, "images", ())))
            raise
        result, stored = await run_to_completion(self._store_result(result))
        if any(map(is_remote, result.images)):
            result = await fetch_remote(self._recorder, result, stored)
        before = images_from_files(self._work.kept_files, self._run.root)
        return evolve(result, images=(*before, *result.images)) if before else result

    def on_wait(self) -> None:
        """Forward the wait."""
        self._observer.on_wait()

    def waiting(self) -> AbstractContextManager[object]:
        """Forward the context of a wait."""
        return self._observer.waiting()

    async def before_send(self, attempt: int) -> None:
        """Write the `sent` row before the first byte is sent."""
        if self._may_have_run:  # `retry_unknown` of the client sends it again
            if not self._run.budget.repeat(self._work.reservation):
                raise OutcomeUnknownError(_NO_BUDGET)
            self._is_unknown = True
        self._recorder.is_open, self._may_have_run = True, False
        await self._recorder.record_sent(attempt)
        await self._observer.before_send(attempt)
        self._may_have_run = True

    async def on_not_executed(self, error: ImagesError) -> None:
        """Write that the request was not executed."""
        self._may_have_run = False
        if isinstance(error, RateLimitError):
            self._run.breaker.record_success()
        try:
            await self._recorder.record("refused", error_fields(error))
        finally:
            if not self._is_unknown:
                await self._observer.on_not_executed(error)

    def on_retry(self, attempt: int, error: ImagesError, seconds: float) -> None:
        """Forward the retry."""
        self._observer.on_retry(attempt, error, seconds)

    async def _generate(self) -> ImageResult:
        try:
            return await self._call()
        except StoppedBeforeSendError:
            if self._may_be_billed:
                raise OutcomeUnknownError(STOPPED) from None
            raise

    async def _call(self) -> ImageResult:
        """Make a call, and others while the server executes no request."""
        breaker = self._run.breaker
        while True:
            with self._observer.waiting():
                is_probe = await breaker.acquire(self._observer.on_wait)
            try:
                result = await self._run.caller.generate(self._item.request, self)
            except ImagesError as error:
                if self._is_item_error(error):
                    is_local = isinstance(error, _LOCAL_ERRORS)
                    self._release_breaker(is_probe, has_response=not is_local)
                    raise
                if not breaker.record_failure(error, is_probe=is_probe):
                    self._run.halt(error)
                    self._drop_if_not_billed()
                    raise
            except BaseException:
                self._release_breaker(is_probe, has_response=False)
                raise
            else:
                breaker.record_success()
                return result

    @property
    def _may_be_billed(self) -> bool:
        return self._may_have_run or self._is_unknown

    def _drop_if_not_billed(self) -> None:
        """Raise `StoppedBeforeSendError`, as the batch is stopped, unless an attempt may have been billed."""
        if not self._may_be_billed:
            self._observer.on_wait()

    def _is_item_error(self, error: ImagesError) -> bool:
        """Return whether this error is the item's own, not that of a server that is down or overloaded."""
        if isinstance(error, RateLimitError | StoppedBeforeSendError) or not error.safe_to_resend:
            return True
        self._delays += 1
        return not isinstance(error, APIConnectionError) and self._delays >= _MAX_DELAYS

    def _release_breaker(self, is_probe: bool, *, has_response: bool) -> None:
        if has_response:
            self._run.breaker.record_success()
        elif is_probe:
            self._run.breaker.release_probe()

    async def _store_result(self, result: ImageResult) -> tuple[ImageResult, StoredImages]:
        """Store the received images, then the row, with the URLs of remote images."""
        cost = cost_of(result, self._item.request.model, self._run.options.prices)
        urls = [image.url for image in result.images if is_remote(image)]
        fields = {**result_fields(result), "cost": decimal_text(cost), **({"urls": urls} if urls else {})}
        try:
            stored = await self._store_images([image for image in result.images if not is_remote(image)])
            local = iter(stored.images)
            images = [image if is_remote(image) else next(local) for image in result.images]
            result = with_images(result, images)
            if urls:
                with suppress(
                    OSError
                ):  # it has stopped the batch: only this run knows the URLs, and downloads them
                    await self._recorder.record("away", fields, stored)
            else:
                await self._recorder.finish(result, fields, stored)
        finally:
            self._run.budget.settle(self._work.reservation, cost, len(result.images), ran=True)
        return result, stored

    async def _store_images(self, images: Sequence[Image]) -> StoredImages:
        """Store images after those of earlier runs; return all of the item. Raises OSError."""
        kept_files = self._work.kept_files
        stored = await self._recorder.save(images, len(kept_files))
        return evolve(stored, files=(*kept_files, *stored.files))

    async def _resume_fetch(self, remote: ItemRecord) -> ImageResult:
        is_sent_next = False
        try:
            return await resume_fetch(self._recorder, remote)
        except DownloadError:
            is_sent_next = self._work.can_send
            raise
        finally:
            if not is_sent_next:
                self._run.budget.settle(self._work.reservation, None, ran=False)

    async def _record_failure(self, error: ImagesError) -> None:
        verdict = classify_failure(error, self._item.request.model, self._run.options.prices)
        if verdict.state == "refused":
            self._may_have_run = self._may_have_run and error.maybe_billed and not self._is_unknown
            is_unknown = self._may_have_run or self._is_unknown
            await self._abandon(error)
            if stops_batch(error):
                if not is_unknown:
                    await self._observer.on_not_executed(error)
                self._run.halt(error)
                self._drop_if_not_billed()
            return
        try:
            stored = await self._store_images(verdict.images)
            billing = {"billed": True, "cost": decimal_text(verdict.cost)} if verdict.billed else {}
            urls = remote_urls(error)
            remote = {"urls": urls} if urls else {}
            body = body_field(error, self._item.request.prompt)
            fields = {**error_fields(error), **body, **billing, **remote}
            await self._recorder.record(verdict.state, fields, stored)
            for part in getattr(error, "errors", ()):
                if stops_batch(part):
                    self._run.halt(part)
        finally:
            count = len(verdict.images) + len(remote_urls(error))
            self._run.budget.settle(self._work.reservation, verdict.cost, count, ran=verdict.billed)

    async def _abandon(self, error: ImagesError | None = None, images: Sequence[Image] = ()) -> None:
        stored = None
        try:
            if images:
                with suppress(OSError):
                    stored = await self._store_images([image for image in images if not is_remote(image)])
            if self._recorder.is_open:
                with suppress(OSError):  # the error has stopped the batch
                    fields = {"message": _RUN_ENDED} if error is None else error_fields(error)
                    urls = [image.url for image in images if is_remote(image)]
                    fields |= {"urls": urls} if urls else {}
                    unknown = self._may_have_run or self._is_unknown
                    await self._recorder.record("unknown" if unknown else "refused", fields, stored)
        finally:
            self._run.budget.settle(self._work.reservation, None, ran=self._may_have_run)
