"""What becomes of many calls: an outcome for each, how far they are, and the observer of a call.

Rules: frozen values; one call's failure is an outcome and never an exception of the whole; an unknown cost is None,
never zero. `repr` never shows a prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from attrs import frozen

if TYPE_CHECKING:
    from decimal import Decimal

    from openai_images.errors import ImagesError
    from openai_images.models.requests import GenerateRequest
    from openai_images.models.results import ImageResult


@frozen
class Succeeded:
    """The pictures of one request; `index` counts from 0 in the order they were given, `key` names it."""

    index: int
    key: str
    request: GenerateRequest
    result: ImageResult


@frozen
class Failed:
    """What befell one request; `request` is None where no request could be made of what was given.

    `error` is an `ImagesError`, or an OSError where the files of `into=` could not be written.
    """

    index: int
    key: str
    request: GenerateRequest | None
    error: ImagesError | OSError


Outcome: TypeAlias = Succeeded | Failed


@frozen(kw_only=True)
class Progress:
    """How far many calls are.

    `total` is None where the number of requests is not known. `failed` counts all failures, `blocked` those of them
    that the safety system caused and `unknown` those that may have been billed. `in_flight` requests are under way,
    `waiting` are held back by a limit. `images` pictures came within `elapsed` seconds; `eta` is how many seconds
    are probably left. `spent` is in US dollars, None while nothing has a known cost; `unpriced` results have none.
    `wait_reason` says why nothing is sent for more than a few seconds and until when, None where it is not so.
    """

    total: int | None = None
    done: int = 0
    failed: int = 0
    blocked: int = 0
    unknown: int = 0
    in_flight: int = 0
    waiting: int = 0
    images: int = 0
    elapsed: float = 0.0
    images_per_minute: float = 0.0
    eta: float | None = None
    spent: Decimal | None = None
    unpriced: int = 0
    wait_reason: str | None = None


class CallObserver:
    """Is called in the task of a call; does nothing unless overridden.

    What a method raises ends the call; before the first byte that means that nothing was sent. Whether a call is sent
    again is not decided here.
    """

    def on_wait(self) -> None:
        """The call waits: for a slot, for a limit, or for its next attempt."""

    async def before_send(self, attempt: int) -> None:
        """Attempt number `attempt` is ready: its first byte goes out when this returns."""

    async def on_not_executed(self, error: ImagesError) -> None:
        """The attempt provably did not run; the call may be sent again."""
