"""One item's way: over the gate, into the journal, to the server, and its picture to the disk.

Rules: its `sent` row is on the disk before the first byte goes out. Whatever ends it has its row on the disk before
anybody is told: `done` behind its pictures, `refused` where it provably did not run, `failed`, or `unknown` where
it may have been paid for; also when it is cancelled. Where its pictures are behind URLs, these are on the disk before
they are fetched (`fetching.py`). What concerns all items (no quota, no key, no disk, no server) stops the batch and
leaves the item to be sent another time.
What nobody knows is `unknown`, what provably did not run is `refused`, the rest has `failed`. Pictures that were whole
before things went wrong were paid for, and are kept, and so is what came in the place of one.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Literal, NoReturn

from attrs import evolve, frozen

from openai_images.batch.image_store import Saved, to_end
from openai_images.batch.journal import body_field, error_fields, money, result_fields
from openai_images.batch.ledger import Record
from openai_images.batch.recorder import (
    Keeper,
    Means,
    Task,
    fetch_away,
    fetch_beside,
    fetch_recorded,
    images_of,
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

_ROUNDS = 8
"""How often a server may say "later" to one item, each time after the client's own retries: it may mean the item."""

_ENDED = "the run ended before its answer came"


class Sending(Watcher):
    """One item under way, to be `run` once; its estimate was set aside in the budget."""

    def __init__(self, means: Means, task: Task, inner: Watcher) -> None:
        """Tell `inner` as well."""
        self._means = means
        self._keeper = Keeper(means, task)
        self._task = task
        self._asked = task.asked
        self._inner = inner
        self._estimate = task.estimate
        self._may_have_run = False
        self._is_unknown = False  # an attempt before this one may have run
        self._rounds = 0

    async def run(self) -> ImageResult:
        """The result, its pictures and its row on the disk. Raises what ended the item, when that has its row."""
        if self._task.away is not None:
            try:
                return await self._fetch_again(self._task.away)
            except DownloadError:
                if not self._task.may_send:
                    raise
        try:
            result = await self._answer()
        except ImagesError as error:
            try:
                await fetch_beside(error, self._means.fetch)
            finally:
                await to_end(self._conclude(error))
            raise
        except OSError:  # the journal's, before anything was sent
            await to_end(self._leave())
            self._stop()
        except BaseException:
            await to_end(self._leave())
            raise
        kept, saved = await to_end(self._keep(result))
        if any(map(is_away, kept.images)):
            kept = await fetch_away(self._keeper, kept, saved)
        before = images_of(self._task.kept, self._means.root)
        return evolve(kept, images=(*before, *kept.images)) if before else kept

    # What the call tells.

    def waiting(self) -> None:
        """It waits for a limit."""
        self._inner.waiting()

    async def sending(self, attempt: int) -> None:
        """Have on the disk that the next thing is the request's first byte."""
        if (
            self._may_have_run
        ):  # the client's policy sends it again, although nobody knows about the first time
            self._is_unknown = True
            self._means.budget.settle(self._estimate, None)
            self._means.budget.reserved += self._estimate
        self._keeper.is_open, self._may_have_run = True, False
        fields = {
            "stem": self._task.stem,
            "pictures": self._task.pictures,
            "attempt": attempt,
            "model": self._asked.request.model,
            "estimate": money(self._asked.estimate),
        }
        await self._keeper.record("sent", fields, Saved(files=self._task.kept))
        await self._inner.sending(attempt)
        self._may_have_run = True

    async def refused(self, error: ImagesError) -> None:
        """Have on the disk that it did not run."""
        self._may_have_run = False
        if isinstance(error, RateLimitError):
            self._means.gate.answered()
        await self._keeper.record("refused", error_fields(error))
        await self._inner.refused(error)

    # What comes of it.

    async def _answer(self) -> ImageResult:
        """The answer, as soon as there is a server."""
        gate = self._means.gate
        while True:
            knocked = await gate.passed(self._inner.waiting)
            try:
                result = await self._means.generate(self._asked.request, self)
            except ImagesError as error:
                if self._is_of_the_item(error):
                    self._came_back(
                        knocked, answered=not isinstance(error, RequestInvalidError | ConfigurationError)
                    )
                    raise
                if not gate.failed(knocked=knocked, answered=isinstance(error, APIStatusError)):
                    self._means.halt(error, ())
                    self._stop()
            except BaseException:
                self._came_back(knocked, answered=False)
                raise
            else:
                gate.answered()
                return result

    def _is_of_the_item(self, error: ImagesError) -> bool:
        """Whether it is not the server that is away, or says "later" to everyone."""
        if isinstance(error, RateLimitError) or not error.safe_to_resend:
            return True
        self._rounds += 1
        return not isinstance(error, APIConnectionError) and self._rounds >= _ROUNDS

    def _came_back(self, knocked: bool, *, answered: bool) -> None:
        if answered:
            self._means.gate.answered()
        elif knocked:
            self._means.gate.left()

    async def _keep(self, result: ImageResult) -> tuple[ImageResult, Saved]:
        """Save what came, pictures first, and where those are that did not come."""
        cost = cost_of(result, self._asked.request.model, self._means.prices)
        urls = [image.url for image in result.images if is_away(image)]
        fields = {**result_fields(result), "cost": money(cost), **({"urls": urls} if urls else {})}
        try:
            saved = await self._save([image for image in result.images if not is_away(image)])
            here = iter(saved.images)
            images = [image if is_away(image) else next(here) for image in result.images]
            result = with_images(result, images)
            if urls:
                await self._keeper.record("away", fields, saved)
            else:
                await self._keeper.finish(result, fields, saved)
        finally:
            self._settle(cost, ran=True)
        return result, saved

    async def _save(self, images: Sequence[Image]) -> Saved:
        """Save these behind those that are kept; all of the item's. Raises OSError."""
        kept = self._task.kept
        saved = await self._keeper.save(images, len(kept))
        return evolve(saved, files=(*kept, *saved.files))

    async def _fetch_again(self, away: Record) -> ImageResult:
        """What an earlier run could not fetch, and paid for."""
        try:
            result = await fetch_recorded(self._keeper, away)
        except DownloadError:
            if not self._task.may_send:
                self._settle(None, ran=False)
            raise
        except BaseException:
            self._settle(None, ran=False)
            raise
        self._settle(None, ran=False)
        return result

    async def _conclude(self, error: ImagesError) -> None:
        """Save what came before the error, and say whether the item may be sent again."""
        ending = ending_of(error, self._asked.request.model, self._means.prices)
        if ending.state == "refused":
            self._may_have_run = False
            await self._leave(error)
            if concerns_all(error):
                await self._inner.refused(error)
                self._means.halt(error, ())
                self._stop()
            return
        try:
            saved = await self._save(ending.images)
            bill = {"billed": True, "cost": money(ending.cost)} if ending.billed else {}
            urls = urls_of(error)
            away = {"urls": urls} if urls else {}
            body = body_field(error, self._asked.request.prompt)
            await self._keeper.record(ending.state, {**error_fields(error), **body, **bill, **away}, saved)
            for part in getattr(error, "errors", ()):
                if concerns_all(part):
                    self._means.halt(part, ())
        finally:
            self._settle(ending.cost, ran=ending.billed)

    async def _leave(self, error: ImagesError | None = None) -> None:
        """It ends without an answer."""
        try:
            if self._keeper.is_open:
                with suppress(OSError):  # the batch is halted by then
                    fields = {"message": _ENDED} if error is None else error_fields(error)
                    unknown = self._may_have_run or self._is_unknown
                    await self._keeper.record("unknown" if unknown else "refused", fields)
        finally:
            self._settle(None, ran=self._may_have_run)

    def _settle(self, cost: Decimal | None, *, ran: bool) -> None:
        """The money set aside is spent, or free again."""
        if ran:
            self._means.budget.settle(self._estimate, cost)
        else:
            self._means.budget.release(self._estimate)
        self._means.settled()

    def _stop(self) -> NoReturn:
        """End without an outcome, as the batch was halted."""
        self._inner.waiting()  # raises, since nothing more is to be sent
        raise AssertionError


@frozen
class Ending:
    """What becomes of an item: its state, whether it was paid for and how much that was, as far as it is known."""

    state: Literal["refused", "failed", "unknown"]
    billed: bool = False
    cost: Decimal | None = None
    images: Sequence[Image] = ()


def ending_of(error: ImagesError, model: str | None, prices: Prices) -> Ending:
    """What this error means."""
    if error.safe_to_resend or concerns_all(error):
        return Ending("refused")
    if isinstance(error, PartialResultError):
        result: ImageResult = error.result
        unknown = any(part.maybe_billed for part in error.errors)
        cost = None if unknown else cost_of(result, model, prices)
        here = [image for image in result.images if not is_away(image)]
        state: Literal["failed", "unknown"] = "unknown" if unknown else "failed"
        return Ending(state, billed=True, cost=cost, images=[*here, *error.damaged])
    images = [image for image in error.images if isinstance(image, Image) and not is_away(image)]
    images += error.damaged
    if error.maybe_billed or images:
        return Ending("unknown", billed=True, images=images)
    return Ending("failed")


def concerns_all(error: ImagesError) -> bool:
    """Whether all items would be told the same, and none was run: no quota, no key, a limit that lasts."""
    return isinstance(error, AuthenticationError | ConfigurationError) or ends_all(error)


def urls_of(error: ImagesError) -> list[str]:
    """Where pictures are that came with this error, and were not fetched."""
    result: ImageResult | None = getattr(error, "result", None)
    images = error.images if result is None else result.images
    return [image.url for image in images if isinstance(image, Image) and is_away(image) and image.url]
