"""The outcomes of many calls, their progress, and the observers of a call and of a run.

Invariants: frozen values; one call's failure is an outcome, never an exception of all calls; an unknown cost is None,
never zero. An outcome shows the beginning of its prompt, unless the client hides it.
Must not: show more of a prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import field, frozen

from openai_images._util.attrs import beginning, repr_fields, short_repr

if TYPE_CHECKING:
    from contextvars import Context
    from decimal import Decimal

    from openai_images.errors import ImagesError
    from openai_images.models.requests import GenerateRequest
    from openai_images.models.results import ImageResult


class _Described:
    """What is shown of either outcome."""

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
class Succeeded(_Described):
    """The images of one request; `index` is its position, from 0, `key` its name.

    Its texts have the beginning of the prompt, unless `show_prompt` is False (`ImagesClient(show_prompts=False)`).
    """

    index: int
    key: str
    """Its name, by default its position as five digits."""
    request: GenerateRequest
    """The request as it was sent."""
    result: ImageResult
    """Its images, and the other fields of the response."""
    show_prompt: bool = field(default=True, kw_only=True, eq=False, repr=False)

    def _repr_html_(self) -> str:
        from openai_images.models.notebook import result_card  # noqa: PLC0415  only notebooks need it

        return result_card(self.key, self.prompt_beginning, self.result)


@frozen(repr=False)
class Failed(_Described):
    """The error of one request; `request` is None if the input was not valid for one.

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
    """Whether its texts have the beginning of the prompt."""

    def _repr_html_(self) -> str:
        from openai_images.models.notebook import error_card  # noqa: PLC0415  only notebooks need it

        return error_card(self.key, self.prompt_beginning, self.error)


Outcome: TypeAlias = Succeeded | Failed
"""What many calls yield for each request."""


@short_repr
@frozen(kw_only=True, repr=False)
class Progress:
    """The progress of many calls.

    `total` is None if the number of requests is unknown. `failed` counts all failures, `blocked` those by the safety
    system, and `unknown` those that may have been billed. `in_flight` requests are sent, `waiting` ones are held back
    by a limit. `images` came within `elapsed` seconds; `eta` is the probable number of seconds left. `spent` is in US
    dollars, None while no cost is known; `unpriced` results have no known cost. `wait_reason` says why nothing is sent
    for more than a few seconds and until when; None otherwise.
    """

    total: int | None = None
    done: int = 0
    """Requests that gave their images."""
    failed: int = 0
    blocked: int = 0
    """Of the failed, those that the safety system blocked."""
    unknown: int = 0
    """Of the failed, those that may have been billed."""
    in_flight: int = 0
    waiting: int = 0
    """Requests that a limit holds back."""
    images: int = 0
    elapsed: float = 0.0
    """Seconds since the run began."""
    images_per_minute: float = 0.0
    """The speed of the last minutes."""
    eta: float | None = None
    spent: Decimal | None = None
    unpriced: int = 0
    wait_reason: str | None = None

    def _repr_html_(self) -> str:
        from openai_images.models.notebook import table_of_fields  # noqa: PLC0415  only notebooks need it

        return table_of_fields("Progress", self)


class CallObserver:
    """Observes a call, in its task; does nothing unless overridden.

    An exception of a method ends the call; before the first byte, nothing is sent then. It does not decide about
    retries.
    """

    def on_wait(self) -> None:
        """The call waits: for a slot, for a limit, or for its next attempt."""

    async def before_send(self, attempt: int) -> None:
        """Attempt number `attempt` is ready: its first byte is sent after this returns."""

    async def on_not_executed(self, error: ImagesError) -> None:
        """The attempt was provably not executed; the call may be sent again."""

    def on_retry(self, attempt: int, error: ImagesError, seconds: float) -> None:
        """Attempt number `attempt` failed with this error; the next one follows after a wait of `seconds`."""


class RunObserver:
    """Observes a run of many calls; does nothing unless overridden. Its methods must not raise."""

    def start(self) -> Context | None:
        """The run starts, with its tasks in this context; None means the current one."""

    def end(self, progress: Progress, error: BaseException | None) -> None:
        """The run has ended, with the error of the whole run if there is one."""
