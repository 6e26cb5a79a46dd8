"""The items of a run in economy: started when they are added to a batch at the provider, ended with their outcome.

Invariants: an item's outcome is made after its row is on disk; an item at the provider that is no longer in the input
is still collected, because it is paid for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from attrs import evolve, field, frozen

from openai_images.batch.items import ResolvedItem
from openai_images.batch.models import BatchOptions
from openai_images.batch.plan import states_to_send
from openai_images.batch.run_state import RunState, WorkItem
from openai_images.batch.submitted_item import SubmittedItem
from openai_images.errors import ImagesError
from openai_images.models.outcomes import Failed, Outcome, Succeeded
from openai_images.models.requests import GenerateRequest
from openai_images.models.results import ImageResult


@frozen
class EconomySettings:
    """The parts of a run in economy: `to_send` are keys of `items`; `work_of` returns the work of an item."""

    run: RunState
    options: BatchOptions
    items: Mapping[str, ResolvedItem] = field(repr=False)
    to_send: Sequence[str] = field(repr=False)
    work_of: Callable[[ResolvedItem], WorkItem]
    make_thumbnails: Callable[[str], None]


class EconomyItems:
    """The items of a run: `work` returns an item's work, `end` ends it once."""

    def __init__(self, settings: EconomySettings) -> None:
        self._settings = settings
        self._run = settings.run
        self._to_send = frozenset(settings.to_send)
        self._work: dict[str, WorkItem] = {}

    def work(self, key: str) -> WorkItem:
        """Return the work of an item."""
        if key not in self._work:
            work = self._settings.work_of(self._settings.items.get(key) or self._removed(key))
            self._work[key] = evolve(work, reservation=self._run.submitted.pop(key, None))
        return self._work[key]

    def is_to_send(self, key: str) -> bool:
        """Return whether this run sends an item that was not executed: by its plan, or by its options."""
        if key not in self._settings.items or self._settings.options.cancel:
            return False
        state = self._run.ledger.get(key).state
        return key in self._to_send or state in states_to_send(self._settings.options)

    @property
    def gives_up(self) -> bool:
        """Whether to give up what cannot be found or read at the provider, so that its items count as unknown."""
        return self._settings.options.retry_unknown

    def secrets(self, key: str) -> tuple[str, ...]:
        """Return the texts to redact in an item's errors."""
        item = self._settings.items.get(key)
        return (*(() if item is None else (item.request.prompt,)), *self._run.caller.secrets)

    def replace(self, key: str, work: WorkItem) -> None:
        """Replace the item's work, which has a reservation now."""
        self._work[key] = work

    async def end(self, key: str, answer: ImageResult | ImagesError) -> Outcome:
        """Record and return the outcome of an item."""
        work = self.work(key)
        del self._work[key]
        item = self._settings.items.get(key) or work.item
        try:
            result = await SubmittedItem(self._run, work, answer).run()
        except (ImagesError, OSError) as error:
            return Failed(item.index, key, item.request, error)
        if self._settings.options.thumbnail is not None:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._run.threads, self._settings.make_thumbnails, key)
        return Succeeded(item.index, key, item.request, result)

    def _removed(self, key: str) -> ResolvedItem:
        """Return an item that is no longer in the input; only the digest of its request is known."""
        record = self._run.ledger.get(key)
        request = GenerateRequest("", n=record.image_count - len(record.files) or 1)
        return ResolvedItem(len(self._settings.items), key, request, record.request)
