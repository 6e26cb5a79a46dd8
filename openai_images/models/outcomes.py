"""The outcomes of many calls, their progress, and the observers of a call and of a run.

Invariants: frozen values; the failure of one call is an outcome, never an exception of the run; an unknown cost is
None, never zero.
Must not: show more of a prompt than its beginning, or any of it with `show_prompts=False`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import field, frozen

from openai_images._util.attrs import beginning, repr_fields, short_repr

if TYPE_CHECKING:
    from contextvars import Context
    from decimal import Decimal

    from openai_images.errors import ImagesError
    from openai_images.models.requests import GenerateRequest
    from openai_images.models.results import ImageResult


class _OutcomeRepr:
    """The `repr` of both kinds of outcome."""

    __slots__ = ()

    @property
    def prompt_beginning(self) -> str:
        """The beginning of the prompt in one line; "" if `show_prompt` is False, or there is no request."""
        prompt = getattr(getattr(self, "request", None), "prompt", None)  # they may be incomplete
        return beginning(prompt) if isinstance(prompt, str) and getattr(self, "show_prompt", True) else ""

    def __repr__(self) -> str:
        outcome: Any = self
        shown = self.prompt_beginning
        texts = {"request": repr_fields(outcome.request, prompt=f"'{shown}'")} if shown else {}
        return repr_fields(outcome, **texts)


@frozen(repr=False)
class Succeeded(_OutcomeRepr):
    """The images of one request; `index` is its position, from 0, `key` its name.

    Its `repr` shows the beginning of the prompt unless `show_prompt` is False (`ImagesClient(show_prompts=False)`).
    """

    index: int
    key: str
    """Its name; by default its position with five digits."""
    request: GenerateRequest
    """The request that was sent."""
    result: ImageResult
    """The images and the other fields of the response."""
    show_prompt: bool = field(default=True, kw_only=True, eq=False, repr=False)

    def _repr_html_(self) -> str:
        from openai_images.models.notebook import result_card  # noqa: PLC0415  only notebooks need it

        return result_card(self.key, self.prompt_beginning, self.result)


@frozen(repr=False)
class Failed(_OutcomeRepr):
    """The error of one request; `request` is None if its input was invalid.

    `error` is an `ImagesError`, or an OSError if the files of `into=` could not be written. The other fields are those
    of `Succeeded`.
    """

    index: int
    """Its position among the requests, from 0."""
    key: str
    """Its name."""
    request: GenerateRequest | None
    error: ImagesError | OSError
    show_prompt: bool = field(default=True, kw_only=True, eq=False, repr=False)
    """Whether its `repr` shows the beginning of the prompt."""

    @property
    def maybe_billed(self) -> bool:
        """Whether the request may have cost money although it failed; also for an OSError."""
        return bool(getattr(self.error, "maybe_billed", False))

    def _repr_html_(self) -> str:
        from openai_images.models.notebook import error_card  # noqa: PLC0415  only notebooks need it

        return error_card(self.key, self.prompt_beginning, self.error)


Outcome: TypeAlias = Succeeded | Failed
"""What `generate_many` and batches yield for each request."""


@short_repr
@frozen(kw_only=True, repr=False)
class Progress:
    """The progress of many calls.

    `total` is None if the number of requests is unknown. `failed` counts all failures, `blocked` those by the safety
    system, `unknown` those that may have been billed. `in_flight` counts the requests that are sent, `waiting` those
    that wait for a limit, the next attempt or the disk. `images` counts the images received; `elapsed` is the time
    since the start and `eta` the estimated time left, in seconds. `spent` is in US dollars, None while no cost is
    known; `unpriced` counts results of unknown cost. If nothing is sent for more than a few seconds, `wait_reason` says
    why and until when, counted from the time of this progress; otherwise it is None.
    """

    total: int | None = None
    done: int = 0
    """Requests that succeeded."""
    failed: int = 0
    blocked: int = 0
    """Failed requests that the safety system blocked."""
    unknown: int = 0
    """Failed requests that may have been billed."""
    in_flight: int = 0
    waiting: int = 0
    """Requests that wait for a limit, the next attempt or the disk."""
    images: int = 0
    elapsed: float = 0.0
    """Seconds since the start of the run."""
    images_per_minute: float = 0.0
    """The rate of the last minutes."""
    eta: float | None = None
    spent: Decimal | None = None
    unpriced: int = 0
    wait_reason: str | None = None

    def _repr_html_(self) -> str:
        from openai_images.models.notebook import table_of_fields  # noqa: PLC0415  only notebooks need it

        return table_of_fields("Progress", self)


class CallObserver:
    """Observes a call, in its task; does nothing unless overridden.

    An exception raised by a method ends the call; if it is raised before the first byte is sent, nothing is sent.
    """

    def on_wait(self) -> None:
        """Called when the call starts to wait for a slot, a limit, or its next attempt."""

    def waiting(self) -> AbstractContextManager[object]:
        """Return the context of all waits before an attempt; it ends them if nothing new is to be sent."""
        return nullcontext()

    async def before_send(self, attempt: int) -> None:
        """Called before the first byte of attempt number `attempt` is sent."""

    async def on_not_executed(self, error: ImagesError) -> None:
        """Called after an attempt that was certainly not executed; the call may be sent again."""

    def on_retry(self, attempt: int, error: ImagesError, seconds: float) -> None:
        """Called after attempt number `attempt` failed with `error`; the next one follows in `seconds`."""


class RunObserver:
    """Observes a run of many calls; does nothing unless overridden. Its methods must not raise."""

    def start(self) -> Context | None:
        """Called at the start of the run; return the context of its tasks, or None for the current one."""

    def end(self, progress: Progress, error: BaseException | None) -> None:
        """Called at the end of the run; `error` is that of the whole run, if any."""
