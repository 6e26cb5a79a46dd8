"""The little language in which an answer's body is written: a list of steps, which faults rearrange.

Rules: a normal answer is one `Frame` per picture stage (a JSON answer has only the final one) and then a clean end;
a fault is a function from those frames to steps. Steps are values: they refuse to know how bytes are made or sent.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

HangUpKind = Literal["close", "reset", "bad_chunk"]


@attrs.frozen
class Frame:
    """An event with a picture, or the whole JSON body; `start` and `end` are the part of its bytes to send."""

    stage: int | None
    start: float = 0.0
    end: float = 1.0
    closed: bool = True


@attrs.frozen
class Event:
    """An event without a picture; a `sequence_number` of None is filled in when it is sent."""

    name: str | None
    data: Mapping[str, Any]


@attrs.frozen
class Text:
    """Bytes sent as they are."""

    data: bytes


@attrs.frozen
class Hold:
    """Nothing more until `server.release()`."""


@attrs.frozen
class CommentsUntilReleased:
    """Comment lines, one after the other, until `server.release()`."""


@attrs.frozen
class HangUp:
    """An end of the connection that is not the end of the body."""

    how: HangUpKind


Step = Frame | Event | Text | Hold | CommentsUntilReleased | HangUp
Steps = tuple[Step, ...]
Frames = tuple[Frame, ...]
Edit = Callable[[Frames], Steps]

FINAL = None


def normal_steps(partials: int) -> Frames:
    """A picture as it should be sent: its partials in order, then the final one."""
    return (*(Frame(index) for index in range(partials)), Frame(FINAL))


def first_partial(frames: Frames) -> Frames:
    """The first frame if it is a partial image, else nothing."""
    return tuple(frame for frame in frames[:1] if frame.stage is not FINAL)


def halves(frame: Frame) -> tuple[Frame, Frame]:
    """A frame cut in its middle."""
    return attrs.evolve(frame, end=0.5), attrs.evolve(frame, start=0.5)
