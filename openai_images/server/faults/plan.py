"""Defines faults: a name, a description, and a plan of how one response differs from a normal one.

Invariants: a normal body is one `Frame` per image stage (JSON has only the final one) and a clean end; a plan is a
frozen value that rearranges these steps, changes the encoding or replaces the response.
Must not: encode or send bytes.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Literal, TypeVar

import attrs

from openai_images.server.protocol.error_replies import Reply

Base64Encoding = Callable[[bytes], bytes]


def as_string(text: bytes) -> bytes:
    """Return base64 as a JSON string: it needs no escapes."""
    return b'"' + text + b'"'


@attrs.frozen(kw_only=True)
class Dialect:
    """How a response is encoded."""

    base64: Base64Encoding = as_string
    line_end: bytes = b"\n"
    byte_order_mark: bool = False
    event_line: bool = True
    comments: bool = False
    sparse: bool = False
    empty_data: bool = False
    links: Literal["absolute", "relative", "data"] | None = None


HangUpKind = Literal["close", "reset", "bad_chunk"]


@attrs.frozen
class Frame:
    """An event with an image, or the complete JSON body; `start` and `end` limit the part that is sent."""

    stage: int | None
    start: float = 0.0
    end: float = 1.0
    closed: bool = True


@attrs.frozen
class Event:
    """An event without an image; a `sequence_number` of None is filled in when it is sent."""

    name: str | None
    data: Mapping[str, Any]


@attrs.frozen
class Text:
    """Bytes that are sent unchanged."""

    data: bytes


@attrs.frozen
class WaitForRelease:
    """A pause until `server.release()`: nothing is sent, or only comment lines."""

    comments: bool = False


@attrs.frozen
class HangUp:
    """An end of the connection before the end of the body."""

    how: HangUpKind


Step = Frame | Event | Text | WaitForRelease | HangUp
Steps = tuple[Step, ...]
Frames = tuple[Frame, ...]
StepTransform = Callable[[Frames], Steps]

FINAL = None


def first_partial(frames: Frames) -> Frames:
    """Return the first frame if it is a partial image, else nothing."""
    return tuple(frame for frame in frames[:1] if frame.stage is not FINAL)


def halves(frame: Frame) -> tuple[Frame, Frame]:
    """Return the two halves of a frame."""
    return attrs.evolve(frame, end=0.5), attrs.evolve(frame, start=0.5)


@attrs.frozen(kw_only=True)
class RequestInfo:
    """The parts of a request that a reply may quote; `target` is its path with the query, `now` a Unix time."""

    request_id: str
    now: float
    prompt: str = ""
    model: str = "gpt-image-2"
    authorization: str = ""
    path: str = ""
    target: str = ""
    port: int = 0


@attrs.frozen(kw_only=True)
class Plan:
    """The base of all plans: what happens in place of the response.

    `hold` stalls it until `server.release()`, `hang_up` closes the connection, `reply` replaces it. With `every_other`
    the plan applies only to every other request.
    """

    hold: bool = False
    hang_up: Literal["close", "reset"] | None = None
    reply: Callable[[RequestInfo], Reply] | None = None
    every_other: bool = False


P = TypeVar("P", bound=Plan)
A = TypeVar("A")


@attrs.frozen(kw_only=True)
class FaultPlan(Plan):
    """How one response differs from a normal one, which is the default."""

    transform: StepTransform | None = None
    stream_only: bool = False
    dialect: Dialect = attrs.field(factory=Dialect)
    kind: Literal["asked", "json", "sse"] = "asked"
    piece: int | None = None
    overlong: bool = False
    gzip: bool = False
    image_megabytes: float | None = None
    max_images: int | None = None
    delay: float = 0.0

    def steps(self, partials: int, *, as_stream: bool) -> Steps:
        """Return the steps of a response (the partial images in order, then the final one), changed by this plan."""
        frames: Frames = (*(Frame(index) for index in range(partials)), Frame(FINAL))
        steps: Steps = frames
        if self.transform is not None and (as_stream or not self.stream_only):
            steps = self.transform(frames)
        mark: Steps = (Text(b"\xef\xbb\xbf"),) if as_stream and self.dialect.byte_order_mark else ()
        return (*mark, *steps)


@attrs.frozen
class Fault(Generic[P]):
    """A fault with its argument, and its plan."""

    name: str
    plan: P


NORMAL = FaultPlan()


@attrs.frozen
class FaultType(Generic[P]):
    """An entry of the registry: `make` builds the plan from the argument after the colon."""

    about: str
    make: Callable[[str], P]
    default: str | None = ""
    takes_argument: bool = False


def argument(convert: Callable[[str], A], accepts: Callable[[A], bool], expected: str) -> Callable[[str], A]:
    """Return a parser of arguments; its ValueError for an invalid argument names the `expected` value."""

    def parse(text: str) -> A:
        value = convert(text)
        if not accepts(value):
            raise ValueError(expected)
        return value

    return parse


MEGABYTES: Final = argument(float, lambda size: 0 < size <= 1024, "megabytes from just above 0 to 1024")
STATUS: Final = argument(int, lambda status: 400 <= status <= 599, "a status from 400 to 599")


def fault(about: str, plan: P) -> FaultType[P]:
    """Return a fault without an argument."""
    return FaultType(about, lambda _: plan)


def fault_with_argument(
    about: str, default: str | None, argument: Callable[[str], A], make: Callable[[A], P]
) -> FaultType[P]:
    """Return a fault with an argument; it is required if `default` is None."""
    return FaultType(about, lambda text: make(argument(text)), default, takes_argument=True)


class ReleaseGate:
    """Tasks that await `event` wait until the gate is opened; it closes again immediately."""

    def __init__(self) -> None:
        self.event = asyncio.Event()

    def open(self) -> None:
        """Release all tasks that wait now."""
        self.event.set()
        self.event = asyncio.Event()
