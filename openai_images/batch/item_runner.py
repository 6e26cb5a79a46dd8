"""One item's way: over the gate, into the journal, to the server, and its picture to the disk.

Rules: its `sent` row is on the disk before the first byte goes out. Whatever ends it has its row on the disk before
anybody is told: `done` behind its pictures, `refused` where it provably did not run, `failed`, or `unknown` where
it may have been paid for; also when it is cancelled. Where its pictures are behind URLs, these are on the disk before
they are fetched (`recorder.py`). What concerns all items (no quota, no key, no disk, no server) stops the batch and
leaves the item to be sent another time. Pictures that were whole before things went wrong were paid for, and are
kept, and so is what came in the place of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Literal, NoReturn

from attrs import evolve, frozen

from openai_images.batch.image_store import StoredImages, run_to_completion
from openai_images.batch.journal import body_field, decimal_text, error_fields, result_fields
from openai_images.batch.ledger import ItemRecord
from openai_images.batch.recorder import (
    ItemRecorder,
    RunState,
    WorkItem,
    fetch_partial_result,
    fetch_remote,
    images_from_files,
    resume_fetch,
)
from openai_images.catalog.prices import Prices
from openai_images.client.downloads import is_away
from openai_images.errors import (
    APIConnectionError,
    APIStatusError,
    AuthenticationError,
    ConfigurationError,
    DownloadError,
    ImagesError,
    PartialResultError,
    RateLimitError,
    RequestInvalidError,
)
from openai_images.http.watch import Watcher
from openai_images.many.failure_streaks import ends_all
from openai_images.models.cost import cost_of
from openai_images.models.image import Image
from openai_images.models.results import ImageResult, with_images

_MAX_DELAYS = 8
"""How often a server may say "later" to one item, each time after the client's own retries: it may mean the item."""

_RUN_ENDED = "the run ended before its answer came"


class ItemRunner(Watcher):
    """One item under way, to be `run` once; its estimate was set aside in the budget."""

    def __init__(self, run: RunState, work: WorkItem, observer: Watcher) -> None:
        """Tell `observer` as well."""
        self._run = run
        self._recorder = ItemRecorder(run, work)
        self._work = work
        self._item = work.item
        self._observer = observer
        self._estimate = work.estimate
        self._may_have_run = False
        self._is_unknown = False  # an attempt before this one may have run
        self._delays = 0

    async def run(self) -> ImageResult:
        """The result, its pictures and its row on the disk. Raises what ended the item, when that has its row."""
        if self._work.remote is not None:
            try:
                return await self._resume_fetch(self._work.remote)
            except DownloadError:
                if not self._work.can_send:
                    raise
        try:
            result = await self._generate()
        except ImagesError as error:
            try:
                await fetch_partial_result(error, self._run.caller)
            finally:
                await run_to_completion(self._record_failure(error))
            raise
        except OSError:  # the journal's, before anything was sent
            await run_to_completion(self._abandon())
            self._exit_without_outcome()
        except BaseException:
            await run_to_completion(self._abandon())
            raise
        result, stored = await run_to_completion(self._store_result(result))
        if any(map(is_away, result.images)):
            result = await fetch_remote(self._recorder, result, stored)
        before = images_from_files(self._work.kept_files, self._run.paths.root)
        return evolve(result, images=(*before, *result.images)) if before else result

    def waiting(self) -> None:
        """It waits for a limit."""
        self._observer.waiting()

    async def sending(self, attempt: int) -> None:
        """Have on the disk that the next thing is the request's first byte."""
        if (
            self._may_have_run
        ):  # the client's policy sends it again, although nobody knows about the first time
            self._is_unknown = True
            self._run.budget.settle(self._estimate, None)
            self._run.budget.reserved += self._estimate
        self._recorder.is_open, self._may_have_run = True, False
        fields = {
            "stem": self._work.stem,
            "pictures": self._work.image_count,
            "attempt": attempt,
            "model": self._item.request.model,
            "estimate": decimal_text(self._item.estimate),
        }
        await self._recorder.record("sent", fields, StoredImages(files=self._work.kept_files))
        await self._observer.sending(attempt)
        self._may_have_run = True

    async def refused(self, error: ImagesError) -> None:
        """Have on the disk that it did not run."""
        self._may_have_run = False
        if isinstance(error, RateLimitError):
            self._run.breaker.record_success()
        await self._recorder.record("refused", error_fields(error))
        await self._observer.refused(error)

    async def _generate(self) -> ImageResult:
        """The answer, as soon as there is a server."""
        breaker = self._run.breaker
        while True:
            is_probe = await breaker.acquire(self._observer.waiting)
            try:
                result = await self._run.caller.generate(self._item.request, self)
            except ImagesError as error:
                if self._is_item_error(error):
                    self._release_breaker(
                        is_probe, has_response=not isinstance(error, RequestInvalidError | ConfigurationError)
                    )
                    raise
                if not breaker.record_failure(
                    is_probe=is_probe, has_response=isinstance(error, APIStatusError)
                ):
                    self._run.halt(error)
                    self._exit_without_outcome()
            except BaseException:
                self._release_breaker(is_probe, has_response=False)
                raise
            else:
                breaker.record_success()
                return result

    def _is_item_error(self, error: ImagesError) -> bool:
        """Whether it is not the server that is away, or says "later" to everyone."""
        if isinstance(error, RateLimitError) or not error.safe_to_resend:
            return True
        self._delays += 1
        return not isinstance(error, APIConnectionError) and self._delays >= _MAX_DELAYS

    def _release_breaker(self, is_probe: bool, *, has_response: bool) -> None:
        if has_response:
            self._run.breaker.record_success()
        elif is_probe:
            self._run.breaker.release_probe()

    async def _store_result(self, result: ImageResult) -> tuple[ImageResult, StoredImages]:
        """Save what came, pictures first, and where those are that did not come."""
        cost = cost_of(result, self._item.request.model, self._run.prices)
        urls = [image.url for image in result.images if is_away(image)]
        fields = {**result_fields(result), "cost": decimal_text(cost), **({"urls": urls} if urls else {})}
        try:
            stored = await self._store_images([image for image in result.images if not is_away(image)])
            local = iter(stored.images)
            images = [image if is_away(image) else next(local) for image in result.images]
            result = with_images(result, images)
            if urls:
                await self._recorder.record("away", fields, stored)
            else:
                await self._recorder.finish(result, fields, stored)
        finally:
            self._run.settle(self._estimate, cost, ran=True)
        return result, stored

    async def _store_images(self, images: Sequence[Image]) -> StoredImages:
        """Save these behind those that are kept; all of the item's. Raises OSError."""
        kept_files = self._work.kept_files
        stored = await self._recorder.save(images, len(kept_files))
        return evolve(stored, files=(*kept_files, *stored.files))

    async def _resume_fetch(self, remote: ItemRecord) -> ImageResult:
        """What an earlier run could not fetch, and paid for."""
        try:
            result = await resume_fetch(self._recorder, remote)
        except DownloadError:
            if not self._work.can_send:
                self._run.settle(self._estimate, None, ran=False)
            raise
        except BaseException:
            self._run.settle(self._estimate, None, ran=False)
            raise
        self._run.settle(self._estimate, None, ran=False)
        return result

    async def _record_failure(self, error: ImagesError) -> None:
        """Save what came before the error, and say whether the item may be sent again."""
        verdict = classify_failure(error, self._item.request.model, self._run.prices)
        if verdict.state == "refused":
            self._may_have_run = False
            await self._abandon(error)
            if stops_batch(error):
                await self._observer.refused(error)
                self._run.halt(error)
                self._exit_without_outcome()
            return
        try:
            stored = await self._store_images(verdict.images)
            billing = {"billed": True, "cost": decimal_text(verdict.cost)} if verdict.billed else {}
            urls = remote_urls(error)
            remote = {"urls": urls} if urls else {}
            body = body_field(error, self._item.request.prompt)
            await self._recorder.record(
                verdict.state, {**error_fields(error), **body, **billing, **remote}, stored
            )
            for part in getattr(error, "errors", ()):
                if stops_batch(part):
                    self._run.halt(part)
        finally:
            self._run.settle(self._estimate, verdict.cost, ran=verdict.billed)

    async def _abandon(self, error: ImagesError | None = None) -> None:
        """It ends without an answer."""
        try:
            if self._recorder.is_open:
                with suppress(OSError):  # the batch is halted by then
                    fields = {"message": _RUN_ENDED} if error is None else error_fields(error)
                    unknown = self._may_have_run or self._is_unknown
                    await self._recorder.record("unknown" if unknown else "refused", fields)
        finally:
            self._run.settle(self._estimate, None, ran=self._may_have_run)

    def _exit_without_outcome(self) -> NoReturn:
        """End without an outcome, as the batch was halted."""
        self._observer.waiting()  # raises, since nothing more is to be sent
        raise AssertionError


@frozen
class FailureVerdict:
    """What becomes of an item: its state, whether it was paid for and how much that was, as far as it is known."""

    state: Literal["refused", "failed", "unknown"]
    billed: bool = False
    cost: Decimal | None = None
    images: Sequence[Image] = ()


def classify_failure(error: ImagesError, model: str | None, prices: Prices) -> FailureVerdict:
    """What this error means."""
    if error.safe_to_resend or stops_batch(error):
        return FailureVerdict("refused")
    if isinstance(error, PartialResultError):
        result: ImageResult = error.result
        unknown = any(part.maybe_billed for part in error.errors)
        cost = None if unknown else cost_of(result, model, prices)
        local = [image for image in result.images if not is_away(image)]
        state: Literal["failed", "unknown"] = "unknown" if unknown else "failed"
        return FailureVerdict(state, billed=True, cost=cost, images=[*local, *error.damaged])
    images = [image for image in error.images if isinstance(image, Image) and not is_away(image)]
    images += error.damaged
    if error.maybe_billed or images:
        return FailureVerdict("unknown", billed=True, images=images)
    return FailureVerdict("failed")


def stops_batch(error: ImagesError) -> bool:
    """Whether all items would be told the same, and none was run: no quota, no key, a limit that lasts."""
    return isinstance(error, AuthenticationError | ConfigurationError) or ends_all(error)


def remote_urls(error: ImagesError) -> list[str]:
    """Where pictures are that came with this error, and were not fetched."""
    result: ImageResult | None = getattr(error, "result", None)
    images = error.images if result is None else result.images
    return [image.url for image in images if isinstance(image, Image) and is_away(image) and image.url]
