"""What a fault is: a name, a sentence about it, and a plan that says how one answer strays.

Rules: a plan is a frozen value made when the fault is named; it changes steps, spelling, framing or the whole reply,
and everything it leaves alone stays as the API does it. It refuses to send anything itself.
"""

from collections.abc import Callable
from typing import Generic, Literal, Protocol, TypeVar

import attrs

from openai_images.server.encoder import Dialect
from openai_images.server.error_replies import Reply
from openai_images.server.steps import Edit


class AnyPlan(Protocol):
    """What a script wants to know of a plan, whatever it is a plan of."""

    @property
    def every_other(self) -> bool:
        """Whether it lets the next one pass."""
        ...


P = TypeVar("P", bound=AnyPlan)


@attrs.frozen(kw_only=True)
class Situation:
    """What a whole reply may quote from the request it answers."""

    request_id: str
    authorization: str
    prompt: str
    model: str
    path: str
    port: int
    now: float


@attrs.frozen(kw_only=True)
class Plan:
    """How one answer with pictures strays from the normal one; the defaults are the normal one."""

    reply: Callable[[Situation], Reply] | None = None
    edit: Edit | None = None
    stream_only: bool = False
    dialect: Dialect = attrs.field(factory=Dialect)
    kind: Literal["asked", "json", "sse"] = "asked"
    piece: int | None = None
    overlong: bool = False
    gzip: bool = False
    picture_megabytes: float | None = None
    hold: bool = False
    delay: float = 0.0
    hang_up: Literal["close", "reset"] | None = None
    every_other: bool = False


@attrs.frozen
class Fault(Generic[P]):
    """A fault as it was named, with its plan."""

    name: str
    plan: P


NORMAL = Plan()


@attrs.frozen
class Kind(Generic[P]):
    """An entry of the registry: `make` builds the plan from what follows the colon."""

    about: str
    make: Callable[[str], P]
    default: str | None = ""
    takes_argument: bool = False


def fixed(about: str, plan: P) -> Kind[P]:
    """A kind without an argument."""
    return Kind(about, lambda _: plan)


def taking(about: str, default: str | None, make: Callable[[str], P]) -> Kind[P]:
    """A kind with an argument; a `default` of None means that it must be given."""
    return Kind(about, make, default, takes_argument=True)
