"""Ctrl-C in two steps: what a signal does, and when it is Python's again."""

import asyncio
import signal
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from openai_images._util.aio import run_to_completion
from openai_images.cli.command_runner import InterruptHandler

ENDINGS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def interrupt(*_: object) -> None:
    """What a signal does before; not Python's own handler, in whose place the event loop would put another."""
    raise KeyboardInterrupt


@pytest.fixture(autouse=True)
def handlers() -> Iterator[dict[signal.Signals, Any]]:
    """What each signal does before the test and, whatever the test does, after it."""
    before = {number: signal.getsignal(number) for number in ENDINGS}
    mine: dict[signal.Signals, Any] = dict.fromkeys(ENDINGS, interrupt)
    for number in ENDINGS:
        signal.signal(number, interrupt)
    yield mine
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", ENDINGS)
async def test_the_first_stops_and_the_second_cancels(
    handlers: dict[Any, Any], number: signal.Signals
) -> None:
    """In the loop, and in this order; a third one ends everything at once."""
    called: list[str] = []
    with InterruptHandler(lambda: called.append("stop")) as interrupts:
        signal.raise_signal(number)
        assert called == []
        await asyncio.sleep(0)
        assert (called, interrupts.count) == (["stop"], 1)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(0)
        assert interrupts.end_cancellation()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    assert (called, interrupts.count) == (["stop"], 3)
    assert {each: signal.getsignal(each) for each in ENDINGS} == handlers


async def test_a_closed_terminal_is_one_signal() -> None:
    """The shell and the kernel both send it: the second one abandons nothing."""
    called: list[str] = []
    with InterruptHandler(lambda: called.append("stop")) as interrupts:
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
    assert (called, interrupts.count) == (["stop"], 1)


def test_the_second_ends_a_loop_that_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the task does not end when it is cancelled."""
    monkeypatch.setattr("openai_images.cli.command_runner._GRACE", 0.0)

    async def stubborn() -> None:
        with InterruptHandler(lambda: None):
            for _ in range(2):
                signal.raise_signal(signal.SIGINT)
            await run_to_completion(asyncio.Event().wait())

    loop = asyncio.new_event_loop()
    task = loop.create_task(stubborn())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    for each in asyncio.all_tasks(loop):
        each.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    loop.close()


async def test_without_a_signal_everything_is_put_back(handlers: dict[Any, Any]) -> None:
    """Also where the block fails."""
    interrupts = InterruptHandler(lambda: None)
    with pytest.raises(ZeroDivisionError), interrupts:
        raise ZeroDivisionError
    assert {each: signal.getsignal(each) for each in ENDINGS} == handlers


async def test_an_ignored_signal_stays_ignored() -> None:
    """`nohup` means that a closed terminal is to change nothing."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    called: list[str] = []
    with InterruptHandler(lambda: called.append("stop")):
        signal.raise_signal(signal.SIGHUP)
        await asyncio.sleep(0)
    assert (called, signal.getsignal(signal.SIGHUP)) == ([], signal.SIG_IGN)


def test_another_thread_changes_nothing(handlers: dict[Any, Any]) -> None:
    """Python lets only the main thread handle signals."""
    counts: list[int] = []

    async def enter() -> None:
        with InterruptHandler(lambda: None) as interrupts:
            counts.append(interrupts.count)

    thread = threading.Thread(target=lambda: asyncio.run(enter()))
    thread.start()
    thread.join()
    assert counts == [0]
    assert {each: signal.getsignal(each) for each in ENDINGS} == handlers
