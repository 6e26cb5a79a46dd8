"""A signal that ends waits: once, for good, and not those that must end by themselves."""

import asyncio

import pytest

from openai_images._util.stop_signal import StoppedError, StopSignal


async def waiting(
    signal: StopSignal, *, must_continue: bool = False
) -> tuple[asyncio.Task[str], asyncio.Event]:
    """A task that waits in a block of the signal, for an event."""
    event = asyncio.Event()

    async def wait() -> str:
        with signal.waiting(unless=lambda: must_continue):
            await event.wait()
        return "ended"

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    return task, event


async def test_it_ends_waits() -> None:
    """Those that have begun, and those that would begin; setting it twice changes nothing."""
    signal = StopSignal()
    signal.check()
    tasks = [(await waiting(signal))[0] for _ in range(2)]
    signal.set()
    signal.set()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(end) for end in ends] == [StoppedError] * 2
    with pytest.raises(StoppedError), signal.waiting():
        pass
    with pytest.raises(StoppedError):
        signal.check()


async def test_a_wait_that_must_end_by_itself() -> None:
    """It is not interrupted."""
    signal = StopSignal()
    task, event = await waiting(signal, must_continue=True)
    signal.set()
    await asyncio.sleep(0)
    event.set()
    assert await task == "ended"


async def test_other_ends_of_a_block_are_its_own() -> None:
    """A TimeoutError of the block, or a cancellation."""
    signal = StopSignal()
    with pytest.raises(TimeoutError), signal.waiting():
        raise TimeoutError
    task, _ = await waiting(signal)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_outside_of_a_loop() -> None:
    """There is no wait to end."""
    signal = StopSignal()
    signal.set()
    with pytest.raises(StoppedError):
        signal.check()
