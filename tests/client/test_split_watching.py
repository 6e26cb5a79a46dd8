"""What the requests of one call tell, as if they were one: "refused" only where none may have run."""

import asyncio

import pytest

from openai_images import ImagesError
from openai_images.client.partial_results import SharedObserver
from openai_images.models.outcomes import CallObserver


class Log(CallObserver):
    """Keeps what it is told; `slow` holds the next `sending` back."""

    def __init__(self) -> None:
        """Nothing was told."""
        self.told: list[str] = []
        self.slow: asyncio.Event | None = None
        self.fails = False

    def on_wait(self) -> None:
        """Kept."""
        self.told.append("waiting")

    async def before_send(self, attempt: int) -> None:
        """Kept when it is over."""
        if self.slow is not None:
            await self.slow.wait()
        if self.fails:
            raise OSError
        self.told.append(f"sending {attempt}")

    async def on_not_executed(self, error: ImagesError) -> None:
        """Kept."""
        self.told.append(f"refused {error}")


@pytest.mark.parametrize(
    ("steps", "told"),
    [
        ("w0 w1 s0 s1", "waiting, waiting, sending 1"),
        ("s0 w1 s1 r0", "sending 1"),
        ("s0 s1 r0 r1", "sending 1, refused 1"),
        ("s0 r0 s1", "sending 1, refused 0, sending 1"),
        ("s0 r0 w0 s0", "sending 1, refused 0, waiting, sending 1"),
        ("s0 s1 r1 w1 s1 r1", "sending 1"),
        ("s0 s1 r0 r1 s0 s1", "sending 1, refused 1, sending 1"),
        ("s0 s1 s0", "sending 1, sending 2"),
        ("s0 s0 s1 s1 r0 r1", "sending 1, sending 2, sending 2, refused 1"),
    ],
)
async def test_as_if_it_were_one(steps: str, told: str) -> None:
    """w, s, r: a request waits, is sent, is refused; s after s is one that may have run and is sent again."""
    log = Log()
    shared = SharedObserver(log)
    observers = [shared.for_sub_call(number) for number in range(2)]
    sent = [0, 0]
    for step, number in ((step[0], int(step[1])) for step in steps.split()):
        if step == "w":
            observers[number].on_wait()
        elif step == "s":
            sent[number] += 1
            await observers[number].before_send(sent[number])
        else:
            sent[number] = 0
            await observers[number].on_not_executed(ImagesError(str(number)))
    assert ", ".join(log.told) == told


async def test_nobody_sends_before_it_is_written_down() -> None:
    """The second request waits until the first one's row is on the disk."""
    log = Log()
    log.slow = asyncio.Event()
    shared = SharedObserver(log)
    first, second = (asyncio.create_task(shared.for_sub_call(number).before_send(1)) for number in range(2))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not (first.done())
    assert not (second.done())
    log.slow.set()
    await asyncio.gather(first, second)
    assert log.told == ["sending 1"]


async def test_what_could_not_be_written_down_was_not_told() -> None:
    """A disk that fails keeps that request from being sent, and the next one asks again."""
    log = Log()
    shared = SharedObserver(log)
    log.fails = True
    for number in range(2):
        with pytest.raises(OSError):  # noqa: PT011  any
            await shared.for_sub_call(number).before_send(1)
    log.fails = False
    await shared.for_sub_call(0).before_send(1)
    assert log.told == ["sending 1"]
