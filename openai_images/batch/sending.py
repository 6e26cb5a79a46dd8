"""One item's way: over the gate, into the journal, to the server, and its picture to the disk.

Rules: its `sent` row is on the disk before the first byte goes out. Whatever ends it has its row on the disk before
anybody is told: `done` behind its pictures, `refused` where it provably did not run, `failed`, or `unknown` where
it may have been paid for; also when it is cancelled. What concerns all items (no quota, no key, no disk, no server)
stops the batch and leaves the item to be sent another time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from decimal import Decimal
from typing import NoReturn, TypeAlias

from attrs import evolve, frozen

from openai_images.batch.asked import Asked
from openai_images.batch.budget import Budget
from openai_images.batch.ending import concerns_all, ending_of, is_away, not_fetched
from openai_images.batch.gate import Gate
from openai_images.batch.pictures import Saved, Saver, UnsavedPictureError, to_end
from openai_images.batch.rows import Row, error_fields, files_field, money, result_fields
from openai_images.errors import (
    APIConnectionError,
    APIStatusError,
    ConfigurationError,
    ImagesError,
    RateLimitError,
    RequestInvalidError,
)
from openai_images.http.watch import Watcher
from openai_images.models.cost import cost_of
from openai_images.models.image import Image
from openai_images.models.prices import Prices
from openai_images.models.request import GenerateRequest
from openai_images.models.results import ImageResult

__all__ = ["Generate", "Means", "Sending"]

_ROUNDS = 8
"""How often a server may say "later" to one item, each time after the client's own retries: it may mean the item."""

_ENDED = "the run ended before its answer came"

Generate: TypeAlias = Callable[[GenerateRequest, Watcher], Awaitable[ImageResult]]


@frozen(kw_only=True)
class Means:
    """What all items of a run share.

    `record` has a row on the disk, behind the names of new pictures where that is said. `halt` keeps what ends the
    run, with the pictures that had to be saved elsewhere, and stops it. `settled` is told when money was set free.
    """

    generate: Generate
    record: Callable[[Row, bool], Awaitable[None]]
    halt: Callable[[Exception, Sequence[Image]], None]
    settled: Callable[[], None]
    gate: Gate
    saver: Saver
    threads: Executor
    budget: Budget
    prices: Prices


class Sending(Watcher):
    """One item under way, to be `run` once; its estimate was set aside in the budget."""

    def __init__(self, means: Means, asked: Asked, stem: str, inner: Watcher) -> None:
        """Tell `inner` as well."""
        self._means = means
        self._asked = asked
        self._stem = stem
        self._inner = inner
        self._estimate = asked.estimate or Decimal(0)
        self._is_open = False  # there may be a `sent` row without an end
        self._may_have_run = False
        self._is_unknown = False  # an attempt before this one may have run
        self._rounds = 0

    async def run(self) -> ImageResult:
        """The result, its pictures and its row on the disk. Raises what ended the item, when that has its row."""
        try:
            result = await self._answer()
        except ImagesError as error:
            await to_end(self._conclude(error))
            raise
        except OSError:  # the journal's, before anything was sent
            await to_end(self._leave())
            self._stop()
        except BaseException:
            await to_end(self._leave())
            raise
        return await to_end(self._keep(result))

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
        self._is_open, self._may_have_run = True, False
        fields = {
            "stem": self._stem,
            "pictures": self._asked.pictures,
            "attempt": attempt,
            "model": self._asked.request.model,
            "estimate": money(self._asked.estimate),
        }
        await self._record("sent", fields)
        await self._inner.sending(attempt)
        self._may_have_run = True

    async def refused(self, error: ImagesError) -> None:
        """Have on the disk that it did not run."""
        self._may_have_run = False
        if isinstance(error, RateLimitError):
            self._means.gate.answered()
        await self._record("refused", error_fields(error))
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

    async def _keep(self, result: ImageResult) -> ImageResult:
        """Save what came, pictures first."""
        cost = cost_of(result, self._asked.request.model, self._means.prices)
        here = [image for image in result.images if not is_away(image)]
        away = [image for image in result.images if is_away(image)]
        fields = {**result_fields(result), "cost": money(cost)}
        try:
            saved = await self._saved(here)
            if away:
                error = not_fetched(away)
                urls = [image.url for image in away]
                row = {**fields, **error_fields(error), "billed": True, "urls": urls}
                await self._record("failed", row, saved)
                raise error
            await self._record("done", fields, saved)
        finally:
            self._settle(cost, ran=True)
        return evolve(result, images=saved.images)

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
            saved = await self._saved(ending.images)
            bill = {"billed": True, "cost": money(ending.cost)} if ending.billed else {}
            await self._record(ending.state, {**error_fields(error), **bill}, saved)
            for part in getattr(error, "errors", ()):
                if concerns_all(part):
                    self._means.halt(part, ())
        finally:
            self._settle(ending.cost, ran=ending.billed)

    async def _leave(self, error: ImagesError | None = None) -> None:
        """It ends without an answer."""
        try:
            if self._is_open:
                with suppress(OSError):  # the batch is halted by then
                    fields = {"message": _ENDED} if error is None else error_fields(error)
                    unknown = self._may_have_run or self._is_unknown
                    await self._record("unknown" if unknown else "refused", fields)
        finally:
            self._settle(None, ran=self._may_have_run)

    async def _saved(self, images: Sequence[Image]) -> Saved:
        """The pictures on the disk; where they are not in their folder the batch is halted."""
        if not images:
            return Saved()
        loop, saver, pictures = asyncio.get_running_loop(), self._means.saver, self._asked.pictures
        try:
            saved = await loop.run_in_executor(self._means.threads, saver.save, self._stem, images, pictures)
        except UnsavedPictureError as error:
            self._means.halt(error, ())
            await self._record("unknown", error_fields(error))
            raise
        if saved.error is not None:
            self._means.halt(saved.error, saved.images)
        return saved

    async def _record(self, state: str, fields: Row, saved: Saved | None = None) -> None:
        """Have a row on the disk, behind the names of its pictures. Raises OSError, and halts the batch then."""
        files = {"files": files_field(saved.files)} if saved is not None and saved.files else {}
        row = {"state": state, "key": self._asked.key, "request": self._asked.digest, **fields, **files}
        try:
            await self._means.record(row, bool(files))
        except OSError as error:
            self._means.halt(error, () if saved is None else saved.images)
            raise
        self._is_open = state == "sent"

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
